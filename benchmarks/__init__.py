"""Ratios against named baselines. Each module is run by hand: ``python -m benchmarks.main_job``."""
