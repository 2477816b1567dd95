"""Training runs, from the command line to the run directory."""
