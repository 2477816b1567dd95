"""How large the preactivations of every layer are, and on which side of zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jumpstart.palette import COLORS, CURVE_COLORS
from jumpstart.plots import canvas
from jumpstart.plots.arrays import Codes, Floats, array, count_status, share_column
from jumpstart.status.codes import Status
from jumpstart.words import counted

_LARGEST, _SMALLEST, _WHOLE = CURVE_COLORS[0], CURVE_COLORS[1], "#B0B0B0"
_HEIGHT, _STRIP = 3.2, 0.4
_QUANTILES = (0.1, 0.5, 0.9)


@canvas.style()
def plot_ranges(
    maximum: npt.ArrayLike | Sequence[npt.ArrayLike],
    minimum: npt.ArrayLike | Sequence[npt.ArrayLike],
    layer_names: Sequence[str] | None = None,
    margin: float = 1.0,
    title: str | None = None,
) -> Figure:
    """The range of the preactivations, layer by layer, from the input on the left to the output.

    A line goes from the smallest preactivation of the layer to its largest. Boxes hold the middle 80 % of its units,
    by their largest and by their smallest preactivation, with a bar at the median. Zero and the margin on both sides
    are marked. The strip below has the shares of dead, linear and non-linear units; a layer all of whose units are
    dead, or none of whose is non-linear, is tinted over its whole height. Where values go beyond ten margins, the
    scale is linear up to one margin and logarithmic from there on.

    Args:
        maximum: Largest preactivation of every unit: one (units, layers) array, or a list with one array per layer.
        minimum: Smallest, of the same shapes.
        layer_names: One name per layer. Parts that all names share are written once, below.
        margin: That of the loss, at least which a unit should reach on both sides.
        title: Instead of the number of units and layers.

    Raises:
        ValueError: If there is no layer, shapes differ, a value is not finite, or a minimum is above its maximum.

    Example:
        >>> plot_ranges([[2.0, 1.0], [-1.0]], [[-2.0, 0.5], [-3.0]], ["a", "b"])
        <Figure size ...
    """
    largest, smallest = _per_layer("maximum", maximum), _per_layer("minimum", minimum)
    if [len(layer) for layer in largest] != [len(layer) for layer in smallest]:
        raise ValueError(
            "maximum and minimum must hold one value per unit of the same layers, "
            f"got {[len(layer) for layer in largest]} and {[len(layer) for layer in smallest]} units."
        )
    for number, (high, low) in enumerate(zip(largest, smallest, strict=True), 1):
        if (low > high).any():
            raise ValueError(f"minimum must be <= maximum, but is above it in layer {number}. Are they exchanged?")
    if not 0 < margin < math.inf:
        raise ValueError(f"margin must be a finite number > 0, got {margin}.")
    layers = len(largest)
    canvas.check_names(layer_names, layers)
    codes = [_status(high, low) for high, low in zip(largest, smallest, strict=True)]
    counts = count_status(codes)
    units = int(counts.sum())
    title = title or f"Preactivations of {counted(units, 'unit')} in {counted(layers, 'layer')}"

    across = min(1.2, max(0.45, 4.5 / layers), canvas.MAP_WIDTH / layers)
    width = across * layers
    ticks, texts, label, depth = canvas.layer_ticks(layer_names, layers, across)
    labels = canvas.count_labels(counts)
    marks = _marks()
    words = max(
        canvas.head_width(title, labels.values()),
        canvas.head_width("", [str(mark.get_label()) for mark in marks]),
    )
    right, bottom = max(canvas.RIGHT, words - width), canvas.BOTTOM + depth
    figure, axes = canvas.new_axes(width, _HEIGHT, right=right, bottom=bottom + _STRIP, top=canvas.TOP + 0.22)
    _draw_layers(axes, largest, smallest, codes, across)
    _scale(axes, largest, smallest, margin)
    axes.set_ylabel("preactivation")
    axes.set_xlim(0.5, layers + 0.5)
    axes.xaxis.set_major_locator(NullLocator())
    axes.spines[["top", "right", "bottom"]].set_visible(False)

    full_width, full_height = figure.get_size_inches()
    box = (canvas.LEFT / full_width, bottom / full_height, width / full_width, (_STRIP - 0.1) / full_height)
    strip = figure.add_axes(box)
    lines = round((_STRIP - 0.1) * canvas.DPI)
    shares = np.stack([share_column(layer, lines) for layer in codes], axis=1)
    canvas.draw_codes(strip, shares, (0.5, layers + 0.5, lines, 0))
    if across * canvas.DPI >= 7:
        gaps = [[(n + 0.5, 0), (n + 0.5, lines)] for n in range(1, layers)]
        strip.add_collection(LineCollection(gaps, colors="white", linewidths=0.8), autolim=False)
    strip.set_yticks([lines / 2], ["units"])
    strip.spines[:].set_visible(False)
    canvas.name_layers(strip, ticks, texts, label, upright=depth > 0)

    canvas.add_head(figure, title, labels)
    canvas.add_legend(figure, marks, line=1)
    return figure


def _per_layer(name: str, values: Any) -> list[Floats]:
    given: list[Any] = list(values) if isinstance(values, list | tuple) else list(array(values).T)
    layers = [array(layer).astype(np.float64) for layer in given]
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


def _status(high: Floats, low: Floats) -> Codes:
    codes = np.full(len(high), Status.NONLINEAR, dtype=np.int8)
    codes[low > 0] = Status.LINEAR
    codes[high <= 0] = Status.DEAD
    return codes


def _marks() -> list[Artist]:
    return [
        Patch(color=_LARGEST, label="maxima of units (80 %, median)"),
        Patch(color=_SMALLEST, label="minima"),
        Line2D([], [], color=_WHOLE, linewidth=1.2, label="all"),
        Line2D([], [], color="#444444", linewidth=0.9, linestyle=(0, (4, 3)), label="margin"),
    ]


def _draw_layers(
    axes: Axes,
    largest: Sequence[Floats],
    smallest: Sequence[Floats],
    codes: Sequence[Codes],
    across: float,
) -> None:
    places = np.arange(1, len(codes) + 1)
    for place, layer in zip(places, codes, strict=True):
        if (layer != Status.NONLINEAR).all():
            kind = Status.DEAD if (layer == Status.DEAD).all() else Status.LINEAR
            axes.axvspan(place - 0.5, place + 0.5, color=COLORS[kind], alpha=0.16, linewidth=0)
    ends = np.array([[low.min(), high.max()] for high, low in zip(largest, smallest, strict=True)])
    whole = [[(place, low), (place, high)] for place, (low, high) in zip(places, ends, strict=True)]
    axes.add_collection(LineCollection(whole, colors=_WHOLE, linewidths=1.2, zorder=2))
    bar = min(2.0, max(0.6, 6 * across))
    # Side by side: in a dead network they are the same but for a little.
    for values, color, left, right in ((largest, _LARGEST, -0.42, -0.03), (smallest, _SMALLEST, 0.03, 0.42)):
        low, middle, high = np.array([np.quantile(layer, _QUANTILES) for layer in values]).T
        corners = [
            [(x + left, a), (x + right, a), (x + right, b), (x + left, b)]
            for x, a, b in zip(places, low, high, strict=True)
        ]
        # The edge keeps a box visible whose units are all alike.
        axes.add_collection(
            PolyCollection(corners, facecolors=color, edgecolors=color, alpha=0.55, linewidths=0.8, zorder=3)
        )
        medians = [[(x + left, y), (x + right, y)] for x, y in zip(places, middle, strict=True)]
        axes.add_collection(LineCollection(medians, colors=color, linewidths=bar, zorder=4))


def _scale(axes: Axes, largest: Sequence[Floats], smallest: Sequence[Floats], margin: float) -> None:
    high = max(margin, *(float(layer.max()) for layer in largest))
    low = min(-margin, *(float(layer.min()) for layer in smallest))
    if max(high, -low) > 10 * margin:
        powers = sum(math.log10(max(1.0, side * 1.6 / margin)) for side in (high, -low))
        # Room for zero between the margins, however many powers of ten there are.
        axes.set_yscale("symlog", linthresh=margin, linscale=max(1.0, powers / 20))
        axes.set_ylim(low * 1.6, high * 1.6)
        axes.yaxis.set_major_locator(FixedLocator(_powers(low * 1.6, high * 1.6, margin)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(_power_text))
    else:
        room = 0.06 * (high - low)
        axes.set_ylim(low - room, high + room)
    axes.axhline(0, color="#222222", linewidth=0.9, zorder=5)
    for side in (-margin, margin):
        axes.axhline(side, color="#444444", linewidth=0.9, linestyle=(0, (4, 3)), zorder=5)
    axes.grid(axis="y", alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def _power_text(value: float, _: int | None) -> str:
    power = round(math.log10(abs(value))) if value else 0
    text = f"{abs(value):g}" if -3 < power < 4 else f"1e{power}"
    return f"\N{MINUS SIGN}{text}" if value < 0 else text


def _powers(low: float, high: float, margin: float) -> list[float]:
    """Zero and powers of ten on both sides, at most five a side."""
    first = math.ceil(math.log10(margin) - 1e-9)
    most = math.floor(math.log10(max(high, -low)))
    step = max(1, math.ceil((most - first + 1) / 5))
    powers = [10.0**power for power in range(first, most + 1, step)]
    return [value for value in [*(-power for power in reversed(powers)), 0.0, *powers] if low <= value <= high]
