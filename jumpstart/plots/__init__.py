"""The modules behind :mod:`jumpstart.plotting`, which re-exports their public functions."""
