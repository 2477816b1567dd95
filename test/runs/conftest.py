"""Fixtures of all tests of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # pytest can read this file first, and `support.fresh` needs a process without the project
    from support.runs import PlottedRun


@pytest.fixture(scope="session")
def plotted_run(tmp_path_factory: pytest.TempPathFactory) -> PlottedRun:
    """A run with everything that may not change its result: plots of every epoch, W&B, progress, checkpoints.

    The plots have no axes and texts.
    """
    import torch
    from support.images import draw_data_alone
    from support.runs import PLOTTED, PlottedRun, run_tiny

    extras = {"plot_every": 1, "wandb": True, "progress": True, "checkpoint_seconds": 0.0}
    with pytest.MonkeyPatch.context() as patch:
        draw_data_alone(patch)
        directory, _ = run_tiny(tmp_path_factory.mktemp("plotted"), **PLOTTED, **extras)
    return PlottedRun(directory, torch.get_rng_state())
