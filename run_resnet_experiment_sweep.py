"""Train a ResNet, with or without Jumpstart: ``python run_resnet_experiment_sweep.py --help``."""

from __future__ import annotations

import sys

from sweep.launch import launch
from sweep.resnet import RESNET

if __name__ == "__main__":
    sys.exit(launch(RESNET))
