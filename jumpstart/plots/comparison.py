"""Plots that compare settings and techniques: heat maps of two options, and critical differences of mean ranks."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jumpstart.palette import CURVE_COLORS
from jumpstart.plots import canvas, headings
from jumpstart.plots.arrays import Floats, drawable, numbers
from jumpstart.plots.texts import label_ticks, literal, plain
from jumpstart.plots.ticks import spaced

_LONGEST = 40
"""The most signs of a name beside an axis."""
_COLORMAP = "cividis"
"""Colors of heat maps: the lightness grows with the value, for every kind of color vision and without color."""
_CELL = 0.52, 0.32
"""Width and height of a cell of a heat map, in inches."""
_MOST = 9.0, 6.0
"""Largest width and height of a heat map, in inches."""
_LEVEL = 0.22
"""Height of a line of a diagram of critical differences, in inches."""


@canvas.style()
def plot_heat_map(
    values: npt.ArrayLike,
    rows: Sequence[object],
    columns: Sequence[object],
    title: str | None = None,
    *,
    row_label: str = "",
    column_label: str = "",
    label: str = "",
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """The values of two options as a map, such as the accuracy by depth and width. Cells without a value stay white.

    Args:
        values: (rows, columns) values, such as a table of ``DataFrame.pivot_table``. Values that are not finite are
            gaps.
        rows: The value of the first option in each row, from top to bottom.
        columns: The value of the second option in each column, from left to right.
        title: Title of the plot; none by default.
        row_label: The name of the first option.
        column_label: The name of the second option.
        label: What the values are, such as ``test accuracy``.
        limits: The values of the darkest and the lightest color; by default the smallest and the largest value.
        ax: Axes to draw into, such as one of ``plt.subplots()``; by default those of a new figure of fitting size.

    Returns:
        The figure. Where the cells are large enough, each has its value.

    Raises:
        TypeError: If ``ax`` is no axes.
        ValueError: If ``values`` is not a table of numbers with one name per row and column, none is finite, or the
            limits are not two increasing numbers.

    Example:
        >>> plot_heat_map([[1.0, 0.9], [0.5, 1.0]], [10, 50], [4, 8], row_label="depth", column_label="width")
        <Figure size ...
    """
    canvas.check_axes(ax)
    table = _checked_table(values, rows, columns)
    low, high = _checked_limits(limits, table)
    row_texts, column_texts = ([plain(name, _LONGEST) for name in names] for names in (rows, columns))
    width, height = (
        min(most, max(1.2, cell * count)) for most, cell, count in zip(_MOST, _CELL, table.shape[::-1], strict=True)
    )
    left = 0.55 + max(map(len, row_texts)) * canvas.CHARACTER
    depth = _depth(column_texts, width)
    axes = canvas.axes_for(ax, width, height, left=left, right=0.95, top=0.4, bottom=canvas.BOTTOM + depth)
    colors = matplotlib.colormaps[_COLORMAP].with_extremes(bad="white")
    image = axes.imshow(np.ma.masked_invalid(table), aspect="auto", cmap=colors, vmin=low, vmax=high)
    _write_values(axes, table, low, high)
    _name_cells(axes, row_texts, column_texts, turned=depth > 0)
    literal(axes.set_xlabel(plain(column_label)), axes.set_ylabel(plain(row_label)))
    bar = canvas.figure_of(axes).colorbar(image, cax=axes.inset_axes((1.02, 0.0, min(0.04, 0.12 / width), 1.0)))
    literal(bar.ax.set_ylabel(plain(label)))
    bar.outline.set_visible(False)
    headings.name_plot(axes, title, given=ax is not None)
    return canvas.figure_of(axes)


def _checked_table(values: npt.ArrayLike, rows: Sequence[object], columns: Sequence[object]) -> Floats:
    table = numbers("values", values)
    shape = len(rows), len(columns)
    if table.ndim != 2 or table.shape != shape or not table.size:
        raise ValueError(f"values must have one row for each of rows and columns ({shape}), got {table.shape}.")
    if not np.isfinite(table).any():
        raise ValueError("values must have a finite value, got none.")
    return np.where(np.isfinite(table), drawable(table), np.nan)


def _checked_limits(limits: tuple[float, float] | None, table: Floats) -> tuple[float, float]:
    if limits is None:
        low, high = float(np.nanmin(table)), float(np.nanmax(table))
        return (low, high) if low < high else (low - 0.5, high + 0.5)
    bounds = numbers("limits", limits)
    if bounds.shape != (2,) or not np.isfinite(bounds).all() or bounds[0] >= bounds[1]:
        raise ValueError(f"limits must be two increasing numbers, got {limits!r}.")
    return float(bounds[0]), float(bounds[1])


def _depth(texts: Sequence[str], width: float) -> float:
    """The height that names below the columns need: 0 if they fit beside one another, else their length, turned."""
    longest = max(map(len, texts))
    return 0.0 if (longest + 1) * canvas.CHARACTER <= width / len(texts) else longest * canvas.CHARACTER


def _name_cells(axes: Axes, rows: Sequence[str], columns: Sequence[str], *, turned: bool) -> None:
    """Write the names of rows and columns, where there is room."""
    width, height = canvas.size_of(axes)
    for axis, texts, size in ((axes.yaxis, rows, height), (axes.xaxis, columns, width)):
        apart = 0.14 * len(texts) / size
        fits = axis is axes.xaxis and not turned
        named = range(len(texts)) if fits else spaced(range(len(texts)), apart)
        label_ticks(axis, list(named), [texts[n] for n in named])
    axes.tick_params(length=2.5, width=0.8)
    if turned:
        axes.tick_params(axis="x", labelrotation=90)


def _write_values(axes: Axes, table: Floats, low: float, high: float) -> None:
    """Write the value of each cell that has one, if the cells are large enough."""
    width, height = canvas.size_of(axes)
    spec = _spec(float(np.nanmax(np.abs(table))))
    texts = {place: format(value, spec) for place, value in np.ndenumerate(table) if np.isfinite(value)}
    longest = max(map(len, texts.values()))
    if width / table.shape[1] < (longest + 1) * canvas.CHARACTER * 0.8 or height / table.shape[0] < 0.15:
        return
    for (row, column), text in texts.items():
        dark = table[row, column] < (low + high) / 2
        axes.text(column, row, text, ha="center", va="center", size=7.5, color="white" if dark else "#111111")


def _spec(largest: float) -> str:
    """The format of all values, which have the same decimals: three significant digits of the largest."""
    return f".{max(0, 2 - math.floor(math.log10(largest)))}f" if 1e-3 <= largest < 1e5 else ".2g"


@canvas.style()
def plot_critical_difference(
    ranks: Mapping[Hashable, float],
    p_values: npt.ArrayLike,
    alpha: float = 0.05,
    title: str | None = None,
    *,
    ax: Axes | None = None,
) -> Figure:
    """The mean ranks of techniques on a line, and bars that join the techniques without a significant difference.

    Args:
        ranks: The mean rank of each technique over the data sets, such as ``mean`` of
            :class:`~jumpstart.table.Ranks`.
        p_values: (techniques, techniques) p-values of the comparison of each pair, in the order of ``ranks``, such as
            ``pairs`` of :class:`~jumpstart.table.Ranks`.
        alpha: The level of significance.
        title: Title of the plot; none by default.
        ax: Axes to draw into, such as one of ``plt.subplots()``; by default those of a new figure of fitting size.

    Returns:
        The figure.

    Raises:
        TypeError: If ``ranks`` is no mapping, or ``ax`` is no axes.
        ValueError: If there are fewer than two techniques, a rank or a p-value is no finite number, or ``p_values`` is
            not symmetric with one row for each technique.
        ImportError: If scikit-posthocs, of the extra ``ranks``, is not installed.

    Source:
        J. Demšar, *Statistical Comparisons of Classifiers over Multiple Data Sets*, JMLR 7, 2006.

    Example:
        >>> ranks = {"jumpstart": 1.2, "skip": 2.0, "baseline": 2.8}
        >>> plot_critical_difference(ranks, [[1.0, 0.2, 0.01], [0.2, 1.0, 0.2], [0.01, 0.2, 1.0]])
        <Figure size ...
    """
    canvas.check_axes(ax)
    places, pairs = _checked_ranks(ranks, p_values)
    import pandas as pd
    from scikit_posthocs import critical_difference_diagram

    texts = [f"{plain(name, _LONGEST)}  ({place:.2f})" for name, place in zip(ranks, places, strict=True)]
    side = 0.3 + max(map(len, texts)) * canvas.CHARACTER
    height = _LEVEL * (len(texts) + 3)
    axes = canvas.axes_for(ax, 5.0, height, left=side, right=side, top=0.85, bottom=0.1)
    # The names are written below, sign by sign: the library is given numbers.
    drawn = critical_difference_diagram(
        pd.Series(places),
        pd.DataFrame(pairs),
        ax=axes,
        alpha=alpha,
        color_palette={n: CURVE_COLORS[n % len(CURVE_COLORS)] for n in range(len(texts))},
        label_fmt_left="{label}",
        label_fmt_right="{label}",
        crossbar_props={"color": "#222222", "linewidth": 3.0},
        elbow_props={"linewidth": 1.2},
        marker_props={"clip_on": False},
        text_h_margin=0.02 * float(np.ptp(places)),
    )
    for label in drawn["labels"]:
        label.set(text=texts[int(label.get_text())], color="#222222")
        literal(label)
    axes.set_ylim(top=0.0)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("mean rank", labelpad=6)
    headings.name_plot(axes, title, given=ax is not None)
    return canvas.figure_of(axes)


def _checked_ranks(ranks: object, p_values: npt.ArrayLike) -> tuple[Floats, Floats]:
    if not isinstance(ranks, Mapping):
        raise TypeError(f"ranks must be a mapping from names to mean ranks, got {type(ranks).__name__}.")
    places, pairs = numbers("ranks", list(ranks.values())), numbers("p_values", p_values)
    if len(places) < 2 or not np.isfinite(places).all():
        raise ValueError(
            f"ranks must hold a finite mean rank of at least 2 techniques, got {list(ranks.values())!r:.60}."
        )
    shape = len(places), len(places)
    if pairs.shape != shape:
        raise ValueError(f"p_values must have one row and column for each technique {shape}, got {pairs.shape}.")
    if not np.isfinite(pairs).all() or not np.array_equal(pairs, pairs.T):
        raise ValueError("p_values must be finite and symmetric.")
    return places, pairs
