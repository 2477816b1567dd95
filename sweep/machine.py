"""Devices, processes, threads and the garbage collector: how a run uses the machine."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jumpstart.capture.undisturbed import restored_generators
from model.config.experiment import ExperimentConfig
from model.errors import ConfigError

if TYPE_CHECKING:
    from pytorch_lightning.strategies import Strategy

_LIGHTNING = ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric")

_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Variables in which launchers store the rank of a process, in the order in which Lightning reads them."""

Devices = int | str | list[int]
"""A number of devices, their indices, or ``"auto"``, as the Lightning trainer reads them."""


def hardware_options(config: ExperimentConfig) -> dict[str, Any]:
    """The trainer's arguments for accelerator, devices, precision and strategy, checked against this machine.

    Args:
        config: The run; its ``trainer_options`` override the values that are made here.

    Returns:
        Keyword arguments of ``pl.Trainer``, with ``max_epochs``.

    Raises:
        ConfigError: If the machine lacks the GPUs, or the CPU lacks the precision.
    """
    accelerator, devices = find_devices(config.gpus)
    options: dict[str, Any] = {
        "max_epochs": config.epochs,
        "accelerator": accelerator,
        "devices": devices,
        **config.trainer_options,
    }
    if options["accelerator"] == "cpu" and options.get("precision") == "16-mixed":
        raise ConfigError('precision must be 32 or bf16-mixed without a GPU, got "16-mixed".')
    if options.get("strategy") == "fsdp":
        options["strategy"] = sharded_strategy(devices, config.trainer_options.get("num_nodes", 1))
    return options


def find_devices(gpus: int | str) -> tuple[str, Devices]:
    """The accelerator, ``"cpu"`` or ``"gpu"``, and its devices for a value of ``--gpus``.

    Raises:
        ConfigError: If this machine has fewer GPUs.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus == 0 or (gpus == "auto" and not available):
        # torchrun starts one process per CPU device and stores their number in this variable.
        return "cpu", int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if gpus == "auto":
        return "gpu", "auto"
    wanted: int | list[int] = gpus if isinstance(gpus, int) else [int(i) for i in gpus.split(",") if i]
    highest = wanted if isinstance(wanted, int) else max(wanted) + 1
    if highest > available:
        raise ConfigError(
            f"gpus must be among the {available} of this machine, got {gpus}. Use auto, or 0 for the CPU."
        )
    return "gpu", wanted


def sharded_strategy(devices: Devices, nodes: int) -> Strategy:
    """FSDP2 over all processes: each stores a shard of the weights and reads its part of each batch.

    Checkpoints hold full weights, so that a run can be resumed with another number of processes.
    """
    from pytorch_lightning.strategies import ModelParallelStrategy

    if devices == "auto":
        devices = torch.cuda.device_count()
    count = len(devices) if isinstance(devices, list) else int(devices)
    return ModelParallelStrategy(
        data_parallel_size=count * nodes, tensor_parallel_size=1, save_distributed_checkpoint=False
    )


def set_threads(threads: int | None) -> None:
    """Limit the CPU threads of one operation; None keeps torch's default."""
    if threads is not None:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def imports_uncollected() -> Iterator[None]:
    """Free the memory of earlier runs, then keep the garbage collector off all remaining objects until the block ends.

    The imports of a run leave about 500,000 objects that are never freed, and every full collection scans them: 0.24 s
    of one CPU core, against some microseconds inside this block. If the caller has already frozen objects, nothing is
    frozen or unfrozen here, so that the caller's objects stay frozen.
    """
    gc.collect()
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def process_restored() -> Iterator[None]:
    """Restore what a run changes in its process: random generators, threads, environment, warnings.

    A command may leave these as they are, because its process ends. A caller in Python goes on. Lightning itself
    restores the handlers of signals.
    """
    levels = {name: logging.getLogger(name).level for name in _LIGHTNING}
    environment, threads, precision = dict(os.environ), torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        with restored_generators(), warnings.catch_warnings():
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def quiet_lightning() -> None:
    """Silence Lightning's advice on data loaders, devices and its internals, because no flag of a run concerns it."""
    for name in _LIGHTNING:
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*smaller than the logging interval.*",
        ".*isinstance.treespec, LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", message)


def is_first_process() -> bool:
    """Whether this process has rank 0, which alone writes files and messages."""
    if "pytorch_lightning" in sys.modules:  # the trainer has set the rank
        from pytorch_lightning.utilities import rank_zero_only

        return getattr(rank_zero_only, "rank", 0) == 0
    ranks = (os.environ.get(name) for name in _RANKS)
    return next((int(rank) for rank in ranks if rank is not None), 0) == 0


def seed_everything(seed: int) -> None:
    """Seed the random generators of Python, NumPy and torch, and those of the workers of Lightning's loaders.

    Args:
        seed: From 0 to 2**32 - 1.
    """
    os.environ.update(PL_GLOBAL_SEED=str(seed), PL_SEED_WORKERS="1")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
