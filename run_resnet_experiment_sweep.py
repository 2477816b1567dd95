"""Train a ResNet, with or without Jumpstart: ``python run_resnet_experiment_sweep.py --help``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from model.config.resnet import ResnetConfig
from sweep.launch import datamodule_for, launch

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


def make_data(config: ResnetConfig) -> TabularDataModule | ImageModule:
    """The data module of a run."""
    if config.dataset == "imagenet":
        # ImageNet can't be downloaded: a missing folder is reported before the imports that take seconds.
        from data.images.folders import find_folders

        find_folders("imagenet", config.data_dir)
    return datamodule_for(
        config,
        as_images=config.layer == "conv" and config.dataset == "digits",
        image_size=config.image_size,
        augment=config.augment,
        num_workers=config.num_workers,
        corrupt=config.corrupt,
    )


def build(config: ResnetConfig, data: TabularDataModule | ImageModule) -> ResnetExperiment:
    """The experiment of a run."""
    from model.experiment import check_batches
    from model.resnet_experiment import ResnetExperiment

    check_batches(config, data.num_rows("train"), data.input_shape)
    return ResnetExperiment(config, data.input_shape, data.num_classes)


if __name__ == "__main__":
    sys.exit(launch(ResnetConfig, make_data, build, description=DESCRIPTION, examples=EXAMPLES))
