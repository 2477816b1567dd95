"""What a run without Lightning uses: it imports no Lightning, and gives what Lightning gives."""

from __future__ import annotations

import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from support.fresh import python
from support.runs import run_tiny
from torch import nn

from data.data import make_data
from jumpstart.history import StatusHistory
from model.rectangular_experiment import RectangularExperiment
from sweep.machine import seed_everything
from sweep.resumption import check_same_data
from sweep.run_directory import RunDirectory, RunDirectoryError
from sweep.watchers.patience_rule import PatienceRule
from sweep.watchers.status_frames import StatusFrames

IMPORTS = """
import sys
from data.data import make_data
data = make_data("moons", num_points=100, batch_size=32)
data.prepare()
data.setup()
from jumpstart.table import summary_table
from model.config.batches import check_batches
from model.optimization import make_optimizer
from model.rectangular_network import make_network
from sweep import engine, launch, resumption, result, run, run_directory
from sweep.machine import is_first_process, process_restored, seed_everything
from sweep.watchers import best_weights, epoch_rows, intervals, patience_rule, progress_bar
assert run.leave_report and is_first_process()
summary_table({"val/acc": 0.5})
heavy = ("pytorch_lightning", "torchmetrics", "pandas", "matplotlib", "wandb", "torchvision", "sklearn")
print([name for name in heavy if name in sys.modules])
"""


def test_data_and_a_run_import_no_lightning_pandas_or_matplotlib() -> None:
    done = python(IMPORTS)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("larger", [True, False])
@pytest.mark.parametrize("min_delta", [0.0, 0.1])
def test_patience_is_that_of_lightning(larger: bool, min_delta: float) -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        patience = int(generator.integers(1, 5))
        rule = PatienceRule(patience, min_delta, larger_is_better=larger)
        theirs = EarlyStopping("x", min_delta, patience, mode="max" if larger else "min")
        for step in range(12):
            value = math.nan if generator.random() < 0.03 else float(generator.choice([0.3, 0.4, 0.5, 0.6000000001]))
            expected, _ = theirs._evaluate_stopping_criteria(torch.tensor(value))
            assert rule.ends(value) is expected
            assert rule.exhausted is (theirs.wait_count >= patience)
            if step == 5:
                state = rule.state_dict()
                rule = PatienceRule(patience, min_delta, larger_is_better=larger)
                rule.load_state_dict(state)


def test_the_seed_is_set_as_by_lightning(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[str | float]] = []
    for seed in (lambda: pl.seed_everything(7, workers=True, verbose=False), lambda: seed_everything(7)):
        monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
        monkeypatch.delenv("PL_SEED_WORKERS", raising=False)
        seed()
        variables = [os.environ[name] for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")]
        drawn.append([*variables, random.random(), np.random.rand(), float(torch.rand(()))])
    assert drawn[0] == drawn[1]


def test_status_plots_are_those_of_lightning(tmp_path: Path) -> None:
    """The first epoch is that of the best weights: a run of one epoch."""
    directory, _ = run_tiny(tmp_path, epochs=1, plot_status=True, plot_num_points=20)
    experiment = RectangularExperiment.load_from_checkpoint(directory.best_checkpoint)
    config, again = experiment.config, RunDirectory(tmp_path / "again")
    data = make_data(config.dataset, batch_size=config.batch_size, seed=config.seed, num_points=config.num_points)
    data.setup()
    for network in (experiment.network, bare(experiment.network, experiment)):
        network.train()
        frames = StatusFrames(network, config, again, None, frequency=1)
        assert frames.is_due(0, last=False)
        frames.draw(0, data.batches("val"))
        frames.close()
        assert network.training
        assert not frames.is_due(0, last=True)
        for name in ("unit_status-epoch000000.png", "point_status-epoch000000.png"):
            assert (again.plots / name).read_bytes() == (directory.plots / name).read_bytes()
        ours, theirs = (StatusHistory.load(each.status) for each in (again, directory))
        assert ours.layers == theirs.layers
        assert all(
            np.array_equal(getattr(ours, name), getattr(theirs, name))
            for name in ("unit_max", "unit_min", "point_status", "labels")
        )


def bare(network: nn.Module, experiment: RectangularExperiment) -> nn.Module:
    """The network after its regularizer is removed."""
    experiment.jumpstart.remove()
    return network


def test_the_fingerprint_of_a_checkpoint_is_found_under_any_name(tmp_path: Path) -> None:
    data = make_data(([[float(row)] for row in range(40)], ["low"] * 20 + ["high"] * 20))
    data.setup()
    run = RunDirectory(tmp_path)
    check_same_data(run, {"TabularDataModule": {}}, data)
    with pytest.raises(RunDirectoryError, match="the data changed"):
        check_same_data(run, {"data": {"fingerprint": "another"}}, data)
