"""Devices, processes and threads: what Lightning is told of the machine."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from pytorch_lightning.utilities import rank_zero_only

from model.config.experiment import ConfigError


def devices(gpus: int | str) -> dict[str, Any]:
    """Lightning's words for ``--gpus``."""
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus == 0 or (gpus == "auto" and not available):
        # Processes that torchrun started on the CPU.
        return {"accelerator": "cpu", "devices": int(os.environ.get("LOCAL_WORLD_SIZE", 1))}
    if gpus == "auto":
        return {"accelerator": "gpu", "devices": "auto"}
    wanted: int | list[int] = gpus if isinstance(gpus, int) else [int(i) for i in gpus.split(",") if i]
    highest = wanted if isinstance(wanted, int) else max(wanted) + 1
    if highest > available:
        raise ConfigError(
            f"gpus must be among the {available} of this machine, got {gpus}. Use auto, or 0 for the CPU."
        )
    return {"accelerator": "gpu", "devices": wanted}


def _sharded(devices: int | str | list[int], nodes: int) -> pl.strategies.Strategy:
    """Each process keeps a part of the weights and reads its part of the data; checkpoints are whole."""
    if devices == "auto":
        devices = torch.cuda.device_count()
    count = len(devices) if isinstance(devices, list) else int(devices)
    return ModelParallelStrategy(
        data_parallel_size=count * nodes, tensor_parallel_size=1, save_distributed_checkpoint=False
    )


def quiet_lightning() -> None:
    """Lightning's advice on loaders, devices and its own internals is for people who assemble a trainer themselves."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*smaller than the logging interval.*",
        ".*isinstance.treespec, LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", message)


def leads() -> bool:
    """Whether this process is the one of a run's that writes and speaks."""
    return getattr(rank_zero_only, "rank", 0) == 0
