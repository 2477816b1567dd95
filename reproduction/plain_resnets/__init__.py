"""Plain and standard ResNets of several depths, from He's weights."""
