"""Runs of rectangular networks: their data and experiments, and the run as a function."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jumpstart.files import UserPath, is_path
from model.config.rectangular import RectangularConfig
from model.errors import ConfigError
from sweep.families import Family
from sweep.launch import data_for, run_function, signature_of

if TYPE_CHECKING:
    from data.data import AnyData
    from model.rectangular_experiment import RectangularExperiment
    from sweep.result import RunResult


def make_data(config: RectangularConfig) -> AnyData:
    """The data of a run."""
    from data.datasets import DATASETS, IMAGES

    if config.layer == "conv" and config.dataset in DATASETS and config.dataset not in IMAGES:
        raise ConfigError(
            f'layer="conv" needs a data set of images ({", ".join(IMAGES)}), got '
            f'dataset="{config.dataset}". Use layer="dense".'
        )
    if config.layer == "conv" and is_path(config.dataset) and os.path.isfile(config.dataset):
        raise ConfigError(f'layer="conv" needs images, got the table {config.dataset}. Use layer="dense".')
    return data_for(config, as_images=config.layer == "conv", augment=False)


def build(config: RectangularConfig, data: AnyData) -> RectangularExperiment:
    """The experiment of a run."""
    from model.config.batches import check_batches
    from model.rectangular_experiment import RectangularExperiment

    check_batches(config, data.num_rows("train"), data.input_shape)
    return RectangularExperiment(config, data.input_shape, data.num_classes)


RECTANGULAR = Family(
    config_class=RectangularConfig,
    make_data=make_data,
    build=build,
    description="Train a deep network of constant width on known data or your own table, with Jumpstart or without.",
    examples=(
        "--dataset=moons --depth=50 --width=4",
        "--dataset=abalone --lambda_=0",
        "--dataset=my/table.csv --target=label",
        "--resume=runs/NAME",
    ),
)


def run_rectangular(*, config: UserPath | None = None, resume: UserPath | None = None, **options: object) -> RunResult:
    """Train a rectangular network, as the command ``run_rectangular_sweep.py`` does with the same options.

    Random generators, threads, the environment and the handler of Ctrl-C are afterwards as they were before. One run
    at a time trains in a process: a second one, in another thread, waits for the first.

    Args:
        config: A YAML file of options, which the keyword arguments override.
        resume: The run directory to continue, with its stored options.
        **options: The flags of the command, with the same defaults and checks: the fields of
            :class:`~model.config.rectangular.RectangularConfig`.

    Returns:
        The run directory, the summary, and the experiment with the best weights.

    Raises:
        ConfigError: If an option is unknown or wrong. Nothing is written in this case.
        RunDirectoryError: If the run directory can't be made, or the run can't be resumed. Nothing is written in this
            case.
        DataError: If the data set can't be provided.
        NonFiniteLossError: If training diverges; the last good checkpoint is kept.
        KeyboardInterrupt: At Ctrl-C; a note of the exception says how the run is continued.

    Example:
        >>> result = run_rectangular(dataset="moons", depth=50, width=4)  # doctest: +SKIP
        >>> result.best_epoch, result.summary["test/acc"]  # doctest: +SKIP
        >>> run_rectangular(dpeth=50)
        Traceback (most recent call last):
        model.errors.ConfigError: unknown option 'dpeth'. Did you mean 'depth'?
    """
    return run_function(RECTANGULAR, options, config=config, resume=resume)


run_rectangular.__signature__ = signature_of(RectangularConfig)  # type: ignore[attr-defined]
