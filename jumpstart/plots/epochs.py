"""Plots over the epochs: the status of every unit, the shares of each status, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from jumpstart.choices import check_flag
from jumpstart.palette import COLORS, CURVE_COLORS, LABELS
from jumpstart.plots import canvas, headings, ticks
from jumpstart.plots.arrays import (
    Codes,
    Floats,
    count_status,
    drawable,
    epoch_axis,
    series,
    stacked_shares,
    status_table,
)
from jumpstart.plots.texts import in_sentence, label_ticks, literal, plain, set_names
from jumpstart.status.codes import Status
from jumpstart.words import counted, percent

_FAR = 1e100
"""On a logarithmic axis, matplotlib places no ticks for numbers far beyond this one and its reciprocal."""
_CLOSE = 1 + 1e-12
"""On a logarithmic axis, matplotlib has no limits for numbers whose ratio is below about this one."""
_DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")

# Size of the plot of every unit, in pixels.
_LIFE_WIDTH = 750
_LIFE_HEIGHT = 600
_LARGEST_CELL = 20


@canvas.style()
def plot_unit_life(
    status: npt.ArrayLike,
    epochs: npt.ArrayLike,
    units: Sequence[int],
    layer_names: Sequence[str] | None = None,
    title: str | None = None,
    *,
    ax: Axes | None = None,
) -> Figure:
    """The status of every unit over training: epochs from left to right, units from top to bottom, layer after layer.

    A gap separates the layers. With up to about 500 units, every unit is a line, in the order of its layer. With more,
    all layers get bands of equal height, which are divided in every epoch by the shares of the statuses in the layer,
    dead at the bottom; a status that occurs gets at least one line. Epochs may be unevenly spaced: each pixel shows the
    nearest epoch given. If there are more epochs than pixels, epochs are left out at equal distances.

    Args:
        status: (epochs, units) codes of :class:`Status`, over the units of all layers, layer after layer.
        epochs: E increasing numbers.
        units: Number of units of each layer.
        layer_names: One name per layer. Parts that all names share are written once, beside the axis.
        title: Title of the plot; by default the number of units, layers and epochs.
        ax: Axes to draw into, such as one of ``plt.subplots()``; by default those of a new figure of fitting size.

    Returns:
        The figure.

    Raises:
        TypeError: If ``ax`` is no axes.
        ValueError: If there is no epoch or layer, a code is not a status, or lengths differ.

    Example:
        >>> plot_unit_life([[2, 2, 2], [2, 0, 2]], epochs=[0, 1], units=[2, 1], layer_names=["a", "b"])
        <Figure size ...
    """
    canvas.check_axes(ax)
    codes = status_table(status, "(epochs, units)")
    x = epoch_axis(epochs)
    sizes = _layer_sizes(units)
    if codes.shape != (len(x), sizes.sum()):
        raise ValueError(
            f"status must be (epochs, units), ({len(x)}, {sizes.sum()}) by the other arguments, got {codes.shape}."
        )
    ticks.check_names(layer_names, len(sizes))
    title = title or (
        f"{counted(len(codes[0]), 'unit')} in {counted(len(sizes), 'layer')} over {counted(len(x), 'epoch')} "
        "(legend: last)"
    )
    labels = headings.count_labels(count_status([codes[-1]]))
    edges = _epoch_edges(x)
    used, column_of_pixel = _nearest_epochs(edges)
    bands = _layer_bands(codes[used], sizes, column_of_pixel)
    width, height = _LIFE_WIDTH / canvas.DPI, len(bands.image) / canvas.DPI
    texts, label = ticks.layer_texts(layer_names or [str(n + 1) for n in range(len(sizes))])
    left = max(canvas.LEFT, 0.42 + 0.066 * max(map(len, texts)))
    right = max(canvas.RIGHT, headings.heading_width(title, labels.values()) - width)
    axes = canvas.axes_for(ax, width, height, left=left, right=right)
    canvas.draw_codes(axes, bands.image, (edges[0], edges[-1], len(bands.image), 0))
    _name_layers(axes, bands, texts, label)
    axes.spines[:].set_visible(False)
    _label_epochs(axes)
    headings.add_heading(axes, title, headings.status_handles(labels), given=ax is not None)
    return canvas.figure_of(axes)


@canvas.style()
def plot_status_shares(
    epochs: npt.ArrayLike,
    dead: npt.ArrayLike,
    linear: npt.ArrayLike,
    nonlinear: npt.ArrayLike,
    title: str = "Status over training (legend: last epoch)",
    *,
    ax: Axes | None = None,
) -> Figure:
    """Shares of dead, linear and non-linear over the epochs, stacked; the legend has the shares of the last epoch.

    Args:
        epochs: E increasing numbers.
        dead: E shares in [0, 1].
        linear: E shares in [0, 1].
        nonlinear: E shares in [0, 1]; the three shares of an epoch add up to 1.
        title: Title of the plot.
        ax: Axes to draw into, such as one of ``plt.subplots()``; by default those of a new figure of fitting size.

    Returns:
        The figure.

    Raises:
        TypeError: If ``ax`` is no axes.
        ValueError: If there is no epoch, lengths differ, or the shares do not add up to 1.

    Example:
        >>> plot_status_shares([0, 1], [0.5, 0.1], [0.0, 0.0], [0.5, 0.9])
        <Figure size ...
    """
    canvas.check_axes(ax)
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
    axes = canvas.axes_for(ax, 7.5, 2.4)
    for low, high, code in zip(stack[:-1], stack[1:], shares, strict=True):
        axes.fill_between(x, low, high, color=COLORS[code], linewidth=0)
    axes.set(xlim=(x[0], x[-1]), ylim=(0, 1))
    _label_epochs(axes)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    last = {s: f"{LABELS[s]} {percent(share[-1])}" for s, share in shares.items()}
    headings.add_heading(axes, title, headings.status_handles(last), given=ax is not None)
    return canvas.figure_of(axes)


@canvas.style()
def plot_curves(
    epochs: npt.ArrayLike,
    curves: Mapping[str, npt.ArrayLike],
    logy: bool = False,
    title: str | None = None,
    *,
    ax: Axes | None = None,
) -> Figure:
    """Curves over the epochs, such as losses or accuracies; the legend has the last value of each.

    Args:
        epochs: E increasing numbers.
        curves: Name to E values. Values that are not finite are left out, and the curve joins their neighbors.
        logy: Logarithmic scale; values that are not positive are left out too. Values beyond 1e300 and, on this scale,
            below 1e-300 are drawn at that bound; the legend has the value itself.
        title: Title of the plot; none by default.
        ax: Axes to draw into, such as one of ``plt.subplots()``; by default those of a new figure of fitting size.

    Returns:
        The figure.

    Raises:
        TypeError: If ``ax`` is no axes.
        ValueError: If there is no epoch or curve, lengths differ, or a curve has no value that can be drawn.

    Example:
        >>> plot_curves([0, 1, 2], {"loss": [3.0, 2.0, 1.0]}, logy=True)
        <Figure size ...
    """
    canvas.check_axes(ax)
    check_flag("logy", logy)
    x = epoch_axis(epochs)
    _check_curves(curves)
    lines = [
        _curve(index, name, x, series(f"curves[{name!r}]", values, x), logy=logy)
        for index, (name, values) in enumerate(curves.items())
    ]
    longest = max(len(str(line.get_label())) for line in lines)
    height, right = max(2.6, 0.19 * len(lines)), 0.6 + longest * canvas.CHARACTER
    axes = canvas.axes_for(ax, 6.5, height, right=right, top=0.4)
    for line in lines:
        axes.add_line(line)
    _scale_values(axes, lines, logy=logy)
    _label_epochs(axes)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02)} if ax is None else {"loc": "upper right"}
    legend = axes.legend(handles=lines, labels=[" "] * len(lines), frameon=False, **place)
    set_names(legend, lines)
    if title and ax is None:
        headings.add_title(axes, title)
    elif title:
        literal(axes.set_title(plain(title), loc="left", size=10, weight="bold", color="#222222"))
    return canvas.figure_of(axes)


class _Bands(NamedTuple):
    """All layers as one image.

    Attributes:
        image: (lines, columns) codes; -1 in the gaps between layers.
        middles: The middle line of each layer.
        in_cells: Whether every unit has its own lines; else the bands show shares.
    """

    image: Codes
    middles: list[float]
    in_cells: bool


def _layer_bands(codes: Codes, sizes: npt.NDArray[np.int64], column_of_pixel: npt.NDArray[np.intp]) -> _Bands:
    """Draw the bands of all layers into one image.

    Args:
        codes: (epochs, units) codes of the epochs shown.
        sizes: Units of each layer.
        column_of_pixel: For each column of pixels, the row of ``codes``.
    """
    layers, units = len(sizes), int(sizes.sum())
    gap = 0 if layers == 1 else 2 if layers <= 20 else 1
    room = _LIFE_HEIGHT - gap * (layers - 1)
    in_cells = units <= room
    if in_cells:
        heights = sizes * min(_LARGEST_CELL, max(1, 450 // units))
    else:
        heights = np.full(layers, max(3, min(300, max(8, room // layers), 1500 // layers)))
    image = np.full((heights.sum() + gap * (layers - 1), len(column_of_pixel)), -1, dtype=np.int8)
    middles, top, first = [], 0, 0
    for size, height in zip(sizes.tolist(), heights.tolist(), strict=True):
        layer = codes[:, first : first + size]
        band = np.repeat(layer.T, height // size, axis=0) if in_cells else _share_band(layer, height)
        image[top : top + height] = band[:, column_of_pixel]
        middles.append(top + height / 2)
        top, first = top + height + gap, first + size
    return _Bands(image, middles, in_cells)


def _share_band(layer: Codes, height: int) -> Codes:
    """(height, epochs) codes: the shares of a layer's units, epoch by epoch."""
    return stacked_shares(np.array([(layer == code).sum(axis=1) for code in Status]), height)


def _layer_sizes(units: Sequence[int]) -> npt.NDArray[np.int64]:
    sizes = np.asarray(units)
    if sizes.ndim != 1 or sizes.size == 0 or not np.issubdtype(sizes.dtype, np.integer) or (sizes < 1).any():
        raise ValueError(f"units must hold a whole number >= 1 for every layer, got {units}.")
    return sizes


def _epoch_edges(x: Floats) -> Floats:
    """The E + 1 edges of E epochs: half-way between neighbors, and at most half an epoch outside the first and last.

    Extending the outer edges as far as the inner gaps would invent epochs when recorded ones are far apart.
    """
    middles = (x[1:] + x[:-1]) / 2
    first, last = (min([0.5, *gap]) for gap in (middles[:1] - x[0], x[-1] - middles[-1:]))
    return np.concatenate([[x[0] - first], middles, [x[-1] + last]])


def _nearest_epochs(edges: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The epochs that are nearest to some pixel, and for each column of pixels the index among these epochs."""
    places = edges[0] + (np.arange(_LIFE_WIDTH) + 0.5) * (edges[-1] - edges[0]) / _LIFE_WIDTH
    return np.unique(np.searchsorted(edges[1:-1], places, side="right"), return_inverse=True)


def _name_layers(axes: Axes, bands: _Bands, texts: Sequence[str], label: str) -> None:
    """Write the names of the layers, where there is room, and the label; lower axes get a shorter label."""
    height = canvas.size_of(axes)[1]
    lines = height * canvas.DPI  # as many as the image has, in axes of its own
    apart = (13 if lines > 13 * len(texts) else 11) * len(bands.image) / lines
    named = ticks.spaced(bands.middles, apart)
    label_ticks(axes.yaxis, [bands.middles[n] for n in named], [texts[n] for n in named])
    axes.tick_params(length=2.5, width=0.8)
    full = f"{label}  (shares of its units)" if not bands.in_cells and height >= 2.5 else label
    if len(label) * canvas.CHARACTER <= max(height, 0.5):
        literal(axes.set_ylabel(full if len(full) * canvas.CHARACTER <= height else label))


def _label_epochs(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")


def _check_curves(curves: object) -> None:
    if not isinstance(curves, Mapping):
        raise TypeError(f"curves must be a mapping from names to values, got {type(curves).__name__}.")
    if not curves:
        raise ValueError("curves must hold at least one curve, got none.")


def _scale_values(axes: Axes, lines: Sequence[Line2D], *, logy: bool) -> None:
    """Scale the axis of values so that all curves are visible."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in lines])
    axes.margins(x=0.01)
    low, high = float(values.min()), float(values.max())
    close = logy and low < high <= low * _CLOSE
    if close:
        axes.set_autoscaley_on(False)
    if logy and (high > _FAR or low < 1 / _FAR):
        ticks.scale_far(axes, low, high)
    elif logy:
        axes.set_yscale("log")
    if close:
        axes.set_ylim(low / 10, high * 10)
    axes.autoscale_view()


def _curve(index: int, name: str, x: Floats, y: Floats, *, logy: bool) -> Line2D:
    """One curve without the values that cannot be drawn, in its own color and line style."""
    keep = np.isfinite(y) & ((y > 0) if logy else True)
    if not keep.any():
        kind = "positive" if logy else "finite"
        raise ValueError(f"curves[{name!r}] must have a {kind} value, got none.")
    return Line2D(
        x[keep],
        drawable(y[keep], positive=logy),
        color=CURVE_COLORS[index % len(CURVE_COLORS)],
        linestyle=_DASHES[index // len(CURVE_COLORS) % len(_DASHES)],
        marker="o" if keep.sum() == 1 else "",
        label=f"{in_sentence(name, 40)}  {y[keep][-1]:.4g}",
    )
