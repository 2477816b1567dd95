"""Titles and legends above the axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text

from jumpstart.palette import COLORS, LABELS
from jumpstart.plots.canvas import CHARACTER
from jumpstart.status.codes import Status
from jumpstart.words import percent


def count_labels(counts: npt.NDArray[np.int64]) -> dict[Status, str]:
    """Legend entries with counts and shares, such as ``dead 17 (8.5 %)``."""
    total = counts.sum()
    return {s: f"{LABELS[s]} {counts[s]:,} ({percent(counts[s] / total)})" for s in Status}


def heading_width(title: str, labels: Iterable[str]) -> float:
    """The width in inches that a title and the legend below it need."""
    return max(len(title) * 1.15, sum(len(label) + 5 for label in labels)) * CHARACTER


def add_title(figure: Figure, title: str) -> Text:
    """Write the title, flush left with the axes."""
    height = figure.get_size_inches()[1]
    place = figure.axes[0].get_position().x0, 1 - 0.1 / height
    return figure.text(*place, title, size=10, weight="bold", va="top", color="#222222")


def add_heading(figure: Figure, title: str, labels: Mapping[Status, str]) -> None:
    """Write the title, and below it the legend of the status colors with these texts."""
    add_title(figure, title)
    add_legend(figure, [Patch(color=COLORS[code], label=label) for code, label in labels.items()])


def add_legend(figure: Figure, handles: Sequence[Artist], line: int = 0, columns: int | None = None) -> None:
    """Draw a legend below the title.

    Args:
        figure: The figure.
        handles: The artists that the legend explains.
        line: The line below the title in which the legend begins, from 0.
        columns: Entries per line; all in one line by default.
    """
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
