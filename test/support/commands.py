"""The user's command line, and its words as a shell splits them."""

from __future__ import annotations

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


def in_shell(command: str) -> list[str]:
    return command.replace("\\\n", " ").split()
