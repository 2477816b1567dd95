"""Ranges of the preactivations of every layer, on a linear or logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jumpstart.arrays import to_array
from jumpstart.choices import MARGIN, Margins, check_margins
from jumpstart.palette import COLORS, CURVE_COLORS
from jumpstart.plots import canvas, headings, ticks
from jumpstart.plots.arrays import Codes, Floats, Layers, count_status, drawable, named_layers, share_column
from jumpstart.status.codes import Status, status_of_arrays
from jumpstart.words import counted

_LARGEST, _SMALLEST, _WHOLE = CURVE_COLORS[0], CURVE_COLORS[1], "#B0B0B0"
_MARGIN_COLOR = "#444444"
_HEIGHT, _STRIP, _ABOVE_STRIP = 3.2, 0.3, 0.1
_QUANTILES = (0.1, 0.5, 0.9)


@canvas.style()
def plot_ranges(
    maximum: Layers,
    minimum: Layers,
    layer_names: Sequence[str] | None = None,
    margin: float = MARGIN,
    title: str | None = None,
    *,
    negative_margin: float | None = None,
    ax: Axes | None = None,
) -> Figure:
    """The range of the preactivations, layer by layer, from the input on the left to the output.

    A line spans the smallest to the largest preactivation of the layer. Boxes hold the middle 80 % of its units, one
    box for the units' maxima and one for their minima, with a bar at the median. Lines mark zero and the margins of
    both sides. The strip below has the shares of dead, linear and non-linear units. A layer is tinted over its whole
    height if all its units are dead, or none of them is non-linear. If values exceed ten times the larger margin, the
    scale is linear up to this margin and logarithmic beyond.

    Args:
        maximum: Largest preactivation of every unit: one (units, layers) array, or a list with one array per layer, or
            a mapping of such arrays by name, such as ``StatusMonitor.unit_max``.
        minimum: Smallest preactivation of every unit, of the same shapes.
        layer_names: One name per layer; by default those of the mapping. Parts that all names share are written once,
            below.
        margin: Margin of the loss, which a unit's maximum should reach above zero.
        title: Title of the plot; by default the number of units and layers.
        negative_margin: Margin that a unit's minimum should reach below zero; None for that of ``margin``.
        ax: Axes to draw into, such as one of ``plt.subplots()``; by default those of a new figure of fitting size. The
            strip is drawn below these axes, as their child.

    Returns:
        The figure.

    Raises:
        TypeError: If ``ax`` is no axes.
        ValueError: If there is no layer, shapes differ, a value is not finite, or a minimum is above its maximum.

    Example:
        >>> plot_ranges([[2.0, 1.0], [-1.0]], [[-2.0, 0.5], [-3.0]], ["a", "b"])
        <Figure size ...
    """
    canvas.check_axes(ax)
    if isinstance(maximum, Mapping) and isinstance(minimum, Mapping) and list(maximum) != list(minimum):
        raise ValueError(f"maximum and minimum must have the same layers, got {list(maximum)} and {list(minimum)}.")
    maximum, layer_names = named_layers(maximum, layer_names)
    minimum, layer_names = named_layers(minimum, layer_names)
    largest, smallest = _checked_extrema(maximum, minimum)
    margins = check_margins(margin, negative_margin)
    layers = len(largest)
    ticks.check_names(layer_names, layers)
    codes = [status_of_arrays(high, low) for high, low in zip(largest, smallest, strict=True)]
    counts = count_status(codes)
    title = title or f"Preactivations of {counted(int(counts.sum()), 'unit')} in {counted(layers, 'layer')}"

    width = canvas.size_of(ax)[0] if ax is not None else layers * _column(layers)
    below = ticks.layer_ticks(layer_names, layers, width / layers)
    labels, handles = headings.count_labels(counts), _handles()
    axes = ax if ax is not None else _new_axes(width, below.depth, title, labels.values(), handles)
    largest, smallest = ([drawable(layer) for layer in values] for values in (largest, smallest))
    _draw_layers(axes, largest, smallest, codes, width / layers)
    _scale(axes, largest, smallest, margins)
    axes.set_ylabel("preactivation")
    axes.set_xlim(0.5, layers + 0.5)
    axes.xaxis.set_major_locator(NullLocator())
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    below.draw(_add_strip(axes, codes, child=ax is not None))
    headings.add_heading(axes, title, headings.status_handles(labels), handles, given=ax is not None)
    return canvas.figure_of(axes)


def _column(layers: int) -> float:
    """The width of a layer in inches, in new axes."""
    return min(1.2, max(0.45, 4.5 / layers), canvas.MAP_WIDTH / layers)


def _new_axes(width: float, depth: float, title: str, labels: Iterable[str], handles: Sequence[Artist]) -> Axes:
    """New axes with room for the strip, its names of this depth, and the heading."""
    heading_width = max(
        headings.heading_width(title, labels),
        headings.heading_width("", [str(handle.get_label()) for handle in handles]),
    )
    right, bottom = max(canvas.RIGHT, heading_width - width), canvas.BOTTOM + depth + _STRIP + _ABOVE_STRIP
    return canvas.new_axes(width, _HEIGHT, right=right, bottom=bottom, top=canvas.TOP + 0.22)[1]


def _checked_extrema(maximum: Layers, minimum: Layers) -> tuple[list[Floats], list[Floats]]:
    """Maxima and minima, one array per layer each, of equal shapes and in order."""
    largest, smallest = _per_layer("maximum", maximum), _per_layer("minimum", minimum)
    if [len(layer) for layer in largest] != [len(layer) for layer in smallest]:
        raise ValueError(
            "maximum and minimum must hold one value per unit of the same layers, "
            f"got {[len(layer) for layer in largest]} and {[len(layer) for layer in smallest]} units."
        )
    for number, (high, low) in enumerate(zip(largest, smallest, strict=True), 1):
        if (low > high).any():
            raise ValueError(f"minimum must be <= maximum, but is above it in layer {number}. Are they exchanged?")
    return largest, smallest


def _per_layer(name: str, values: Layers) -> list[Floats]:
    given = values if isinstance(values, list | tuple) else to_array(values).T
    layers = [to_array(layer).astype(np.float64) for layer in given]
    if not layers:
        raise ValueError(f"{name} must hold at least one layer, got none.")
    for number, layer in enumerate(layers, 1):
        if layer.ndim != 1 or layer.size == 0:
            raise ValueError(
                f"{name} must hold one value per unit for each layer, got {layer.shape} for layer {number}."
            )
        if not np.isfinite(layer).all():
            wrong = layer[~np.isfinite(layer)][0]
            raise ValueError(f"{name} must be finite, got {wrong} in layer {number}: the network has diverged.")
    return layers


def _handles() -> list[Artist]:
    """The entries in the second line of the legend."""
    return [
        Patch(color=_LARGEST, label="maxima of units (80 %, median)"),
        Patch(color=_SMALLEST, label="minima"),
        Line2D([], [], color=_WHOLE, linewidth=1.2, label="all"),
        Line2D([], [], color=_MARGIN_COLOR, linewidth=0.9, linestyle=(0, (4, 3)), label="margin"),
    ]


def _draw_layers(
    axes: Axes, largest: Sequence[Floats], smallest: Sequence[Floats], codes: Sequence[Codes], column: float
) -> None:
    """Draw the tint, the line and the two boxes of every layer."""
    places = np.arange(1, len(codes) + 1)
    for place, layer in zip(places, codes, strict=True):
        if (layer != Status.NONLINEAR).all():
            kind = Status.DEAD if (layer == Status.DEAD).all() else Status.LINEAR
            axes.axvspan(place - 0.5, place + 0.5, color=COLORS[kind], alpha=0.16, linewidth=0)
    spans = [
        [(place, low.min()), (place, high.max())] for place, high, low in zip(places, largest, smallest, strict=True)
    ]
    axes.add_collection(LineCollection(spans, colors=_WHOLE, linewidths=1.2, zorder=2))
    bar = min(2.0, max(0.6, 6 * column))
    # The boxes stand side by side, because in a dead network maxima and minima are almost equal.
    _draw_boxes(axes, largest, _LARGEST, (-0.42, -0.03), bar)
    _draw_boxes(axes, smallest, _SMALLEST, (0.03, 0.42), bar)


def _draw_boxes(axes: Axes, values: Sequence[Floats], color: str, sides: tuple[float, float], bar: float) -> None:
    """Draw the middle 80 % of the units of every layer, and a bar of this line width at the median."""
    low, middle, high = np.array([np.quantile(layer, _QUANTILES) for layer in values]).T
    lefts, rights = (np.arange(1, len(values) + 1) + side for side in sides)
    corners = [
        [(left, a), (right, a), (right, b), (left, b)]
        for left, right, a, b in zip(lefts, rights, low, high, strict=True)
    ]
    # The edge keeps a box visible if all its units are alike.
    axes.add_collection(
        PolyCollection(corners, facecolors=color, edgecolors=color, alpha=0.55, linewidths=0.8, zorder=3)
    )
    medians = [[(left, y), (right, y)] for left, right, y in zip(lefts, rights, middle, strict=True)]
    axes.add_collection(LineCollection(medians, colors=color, linewidths=bar, zorder=4))


def _add_strip(axes: Axes, codes: Sequence[Codes], *, child: bool) -> Axes:
    """Draw the shares of each status below the axes.

    Args:
        axes: The axes.
        codes: The units of every layer.
        child: Whether the strip is a child of the axes, which the layout of a figure moves with them.
    """
    layers, lines = len(codes), round(_STRIP * canvas.DPI)
    width, height = canvas.size_of(axes)
    below = (0.0, -(_STRIP + _ABOVE_STRIP) / height, 1.0, _STRIP / height)  # in units of the axes
    if child:
        strip = axes.inset_axes(below)
    else:
        box = axes.get_position()
        place = (box.x0, box.y0 + below[1] * box.height, box.width, below[3] * box.height)
        strip = canvas.figure_of(axes).add_axes(place)
    shares = np.stack([share_column(layer, lines) for layer in codes], axis=1)
    canvas.draw_codes(strip, shares, (0.5, layers + 0.5, lines, 0))
    if width / layers * canvas.DPI >= canvas.LEAST_GRID:
        gaps = [[(n + 0.5, 0), (n + 0.5, lines)] for n in range(1, layers)]
        strip.add_collection(LineCollection(gaps, colors="white", linewidths=0.8), autolim=False)
    strip.set_yticks([lines / 2], ["units"])
    strip.spines[:].set_visible(False)
    return strip


def _scale(axes: Axes, largest: Sequence[Floats], smallest: Sequence[Floats], margins: Margins) -> None:
    """Scale the axis of preactivations so that all values and both margins are visible."""
    above, below = drawable(np.array(margins), positive=True).tolist()
    margin = max(above, below)
    high = max(above, *(float(layer.max()) for layer in largest))
    low = min(-below, *(float(layer.min()) for layer in smallest))
    if max(high, -low) > 10 * margin:
        powers = sum(math.log10(max(1.0, side * 1.6 / margin)) for side in (high, -low))
        # The linear part keeps its share of the axis, however many powers of ten there are.
        axes.set_ylim(low * 1.6, high * 1.6)  # first, because scaling by itself would overflow for huge values
        axes.set_yscale("symlog", linthresh=margin, linscale=max(1.0, powers / 20))
        axes.yaxis.set_major_locator(FixedLocator(_powers(low * 1.6, high * 1.6, margin)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(ticks.power_text))
    else:
        padding = 0.06 * (high - low)
        axes.set_ylim(low - padding, high + padding)
    axes.axhline(0, color="#222222", linewidth=0.9, zorder=5)
    for side in (-below, above):
        axes.axhline(side, color=_MARGIN_COLOR, linewidth=0.9, linestyle=(0, (4, 3)), zorder=5)
    axes.grid(axis="y", alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def _powers(low: float, high: float, margin: float) -> list[float]:
    """Ticks at zero and at powers of ten between ``low`` and ``high``, at most five on either side."""
    first = math.ceil(math.log10(margin) - 1e-9)
    most = math.floor(math.log10(max(high, -low)))
    step = max(1, math.ceil((most - first + 1) / 5))
    powers = [10.0**power for power in range(first, most + 1, step)]
    return [value for value in [*(-power for power in reversed(powers)), 0.0, *powers] if low <= value <= high]
