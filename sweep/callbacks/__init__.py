"""The Lightning callbacks of a run: metrics, checkpoints, progress bar, plots."""
