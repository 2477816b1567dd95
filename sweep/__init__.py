"""Runs: from the command line to a run directory."""
