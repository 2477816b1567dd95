"""Lightning callbacks of a run: metrics, checkpoints, progress, plots."""
