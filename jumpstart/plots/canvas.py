"""Figures and axes of a given size, the style of all plots, status codes as colored pixels, and PNG files."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase

from jumpstart.files import UserPath, user_path, write_bytes
from jumpstart.palette import COLORS
from jumpstart.plots.arrays import Codes

# All sizes are in inches.
DPI = 100
MAP_WIDTH, MAP_HEIGHT = 9.5, 4.5
LEFT, RIGHT, TOP, BOTTOM = 0.75, 0.25, 0.66, 0.52
CHARACTER = 0.078
"""Mean width of a character in 9 point type."""
LEAST_GRID = 7
"""Pixels of a cell, from which white lines separate the cells of a map."""

_SESSION = ("backend", "interactive", "keymap", "toolbar")
_STYLE: dict[str, object] = {
    # A user's own matplotlibrc must not change the plots: some are compared pixel by pixel.
    **{key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith(_SESSION)},
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": "#222222",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
}


@contextmanager
def style() -> Iterator[None]:
    """Apply the style of all plots within a block or a decorated function, then restore the user's settings."""
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


def new_axes(
    width: float, height: float, right: float = RIGHT, bottom: float = BOTTOM, top: float = TOP, left: float = LEFT
) -> tuple[Figure, Axes]:
    """Axes of a given size, in a figure just large enough for the axes and their margins.

    Args:
        width: Width of the axes.
        height: Height of the axes.
        right: Margin on the right.
        bottom: Margin below, for ticks and the label.
        top: Margin above, for the title and the legend.
        left: Margin on the left, for ticks and the label.
    """
    full_width, full_height = (_round_up_to_pixels(size) for size in (left + width + right, bottom + height + top))
    figure = Figure(figsize=(full_width, full_height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    box = (left / full_width, bottom / full_height, width / full_width, height / full_height)
    return figure, figure.add_axes(box)


def axes_for(
    ax: Axes | None,
    width: float,
    height: float,
    *,
    right: float = RIGHT,
    bottom: float = BOTTOM,
    top: float = TOP,
    left: float = LEFT,
) -> Axes:
    """The user's axes, or new ones of a figure of their own.

    Args:
        ax: The user's axes, which keep their place and size, or None.
        width: Width of new axes.
        height: Height of new axes.
        right: Margin of new axes on the right.
        bottom: Margin below.
        top: Margin above.
        left: Margin on the left.
    """
    return new_axes(width, height, right, bottom, top, left)[1] if ax is None else ax


def check_axes(ax: object) -> None:
    """Refuse anything but axes to draw into, and None.

    Raises:
        TypeError: If ``ax`` is no axes.
        ValueError: If the axes are polar or three-dimensional, or were removed from their figure.

    Example:
        >>> check_axes("left")
        Traceback (most recent call last):
        TypeError: ax must be a matplotlib Axes or None, got str.
    """
    if ax is None:
        return
    if not isinstance(ax, Axes):
        several = hasattr(ax, "__len__") and not isinstance(ax, str)
        remedy = " Give one of them, such as ax[0]." if several else ""
        remedy = " Give its axes, such as figure.add_subplot()." if isinstance(ax, FigureBase) else remedy
        raise TypeError(f"ax must be a matplotlib Axes or None, got {type(ax).__name__}.{remedy}")
    if ax.name != "rectilinear":
        raise ValueError(f"ax must have straight axes, got the projection {ax.name!r}.")
    if ax.get_figure(root=True) is None:
        raise ValueError("ax must be part of a figure, but was removed from it.")


def size_of(axes: Axes) -> tuple[float, float]:
    """Width and height of axes in inches."""
    dpi = figure_of(axes).dpi
    return axes.bbox.width / dpi, axes.bbox.height / dpi


def figure_of(axes: Axes) -> Figure:
    """The figure that axes are part of, also through subfigures."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _round_up_to_pixels(size: float) -> float:
    """A size in inches, up to a pixel larger.

    Some releases of matplotlib round the size of a figure down to whole pixels and others to the nearest, so a size
    must be a little more than whole: 8.2 inches are 819.9999999999999 pixels.
    """
    return (math.ceil(size * DPI - 1e-6) + 1e-3) / DPI


def draw_codes(axes: Axes, image: Codes, extent: tuple[float, float, float, float]) -> None:
    """Draw (lines, columns) codes in the colors of their status; -1 stays white.

    Args:
        axes: The axes.
        image: The codes, first line on top.
        extent: Left, right, bottom and top of the image, in data coordinates.
    """
    pixels = rgb((*COLORS.values(), "#FFFFFF"))[image]
    axes.imshow(pixels, aspect="auto", interpolation="nearest", extent=extent)


def rgb(colors: Iterable[str]) -> npt.NDArray[np.uint8]:
    """(colors, 3) levels from 0 to 255 of colors such as ``#E69F00``."""
    return np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors], dtype=np.uint8)


@style()
def save_figure(
    figure: Figure, path: UserPath, dpi: float = DPI, *, write: Callable[[Path, bytes], None] = write_bytes
) -> Path:
    """Write a figure as PNG, atomically: a reader finds the old file or the new one, never a part of it.

    Args:
        figure: The figure.
        path: Ends in ``.png``; missing folders are made.
        dpi: Pixels per inch.
        write: How the file is written: by default in place of a link or a device, and with
            :func:`~jumpstart.files.outputs.write_output` into what the path leads to.

    Returns:
        The path.

    Raises:
        ValueError: If the path does not end in ``.png``, or if :func:`~jumpstart.files.user_path` refuses it.
        OSError: If the file cannot be written.
    """
    path = user_path(path, "path", "file")
    if path.suffix.lower() != ".png":
        raise ValueError(f"path must end in .png, got {path.name!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    image = io.BytesIO()
    # The version of matplotlib is left out, so that equal figures are equal files.
    figure.savefig(image, format="png", dpi=dpi, metadata={"Software": None})
    write(path, image.getvalue())
    return path
