"""Titles and legends above the axes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.text import Text

from jumpstart.palette import COLORS, LABELS
from jumpstart.plots.canvas import CHARACTER, figure_of, size_of
from jumpstart.plots.texts import literal, plain, set_names
from jumpstart.status.codes import Status
from jumpstart.words import percent

_LOOK = {
    "frameon": False, "borderpad": 0, "borderaxespad": 0, "handlelength": 1.0, "handleheight": 1.0,
    "columnspacing": 1.6,
}  # fmt: skip


def count_labels(counts: npt.NDArray[np.int64]) -> dict[Status, str]:
    """Legend entries with counts and shares, such as ``dead 17 (8.5 %)``."""
    total = counts.sum()
    return {s: f"{LABELS[s]} {counts[s]:,} ({percent(counts[s] / total)})" for s in Status}


def heading_width(title: str, labels: Iterable[str]) -> float:
    """The width in inches that a title and the legend below it need."""
    return max(len(plain(title)) * 1.15, sum(len(label) + 5 for label in labels)) * CHARACTER


def add_title(axes: Axes, title: str) -> Text:
    """Write the title of a figure of its own, flush left with the axes."""
    figure = figure_of(axes)
    height = figure.get_size_inches()[1]
    place = axes.get_position().x0, 1 - 0.1 / height
    text = figure.text(*place, plain(title), size=10, weight="bold", va="top", color="#222222")
    literal(text)
    return text


def name_plot(axes: Axes, title: str | None, *, given: bool) -> None:
    """Write the title of a plot without a legend above it, if there is one.

    Args:
        axes: The axes.
        title: The title, or None.
        given: Whether the axes are the user's: the title is then a part of the axes.
    """
    if title and not given:
        add_title(axes, title)
    elif title:
        literal(axes.set_title(plain(title), loc="left", size=10, weight="bold", color="#222222"))


def status_handles(labels: Mapping[Status, str]) -> list[Artist]:
    """The entries of a legend of the status colors with these texts."""
    return [Patch(color=COLORS[code], label=label) for code, label in labels.items()]


def add_heading(
    axes: Axes, title: str, *lines: Sequence[Artist], given: bool = False, columns: int | None = None
) -> None:
    """Write the title and, below it, the legends.

    Args:
        axes: The axes.
        title: The title.
        lines: The artists that each line of the legend explains.
        given: Whether the axes are the user's: the heading is then a part of the axes, for the layout of the figure.
        columns: Entries per line of the legend; all in one line by default.
    """
    if given:
        _add_to_axes(axes, title, list(itertools.chain(*lines)))
        return
    add_title(axes, title)
    for line, handles in enumerate(lines):
        _add_legend(axes, handles, line, columns)


def _add_legend(axes: Axes, handles: Sequence[Artist], line: int, columns: int | None) -> None:
    figure = figure_of(axes)
    height = figure.get_size_inches()[1]
    legend = figure.legend(
        handles=handles,
        labels=[" "] * len(handles),
        loc="upper left",
        bbox_to_anchor=(axes.get_position().x0, 1 - (0.34 + 0.22 * line) / height),
        ncols=columns or len(handles),
        **_LOOK,
    )
    set_names(legend, handles)


def _add_to_axes(axes: Axes, title: str, handles: Sequence[Artist]) -> None:
    """Write title and legend above the user's axes, with as many entries in a line as fit."""
    width = sum(len(str(handle.get_label())) + 5 for handle in handles) * CHARACTER
    columns = min(len(handles), max(1, int(size_of(axes)[0] / width * len(handles))))
    legend = axes.legend(
        handles=handles,
        labels=[" "] * len(handles),
        loc="lower left",
        bbox_to_anchor=(0, 1.02),
        ncols=columns,
        **_LOOK,
    )
    set_names(legend, handles)
    lines = -(-len(handles) // columns)
    literal(axes.set_title(plain(title), loc="left", size=10, weight="bold", color="#222222", pad=8 + 15 * lines))
