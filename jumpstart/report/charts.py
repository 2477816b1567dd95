"""Charts as SVG: curves and stacked shares. They are drawn in Python, so that they print and need no script."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from jumpstart.literal import html_text, isolated, visible
from jumpstart.palette import LABELS
from jumpstart.plots.arrays import drawable
from jumpstart.status.codes import Status
from jumpstart.words import percent, shorten

Floats = npt.NDArray[np.float64]
Curves = Mapping[str, tuple[Floats, Floats]]

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 34
_COLORS = 6
"""Colors of curves in the style sheet. Dashes distinguish further curves."""
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_MOST_POINTS = 500
"""Points of a curve that are drawn."""


def curves_svg(title: str, curves: Curves, *, shares: bool = False, level: tuple[str, float] | None = None) -> str:
    """A chart with one line per curve; empty if no curve has a point.

    Args:
        title: The title of the chart.
        curves: The epochs and the values of each curve by its name. All are finite.
        shares: Whether the values are shares: the axis then reads from 0 % to 100 %.
        level: The name and the height of a horizontal line, such as the accuracy of chance.
    """
    curves = {name: (_epochs(x), y) for name, (x, y) in curves.items() if len(x)}
    if not curves:
        return ""
    values = drawable(np.concatenate([y for _, y in curves.values()]))
    log = not shares and values.min() > 0 and math.log10(values.max()) - math.log10(values.min()) > math.log10(200)
    low, high = (0.0, 1.0) if shares else _limits(values, log)
    first = min(float(x[0]) for x, _ in curves.values())
    last = max(float(x[-1]) for x, _ in curves.values())
    frame = _Frame(first, last, low, high, log)
    parts, keys = [frame.axes(shares)], []
    if level is not None:
        y = frame.y(np.array([level[1]]))[0]
        parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        keys.append(_key('class="level"', level[0], _value(level[1], shares)))
    for index, (name, (x, y)) in enumerate(curves.items()):
        dash = _DASHES[index // _COLORS % len(_DASHES)]
        look = f'class="line c{index % _COLORS}"' + (f' stroke-dasharray="{dash}"' if dash else "")
        parts.append(_curve(frame, x, y, look, index % _COLORS))
        keys.append(_key(look, shorten(visible(name), 40), _value(float(y[-1]), shares)))
    alt = f"{title} from epoch {first:,.0f} to {last:,.0f}. " + " ".join(
        f"{isolated(name)}: {_value(float(y[0]), shares)} in the first, {_value(float(y[-1]), shares)} in the last."
        for name, (_, y) in curves.items()
    )
    return _figure(title + (" (logarithmic)" if log else ""), alt, "".join(parts), keys, frame)


def _curve(frame: _Frame, x: Floats, y: Floats, look: str, color: int) -> str:
    """A line, or a dot for a single point."""
    x, y = _thin(x, drawable(y))
    places = list(zip(frame.x(x), frame.y(y), strict=True))
    if len(places) == 1:
        ((across, down),) = places
        return f'<circle class="dot c{color}" cx="{across:.1f}" cy="{down:.1f}" r="4"/>'
    return f'<polyline {look} points="{_place_text(places)}"/>'


def shares_svg(title: str, epochs: Floats, shares: Mapping[Status, Floats]) -> str:
    """A chart of the shares of the three statuses, stacked with dead at the bottom; empty without epochs.

    Args:
        title: The title of the chart.
        epochs: (E,) epoch numbers.
        shares: (E,) shares of each status, whose sum is 1 in every epoch.
    """
    if not len(epochs):
        return ""
    x = _epochs(epochs)
    stack = np.cumsum([np.zeros_like(x), *(shares[code] for code in Status)], axis=0)
    if len(x) == 1:
        x, stack = np.array([x[0] - 0.5, x[0] + 0.5]), np.repeat(stack, 2, axis=1)
    elif len(x) > _MOST_POINTS:
        keep = np.unique(np.linspace(0, len(x) - 1, _MOST_POINTS).round().astype(int))
        x, stack = x[keep], stack[:, keep]
    frame = _Frame(float(x[0]), float(x[-1]), 0.0, 1.0, False)
    across = frame.x(x)
    areas, keys = [], []
    for index, code in enumerate(Status):
        low, high = frame.y(stack[index]), frame.y(stack[index + 1])
        edge = [*zip(across, low, strict=True), *reversed(list(zip(across, high, strict=True)))]
        look = f'class="area {code.name.lower()}"'
        areas.append(f'<polygon {look} points="{_place_text(edge)}"/>')
        keys.append(_key(look, LABELS[code], percent(float(shares[code][-1])), area=True))
    words = ", ".join(
        f"{LABELS[code]} {percent(float(shares[code][0]))} in the first, {percent(float(shares[code][-1]))} in the last"
        for code in Status
    )
    alt = f"{title} from epoch {epochs[0]:,.0f} to {epochs[-1]:,.0f}: {words}."
    return _figure(title, alt, "".join(areas) + frame.axes(True), keys, frame)


def _place_text(places: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{across:.1f},{down:.1f}" for across, down in places)


class _Frame:
    """The plotting area of a chart, which maps epochs and values to places in the drawing."""

    def __init__(self, first: float, last: float, low: float, high: float, log: bool) -> None:
        if last <= first:
            first, last = first - 0.5, last + 0.5
        self.first, self.last, self.low, self.high, self.log = first, last, low, high, log

    def x(self, values: Floats) -> Floats:
        return np.asarray(LEFT + (values - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT))

    def y(self, values: Floats) -> Floats:
        low, high = self.low, self.high
        if self.log:
            values, low, high = np.log10(np.maximum(values, low)), math.log10(low), math.log10(high)
        return np.asarray(HEIGHT - BOTTOM - (values - low) / (high - low) * (HEIGHT - TOP - BOTTOM))

    def axes(self, shares: bool) -> str:
        """Grid lines, labels of both axes, and the base line."""
        base, middle = HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) / 2
        return "".join(
            [
                *(self._height_mark(value, shares) for value in self._heights(shares)),
                *(
                    self._epoch_mark(value)
                    for value in _ticks(self.first, self.last, 7)
                    if self.first <= value <= self.last and value == int(value)
                ),
                f'<text class="tick" x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">epoch</text>',
                f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>',
            ]
        )

    def _heights(self, shares: bool) -> list[float]:
        if shares:
            return [0.0, 0.25, 0.5, 0.75, 1.0]
        if self.log:
            return _powers(self.low, self.high)
        return [value for value in _ticks(self.low, self.high, 6) if self.low <= value <= self.high]

    def _height_mark(self, value: float, shares: bool) -> str:
        y = float(self.y(np.array([value]))[0])
        text = f"{100 * value:.0f} %" if shares else f"{value:.6g}"
        return (
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        )

    def _epoch_mark(self, value: float) -> str:
        x = float(self.x(np.array([value]))[0])
        return f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{value:.0f}</text>'


def _figure(title: str, alt: str, content: str, keys: Sequence[str], frame: _Frame) -> str:
    place = f'data-first="{frame.first}" data-last="{frame.last}" data-left="{LEFT}" data-right="{WIDTH - RIGHT}"'
    cursor = f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}" x1="-9" x2="-9" {place}/>'
    return (
        f"<figure><figcaption>{html_text(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html_text(alt)}">{content}{cursor}</svg>'
        f'<ul class="keys">{"".join(keys)}</ul></figure>'
    )


def _key(look: str, name: str, value: str, area: bool = False) -> str:
    shape = f'<rect {look} width="14" height="12"/>' if area else f'<line {look} x1="0" x2="22" y1="6" y2="6"/>'
    width = 14 if area else 22
    icon = f'<svg class="key" width="{width}" height="12" aria-hidden="true">{shape}</svg>'
    return f"<li>{icon}{html_text(isolated(name))} <b>{html_text(value)}</b></li>"


def _value(value: float, shares: bool) -> str:
    return percent(value) if shares else f"{value:.4g}"


def _limits(values: Floats, log: bool) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if log:
        return max(low, 1e-300) / 1.3, high * 1.3
    if low >= 0 and low < 0.5 * high:
        low = 0.0
    gap = high - low
    if gap <= max(1e-9 * abs(high), 1e-290):  # equal, up to rounding
        gap = max(abs(high), 1e-3)
    return (low if low == 0 else low - 0.05 * gap), high + 0.05 * gap


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most about ``most``."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if (high - low) / (factor * power) <= most)
    return [float(f"{n * step:.12g}") for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _powers(low: float, high: float) -> list[float]:
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    step = max(1, math.ceil(len(powers) / 6))
    return [10.0**power for power in powers[::step]]


def _epochs(numbers: Floats) -> Floats:
    """Epochs within the range that a chart can show; a damaged file may hold any number."""
    return np.clip(np.asarray(numbers, dtype=np.float64), -(2.0**50), 2.0**50)


def _thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Fewer points of a long curve: the lowest and the highest of each stretch, so that every peak remains."""
    if len(x) <= _MOST_POINTS:
        return x, y
    edges = np.linspace(0, len(x), _MOST_POINTS // 2 + 1).round().astype(int)
    keep = {0, len(x) - 1}
    for start, end in itertools.pairwise(edges):
        keep |= {start + int(y[start:end].argmin()), start + int(y[start:end].argmax())}
    order = sorted(keep)
    return x[order], y[order]
