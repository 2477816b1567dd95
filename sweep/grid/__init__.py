"""Grids: several values of options, and the runs that they make together."""
