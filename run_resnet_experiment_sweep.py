"""Train a ResNet, plain or with Jumpstart: ``python run_resnet_experiment_sweep.py --help``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from model.config.experiment import ConfigError
from model.config.resnet import ResnetConfig
from sweep.cli import Parsed, main

if TYPE_CHECKING:
    from data.datamodules import TabularDataModule
    from data.images.module import ImageModule
    from model.resnet_experiment import ResnetExperiment

DESCRIPTION = "Train a ResNet on images, with Jumpstart or without, with batch normalization and skips or without."
EXAMPLES = (
    "--dataset=imagenet --depth=50",
    "--dataset=digits --depth=18 --lr=0.02 --lambda_=0.05 --fast_dev_run",
    "--resume=runs/NAME",
)


def start(parsed: Parsed[ResnetConfig]) -> None:
    """Run what the command line asks for, and show the result."""
    if parsed.config.dataset == "imagenet":
        # Nobody can fetch it: that its folder is missing is told before what takes seconds to import.
        from data.images.folders import find_folders

        find_folders("imagenet", parsed.config.data_dir)
    # Imported here so that a mistake on the command line is told at once.
    from jumpstart.table import summary_table
    from sweep.machine import leads
    from sweep.run import headline, run

    def remember(path: Path) -> None:
        parsed.run_directory = path

    data = make_data(parsed.config)
    directory, summary = run(parsed.config, data, build, resume=parsed.resume, on_directory=remember)
    if leads():
        sys.stdout.write(
            f"{summary_table(headline(summary))}\n\nrun directory: {directory.path}\nreport: {directory.report}\n"
        )


def make_data(config: ResnetConfig) -> TabularDataModule | ImageModule:
    """The data of a run."""
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
            as_images=config.layer == "conv" and config.dataset == "digits",
            data_dir=config.data_dir,
            image_size=config.image_size,
            augment=config.augment,
            num_workers=config.num_workers,
            corrupt=config.corrupt,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def build(config: ResnetConfig, data: TabularDataModule | ImageModule) -> ResnetExperiment:
    """The experiment for a data set."""
    from model.experiment import check_batches
    from model.resnet_experiment import ResnetExperiment

    check_batches(config, data.num_rows("train"), data.input_shape)
    return ResnetExperiment(config, data.input_shape, data.num_classes)


if __name__ == "__main__":
    from data.cache import DataError

    sys.exit(main(start, ResnetConfig, description=DESCRIPTION, examples=EXAMPLES, user_errors=(DataError,)))
