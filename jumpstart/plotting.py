"""Status and curves as figures: arrays in, matplotlib figures out.

Nothing here touches pyplot, a window or a random generator: a figure is an object like any other,
and goes when its last reference does. One palette stands for dead, linear and non-linear everywhere
(:data:`COLOURS`): three colours of Okabe and Ito that differ in hue for every kind of colour-blind
eye, and in lightness on paper without colour.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from jumpstart import canvas
from jumpstart.canvas import COLOURS, LABELS
from jumpstart.status import Status

# Apart from the palette, so that no curve looks like a status.
_LINES = ("#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#666666")
_DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
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
        image = np.stack([_share_column(codes, _MAP_LINES) for codes in layers], axis=1)
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


@canvas.style()
def plot_status_shares(
    epochs: npt.ArrayLike,
    dead: npt.ArrayLike,
    linear: npt.ArrayLike,
    nonlinear: npt.ArrayLike,
    title: str = "Status over training (legend: last epoch)",
) -> Figure:
    """Shares of dead, linear and non-linear over the epochs, stacked; the legend has the last.

    Args:
        epochs: E increasing numbers.
        dead: E shares in [0, 1].
        linear: E shares.
        nonlinear: E shares; the three add up to 1.
        title: What the shares are of.

    Raises:
        ValueError: If nothing is given, lengths differ, or the shares do not add up to 1.

    Example:
        >>> plot_status_shares([0, 1], [0.5, 0.1], [0.0, 0.0], [0.5, 0.9])
        <Figure size ...
    """
    x = canvas.epoch_axis(epochs)
    shares = {
        Status.DEAD: canvas.series("dead", dead, x),
        Status.LINEAR: canvas.series("linear", linear, x),
        Status.NONLINEAR: canvas.series("nonlinear", nonlinear, x),
    }
    stack = np.cumsum([np.zeros_like(x), *shares.values()], axis=0)
    if not np.allclose(stack[-1], 1.0, atol=1e-3) or (np.diff(stack, axis=0) < -1e-6).any():
        raise ValueError("dead, linear and nonlinear must be shares that add up to 1 every epoch.")
    if len(x) == 1:
        x, stack = np.array([x[0] - 0.5, x[0] + 0.5]), np.repeat(stack, 2, axis=1)
    figure, axes = canvas.new_axes(7.5, 2.4)
    for low, high, code in zip(stack[:-1], stack[1:], shares, strict=True):
        axes.fill_between(x, low, high, color=COLOURS[code], linewidth=0)
    axes.set(xlim=(x[0], x[-1]), ylim=(0, 1), xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    last = {s: f"{LABELS[s]} {canvas.percent(share[-1])}" for s, share in shares.items()}
    canvas.add_head(figure, title, last)
    return figure


@canvas.style()
def plot_curves(
    epochs: npt.ArrayLike,
    curves: Mapping[str, npt.ArrayLike],
    logy: bool = False,
    title: str | None = None,
) -> Figure:
    """Curves over the epochs, such as losses or accuracies; the legend has the last value of each.

    Args:
        epochs: E increasing numbers.
        curves: Name to E values. Values that are not finite are left out and joined across.
        logy: Logarithmic scale; values that are not positive are left out too.
        title: Above the curves.

    Raises:
        ValueError: If nothing is given, lengths differ, or a curve has no value that can be drawn.

    Example:
        >>> plot_curves([0, 1, 2], {"loss": [3.0, 2.0, 1.0]}, logy=True)
        <Figure size ...
    """
    x = canvas.epoch_axis(epochs)
    if not curves:
        raise ValueError("curves must hold at least one curve, got none.")
    lines = []
    for index, (name, values) in enumerate(curves.items()):
        y = canvas.series(f"curves[{name!r}]", values, x)
        keep = np.isfinite(y) & ((y > 0) if logy else True)
        if not keep.any():
            kind = "positive" if logy else "finite"
            raise ValueError(f"curves[{name!r}] must have a {kind} value, got none.")
        line = Line2D(
            x[keep],
            y[keep],
            color=_LINES[index % len(_LINES)],
            linestyle=_DASHES[index // len(_LINES) % len(_DASHES)],
            marker="o" if keep.sum() == 1 else "",
            label=f"{canvas.shorten(name, 40)}  {y[keep][-1]:.4g}",
        )
        lines.append(line)
    longest = max(len(str(line.get_label())) for line in lines)
    figure, axes = canvas.new_axes(6.5, max(2.6, 0.19 * len(lines)), right=0.6 + longest * canvas.CHARACTER, top=0.4)
    for line in lines:
        axes.add_line(line)
    if logy:
        axes.set_yscale("log")
    axes.margins(x=0.01)
    axes.autoscale_view()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(handles=lines, loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False)
    if title:
        canvas.add_title(figure, title)
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


def _share_column(codes: canvas.Codes, lines: int) -> canvas.Codes:
    """One column of the map, divided by the shares of its layer, dead last."""
    counts = canvas.count_status([codes])
    shares = np.maximum(np.round(counts * lines / len(codes)).astype(int), counts > 0)
    shares[shares.argmax()] += lines - shares.sum()
    return np.repeat(np.array(Status, dtype=np.int8), shares)[::-1]


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
