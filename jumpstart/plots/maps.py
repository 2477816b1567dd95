"""Maps of the status of units and points: one cell per unit or point and layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from jumpstart.arrays import Array, to_array
from jumpstart.plots import canvas, headings, ticks
from jumpstart.plots.arrays import (
    Codes,
    Layers,
    classes_of,
    count_status,
    named_layers,
    point_order,
    share_column,
    status_per_layer,
    status_table,
)
from jumpstart.plots.texts import label_ticks, plain
from jumpstart.status.codes import Status
from jumpstart.words import counted

_MOST_CELLS = 128
"""Units of a layer, beyond which a map shows shares instead of one cell per unit."""
_MAP_LINES = int(canvas.MAP_HEIGHT * canvas.DPI)


@canvas.style()
def plot_unit_status(
    status: Layers,
    layer_names: Sequence[str] | None = None,
    title: str | None = None,
    *,
    ax: Axes | None = None,
) -> Figure:
    """Map of the units: one column per layer, from the input on the left to the output.

    If no layer has more than 128 units, every unit is a cell, with unit 0 on top; layers may differ in width.
    Otherwise, each column is divided by the shares of the statuses in its layer, dead at the bottom; a status
    that occurs gets at least one line.

    Args:
        status: Codes of :class:`Status`: one (units, layers) array, or a list with one array of
            codes per layer, or a mapping of such arrays by name, such as ``StatusMonitor.unit_status``.
        layer_names: One name per layer; by default those of the mapping. Parts that all names share are written once,
            below.
        title: Title of the plot; by default the number of units and layers.
        ax: Axes to draw into, such as one of ``plt.subplots()``; by default those of a new figure of fitting size.

    Returns:
        The figure.

    Raises:
        TypeError: If ``ax`` is no axes.
        ValueError: If there is no layer, a layer has no unit, or a code is not a status.

    Example:
        >>> plot_unit_status([[0, 2, 2], [2, 1]], ["layers.0", "layers.1"])
        <Figure size ...
    """
    canvas.check_axes(ax)
    status, layer_names = named_layers(status, layer_names)
    layers = status_per_layer(status)
    counts = count_status(layers)
    title = title or f"{counted(int(counts.sum()), 'unit')} in {counted(len(layers), 'layer')}"
    legend = headings.count_labels(counts)
    most = max(map(len, layers))
    if most > _MOST_CELLS:
        image = np.stack([share_column(codes, _MAP_LINES) for codes in layers], axis=1)
        axes = _draw_map(image, canvas.MAP_HEIGHT / _MAP_LINES, layer_names, title, legend, ax)
        axes.set_ylabel("share of the layer's units")
        axes.set_yticks(np.linspace(-0.5, _MAP_LINES - 0.5, 5), ["100 %", "75 %", "50 %", "25 %", "0"])
        return canvas.figure_of(axes)
    image = np.full((most, len(layers)), -1, dtype=np.int8)
    for column, codes in enumerate(layers):
        image[: len(codes), column] = codes
    cell = min(0.3, canvas.MAP_HEIGHT / most)
    axes = _draw_map(image, cell, layer_names, title, legend, ax)
    axes.set_ylabel("unit")
    axes.set_yticks(ticks.round_ticks(0, most, canvas.size_of(axes)[1] / 0.25))
    return canvas.figure_of(axes)


@canvas.style()
def plot_point_status(
    status: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    labels: npt.ArrayLike | None = None,
    layer_names: Sequence[str] | None = None,
    title: str | None = None,
    *,
    ax: Axes | None = None,
) -> Figure:
    """Map of the points: one row per point, one column per layer, rows in :func:`point_order`.

    If there are more points than lines of pixels, points are left out at equal distances; each class keeps its
    first point and a few lines, however small the class is. The legend counts all (point, layer) pairs.

    Args:
        status: (points, layers) codes of :class:`Status`, or a mapping of (points,) codes by layer, such as
            ``StatusMonitor.point_status``.
        labels: (points,) classes, numbers or names, by which the rows are grouped.
        layer_names: One name per layer; by default those of the mapping.
        title: Title of the plot; by default the number of points, and of points dead in at least one layer.
        ax: Axes to draw into, such as one of ``plt.subplots()``; by default those of a new figure of fitting size.

    Returns:
        The figure.

    Raises:
        TypeError: If ``ax`` is no axes.
        ValueError: If there is no point or layer, a code is not a status, or lengths differ.

    Example:
        >>> plot_point_status([[2, 2, 0], [2, 2, 2]], labels=["ham", "spam"])
        <Figure size ...
    """
    canvas.check_axes(ax)
    if isinstance(status, Mapping):
        layer_names = list(status) if layer_names is None else layer_names
        status = np.stack([to_array(column) for column in status.values()], 1)
    codes = status_table(status)
    points, layers = codes.shape
    order = point_order(codes, labels)
    classes, of_class = classes_of(labels, points)
    shown, starts = _rows_shown(np.bincount(of_class))
    dead = int((codes == Status.DEAD).any(axis=1).sum())
    title = title or f"{counted(points, 'point')} in {counted(layers, 'layer')}, {dead:,} dead in at least one"
    legend = headings.count_labels(count_status(codes.T))
    cell = min(0.2, canvas.MAP_HEIGHT / len(shown))
    axes = _draw_map(codes[order[shown]], cell, layer_names, title, legend, ax)
    height = canvas.size_of(axes)[1]
    if labels is None:
        numbers = np.array(ticks.round_ticks(0, points, height / 0.3))
        axes.set_yticks(np.searchsorted(shown, numbers), [f"{number:,}" for number in numbers])
        axes.set_ylabel("point")
    else:
        _mark_classes(axes, classes, starts, len(shown), height)
    return canvas.figure_of(axes)


def _draw_map(
    image: Codes, cell: float, names: Sequence[str] | None, title: str, labels: Mapping[Status, str], ax: Axes | None
) -> Axes:
    """Draw codes as colored cells over layers.

    Args:
        image: (lines, layers) codes, first line on top; -1 stays white.
        cell: Height of a line in inches, in new axes.
        names: Names of the layers.
        title: The title.
        labels: The texts of the legend.
        ax: The user's axes, or None.
    """
    lines, layers = image.shape
    ticks.check_names(names, layers)
    column = min(0.45, canvas.MAP_WIDTH / layers) if ax is None else canvas.size_of(ax)[0] / layers
    below = ticks.layer_ticks(names, layers, column)
    width = column * layers
    right = max(canvas.RIGHT, headings.heading_width(title, labels.values()) - width)
    axes = canvas.axes_for(ax, width, cell * lines, right=right, bottom=canvas.BOTTOM + below.depth)
    canvas.draw_codes(axes, image, (0.5, layers + 0.5, lines - 0.5, -0.5))
    _separate_cells(axes, image.shape, column, canvas.size_of(axes)[1] / lines)
    below.draw(axes)
    axes.spines[:].set_visible(False)
    headings.add_heading(axes, title, headings.status_handles(labels), given=ax is not None)
    return axes


def _separate_cells(axes: Axes, shape: tuple[int, ...], column: float, cell: float) -> None:
    """Draw white lines between cells that are wide or high enough."""
    lines, layers = shape
    gaps: list[list[tuple[float, float]]] = []
    if column * canvas.DPI >= canvas.LEAST_GRID:
        gaps += [[(n + 0.5, -0.5), (n + 0.5, lines - 0.5)] for n in range(1, layers)]
    if cell * canvas.DPI >= canvas.LEAST_GRID:
        gaps += [[(0.5, n - 0.5), (layers + 0.5, n - 0.5)] for n in range(1, lines)]
    axes.add_collection(LineCollection(gaps, colors="white", linewidths=0.8), autolim=False)


def _rows_shown(sizes: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Which of the ordered points get a line.

    Args:
        sizes: Points of each class.

    Returns:
        Indices of the points shown, and the first line of each class.
    """
    points = int(sizes.sum())
    room = min(points, _MAP_LINES)
    # Four lines stay visible between the separators; with few points a single line is as thick.
    least = max(1, min(4 * room // _MAP_LINES, room // len(sizes)))
    lines = np.maximum(np.round(sizes * room / points).astype(int), least)
    firsts = np.cumsum(sizes) - sizes
    rows = [first + np.arange(line) * size // line for first, size, line in zip(firsts, sizes, lines, strict=True)]
    return np.concatenate(rows), np.cumsum(lines) - lines


def _mark_classes(axes: Axes, classes: Array, starts: npt.NDArray[np.intp], lines: int, height: float) -> None:
    """Draw a white line between classes, and write the name of each class beside its middle where there is room."""
    middles = (starts + np.append(starts[1:], lines)) / 2 - 0.5
    axes.hlines(starts[1:] - 0.5, *axes.get_xlim(), colors="white", linewidths=1.2)
    named = ticks.spaced(middles.tolist(), 0.16 / height * lines)
    names = [plain(name, 9) for name in classes[named]]
    label_ticks(axes.yaxis, middles[named].tolist(), names)
    if max(map(len, names)) <= 4:
        axes.set_ylabel("class")
