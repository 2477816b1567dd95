"""Status and curves as figures: arrays in, matplotlib figures out.

Here are the maps of units and points, and the names of all the other plots, which are in modules of
their own. Nothing touches pyplot, a window or a random generator: a figure is an object like any
other, and goes when its last reference does. One palette stands for dead, linear and non-linear everywhere
(:data:`COLOURS`): three colours of Okabe and Ito that differ in hue for every kind of colour-blind
eye, and in lightness on paper without colour.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jumpstart import canvas
from jumpstart.canvas import COLOURS, LABELS
from jumpstart.plotting_epochs import plot_curves, plot_status_shares, plot_unit_life
from jumpstart.plotting_ranges import plot_ranges
from jumpstart.plotting_regions import animate_decision_regions, plot_decision_regions
from jumpstart.status import Status

__all__ = [
    "COLOURS",
    "LABELS",
    "animate_decision_regions",
    "plot_curves",
    "plot_decision_regions",
    "plot_point_status",
    "plot_ranges",
    "plot_status_shares",
    "plot_unit_life",
    "plot_unit_status",
    "point_order",
    "save_figure",
]

_MOST_CELLS = 128
_MAP_LINES = int(canvas.MAP_HEIGHT * canvas.DPI)


@canvas.style()
def plot_unit_status(
    status: npt.ArrayLike | Sequence[npt.ArrayLike],
    layer_names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Map of the units: one column per layer, from the input on the left to the output.

    Up to 128 units per layer every unit is a cell, with unit 0 on top; layers may differ in length.
    With more, a column is divided by the shares of its layer, dead at the bottom; a status that
    occurs gets at least one line.

    Args:
        status: Codes of :class:`Status`: one (units, layers) array, or a list with one array of
            codes per layer.
        layer_names: One name per layer. Parts that all names share are written once, below.
        title: Instead of the number of units and layers.

    Raises:
        ValueError: If there is no layer, a layer has no unit, or a code is not a status.

    Example:
        >>> plot_unit_status([[0, 2, 2], [2, 1]], ["layers.0", "layers.1"])
        <Figure size ...
    """
    layers = canvas.status_per_layer(status)
    counts = canvas.count_status(layers)
    units = int(counts.sum())
    number = canvas.number
    title = title or f"{number(units, 'unit')} in {number(len(layers), 'layer')}"
    legend = canvas.count_labels(counts)
    most = max(map(len, layers))
    if most > _MOST_CELLS:
        image = np.stack([canvas.share_column(codes, _MAP_LINES) for codes in layers], axis=1)
        cell = canvas.MAP_HEIGHT / _MAP_LINES
        figure, axes = canvas.draw_map(image, cell, _MAP_LINES, layer_names, title, legend)
        axes.set_ylabel("share of the layer's units")
        places = np.linspace(-0.5, _MAP_LINES - 0.5, 5)
        axes.set_yticks(places, ["100 %", "75 %", "50 %", "25 %", "0"])
        return figure
    image = np.full((most, len(layers)), -1, dtype=np.int8)
    for column, codes in enumerate(layers):
        image[: len(codes), column] = codes
    cell = min(0.3, canvas.MAP_HEIGHT / most)
    figure, axes = canvas.draw_map(image, cell, most, layer_names, title, legend)
    axes.set_ylabel("unit")
    axes.set_yticks(canvas.round_ticks(0, most, most * cell / 0.25))
    return figure


@canvas.style()
def plot_point_status(
    status: npt.ArrayLike,
    labels: npt.ArrayLike | None = None,
    layer_names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Map of the points: one row per point, one column per layer, rows in :func:`point_order`.

    With more points than the figure has lines, rows are left out evenly; a class keeps its first
    and a few lines, however small it is. The legend counts (point, layer) pairs, all of them.

    Args:
        status: (points, layers) codes of :class:`Status`.
        labels: The class of every point, numbers or names: rows are grouped by it.
        layer_names: One name per layer.
        title: Instead of the number of points, and of those dead in at least one layer.

    Raises:
        ValueError: If there is no point or layer, a code is not a status, or lengths differ.

    Example:
        >>> plot_point_status([[2, 2, 0], [2, 2, 2]], labels=["ham", "spam"])
        <Figure size ...
    """
    codes = canvas.status_table(status)
    points, layers = codes.shape
    order = point_order(codes, labels)
    classes, of_class = canvas.classes_of(labels, points)
    shown, starts = _rows_shown(np.bincount(of_class))
    dead = int((codes == Status.DEAD).any(axis=1).sum())
    title = title or (
        f"{canvas.number(points, 'point')} in {canvas.number(layers, 'layer')}, {dead:,} dead in at least one"
    )
    legend = canvas.count_labels(canvas.count_status(codes.T))
    cell = min(0.2, canvas.MAP_HEIGHT / len(shown))
    height = cell * len(shown)
    image = codes[order[shown]]
    figure, axes = canvas.draw_map(image, cell, len(shown), layer_names, title, legend)
    if labels is None:
        ticks = np.array(canvas.round_ticks(0, points, height / 0.3))
        axes.set_yticks(np.searchsorted(shown, ticks), [f"{tick:,}" for tick in ticks])
        axes.set_ylabel("point")
    else:
        _mark_classes(axes, classes, starts, len(shown), height)
    return figure


def point_order(status: npt.ArrayLike, labels: npt.ArrayLike | None = None) -> npt.NDArray[np.intp]:
    """The order of points in which structure shows.

    Points of a class stand together; within it, those that die in the earliest layer come first and
    those that never die last; within these, points of like status in layer after layer.

    Args:
        status: (points, layers) codes of :class:`Status`.
        labels: The class of every point.

    Returns:
        (points,) indices; points that are alike in everything keep their order.

    Example:
        >>> point_order([[2, 2], [2, 0], [0, 2]])
        array([2, 1, 0])
    """
    codes = canvas.status_table(status)
    points, layers = codes.shape
    dead = codes == Status.DEAD
    first = np.where(dead.any(axis=1), dead.argmax(axis=1), layers)
    of_class = canvas.classes_of(labels, points)[1]
    # One string a row, compared byte by byte: far faster than a key per layer.
    rows = np.ascontiguousarray(codes).view(f"S{layers}").ravel()
    return np.lexsort((rows, first, of_class))


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Without the version of matplotlib: the same figure, the same bytes.
        figure.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _rows_shown(sizes: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The sorted points that get a line, for classes of these sizes, and the first line of each."""
    points = int(sizes.sum())
    room = min(points, _MAP_LINES)
    # Four lines stay visible between the separators; with few points a single line is as thick.
    least = max(1, min(4 * room // _MAP_LINES, room // len(sizes)))
    lines = np.maximum(np.round(sizes * room / points).astype(int), least)
    firsts = np.cumsum(sizes) - sizes
    rows = [first + np.arange(line) * size // line for first, size, line in zip(firsts, sizes, lines, strict=True)]
    return np.concatenate(rows), np.cumsum(lines) - lines


def _mark_classes(
    axes: Axes, classes: npt.NDArray[Any], starts: npt.NDArray[np.intp], lines: int, height: float
) -> None:
    """A white line between classes, and the name of each in its middle where there is room."""
    middles = (starts + np.append(starts[1:], lines)) / 2 - 0.5
    axes.hlines(starts[1:] - 0.5, *axes.get_xlim(), colors="white", linewidths=1.2)
    apart = 0.16 / height * lines
    named: list[int] = []
    for index, middle in enumerate(middles):
        if not named or middle - middles[named[-1]] >= apart:
            named.append(index)
    names = [canvas.shorten(str(name), 9) for name in classes[named]]
    axes.set_yticks(middles[named], names)
    if max(map(len, names)) <= 4:
        axes.set_ylabel("class")
