"""Figures over the epochs: the life of every unit, shares of each status, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from jumpstart.palette import COLORS, CURVE_COLORS, LABELS
from jumpstart.plots import canvas
from jumpstart.plots.arrays import Codes, Floats, count_status, epoch_axis, series, stacked_shares, status_table
from jumpstart.status.codes import Status
from jumpstart.words import counted, percent, shorten

_DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
_LIFE_WIDTH = 750
_MOST_LINES = 600
_CELL = 20


@canvas.style()
def plot_unit_life(
    status: npt.ArrayLike,
    epochs: npt.ArrayLike,
    units: Sequence[int],
    layer_names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """The life of every unit: epochs from left to right, units from top to bottom, layer after layer.

    A gap parts the layers. Up to 500 units or so every unit is a line, in its layer's order. With more, each layer
    gets a band of the same height, divided in every epoch by the shares of its units, dead at the bottom; a status
    that occurs gets at least one line. At any place stands the nearest epoch that is given, so that epochs may lie
    apart unevenly; where there are more than the figure has pixels, some are left out evenly.

    Args:
        status: (epochs, units) codes of :class:`Status`, over the units of all layers, layer after layer.
        epochs: E increasing numbers.
        units: Units of each layer.
        layer_names: One name per layer. Parts that all names share are written once, beside the axis.
        title: Instead of the number of units, layers and epochs.

    Raises:
        ValueError: If nothing is given, a code is not a status, or lengths differ.

    Example:
        >>> plot_unit_life([[2, 2, 2], [2, 0, 2]], epochs=[0, 1], units=[2, 1], layer_names=["a", "b"])
        <Figure size ...
    """
    codes = status_table(status, "(epochs, units)")
    x = epoch_axis(epochs)
    sizes = np.asarray(units)
    if sizes.ndim != 1 or sizes.size == 0 or not np.issubdtype(sizes.dtype, np.integer) or (sizes < 1).any():
        raise ValueError(f"units must hold a whole number >= 1 for every layer, got {units}.")
    if codes.shape != (len(x), sizes.sum()):
        raise ValueError(
            f"status must be (epochs, units), here ({len(x)}, {sizes.sum()}) by the other arguments, got {codes.shape}."
        )
    canvas.check_names(layer_names, len(sizes))
    number = counted
    counts = count_status([codes[-1]])
    title = title or (
        f"{number(len(codes[0]), 'unit')} in {number(len(sizes), 'layer')} over {number(len(x), 'epoch')} "
        "(legend: last)"
    )
    edges = _between(x)
    places = edges[0] + (np.arange(_LIFE_WIDTH) + 0.5) * (edges[-1] - edges[0]) / _LIFE_WIDTH
    used, shown = np.unique(np.searchsorted(edges[1:-1], places, side="right"), return_inverse=True)
    image, middles, in_cells = _bands(codes[used], sizes, shown)
    texts, label = canvas.layer_texts(layer_names or [str(n + 1) for n in range(len(sizes))])
    apart = 13 if len(image) > 13 * len(sizes) else 11
    named = _with_room(middles, apart)
    left = max(canvas.LEFT, 0.42 + 0.066 * max(len(texts[n]) for n in named))
    labels = canvas.count_labels(counts)
    width, height = _LIFE_WIDTH / canvas.DPI, len(image) / canvas.DPI
    right = max(canvas.RIGHT, canvas.head_width(title, labels.values()) - width)
    figure, axes = canvas.new_axes(width, height, left=left, right=right)
    canvas.draw_codes(axes, image, (edges[0], edges[-1], len(image), 0))
    axes.set_yticks([middles[n] for n in named], [texts[n] for n in named])
    axes.tick_params(length=2.5, width=0.8)
    axes.set_xlabel("epoch")
    shares = "" if in_cells or height < 2.5 else "  (shares of its units)"
    if len(label) * canvas.CHARACTER <= max(height, 0.5):
        fits = len(label + shares) * canvas.CHARACTER <= height
        axes.set_ylabel(label + shares if fits else label)
    axes.spines[:].set_visible(False)
    _whole_epochs(axes)
    canvas.add_head(figure, title, labels)
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
    x = epoch_axis(epochs)
    shares = {
        Status.DEAD: series("dead", dead, x),
        Status.LINEAR: series("linear", linear, x),
        Status.NONLINEAR: series("nonlinear", nonlinear, x),
    }
    stack = np.cumsum([np.zeros_like(x), *shares.values()], axis=0)
    if not np.allclose(stack[-1], 1.0, atol=1e-3) or (np.diff(stack, axis=0) < -1e-6).any():
        raise ValueError("dead, linear and nonlinear must be shares that add up to 1 every epoch.")
    if len(x) == 1:
        x, stack = np.array([x[0] - 0.5, x[0] + 0.5]), np.repeat(stack, 2, axis=1)
    figure, axes = canvas.new_axes(7.5, 2.4)
    for low, high, code in zip(stack[:-1], stack[1:], shares, strict=True):
        axes.fill_between(x, low, high, color=COLORS[code], linewidth=0)
    axes.set(xlim=(x[0], x[-1]), ylim=(0, 1), xlabel="epoch")
    _whole_epochs(axes)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    last = {s: f"{LABELS[s]} {percent(share[-1])}" for s, share in shares.items()}
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
    x = epoch_axis(epochs)
    if not curves:
        raise ValueError("curves must hold at least one curve, got none.")
    lines = []
    for index, (name, values) in enumerate(curves.items()):
        y = series(f"curves[{name!r}]", values, x)
        keep = np.isfinite(y) & ((y > 0) if logy else True)
        if not keep.any():
            kind = "positive" if logy else "finite"
            raise ValueError(f"curves[{name!r}] must have a {kind} value, got none.")
        line = Line2D(
            x[keep],
            y[keep],
            color=CURVE_COLORS[index % len(CURVE_COLORS)],
            linestyle=_DASHES[index // len(CURVE_COLORS) % len(_DASHES)],
            marker="o" if keep.sum() == 1 else "",
            label=f"{shorten(name, 40)}  {y[keep][-1]:.4g}",
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
    _whole_epochs(axes)
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(handles=lines, loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False)
    if title:
        canvas.add_title(figure, title)
    return figure


def _whole_epochs(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _between(x: Floats) -> Floats:
    """The E + 1 edges of E epochs: half-way to the next; on the outside half an epoch at most.

    As far outside as inside, and two epochs that lie far apart would make an axis of epochs that never were.
    """
    middles = (x[1:] + x[:-1]) / 2
    first, last = (min([0.5, *gap]) for gap in (middles[:1] - x[0], x[-1] - middles[-1:]))
    return np.concatenate([[x[0] - first], middles, [x[-1] + last]])


def _bands(codes: Codes, sizes: npt.NDArray[np.int64], shown: npt.NDArray[np.intp]) -> tuple[Codes, list[float], bool]:
    """The picture of all layers, one pixel a code; the middle of each layer; whether every unit has a line."""
    layers = len(sizes)
    gap = 0 if layers == 1 else 2 if layers <= 20 else 1
    room = _MOST_LINES - gap * (layers - 1)
    in_cells = int(sizes.sum()) <= room
    if in_cells:
        cell = min(_CELL, max(1, 450 // int(sizes.sum())))
        heights = sizes * cell
    else:
        heights = np.full(layers, max(3, min(300, max(8, room // layers), 1500 // layers)))
    image = np.full((heights.sum() + gap * (layers - 1), len(shown)), -1, dtype=np.int8)
    middles, top, first = [], 0, 0
    for size, height in zip(sizes.tolist(), heights.tolist(), strict=True):
        layer = codes[:, first : first + size]
        if in_cells:
            band = np.repeat(layer.T, height // size, axis=0)[:, shown]
        else:
            counts = np.array([(layer == code).sum(axis=1) for code in Status])
            band = stacked_shares(counts, height)[:, shown]
        image[top : top + height] = band
        middles.append(top + height / 2)
        top, first = top + height + gap, first + size
    return image, middles, in_cells


def _with_room(places: Sequence[float], apart: float) -> list[int]:
    """The first of these places, and the next ones that are so far from the last one taken."""
    taken = [0]
    for index, place in enumerate(places):
        if place - places[taken[-1]] >= apart:
            taken.append(index)
    return taken
