"""Two processes train a ResNet as one process with the same global batch does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support.runs import ROOT, network_weights

from model.resnet_experiment import ResnetExperiment

LOSSES = ("train/loss", "val/loss", "train/jumpstart_loss", "val/jumpstart_loss")
SCRIPT = str(ROOT / "run_resnet_experiment_sweep.py")
RUN: dict[str, object] = {
    "dataset": "fake",
    "image_size": 8,
    "num_points": 80,  # 56 to train on: batches of 16, 16, 16 and 8, which two processes halve
    "depth": 18,
    "width_multiplier": 0.5,
    "batch_size": 16,
    "epochs": 5,
    # At twice this rate, a rounding error can choose the other one of two nearly equal extrema.
    "lr": 0.05,
    "init": "looks_linear",
    "lambda_": 3.0,
    "lambda_clip": 0.05,  # of the task loss: some batches reach it
    "scheduler": "none",
    "sync": True,
    "strategy": "ddp",
    "gpus": 0,
    "wandb": False,
    "progress": False,
    "plot_status": False,
    "name": "run",
}


def train(processes: int, *argv: str) -> None:
    """Run the command on the CPU."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    done = subprocess.run(
        [sys.executable, *launch, SCRIPT, *argv],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run directory:") == 1


def curves(folder: Path, processes: int, **changes: object) -> pd.DataFrame:
    """The metrics of every epoch of a run."""
    train(processes, *(f"--{name}={value}" for name, value in {**RUN, **changes, "output_dir": folder}.items()))
    assert [path.name for path in folder.iterdir()] == ["run"]
    return pd.read_csv(folder / "run" / "metrics.csv")


def furthest(one: pd.DataFrame, other: pd.DataFrame, *names: str) -> float:
    assert len(one) == len(other)
    return max(float(np.abs(one[name] - other[name]).max()) for name in names)


def assert_same_weights(run: Path, expected: Path) -> None:
    weights, wanted = (network_weights(folder / "run" / "checkpoints" / "best.ckpt") for folder in (run, expected))
    torch.testing.assert_close(weights, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_two_processes_have_the_curves_of_one(tmp_path: Path) -> None:
    alone = curves(tmp_path / "alone", 1)
    assert alone["train/loss"].iloc[-1] < alone["train/loss"].iloc[0] - 0.1
    assert alone["train/jumpstart_loss"].min() > 0.01
    shared = curves(tmp_path / "shared", 2)
    assert furthest(alone, shared, *LOSSES) < 1e-4
    # All other metrics are gathered from the processes too.
    assert furthest(alone, shared, *alone.columns) < 1e-3
    assert_same_weights(tmp_path / "shared", tmp_path / "alone")
    apart = curves(tmp_path / "apart", 2, sync=False)
    assert furthest(alone, apart, "train/jumpstart_loss") > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "processes"), [("sgd", 2), ("adam", 1)])
def test_sharded_weights_train_and_resume_as_full_ones(optimizer: str, processes: int, tmp_path: Path) -> None:
    changes = {"optimizer": optimizer, "lr": 0.1 if optimizer == "sgd" else 0.002, "weight_decay": 0.01}
    full = curves(tmp_path / "full", 1, **changes)
    sharded = curves(tmp_path / "sharded", 2, strategy="fsdp", epochs=3, **changes)
    assert furthest(full[:3], sharded, *LOSSES) < 1e-4
    path = tmp_path / "sharded" / "run"
    experiment = ResnetExperiment.load_from_checkpoint(path / "checkpoints" / "best.ckpt", weights_only=False)
    assert all(type(parameter.data) is torch.Tensor for parameter in experiment.network.parameters())
    # A checkpoint holds full weights: training continues with any number of processes as if started with them.
    train(processes, f"--resume={path}", "--epochs=5")
    assert furthest(full, pd.read_csv(path / "metrics.csv"), *LOSSES) < 1e-4
    assert_same_weights(tmp_path / "sharded", tmp_path / "full")
