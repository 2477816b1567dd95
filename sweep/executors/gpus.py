"""GPUs of this machine, and how the processes of a sweep share them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from model.config.experiment import ExperimentConfig

VISIBLE = "CUDA_VISIBLE_DEVICES"
_DEVICES = (("/dev", "nvidia[0-9]*"), ("/dev", "kfd"), ("/dev", "dxg"))
"""Files that a system with GPUs has: NVIDIA's, AMD's, and those of WSL."""


def names_of_gpus() -> list[str]:
    """The GPUs of this machine that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if not any(any(Path(folder).glob(pattern)) for folder, pattern in _DEVICES):
        return []  # without the seconds that torch takes to import
    import torch

    count = torch.cuda.device_count()
    given = [name for name in os.environ.get(VISIBLE, "").split(",") if name]
    return given[:count] if given else [str(number) for number in range(count)]


def chosen_automatically(configs: Iterable[ExperimentConfig]) -> bool:
    """Whether GPUs are given to the runs by the sweep: some run has ``gpus=auto``, and none names its GPUs itself."""
    values = {config.gpus for config in configs}
    return "auto" in values and values <= {"auto", 0}


def shares(gpus: Sequence[str], per_run: float, workers: int) -> list[str]:
    """The GPUs that each process may see.

    Args:
        gpus: The names of all GPUs.
        per_run: GPUs of each run: a whole number, or a share of one.
        workers: The number of processes.

    Returns:
        The value of CUDA_VISIBLE_DEVICES of each process; processes are spread over the GPUs in turn.

    Example:
        >>> shares(["0", "1"], 1, 4), shares(["0", "1", "2", "3"], 2, 2)
        (['0', '1', '0', '1'], ['0,1', '2,3'])
    """
    size = max(1, int(per_run))
    groups = [",".join(gpus[first : first + size]) for first in range(0, len(gpus) - size + 1, size)]
    return [groups[worker % len(groups)] for worker in range(workers)]


def room_for(gpus: int, per_run: float) -> int:
    """The number of runs that fit on GPUs at once.

    Example:
        >>> room_for(2, 0.25), room_for(3, 2), room_for(1, 0.3)
        (8, 1, 3)
    """
    if per_run >= 1:
        return gpus // int(per_run)
    return gpus * int(1 / per_run + 1e-9)
