"""Runs of ResNets: their data and experiments, and the run as a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from jumpstart.files import UserPath
from model.config.resnet import ResnetConfig
from sweep.families import Family
from sweep.launch import check_data_for, data_for, run_function, signature_of

if TYPE_CHECKING:
    from data.data import AnyData
    from model.resnet_experiment import ResnetExperiment
    from sweep.result import RunResult


T = TypeVar("T")


def make_data(config: ResnetConfig) -> AnyData:
    """The data of a run."""
    return _with_data_of(config, data_for)


def check_data(config: ResnetConfig) -> None:
    """Raise what :func:`make_data` raises, and what is wrong with a table."""
    _with_data_of(config, check_data_for)


def _with_data_of(config: ResnetConfig, call: Callable[..., T]) -> T:
    if config.dataset == "imagenet":
        # ImageNet can't be downloaded: a missing folder is reported before the imports that take seconds.
        from data.images.folders import find_folders

        find_folders("imagenet", config.data_dir)
    return call(
        config,
        as_images=config.layer == "conv" and config.dataset == "digits",
        image_size=config.image_size,
        augment=config.augment,
        num_workers=config.num_workers,
        corrupt=config.corrupt,
    )


def build(config: ResnetConfig, data: AnyData) -> ResnetExperiment:
    """The experiment of a run."""
    from model.config.batches import check_batches
    from model.resnet_experiment import ResnetExperiment

    check_batches(config, data.num_rows("train"), data.input_shape)
    return ResnetExperiment(config, data.input_shape, data.num_classes)


RESNET = Family(
    config_class=ResnetConfig,
    check_data=check_data,
    make_data=make_data,
    build=build,
    description="Train a ResNet on images, with Jumpstart or without, with batch normalization and skips or without.",
    examples=(
        "--dataset=imagenet --depth=50",
        "--dataset=digits --depth=18 --lr=0.02 --lambda_=0.05 --fast_dev_run",
        "--resume=runs/NAME",
    ),
)


def run_resnet(*, config: UserPath | None = None, resume: UserPath | None = None, **options: object) -> RunResult:
    """Train a ResNet, as the command ``run_resnet_experiment_sweep.py`` does with the same options.

    Args:
        config: A YAML file of options, which the keyword arguments override.
        resume: The run directory to continue, with its stored options.
        **options: The flags of the command, with the same defaults and checks: the fields of
            :class:`~model.config.resnet.ResnetConfig`.

    Returns:
        The run directory, the summary, and the experiment with the best weights.

    Raises:
        ConfigError: As :func:`~sweep.run_rectangular`, and so for the other errors.

    Example:
        >>> result = run_resnet(dataset="digits", depth=18, epochs=2)  # doctest: +SKIP
        >>> run_resnet(depth=20)
        Traceback (most recent call last):
        model.errors.ConfigError: depth must be one of 18, 34, 50, 101, 152, got 20.
    """
    return run_function(RESNET, options, config=config, resume=resume)


run_resnet.__signature__ = signature_of(ResnetConfig)  # type: ignore[attr-defined]
