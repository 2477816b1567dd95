"""The published results, repeated: one folder and one command for each, ``python -m reproduction NAME``."""
