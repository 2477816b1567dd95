"""A logger and options for tests of the status plots."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.loggers.logger import DummyLogger
from support.lightning_modules import OPTIONS
from torch import nn

__all__ = ["OPTIONS", "Images", "hooks"]


class Images(DummyLogger):
    """A logger that stores the images that it gets: name, image, step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Any, int]] = []

    def log_image(self, key: str, images: list[Any], step: int) -> None:
        self.seen.append((key, images[0], step))


def hooks(module: nn.Module) -> int:
    """The number of forward hooks and pre-hooks on all parts of a module."""
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())
