"""Plots of runs: boxes and violins of groups of runs, and two values of each run against one another."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypedDict, cast

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jumpstart.palette import CURVE_COLORS
from jumpstart.plots import canvas, headings
from jumpstart.plots.arrays import Floats, drawable, numbers
from jumpstart.plots.texts import label_ticks, literal, plain, set_names

_LONGEST = 40
"""The most signs of a name beside an axis."""
_SEPARATE = 0.33
"""Height of a box or a violin with the space around it, in inches."""
_MARKERS = "osD^vP"
_FAR = 1e100
"""The largest values of which a density is estimated, whose squares are finite; violins end there."""


@canvas.style()
def plot_box(
    groups: Mapping[Hashable, npt.ArrayLike],
    title: str | None = None,
    *,
    label: str = "",
    ax: Axes | None = None,
) -> Figure:
    """The values of groups of runs as boxes, with every run as a point.

    A box reaches from the first to the third quartile, with a line at the median; its whiskers end at the last values
    within 1.5 times the height of the box.

    Args:
        groups: The values by the name of the group, such as the test accuracies of the seeds by technique. Values that
            are not finite are left out.
        title: Title of the plot; none by default.
        label: What the values are, such as ``test accuracy``.
        ax: Axes to draw into, such as one of ``plt.subplots()``; by default those of a new figure of fitting size.

    Returns:
        The figure.

    Raises:
        TypeError: If ``groups`` is no mapping, or ``ax`` is no axes.
        ValueError: If there is no group, or a group has no finite value.

    Example:
        >>> plot_box({"baseline": [0.5, 0.5, 0.9], "jumpstart": [0.97, 0.98, 1.0]}, label="test accuracy")
        <Figure size ...
    """
    return _plot_groups(groups, _draw_boxes, title, label, ax)


@canvas.style()
def plot_violin(
    groups: Mapping[Hashable, npt.ArrayLike],
    title: str | None = None,
    *,
    label: str = "",
    ax: Axes | None = None,
) -> Figure:
    """The values of groups of runs as violins: their estimated densities, with every run as a point.

    Args:
        groups: As for :func:`plot_box`.
        title: Title of the plot; none by default.
        label: What the values are, such as ``test accuracy``.
        ax: As for :func:`plot_box`.

    Returns:
        The figure.

    Raises:
        TypeError: As :func:`plot_box`.
        ValueError: As :func:`plot_box`.

    Example:
        >>> plot_violin({"baseline": [0.5, 0.5, 0.9], "jumpstart": [0.97, 0.98, 1.0]})
        <Figure size ...
    """
    return _plot_groups(groups, _draw_violins, title, label, ax)


@canvas.style()
def plot_scatter(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: Sequence[Hashable] | None = None,
    title: str | None = None,
    *,
    x_label: str = "",
    y_label: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Two values of runs against one another, such as the accuracy against the share of dead units.

    Args:
        x: (runs,) values. A run whose values are not both finite is left out.
        y: (runs,) values.
        groups: (runs,) groups, such as techniques, each in a color and a marker of its own; a single group by default.
        title: Title of the plot; none by default.
        x_label: What ``x`` is.
        y_label: What ``y`` is.
        ax: As for :func:`plot_box`.

    Returns:
        The figure.

    Raises:
        TypeError: If ``ax`` is no axes.
        ValueError: If lengths differ, or no run has two finite values.

    Example:
        >>> plot_scatter([0.4, 0.0], [0.5, 1.0], ["baseline", "jumpstart"], x_label="dead units", y_label="accuracy")
        <Figure size ...
    """
    canvas.check_axes(ax)
    across, up = numbers("x", x), numbers("y", y)
    if across.ndim != 1 or across.shape != up.shape:
        raise ValueError(f"x and y must hold one value per run, got {across.shape} and {up.shape}.")
    keep = np.isfinite(across) & np.isfinite(up)
    if not keep.any():
        raise ValueError("x and y must be finite for at least one run, got none.")
    names, group_of = _groups_of(groups, len(across))
    texts = [plain(name, _LONGEST) for name in names]
    right = 0.6 + max(map(len, texts)) * canvas.CHARACTER if groups is not None else canvas.RIGHT
    axes = canvas.axes_for(ax, 5.0, max(3.4, 0.19 * len(texts)), right=right, top=0.4)
    for index in range(len(texts)):
        of_group = keep & (group_of == index)
        axes.scatter(drawable(across[of_group]), drawable(up[of_group]), s=18, linewidths=0, alpha=0.8, **_look(index))
    _finish(axes, title, x_label, y_label, given=ax is not None)
    if groups is not None:
        handles = [Line2D([], [], linestyle="", label=text, **_look(index)) for index, text in enumerate(texts)]
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02)} if ax is None else {"loc": "best"}
        legend = axes.legend(handles=handles, labels=[" "] * len(handles), frameon=False, **place)
        set_names(legend, handles)
    return canvas.figure_of(axes)


def _groups_of(groups: Sequence[Hashable] | None, count: int) -> tuple[list[Hashable], npt.NDArray[np.intp]]:
    """The names of the groups in the order of first appearance, and for each run the index of its group."""
    given = [None] * count if groups is None else list(groups)
    if len(given) != count:
        raise ValueError(f"groups must hold one name per run ({count}), got {len(given)}.")
    names = {name: index for index, name in enumerate(dict.fromkeys(given))}
    return list(names), np.array([names[name] for name in given], dtype=np.intp)


def _look(index: int) -> _Look:
    """Color and marker of the points of a group."""
    turn = index // len(CURVE_COLORS)
    return {"color": CURVE_COLORS[index % len(CURVE_COLORS)], "marker": _MARKERS[turn % len(_MARKERS)]}


class _Look(TypedDict):
    color: str
    marker: str


_Drawer = Callable[[Axes, Sequence[Floats]], None]


def _plot_groups(
    groups: Mapping[Hashable, npt.ArrayLike], draw: _Drawer, title: str | None, label: str, ax: Axes | None
) -> Figure:
    """One line for each group, the first on top."""
    canvas.check_axes(ax)
    values = _finite_groups(groups)
    texts = [plain(name, _LONGEST) for name in groups]
    left = 0.4 + max(map(len, texts)) * canvas.CHARACTER
    axes = canvas.axes_for(ax, 5.5, max(1.0, _SEPARATE * len(values)), left=left, top=0.4)
    draw(axes, values)
    for index, (runs, color) in enumerate(zip(values, _colors(len(values)), strict=True)):
        axes.plot(runs, index + _offsets(len(runs)), "o", color=color, markersize=3, alpha=0.7, markeredgewidth=0)
    label_ticks(axes.yaxis, range(len(texts)), texts)
    axes.set_ylim(len(texts) - 0.4, -0.6)
    _finish(axes, title, label, "", given=ax is not None)
    return canvas.figure_of(axes)


def _finite_groups(groups: object) -> list[Floats]:
    if not isinstance(groups, Mapping):
        raise TypeError(f"groups must be a mapping from names to values, got {type(groups).__name__}.")
    if not groups:
        raise ValueError("groups must hold at least one group, got none.")
    kept = []
    for name, values in groups.items():
        runs = numbers(f"groups[{name!r}]", values).ravel()
        runs = drawable(runs[np.isfinite(runs)])
        if not len(runs):
            raise ValueError(f"groups[{name!r}] must have a finite value, got none.")
        kept.append(runs)
    return kept


def _draw_boxes(axes: Axes, values: Sequence[Floats]) -> None:
    line = {"color": "#444444", "linewidth": 0.9}
    drawn = axes.boxplot(
        values, positions=range(len(values)), orientation="horizontal", widths=0.55, showfliers=False,
        patch_artist=True, boxprops={"edgecolor": "#444444", "linewidth": 0.9}, whiskerprops=line, capprops=line,
        medianprops={"color": "#111111", "linewidth": 1.6}, manage_ticks=False,
    )  # fmt: skip
    for box, color in zip(drawn["boxes"], _colors(len(values)), strict=True):
        box.set_facecolor((color, 0.3))


def _draw_violins(axes: Axes, values: Sequence[Floats]) -> None:
    near = [np.clip(runs, -_FAR, _FAR) for runs in values]
    drawn = axes.violinplot(
        near, positions=range(len(values)), orientation="horizontal", widths=0.8, showextrema=False, showmedians=True
    )
    bodies = cast("list[Collection]", drawn["bodies"])
    for body, color in zip(bodies, _colors(len(values)), strict=True):
        body.set(facecolor=(color, 0.3), edgecolor="#444444", linewidth=0.9, alpha=None)
    drawn["cmedians"].set(color="#111111", linewidth=1.6)


def _colors(count: int) -> list[str]:
    return [CURVE_COLORS[index % len(CURVE_COLORS)] for index in range(count)]


def _offsets(count: int) -> Floats:
    """Places of the points of a group across its line, so that equal values stay apart; the same in every plot."""
    return 0.3 * ((np.arange(count, dtype=np.float64) * 0.618034 + 0.5) % 1 - 0.5)


def _finish(axes: Axes, title: str | None, x_label: str, y_label: str, *, given: bool) -> None:
    """Labels, grid and title."""
    literal(axes.set_xlabel(plain(x_label)), axes.set_ylabel(plain(y_label)))
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    headings.name_plot(axes, title, given=given)
