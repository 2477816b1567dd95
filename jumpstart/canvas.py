"""What the figures of :mod:`jumpstart.plotting` share: palette, checks, words, axes, the map."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text

from jumpstart.status import Status

COLOURS: dict[Status, str] = {
    Status.DEAD: "#000000",
    Status.LINEAR: "#E69F00",
    Status.NONLINEAR: "#0072B2",
}
LABELS: dict[Status, str] = {
    Status.DEAD: "dead",
    Status.LINEAR: "linear",
    Status.NONLINEAR: "non-linear",
}

# Apart from the status, so that neither a curve nor a class looks like one.
CURVE_COLOURS = ("#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#666666")
CLASS_COLOURS = (
    "#D55E00", "#56B4E9", "#AAFF77", "#6600FF", "#880000", "#777777", "#BB55FF", "#DDBB99", "#661155", "#110077",
)  # fmt: skip

Codes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]

# All sizes are in inches.
DPI = 100
MAP_WIDTH, MAP_HEIGHT = 9.5, 4.5
LEFT, RIGHT, TOP, BOTTOM = 0.75, 0.25, 0.66, 0.52
CHARACTER = 0.078  # of a 9 point font, on average

_SESSION = ("backend", "interactive", "keymap", "toolbar")
_STYLE: dict[Any, Any] = {
    # The user's own matplotlibrc must not change a figure: some are compared pixel by pixel.
    **{k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith(_SESSION)},
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": "#222222",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
}


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures, while one is drawn; what was set before comes back."""
    with matplotlib.rc_context(_STYLE):
        yield


# Input ------------------------------------------------------------------------------------------


def array(values: Any) -> npt.NDArray[Any]:
    """An array of anything, tensors on any device included."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def status_table(status: Any, shape: str = "(rows, layers)") -> Codes:
    """Checked codes of two dimensions."""
    codes = array(status)
    if codes.ndim != 2 or codes.size == 0:
        raise ValueError(f"status must be {shape} with at least one code, got {codes.shape}.")
    return _checked(codes)


def status_per_layer(status: Any) -> list[Codes]:
    """Checked codes of every layer, from a (units, layers) array or a list of layers."""
    if not isinstance(status, list | tuple):
        return list(status_table(status).T)
    layers = [array(layer) for layer in status]
    if not layers:
        raise ValueError("status must hold at least one layer, got none.")
    for number, codes in enumerate(layers, 1):
        if codes.ndim != 1 or codes.size == 0:
            raise ValueError(
                f"status must hold a row of at least one code per layer, got {codes.shape} for layer {number}."
            )
    return [_checked(codes) for codes in layers]


def _checked(codes: npt.NDArray[Any]) -> Codes:
    if np.issubdtype(codes.dtype, np.integer):
        known = (codes >= min(Status)) & (codes <= max(Status))  # the general case takes ten times the memory
    else:
        known = np.isin(codes, [int(code) for code in Status])
    if not known.all():
        raise ValueError(f"status must hold the codes 0, 1 and 2, got {codes[~known][0]}.")
    return codes.astype(np.int8, copy=False)


def classes_of(labels: Any, points: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """The classes in order, and the number of its class for every point."""
    values = np.zeros(points, dtype=np.int8) if labels is None else array(labels)
    if values.shape != (points,):
        raise ValueError(f"labels must hold one class per point ({points}), got {values.shape}.")
    return np.unique(values, return_inverse=True)


def epoch_axis(epochs: Any) -> Floats:
    """Checked epochs."""
    x = array(epochs).astype(np.float64)
    if x.ndim != 1 or x.size == 0 or not np.isfinite(x).all() or (np.diff(x) <= 0).any():
        raise ValueError("epochs must hold at least one number, in increasing order.")
    return x


def series(name: str, values: Any, x: Floats) -> Floats:
    """Values checked to be one per epoch."""
    y = array(values).astype(np.float64)
    if y.shape != x.shape:
        raise ValueError(f"{name} must have one value per epoch ({len(x)}), got {y.shape}.")
    return y


# Numbers and words ------------------------------------------------------------------------------


def count_status(layers: Iterable[Codes]) -> npt.NDArray[np.int64]:
    """How often each code occurs."""
    counts = np.zeros(len(Status), dtype=np.int64)
    for codes in layers:
        counts += np.bincount(codes, minlength=len(Status))
    return counts


def count_labels(counts: npt.NDArray[np.int64]) -> dict[Status, str]:
    """Legend entries such as ``dead 17 (8.5 %)``."""
    total = counts.sum()
    return {s: f"{LABELS[s]} {counts[s]:,} ({percent(counts[s] / total)})" for s in Status}


def percent(share: float) -> str:
    """A share in words; only none is 0.0 % and only all are 100.0 %."""
    if 0.0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1.0:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def number(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def shorten(text: str, most: int) -> str:
    """Text without its middle where it is too long."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[most // 2 + 1 - most :]}"


def share_column(codes: Codes, lines: int) -> Codes:
    """A column of so many lines, divided by the shares of each status, dead last; what occurs gets at least one."""
    return stacked_shares(count_status([codes])[:, None], lines)[:, 0]


def stacked_shares(counts: npt.NDArray[np.int64], lines: int) -> Codes:
    """The same for many columns at once: (codes, columns) counts to (lines, columns) codes."""
    shares = np.maximum(np.round(counts * lines / counts.sum(axis=0)).astype(int), counts > 0)
    columns = np.arange(counts.shape[1])
    shares[shares.argmax(axis=0), columns] += lines - shares.sum(axis=0)
    ends = np.cumsum(shares[::-1], axis=0)
    codes: Codes = (len(Status) - 1 - (np.arange(lines)[:, None, None] >= ends).sum(axis=1)).astype(np.int8)
    return codes


def round_ticks(first: int, count: int, room: float) -> list[int]:
    """About ``room`` round numbers of the ``count`` that begin with ``first``, which is kept."""
    steps = [factor * 10**power for power in range(9) for factor in (1, 2, 5)]
    if first:
        steps.remove(2)  # 1, 4, 6, ... reads badly
    step = next(step for step in steps if count / step <= max(room, 2))
    return [first, *(n for n in range(0, first + count, step) if n - first >= 0.7 * step)]


# Canvas -----------------------------------------------------------------------------------------


def new_axes(
    width: float, height: float, right: float = RIGHT, bottom: float = BOTTOM, top: float = TOP, left: float = LEFT
) -> tuple[Figure, Axes]:
    """Axes of a size, in a figure as large as they and their margins are."""
    full_width, full_height = (_whole_pixels(size) for size in (left + width + right, bottom + height + top))
    figure = Figure(figsize=(full_width, full_height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    box = (left / full_width, bottom / full_height, width / full_width, height / full_height)
    return figure, figure.add_axes(box)


def _whole_pixels(size: float) -> float:
    """So many inches, or up to a pixel more. One release of matplotlib rounds down what another rounds off."""
    # A little more than whole, since 8.2 inches are 819.9999999999999 pixels.
    return (math.ceil(size * DPI - 1e-6) + 1e-3) / DPI


def head_width(title: str, labels: Iterable[str]) -> float:
    """The width that a title and the legend under it need."""
    return max(len(title) * 1.15, sum(len(label) + 5 for label in labels)) * CHARACTER


def add_title(figure: Figure, title: str) -> Text:
    """The title, where the axes begin."""
    height = figure.get_size_inches()[1]
    place = figure.axes[0].get_position().x0, 1 - 0.1 / height
    return figure.text(*place, title, size=10, weight="bold", va="top", color="#222222")


def add_head(figure: Figure, title: str, labels: Mapping[Status, str]) -> None:
    """The title, and under it the palette with a text for each colour."""
    add_title(figure, title)
    add_legend(figure, [Patch(color=COLOURS[code], label=label) for code, label in labels.items()])


def add_legend(figure: Figure, handles: Sequence[Artist], line: int = 0, columns: int | None = None) -> None:
    """A legend in this line under the title; with columns, in more lines than one."""
    height = figure.get_size_inches()[1]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(figure.axes[0].get_position().x0, 1 - (0.34 + 0.22 * line) / height),
        ncols=columns or len(handles),
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.0,
        handleheight=1.0,
        columnspacing=1.6,
    )


def draw_map(
    image: Codes,
    cell: float,
    rows: int,
    names: Sequence[str] | None,
    title: str,
    labels: Mapping[Status, str],
) -> tuple[Figure, Axes]:
    """Codes as coloured cells over layers.

    Args:
        image: (lines, layers) codes, first line on top; -1 stays white.
        cell: Height of a line.
        rows: What the y axis counts from the top, over all the lines.
        names: Names of the layers.
        title: The title.
        labels: The legend.
    """
    lines, layers = image.shape
    check_names(names, layers)
    across = min(0.45, MAP_WIDTH / layers)
    width, height = across * layers, cell * lines
    ticks, texts, axis_label, depth = layer_ticks(names, layers, across)
    right = max(RIGHT, head_width(title, labels.values()) - width)
    figure, axes = new_axes(width, height, right=right, bottom=BOTTOM + depth)
    draw_codes(axes, image, (0.5, layers + 0.5, rows - 0.5, -0.5))
    gaps: list[list[tuple[float, float]]] = []
    if across * DPI >= 7:
        gaps += [[(n + 0.5, -0.5), (n + 0.5, rows - 0.5)] for n in range(1, layers)]
    if height / rows * DPI >= 7:
        gaps += [[(0.5, n - 0.5), (layers + 0.5, n - 0.5)] for n in range(1, rows)]
    axes.add_collection(LineCollection(gaps, colors="white", linewidths=0.8), autolim=False)
    name_layers(axes, ticks, texts, axis_label, upright=depth > 0)
    axes.spines[:].set_visible(False)
    add_head(figure, title, labels)
    return figure, axes


def draw_codes(axes: Axes, image: Codes, extent: tuple[float, float, float, float]) -> None:
    """(lines, columns) codes in the colours of the status; -1 stays white."""
    pixels = rgb((*COLOURS.values(), "#FFFFFF"))[image]
    axes.imshow(pixels, aspect="auto", interpolation="nearest", extent=extent)


def rgb(colours: Iterable[str]) -> npt.NDArray[np.uint8]:
    """(colours, 3) numbers of colours such as ``#E69F00``."""
    return np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours], dtype=np.uint8)


def name_layers(axes: Axes, ticks: Sequence[int], texts: Sequence[str], label: str, *, upright: bool) -> None:
    """Put the names of :func:`layer_ticks` below the axes."""
    axes.set_xticks(ticks, texts)
    axes.tick_params(length=2.5, width=0.8)
    if upright:
        axes.tick_params(axis="x", labelrotation=90, labelsize=7)
    axes.set_xlabel(label)


def check_names(names: Sequence[str] | None, layers: int) -> None:
    """Refuse a wrong number of names."""
    if names is not None and len(names) != layers:
        raise ValueError(f"layer_names must name every layer ({layers}), got {len(names)}.")


def layer_ticks(names: Sequence[str] | None, layers: int, across: float) -> tuple[list[int], list[str], str, float]:
    """Positions, texts, axis label, and the depth that upright names need below the axes."""
    if names is None:
        ticks = round_ticks(1, layers, layers * across / 0.35)
        return ticks, [str(n) for n in ticks], "layer", 0.0
    texts, label = layer_texts(names)
    longest = max(map(len, texts))
    upright = longest > 3 and longest * 0.07 > 0.9 * across
    step = math.ceil((0.13 if upright else 0.1 + 0.07 * longest) / across)
    ticks = list(range(1, layers + 1, step))
    depth = 0.055 * longest - 0.1 if upright else 0.0
    return ticks, [texts[n - 1] for n in ticks], label, depth


def layer_texts(names: Sequence[str]) -> tuple[list[str], str]:
    """Names without the parts that all share, and a label of the axis that has these."""
    parts = [name.split(".") for name in names]
    spare = min(map(len, parts)) - 1 if len(names) > 1 else 0
    head = _common(parts, spare)
    tail = _common([part[::-1] for part in parts], spare - head)
    texts = [shorten(".".join(part[head : len(part) - tail]), 28) for part in parts]
    shared = ".".join([*parts[0][:head], "*", *parts[0][len(parts[0]) - tail :]])
    return texts, f"layer: {shared}" if head + tail else "layer"


def _common(parts: Sequence[Sequence[str]], most: int) -> int:
    """How many parts, up to ``most``, all names begin with."""
    same = (len(set(column)) == 1 for column in list(zip(*parts, strict=False))[:most])
    return next((i for i, equal in enumerate(same) if not equal), most)
