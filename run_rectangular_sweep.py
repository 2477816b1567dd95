"""Train a rectangular network, plain or with Jumpstart: ``python run_rectangular_sweep.py --help``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from model.config.experiment import ConfigError
from model.config.rectangular import RectangularConfig
from sweep.cli import Parsed, main

if TYPE_CHECKING:
    from data.datamodules import TabularDataModule
    from data.images.module import ImageModule
    from model.rectangular_experiment import RectangularExperiment

DESCRIPTION = "Train a deep network of constant width on toy, scikit-learn or UCI data, with Jumpstart or without."
EXAMPLES = ("--dataset=moons --depth=50 --width=4", "--dataset=abalone --lambda_=0", "--resume=runs/NAME")


def start(parsed: Parsed[RectangularConfig]) -> None:
    """Run what the command line asks for, and show the result."""
    # Imported here so that a mistake on the command line is told at once.
    from jumpstart.table import summary_table
    from sweep.run import headline, run

    def remember(path: Path) -> None:
        parsed.run_directory = path

    data = make_data(parsed.config)
    directory, summary = run(parsed.config, data, build, resume=parsed.resume, on_directory=remember)
    sys.stdout.write(
        f"{summary_table(headline(summary))}\n\nrun directory: {directory.path}\nreport: {directory.report}\n"
    )


def make_data(config: RectangularConfig) -> TabularDataModule | ImageModule:
    """The data of a run."""
    from data.data import make_datamodule
    from data.datasets import DATASETS, IMAGES

    if config.layer == "conv" and config.dataset in DATASETS and config.dataset not in IMAGES:
        raise ConfigError(
            f'layer="conv" needs a data set of images ({", ".join(IMAGES)}), got '
            f'dataset="{config.dataset}". Use layer="dense".'
        )
    try:
        return make_datamodule(
            config.dataset,
            batch_size=config.batch_size,
            seed=config.seed,
            val_size=config.val_size,
            test_size=config.test_size,
            num_points=config.num_points,
            noise=config.noise,
            as_images=config.layer == "conv",
            data_dir=config.data_dir,
            augment=False,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def build(config: RectangularConfig, data: TabularDataModule | ImageModule) -> RectangularExperiment:
    """The experiment for a data set."""
    from model.experiment import check_batches
    from model.rectangular_experiment import RectangularExperiment

    check_batches(config, data.num_rows("train"), data.input_shape)
    return RectangularExperiment(config, data.input_shape, data.num_classes)


if __name__ == "__main__":
    from data.cache import DataError

    sys.exit(main(start, RectangularConfig, description=DESCRIPTION, examples=EXAMPLES, user_errors=(DataError,)))
