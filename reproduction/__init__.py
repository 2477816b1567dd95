"""Studies of the published results: one folder and one command for each, ``python -m reproduction NAME``."""
