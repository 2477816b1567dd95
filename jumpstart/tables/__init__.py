"""The modules behind :mod:`jumpstart.table`, which re-exports their public names."""
