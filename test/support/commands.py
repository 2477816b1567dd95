"""The user's two command lines, their words as a shell splits them, and the launchers run in this process."""

from __future__ import annotations

import runpy
import shlex
import sys
from pathlib import Path

import pytest

from model.config.rectangular import RectangularConfig

RECTANGULAR_COMMAND = r"""
    --depth=50 \
    --width=4 \
    --lr=0.01 \
    --batch_size=256 \
    --lambda_=0.01 \
    --use_batchnorm=False \
    --skip_connections=None \
    --dataset=moons \
    --activation=relu \
    --epochs=4000 \
    --plot_status=True \
    --gpus=auto
"""


RESNET_COMMAND = r"""
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


def rectangular_config() -> RectangularConfig:
    """The config that the user's rectangular command means."""
    return RectangularConfig(
        depth=50,
        width=4,
        lr=0.01,
        batch_size=256,
        lambda_=0.01,
        use_batchnorm=False,
        skip_connections=None,
        dataset="moons",
        activation="relu",
        epochs=4000,
        plot_status=True,
        gpus="auto",
    )


def exit_code_of(script: Path, *argv: str) -> int:
    """The exit code of ``python SCRIPT ARGV``, run in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr(sys, "argv", [script.name, *argv])
        runpy.run_path(str(script), run_name="__main__")
    assert isinstance(caught.value.code, int), shlex.join(argv)
    return caught.value.code


def in_shell(command: str) -> list[str]:
    return command.replace("\\\n", " ").split()


def as_flags(options: dict[str, object]) -> list[str]:
    """Options as words of a command line."""
    return [f"--{name}={value}" for name, value in options.items()]
