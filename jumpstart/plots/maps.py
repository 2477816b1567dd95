"""Maps of the status of units and points, a cell for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jumpstart.plots import canvas
from jumpstart.plots.arrays import classes_of, count_status, point_order, share_column, status_per_layer, status_table
from jumpstart.status.codes import Status
from jumpstart.words import counted, shorten

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
    layers = status_per_layer(status)
    counts = count_status(layers)
    units = int(counts.sum())
    number = counted
    title = title or f"{number(units, 'unit')} in {number(len(layers), 'layer')}"
    legend = canvas.count_labels(counts)
    most = max(map(len, layers))
    if most > _MOST_CELLS:
        image = np.stack([share_column(codes, _MAP_LINES) for codes in layers], axis=1)
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
    codes = status_table(status)
    points, layers = codes.shape
    order = point_order(codes, labels)
    classes, of_class = classes_of(labels, points)
    shown, starts = _rows_shown(np.bincount(of_class))
    dead = int((codes == Status.DEAD).any(axis=1).sum())
    title = title or (f"{counted(points, 'point')} in {counted(layers, 'layer')}, {dead:,} dead in at least one")
    legend = canvas.count_labels(count_status(codes.T))
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
    names = [shorten(str(name), 9) for name in classes[named]]
    axes.set_yticks(middles[named], names)
    if max(map(len, names)) <= 4:
        axes.set_ylabel("class")
