"""Two processes that train a ResNet are one with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from runs import ROOT

SCRIPT = str(ROOT / "run_resnet_experiment_sweep.py")
RUN: dict[str, Any] = {
    "dataset": "fake",
    "image_size": 8,
    "num_points": 80,  # 56 to train on: batches of 16, 16, 16 and 8, which two processes halve
    "depth": 18,
    "width_multiplier": 0.5,
    "batch_size": 16,
    "epochs": 4,
    "lr": 0.02,
    "lambda_": 0.3,
    "strategy": "ddp",
    "gpus": 0,
    "wandb": False,
    "progress": False,
    "plot_status": False,
    "name": "run",
}


def curves(folder: Path, processes: int, **changes: Any) -> pd.DataFrame:
    """The figures of every epoch of a run on the CPU."""
    flags = [f"--{name}={value}" for name, value in {**RUN, **changes, "output_dir": folder}.items()]
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    done = subprocess.run(
        [sys.executable, *launch, SCRIPT, *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return pd.read_csv(folder / "run" / "metrics.csv")


def furthest(one: pd.DataFrame, other: pd.DataFrame, *names: str) -> float:
    return max(float(np.abs(one[name] - other[name]).max()) for name in names)


@pytest.mark.slow
def test_two_processes_have_the_curve_of_one(tmp_path: Path) -> None:
    alone = curves(tmp_path / "alone", 1, sync=True)
    shared = curves(tmp_path / "shared", 2, sync=True)
    apart = curves(tmp_path / "apart", 2, sync=False)
    assert alone["train/jumpstart_loss"].min() > 0.05
    assert alone["train/loss"].iloc[0] - alone["train/loss"].iloc[-1] > 0.005
    losses = ("train/loss", "val/loss", "train/jumpstart_loss", "val/jumpstart_loss")
    assert furthest(alone, shared, *losses) < 1e-4
    # All else of an epoch is gathered from the processes too.
    assert furthest(alone, shared, *alone.columns) < 1e-3
    assert furthest(alone, apart, "train/jumpstart_loss") > 1e-2
