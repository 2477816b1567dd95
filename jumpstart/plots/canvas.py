"""What the figures of :mod:`jumpstart.plotting` share: palette, checks, words, axes, the map."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text

from jumpstart.files import atomic_path
from jumpstart.palette import COLORS, LABELS
from jumpstart.plots import canvas
from jumpstart.plots.arrays import Codes
from jumpstart.status.codes import Status
from jumpstart.words import percent, shorten

# All sizes are in inches.
DPI = 100
MAP_WIDTH, MAP_HEIGHT = 9.5, 4.5
LEFT, RIGHT, TOP, BOTTOM = 0.75, 0.25, 0.66, 0.52
CHARACTER = 0.078  # of a 9 point font, on average

_SESSION = ("backend", "interactive", "keymap", "toolbar")
_STYLE: dict[Any, Any] = {
    # The user's own matplotlibrc must not change a figure: some are compared pixel by pixel.
    **{k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith(_SESSION)},
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
    """The look of all figures, while one is drawn; what was set before comes back."""
    with matplotlib.rc_context(_STYLE):
        yield


# Input ------------------------------------------------------------------------------------------


# Numbers and words ------------------------------------------------------------------------------


def count_labels(counts: npt.NDArray[np.int64]) -> dict[Status, str]:
    """Legend entries such as ``dead 17 (8.5 %)``."""
    total = counts.sum()
    return {s: f"{LABELS[s]} {counts[s]:,} ({percent(counts[s] / total)})" for s in Status}


def round_ticks(first: int, count: int, room: float) -> list[int]:
    """About ``room`` round numbers of the ``count`` that begin with ``first``, which is kept."""
    steps = [factor * 10**power for power in range(9) for factor in (1, 2, 5)]
    if first:
        steps.remove(2)  # 1, 4, 6, ... reads badly
    step = next(step for step in steps if count / step <= max(room, 2))
    return [first, *(n for n in range(0, first + count, step) if n - first >= 0.7 * step)]


# Canvas -----------------------------------------------------------------------------------------


def new_axes(
    width: float, height: float, right: float = RIGHT, bottom: float = BOTTOM, top: float = TOP, left: float = LEFT
) -> tuple[Figure, Axes]:
    """Axes of a size, in a figure as large as they and their margins are."""
    full_width, full_height = (_whole_pixels(size) for size in (left + width + right, bottom + height + top))
    figure = Figure(figsize=(full_width, full_height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    box = (left / full_width, bottom / full_height, width / full_width, height / full_height)
    return figure, figure.add_axes(box)


def _whole_pixels(size: float) -> float:
    """So many inches, or up to a pixel more. One release of matplotlib rounds down what another rounds off."""
    # A little more than whole, since 8.2 inches are 819.9999999999999 pixels.
    return (math.ceil(size * DPI - 1e-6) + 1e-3) / DPI


def head_width(title: str, labels: Iterable[str]) -> float:
    """The width that a title and the legend under it need."""
    return max(len(title) * 1.15, sum(len(label) + 5 for label in labels)) * CHARACTER


def add_title(figure: Figure, title: str) -> Text:
    """The title, where the axes begin."""
    height = figure.get_size_inches()[1]
    place = figure.axes[0].get_position().x0, 1 - 0.1 / height
    return figure.text(*place, title, size=10, weight="bold", va="top", color="#222222")


def add_head(figure: Figure, title: str, labels: Mapping[Status, str]) -> None:
    """The title, and under it the palette with a text for each color."""
    add_title(figure, title)
    add_legend(figure, [Patch(color=COLORS[code], label=label) for code, label in labels.items()])


def add_legend(figure: Figure, handles: Sequence[Artist], line: int = 0, columns: int | None = None) -> None:
    """A legend in this line under the title; with columns, in more lines than one."""
    height = figure.get_size_inches()[1]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(figure.axes[0].get_position().x0, 1 - (0.34 + 0.22 * line) / height),
        ncols=columns or len(handles),
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.0,
        handleheight=1.0,
        columnspacing=1.6,
    )


def draw_map(
    image: Codes,
    cell: float,
    rows: int,
    names: Sequence[str] | None,
    title: str,
    labels: Mapping[Status, str],
) -> tuple[Figure, Axes]:
    """Codes as colored cells over layers.

    Args:
        image: (lines, layers) codes, first line on top; -1 stays white.
        cell: Height of a line.
        rows: What the y axis counts from the top, over all the lines.
        names: Names of the layers.
        title: The title.
        labels: The legend.
    """
    lines, layers = image.shape
    check_names(names, layers)
    across = min(0.45, MAP_WIDTH / layers)
    width, height = across * layers, cell * lines
    ticks, texts, axis_label, depth = layer_ticks(names, layers, across)
    right = max(RIGHT, head_width(title, labels.values()) - width)
    figure, axes = new_axes(width, height, right=right, bottom=BOTTOM + depth)
    draw_codes(axes, image, (0.5, layers + 0.5, rows - 0.5, -0.5))
    gaps: list[list[tuple[float, float]]] = []
    if across * DPI >= 7:
        gaps += [[(n + 0.5, -0.5), (n + 0.5, rows - 0.5)] for n in range(1, layers)]
    if height / rows * DPI >= 7:
        gaps += [[(0.5, n - 0.5), (layers + 0.5, n - 0.5)] for n in range(1, rows)]
    axes.add_collection(LineCollection(gaps, colors="white", linewidths=0.8), autolim=False)
    name_layers(axes, ticks, texts, axis_label, upright=depth > 0)
    axes.spines[:].set_visible(False)
    add_head(figure, title, labels)
    return figure, axes


def draw_codes(axes: Axes, image: Codes, extent: tuple[float, float, float, float]) -> None:
    """(lines, columns) codes in the colors of the status; -1 stays white."""
    pixels = rgb((*COLORS.values(), "#FFFFFF"))[image]
    axes.imshow(pixels, aspect="auto", interpolation="nearest", extent=extent)


def rgb(colors: Iterable[str]) -> npt.NDArray[np.uint8]:
    """(colors, 3) numbers of colors such as ``#E69F00``."""
    return np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors], dtype=np.uint8)


def name_layers(axes: Axes, ticks: Sequence[int], texts: Sequence[str], label: str, *, upright: bool) -> None:
    """Put the names of :func:`layer_ticks` below the axes."""
    axes.set_xticks(ticks, texts)
    axes.tick_params(length=2.5, width=0.8)
    if upright:
        axes.tick_params(axis="x", labelrotation=90, labelsize=7)
    axes.set_xlabel(label)


def check_names(names: Sequence[str] | None, layers: int) -> None:
    """Refuse a wrong counted of names."""
    if names is not None and len(names) != layers:
        raise ValueError(f"layer_names must name every layer ({layers}), got {len(names)}.")


def layer_ticks(names: Sequence[str] | None, layers: int, across: float) -> tuple[list[int], list[str], str, float]:
    """Positions, texts, axis label, and the depth that upright names need below the axes."""
    if names is None:
        ticks = round_ticks(1, layers, layers * across / 0.35)
        return ticks, [str(n) for n in ticks], "layer", 0.0
    texts, label = layer_texts(names)
    longest = max(map(len, texts))
    upright = longest > 3 and longest * 0.07 > 0.9 * across
    step = math.ceil((0.13 if upright else 0.1 + 0.07 * longest) / across)
    ticks = list(range(1, layers + 1, step))
    depth = 0.055 * longest - 0.1 if upright else 0.0
    return ticks, [texts[n - 1] for n in ticks], label, depth


def layer_texts(names: Sequence[str]) -> tuple[list[str], str]:
    """Names without the parts that all share, and a label of the axis that has these."""
    parts = [name.split(".") for name in names]
    spare = min(map(len, parts)) - 1 if len(names) > 1 else 0
    head = _common(parts, spare)
    tail = _common([part[::-1] for part in parts], spare - head)
    texts = [shorten(".".join(part[head : len(part) - tail]), 28) for part in parts]
    shared = ".".join([*parts[0][:head], "*", *parts[0][len(parts[0]) - tail :]])
    return texts, f"layer: {shared}" if head + tail else "layer"


def _common(parts: Sequence[Sequence[str]], most: int) -> int:
    """How many parts, up to ``most``, all names begin with."""
    same = (len(set(column)) == 1 for column in list(zip(*parts, strict=False))[:most])
    return next((i for i, equal in enumerate(same) if not equal), most)


@canvas.style()
def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: float = canvas.DPI) -> Path:
    """Write a figure as PNG: under a temporary name first, so that the file is whole at any moment.

    Args:
        figure: The figure.
        path: Ends in ``.png``; missing folders are made.
        dpi: Pixels per inch.

    Returns:
        The path.

    Raises:
        ValueError: If the path does not end in ``.png``.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"path must end in .png, got {path.name!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as draft:
        # Without the version of matplotlib, so that equal figures are equal files.
        figure.savefig(draft, format="png", dpi=dpi, metadata={"Software": None})
    return path
