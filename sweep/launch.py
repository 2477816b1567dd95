"""The launcher behind every command: parses the flags, makes the data, runs, prints the result.

Nothing here imports torch before the command line is checked, so that ``--help`` and the message about a wrong flag
appear without delay.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar

from data.cache import DataError
from model.config.experiment import ExperimentConfig
from model.errors import ConfigError
from sweep.cli import Parsed, main

if TYPE_CHECKING:
    from typing import Unpack

    from data.datamodules import TabularDataModule
    from data.images.module import ImageModule
    from model.experiment import Experiment

C = TypeVar("C", bound=ExperimentConfig)


class ImageOptions(TypedDict, total=False):
    """The arguments of :func:`data.data.make_datamodule` that only data sets of images read."""

    image_size: int | None
    augment: bool
    num_workers: int | None
    corrupt: str


def launch(
    config_class: type[C],
    make_data: Callable[[C], TabularDataModule | ImageModule],
    build: Callable[[C, TabularDataModule | ImageModule], Experiment],
    *,
    description: str,
    examples: Sequence[str],
) -> int:
    """Run the command line of this process.

    Args:
        config_class: The config whose fields are the flags.
        make_data: Makes the data module of a config.
        build: Makes the experiment of a config and its data module.
        description: First lines of the help page.
        examples: Commands that end the help page, without ``python`` and the name of the script.

    Returns:
        The exit code; see :func:`sweep.cli.main`.
    """
    start = partial(_start, make_data=make_data, build=build)
    return main(start, config_class, description=description, examples=examples, user_errors=(DataError,))


def datamodule_for(
    config: ExperimentConfig, *, as_images: bool, **images: Unpack[ImageOptions]
) -> TabularDataModule | ImageModule:
    """The data module of a run.

    Args:
        config: Names the data set, the batch size, the seed, the split and the folder of the data.
        as_images: Whether ``digits`` has the shape (1, 8, 8) rather than (64,).
        **images: Further options for data sets of images.

    Raises:
        ConfigError: If the data set is unknown, or an option does not fit it.
    """
    from data.data import make_datamodule

    try:
        return make_datamodule(
            config.dataset,
            batch_size=config.batch_size,
            seed=config.seed,
            val_size=config.val_size,
            test_size=config.test_size,
            num_points=config.num_points,
            noise=config.noise,
            as_images=as_images,
            data_dir=config.data_dir,
            **images,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _start(
    parsed: Parsed[C],
    *,
    make_data: Callable[[C], TabularDataModule | ImageModule],
    build: Callable[[C, TabularDataModule | ImageModule], Experiment],
) -> None:
    """Run a checked config, store the path of its run directory, and print the result."""
    data = make_data(parsed.config)
    # Imported after the data module is made, because a missing data set is reported without these seconds of imports.
    from jumpstart.table import summary_table
    from sweep.machine import is_first_process
    from sweep.run import headline, run

    def store_path(path: Path) -> None:
        parsed.run_directory = path

    def show_and_build(config: C, data: TabularDataModule | ImageModule) -> Experiment:
        found = data.found()
        if found and is_first_process():
            sys.stdout.write(f"{found}\n")
        return build(config, data)

    directory, summary = run(parsed.config, data, show_and_build, resume=parsed.resume, on_directory=store_path)
    if is_first_process():
        sys.stdout.write(
            f"{summary_table(headline(summary))}\n\nrun directory: {directory.path}\nreport: {directory.report}\n"
        )
