"""What packages do again in every test with the same result: the session does it once, or not at all."""

from __future__ import annotations

import functools
import gc
import importlib.metadata
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

COLLECT_EVERY = 50_000
"""Objects between two collections of the youngest generation: with Python's own 700, they take 5 % of the suite."""


@contextmanager
def spared() -> Iterator[None]:
    """Within the block, repeat nothing; each line saves several seconds of the whole suite."""
    threshold = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY, *threshold[1:])
    with pytest.MonkeyPatch.context() as patch:
        if "torch" in sys.modules:
            _spare_torch(patch)
        if "lightning_fabric" in sys.modules:
            # Every trainer asks every installed distribution whether it has callbacks.
            once = functools.cache(importlib.metadata.entry_points)
            once(group="pytorch_lightning.callbacks_factory")  # for forks of this process too
            patch.setattr("lightning_fabric.utilities.registry.entry_points", once)
        yield
    gc.set_threshold(*threshold)


def _spare_torch(patch: pytest.MonkeyPatch) -> None:
    import torch

    # Without a device, each seed is stored with the stack of its caller, for the time when there is one.
    for device in (torch.cuda, torch.xpu, torch.mtia):
        if not device.is_available():
            patch.setattr(device, "manual_seed_all", lambda seed: None)
    patch.setattr(torch.cuda, "device_count", functools.cache(torch.cuda.device_count))
    # pytest adds and removes its handlers six times a test at the root, and at every logger that does not propagate.
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "torch" and isinstance(logger, logging.Logger):
            patch.setattr(logger, "propagate", True)
