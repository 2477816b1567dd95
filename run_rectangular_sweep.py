"""Train a rectangular network, with or without Jumpstart: ``python run_rectangular_sweep.py --help``."""

from __future__ import annotations

import sys

from sweep.launch import launch
from sweep.rectangular import RECTANGULAR

if __name__ == "__main__":
    sys.exit(launch(RECTANGULAR))
