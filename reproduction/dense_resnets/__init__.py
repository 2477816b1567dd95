"""Plain and standard ResNets of dense layers, on tables."""
