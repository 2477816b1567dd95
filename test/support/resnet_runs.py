"""Small runs of ResNets."""

from __future__ import annotations

from pathlib import Path

import torch
from support.commands import RESNET_COMMAND, as_flags, exit_code_of, in_shell
from support.runs import ROOT

from model.config.resnet import ResnetConfig
from model.resnet_experiment import ResnetExperiment
from sweep.resnet import build, make_data
from sweep.run import run
from sweep.run_directory import RunDirectory

SCRIPT = ROOT / "run_resnet_experiment_sweep.py"
USERS_COMMAND = " ".join(["python", SCRIPT.name, *in_shell(RESNET_COMMAND)])
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


def run_tiny(folder: Path, *, resume: Path | None = None, **changes: object) -> tuple[RunDirectory, dict[str, object]]:
    config = tiny(output_dir=str(folder), **{"name": "run", **changes})
    result = run(config, make_data(config), build, resume=resume)
    return result.directory, result.summary


def command(*argv: str) -> int:
    """The exit code of the script, run in this process."""
    return exit_code_of(SCRIPT, *argv)


def flags(**changes: object) -> list[str]:
    return as_flags({**TINY, **changes})


def experiment_of(**changes: object) -> ResnetExperiment:
    torch.manual_seed(0)
    return ResnetExperiment(tiny(**changes), (3, 8, 8), 10)


def batch_of(rows: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, 3, 8, 8, generator=generator), torch.randint(10, (rows,), generator=generator)
