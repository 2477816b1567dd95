"""Plots for the loggers that accept images, such as those of Lightning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure


def log_figures(loggers: Sequence[object], figures: Mapping[str, Figure], step: int, tag: str = "status") -> None:
    """Send plots to every logger that accepts images: Weights & Biases, TensorBoard.

    Args:
        loggers: Any loggers; those that do not accept images are left out.
        figures: The plots by name, saved already.
        step: The step at which they are logged.
        tag: Prefix of the names.
    """
    for target in loggers:
        writer = getattr(target, "experiment", None)
        for name, figure in figures.items():
            if hasattr(target, "log_image"):
                target.log_image(f"{tag}/{name}", [_pixels(figure)], step=step)
            elif writer is not None and hasattr(writer, "add_image"):
                writer.add_image(f"{tag}/{name}", _pixels(figure), step, dataformats="HWC")


class _Canvas(Protocol):
    """A canvas of matplotlib's Agg backend, on which a saved figure is rendered."""

    def buffer_rgba(self) -> memoryview: ...


def _pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """(height, width, 4) pixels of a figure that has been saved, as rendered for the file."""
    canvas = cast("_Canvas", figure.canvas)
    return np.array(canvas.buffer_rgba())
