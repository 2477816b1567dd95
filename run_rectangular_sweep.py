"""Train a rectangular network, with or without Jumpstart: ``python run_rectangular_sweep.py --help``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from jumpstart.files import is_path
from model.config.rectangular import RectangularConfig
from model.errors import ConfigError
from sweep.launch import datamodule_for, launch

if TYPE_CHECKING:
    from data.datamodules import TabularDataModule
    from data.images.module import ImageModule
    from model.rectangular_experiment import RectangularExperiment

DESCRIPTION = "Train a deep network of constant width on a known data set or your own table, with Jumpstart or without."
EXAMPLES = (
    "--dataset=moons --depth=50 --width=4",
    "--dataset=abalone --lambda_=0",
    "--dataset=my/table.csv --target=label",
    "--resume=runs/NAME",
)


def make_data(config: RectangularConfig) -> TabularDataModule | ImageModule:
    """The data module of a run."""
    from data.datasets import DATASETS, IMAGES

    if config.layer == "conv" and config.dataset in DATASETS and config.dataset not in IMAGES:
        raise ConfigError(
            f'layer="conv" needs a data set of images ({", ".join(IMAGES)}), got '
            f'dataset="{config.dataset}". Use layer="dense".'
        )
    if config.layer == "conv" and is_path(config.dataset) and os.path.isfile(config.dataset):
        raise ConfigError(f'layer="conv" needs images, got the table {config.dataset}. Use layer="dense".')
    return datamodule_for(config, as_images=config.layer == "conv", augment=False)


def build(config: RectangularConfig, data: TabularDataModule | ImageModule) -> RectangularExperiment:
    """The experiment of a run."""
    from model.experiment import check_batches
    from model.rectangular_experiment import RectangularExperiment

    check_batches(config, data.num_rows("train"), data.input_shape)
    return RectangularExperiment(config, data.input_shape, data.num_classes)


if __name__ == "__main__":
    sys.exit(launch(RectangularConfig, make_data, build, description=DESCRIPTION, examples=EXAMPLES))
