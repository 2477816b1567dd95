"""Damage to the files of a run, and the attempt to go on."""

from __future__ import annotations

from pathlib import Path

import torch

from model.config.rectangular import RectangularConfig
from sweep.rectangular import build, make_data
from sweep.result import RunResult
from sweep.run import run
from sweep.run_directory import RunDirectory


def flip(file: Path) -> None:
    """Change one bit of a weight in a checkpoint."""
    content = bytearray(file.read_bytes())
    weights = next(iter(torch.load(file, weights_only=True)["state_dict"].values()))
    content[content.index(weights.numpy().tobytes())] ^= 1
    file.write_bytes(content)


def resume(directory: RunDirectory, **changes: object) -> RunResult:
    """Resume a run of a rectangular network in this process."""
    config = RectangularConfig.from_dict({**directory.read_config(), **changes})
    return run(config, make_data(config), build, resume=directory.path, report=False)
