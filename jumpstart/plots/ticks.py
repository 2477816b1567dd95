"""Ticks: round numbers, and the names of layers below the axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jumpstart.plots.canvas import CHARACTER, LEFT
from jumpstart.plots.texts import label_ticks, literal, plain
from jumpstart.words import shorten


@dataclass(frozen=True)
class LayerTicks:
    """Ticks of an axis of layers.

    Attributes:
        positions: Layers that have a tick, from 1.
        texts: The text of each tick.
        label: Label of the axis.
        depth: Inches that upright texts need below the axes; 0 if texts are level.
        room: Inches for the label.
    """

    positions: list[int]
    texts: list[str]
    label: str
    depth: float
    room: float

    def draw(self, axes: Axes) -> None:
        """Write texts and label below the axes."""
        label_ticks(axes.xaxis, self.positions, self.texts)
        axes.tick_params(length=2.5, width=0.8)
        if self.depth > 0:
            axes.tick_params(axis="x", labelrotation=90, labelsize=7)
        literal(axes.set_xlabel(shorten(self.label, max(12, int(self.room / CHARACTER)))))


def round_ticks(first: int, count: int, most: float) -> list[int]:
    """Round numbers for an axis of counts.

    Args:
        first: First number of the axis (0 or 1), which always has a tick.
        count: Numbers on the axis.
        most: The number of ticks that fit.
    """
    steps = [factor * 10**power for power in range(9) for factor in (1, 2, 5)]
    if first:
        steps.remove(2)  # 1, 4, 6, ... reads badly
    step = next(step for step in steps if count / step <= max(most, 2))
    return [first, *(n for n in range(0, first + count, step) if n - first >= 0.7 * step)]


def check_names(names: Sequence[str] | None, layers: int) -> None:
    """Check that there is one name per layer, or none at all.

    Raises:
        TypeError: If the names are one text.
        ValueError: If the number of names is not the number of layers.
    """
    if isinstance(names, str):
        raise TypeError(f"layer_names must be a list of names, got the text {names!r:.60}.")
    if names is not None and len(names) != layers:
        raise ValueError(f"layer_names must name every layer ({layers}), got {len(names)}.")


def layer_ticks(names: Sequence[str] | None, layers: int, column: float) -> LayerTicks:
    """Ticks for an axis of layers: as many as fit.

    Args:
        names: Names of the layers; numbers from 1 by default.
        layers: Number of layers.
        column: Width of a layer in inches.
    """
    room = column * layers + 2 * (LEFT - 0.05)  # the label stands below the middle, and may reach into the margins
    if names is None:
        ticks = round_ticks(1, layers, layers * column / 0.35)
        return LayerTicks(ticks, [str(n) for n in ticks], "layer", 0.0, room)
    texts, label = layer_texts(names)
    longest = max(map(len, texts))
    upright = longest > 3 and longest * 0.07 > 0.9 * column
    step = math.ceil((0.13 if upright else 0.1 + 0.07 * longest) / column)
    ticks = list(range(1, layers + 1, step))
    depth = 0.055 * longest - 0.1 if upright else 0.0
    return LayerTicks(ticks, [texts[n - 1] for n in ticks], label, depth, room)


def layer_texts(names: Sequence[str]) -> tuple[list[str], str]:
    """Names without the parts that all names share, and a label for the axis that has the shared parts.

    Example:
        >>> layer_texts(["layers.0.relu", "layers.1.relu"])
        (['0', '1'], 'layer: layers.*.relu')
    """
    parts = [plain(name, 2000).split(".") for name in names]
    spare = min(map(len, parts)) - 1 if len(names) > 1 else 0
    head = _shared(parts, spare)
    tail = _shared([part[::-1] for part in parts], spare - head)
    texts = [shorten(".".join(part[head : len(part) - tail]), 28) for part in parts]
    shared = ".".join([*parts[0][:head], "*", *parts[0][len(parts[0]) - tail :]])
    return texts, f"layer: {shared}" if head + tail else "layer"


def _shared(parts: Sequence[Sequence[str]], most: int) -> int:
    """The number of leading parts that all names share, at most ``most``."""
    same = (len(set(column)) == 1 for column in list(zip(*parts, strict=False))[:most])
    return next((i for i, equal in enumerate(same) if not equal), most)


def spaced(places: Sequence[float], apart: float) -> list[int]:
    """Indices of places whose texts do not collide: the first place, then each that is ``apart`` from the last chosen.

    Example:
        >>> spaced([0.0, 1.0, 2.5, 3.0, 5.0], 2.0)
        [0, 2, 4]
    """
    chosen = [0]
    for index, place in enumerate(places):
        if place - places[chosen[-1]] >= apart:
            chosen.append(index)
    return chosen


def scale_far(axes: Axes, low: float, high: float) -> None:
    """A logarithmic axis of values for numbers that are so large or small that matplotlib's own scaling overflows.

    Args:
        axes: The axes.
        low: The smallest value, at least 1e-300.
        high: The largest value, at most 1e300.
    """
    first, last = math.log10(low), math.log10(high)
    padding = max(1.0, 0.05 * (last - first))
    axes.set_ylim(10 ** (first - min(padding, 5)), 10 ** (last + min(padding, 5)))
    axes.set_yscale("log")
    step = max(1, math.ceil((last - first) / 6))
    places = [10.0**power for power in range(math.floor(first), math.ceil(last) + 1, step)]
    axes.yaxis.set_major_locator(FixedLocator(places))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(power_text))


def power_text(value: float, _: int | None = None) -> str:
    """A power of ten in few characters.

    Example:
        >>> power_text(0.01), power_text(1000.0), power_text(1e12)
        ('0.01', '1000', '1e12')
    """
    power = round(math.log10(abs(value))) if value else 0
    text = f"{abs(value):g}" if -3 < power < 4 else f"1e{power}"
    return f"\N{MINUS SIGN}{text}" if value < 0 else text
