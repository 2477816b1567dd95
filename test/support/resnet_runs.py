"""Small runs of ResNets."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch
from support.runs import ROOT

from model.config.resnet import ResnetConfig
from model.resnet_experiment import ResnetExperiment
from run_resnet_experiment_sweep import build, make_data
from sweep.run import run
from sweep.run_directory import RunDirectory

SCRIPT = ROOT / "run_resnet_experiment_sweep.py"
USERS_COMMAND = """
python run_resnet_experiment_sweep.py \
    --lambda_=0.05 \
    --depth=50 \
    --lambda_=0.00001 \
    --use_batchnorm=False \
    --use_skip_connections=False \
    --width_multiplier=2 \
    --activation=relu \
    --lr=0.1 \
    --batch_size=128 \
    --epochs=90 \
    --dataset=imagenet \
    --plot_status=True \
    --gpus=auto
"""
TINY: dict[str, object] = {
    "dataset": "fake",
    "image_size": 8,
    "num_points": 100,
    "depth": 18,
    "width_multiplier": 0.25,
    "batch_size": 16,
    "epochs": 3,
    "lr": 0.02,
    "lambda_": 0.05,
    "gpus": 0,
    "wandb": False,
    "progress": False,
    "plot_status": False,
}


def tiny(**changes: object) -> ResnetConfig:
    return ResnetConfig(**{**TINY, **changes})


def flags(**changes: object) -> list[str]:
    return [f"--{name}={value}" for name, value in {**TINY, **changes}.items()]


def run_tiny(folder: Path, *, resume: Path | None = None, **changes: object) -> tuple[RunDirectory, dict[str, object]]:
    config = tiny(output_dir=str(folder), **{"name": "run", **changes})
    return run(config, make_data(config), build, resume=resume)


def command(*argv: str) -> int:
    """The exit code of the script, run in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr(sys, "argv", [SCRIPT.name, *argv])
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert isinstance(caught.value.code, int)
    return caught.value.code


def experiment_of(**changes: object) -> ResnetExperiment:
    torch.manual_seed(0)
    return ResnetExperiment(tiny(**changes), (3, 8, 8), 10)


def batch_of(rows: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, 3, 8, 8, generator=generator), torch.randint(10, (rows,), generator=generator)
