"""Runs: from options to a run directory, by a command or by a function."""

from sweep.rectangular import run_rectangular
from sweep.resnet import run_resnet
from sweep.result import RunResult

__all__ = ["RunResult", "run_rectangular", "run_resnet"]
