"""Benchmarks: ratios to named baselines. Each module is a command, such as ``python -m benchmarks.main_job``."""
