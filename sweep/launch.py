"""The one way from options to a run, for the commands and for the functions of Python.

Nothing here imports torch before the options are checked, so that ``--help`` and the message about a wrong flag appear
without delay.
"""

from __future__ import annotations

import inspect
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar, cast

from data.cache import DataError
from jumpstart.files import UserPath
from jumpstart.files.streams import command as with_streams
from model.config.effects import DataFacts, no_effect_message
from model.config.experiment import ExperimentConfig
from model.config.options import options
from model.errors import ConfigError
from sweep.cli import Parsed, combine, main
from sweep.families import OF_DATA, Family
from sweep.grid.command import GridCommand

if TYPE_CHECKING:
    from typing import Unpack

    from data.data import AnyData
    from sweep.result import RunResult

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=ExperimentConfig)
T = TypeVar("T")

_TRIAL = (
    "trial run of at most two epochs of two batches: its results say nothing about the network. The run directory can "
    "be deleted."
)
_one_run_at_a_time = threading.RLock()
"""Two runs in one process would share random generators and threads of torch."""


class ImageOptions(TypedDict, total=False):
    """The arguments of :func:`data.data.make_data` that only data sets of images read."""

    image_size: int | None
    augment: bool
    num_workers: int | None
    corrupt: str


@with_streams
def launch(family: Family[C]) -> int:
    """Run the command line of this process.

    Args:
        family: The networks that the command trains.

    Returns:
        The exit code; see :func:`sweep.cli.main`.
    """
    start = partial(_start, family)

    def sweep(command: GridCommand) -> int:
        from sweep.sweep import Sweep, run_sweep

        return run_sweep(Sweep(cast("Family[ExperimentConfig]", family), command.grids, command.options))

    return main(
        start,
        family.config_class,
        description=family.description,
        examples=family.examples,
        user_errors=(DataError,),
        sweep=sweep,
    )


def run_function(
    family: Family[C], values: Mapping[str, object], *, config: UserPath | None, resume: UserPath | None
) -> RunResult:
    """One run in the process of the caller, in which random generators, threads and Ctrl-C are as before afterwards.

    Args:
        family: The networks to train.
        values: Options by name.
        config: A YAML file of options, which ``values`` override.
        resume: The run directory to continue.

    Raises:
        ConfigError: If an option is unknown or wrong. Nothing is written in this case.
        RunDirectoryError: If the run directory can't be made, or the run can't be resumed.
        PathError: If a path is no local path.
        DataError: If the data set can't be provided.
        NonFiniteLossError: If training diverges.
        KeyboardInterrupt: At Ctrl-C; a note of the exception says how the run is continued.
    """
    parsed = combine(family.config_class, values, config_file=config, resume=resume)
    from sweep.machine import process_restored

    with _one_run_at_a_time, process_restored():
        try:
            return _train(family, parsed, logger.info)
        except SystemExit as error:
            # Lightning's handler of Ctrl-C calls sys.exit(1).
            if not isinstance(error.__context__, KeyboardInterrupt):
                raise
            interruption = KeyboardInterrupt()
            if parsed.run_directory is not None:
                interruption.add_note(f"Continue the run with resume={str(parsed.run_directory)!r}.")
            raise interruption from None


def signature_of(config_class: type[ExperimentConfig]) -> inspect.Signature:
    """The signature of a function whose keyword arguments are the options, for ``help`` and editors."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [inspect.Parameter(name, keyword, default=None) for name in ("config", "resume")]
    flags = [inspect.Parameter(name, keyword, default=item.default) for name, item in options(config_class).items()]
    return inspect.Signature([*flags, *own])


def data_for(config: ExperimentConfig, *, as_images: bool, **images: Unpack[ImageOptions]) -> AnyData:
    """The data of a run.

    Args:
        config: Names the data set, the batch size, the seed, the split and the folder of the data.
        as_images: Whether ``digits`` has the shape (1, 8, 8) rather than (64,).
        **images: Further options for data sets of images.

    Raises:
        ConfigError: If the data set is unknown, or an option does not fit it.
    """
    from data.data import make_data

    return _with_data_of(config, make_data, as_images=as_images, **images)


def check_data_for(config: ExperimentConfig, *, as_images: bool, **images: Unpack[ImageOptions]) -> None:
    """Check the data of a run as :func:`data_for` does, and import no more than the check needs. A table is read.

    Args:
        config: Names the data set.
        as_images: Whether ``digits`` has the shape (1, 8, 8) rather than (64,).
        **images: Further options for data sets of images.

    Raises:
        ConfigError: If the data set is unknown, or an option does not fit it.
    """
    from data.data import check_data

    _with_data_of(config, check_data, as_images=as_images, **images)


def _with_data_of(config: ExperimentConfig, call: Callable[..., T], **options: object) -> T:
    """Call a function with the options of the data of a run."""
    try:
        return call(
            config.dataset,
            **{name: getattr(config, name) for name in OF_DATA},
            drop_columns=config.drop_columns or (),
            category_columns=config.category_columns or (),
            val=config.val_dataset,
            test=config.test_dataset,
            **options,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def facts_of(dataset: str) -> DataFacts | None:
    """What the effect of options depends on in a data set; None if it is none of the named ones.

    Example:
        >>> facts_of("moons").generated, facts_of("cifar10").published_test, facts_of("my.csv")
        (True, True, None)
    """
    from data.datasets import DATASETS
    from data.images.catalog import IMAGE_SOURCES

    info, source = DATASETS.get(dataset), IMAGE_SOURCES.get(dataset)
    if info is None:
        return None
    return DataFacts(
        generated=info.source == "generated",
        from_files=info.source not in ("generated", "scikit-learn"),
        images=info.image_shape is not None,
        augmented=source is not None,
        in_folders=source is not None and source.folders,
        published_test=source is not None and (bool(source.test) or source.folders or dataset == "cifar10"),
    )


def _start(family: Family[C], parsed: Parsed[C]) -> None:
    """Run a parsed command line, and print the result."""
    result = _train(family, parsed, lambda found: sys.stdout.write(f"{found}\n"))
    from jumpstart.table import summary_table
    from sweep.machine import is_first_process
    from sweep.run import headline

    if is_first_process():
        trial = f"{_TRIAL}\n" * parsed.config.fast_dev_run
        sys.stdout.write(
            f"{summary_table(headline(result.summary))}\n\n{trial}run directory: {result.path}\n"
            + f"report: {result.directory.report}\n" * result.directory.report.is_file()
        )


def _train(family: Family[C], parsed: Parsed[C], show: Callable[[str], object]) -> RunResult:
    """Run checked options, and store the path of the run directory as soon as it exists.

    Args:
        family: The networks to train.
        parsed: The options.
        show: Called with what was found in data of the user's own, in words.
    """
    data = family.make_data(parsed.config)
    # Imported after the data object is made, because a missing data set is reported without these seconds of imports.
    from sweep.machine import is_first_process
    from sweep.run import run

    message = no_effect_message(parsed.config, parsed.given, facts_of(parsed.config.dataset), parsed.unused)

    def begin(path: Path) -> None:
        parsed.run_directory = path
        if message and is_first_process():
            logger.warning("%s", message)

    return run(parsed.config, data, family.build, resume=parsed.resume, on_directory=begin, say=show)
