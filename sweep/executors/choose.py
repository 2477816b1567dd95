"""From the options of a sweep to its executor."""

from __future__ import annotations

from collections.abc import Iterable

from model.config.experiment import ExperimentConfig
from sweep.executors.executor import Executor
from sweep.executors.gpus import chosen_automatically
from sweep.executors.local import LocalExecutor
from sweep.grid.options import ExecutorName, SweepConfig


def executor_of(options: SweepConfig, configs: Iterable[ExperimentConfig]) -> Executor:
    """The executor that the options of a sweep name. Its libraries are imported now.

    Args:
        options: The options of the sweep.
        configs: The configs of its runs.

    Raises:
        ConfigError: If a library or a command that the executor needs is missing, or this machine lacks the GPUs.
    """
    on_gpus = chosen_automatically(configs)
    if options.executor == ExecutorName.RAY:
        from sweep.executors.ray import RayExecutor

        return RayExecutor(options.workers, options.gpus_per_run, on_gpus, options.ray_address)
    if options.executor == ExecutorName.SLURM:
        from sweep.executors.slurm import SlurmExecutor

        return SlurmExecutor.planned(options)
    return LocalExecutor.planned(options.workers, options.gpus_per_run, on_gpus=on_gpus)
