"""Fixtures of all tests of runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch
from support.runs import PLOTTED, PlottedRun, run_tiny


@pytest.fixture(scope="session", autouse=True)
def _imports_frozen() -> Iterator[None]:
    """Freeze the objects of the imports, because every run collects garbage and would scan them: 0.24 s each time."""
    import support.resnet_runs
    import support.runs  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def plotted_run(tmp_path_factory: pytest.TempPathFactory) -> PlottedRun:
    """A run with everything that may not change its result: plots of every epoch, W&B, progress, checkpoints."""
    extras = {"plot_every": 1, "wandb": True, "progress": True, "checkpoint_seconds": 0.0}
    directory, _ = run_tiny(tmp_path_factory.mktemp("plotted"), **PLOTTED, **extras)
    return PlottedRun(directory, torch.get_rng_state())
