"""The plane through the eyes of a network: decision regions, linear regions, and both over training."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.animation import PillowWriter
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jumpstart.files import atomic_path
from jumpstart.palette import CLASS_COLORS
from jumpstart.plots import canvas
from jumpstart.plots.arrays import array
from jumpstart.regions.grid import Regions
from jumpstart.words import counted, shorten

_SIDE = 450
_LINE = np.array([40.0, 40.0, 40.0])
_EDGE = "#111111"  # darker than every class, so that points show on their own region too
_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "p")
_PALEST, _STRONGEST = 0.2, 0.6


@canvas.style()
def plot_decision_regions(
    regions: Regions,
    points: npt.ArrayLike | None = None,
    labels: npt.ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """The class that a network gives to every place of the plane, and its linear regions.

    The paler a color, the less sure the network is. Thin lines part places where other hidden units are positive:
    between them a network of ReLUs is affine. Points have the color and the shape of their own class.

    Args:
        regions: Arrays on a grid, as :func:`jumpstart.regions.find_regions` takes them from a model.
        points: (P, 2) points; those outside the grid are left out.
        labels: (P,) classes 0, 1, ... of the points.
        class_names: Names of the classes; their numbers by default.
        title: Instead of the number of linear regions.

    Raises:
        ValueError: If shapes do not fit together, or there are more than ten classes.

    Example:
        >>> regions = Regions([0, 1], [0, 1], classes=[[0, 0], [0, 1]], patterns=[[0, 0], [0, 1]])
        >>> plot_decision_regions(regions, points=[[0.5, 0.5]], labels=[1])
        <Figure size ...
    """
    return _draw(regions, *_checked([regions], points, labels, class_names), title=title)


@canvas.style()
def animate_decision_regions(
    frames: Sequence[tuple[int, Regions]],
    path: str | os.PathLike[str],
    points: npt.ArrayLike | None = None,
    labels: npt.ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    fps: float = 8.0,
) -> Path:
    """Write decision regions over training as an animated GIF, which stays on its last frame for a second.

    It is written under a temporary name first, so that the file is whole at any moment. Writing takes about 1 MB of
    memory a frame.

    Args:
        frames: (epoch, regions) in the order of training, as :class:`jumpstart.regions.DecisionRegions` collects them.
        path: Ends in ``.gif``; missing folders are made.
        points: As for :func:`plot_decision_regions`.
        labels: As for :func:`plot_decision_regions`.
        class_names: As for :func:`plot_decision_regions`.
        fps: Frames a second, above 0 and at most 50.

    Returns:
        The path.

    Raises:
        ValueError: If there is no frame, the path does not end in ``.gif``, and as for :func:`plot_decision_regions`.
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise ValueError(f"path must end in .gif, got {path.name!r}.")
    if not frames:
        raise ValueError("frames must hold at least one (epoch, regions), got none.")
    if not 0 < fps <= 50:
        raise ValueError(f"fps must be above 0 and at most 50 (what a GIF can do), got {fps}.")
    checked = _checked([regions for _, regions in frames], points, labels, class_names)
    _, first = frames[0]
    figure = _draw(first, *checked, title=" ")
    image, text = figure.axes[0].get_images()[0], figure.texts[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = PillowWriter(fps=fps)  # type: ignore[arg-type]
    with atomic_path(path) as draft:
        writer.setup(figure, draft, dpi=canvas.DPI)
        for epoch, regions in frames:
            image.set_data(_pixels(regions))
            text.set_text(f"Epoch {epoch:,}: {_title(regions)}")
            writer.grab_frame(facecolor="white")
        for _ in range(round(fps)):
            writer.grab_frame(facecolor="white")
        writer.finish()
    return path


_Checked = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64] | None, list[str]]


def _checked(regions: Sequence[Regions], points: Any, labels: Any, class_names: Sequence[str] | None) -> _Checked:
    """Points, their classes, and a name for each class that occurs or has a name."""
    for one in regions:
        if not isinstance(one, Regions):
            raise ValueError(f"regions must be a jumpstart.regions.Regions, got {type(one).__name__}.")
        if not (
            np.array_equal(one.x[[0, -1]], regions[0].x[[0, -1]])
            and np.array_equal(one.y[[0, -1]], regions[0].y[[0, -1]])
        ):
            raise ValueError("frames must all be of one grid.")
    places = np.zeros((0, 2)) if points is None else array(points).astype(np.float64)
    if places.ndim != 2 or places.shape[1] != 2:
        raise ValueError(f"points must be (P, 2) numbers, got {places.shape}.")
    of_points = None if labels is None else array(labels)
    if of_points is not None:
        if of_points.shape != (len(places),):
            raise ValueError(f"labels must hold one class per point ({len(places)}), got {of_points.shape}.")
        if not np.issubdtype(of_points.dtype, np.integer) or (of_points < 0).any():
            raise ValueError("labels must be whole numbers >= 0: those of the network's outputs.")
    used = max(int(one.classes.max()) for one in regions) + 1
    if of_points is not None and of_points.size:
        used = max(used, int(of_points.max()) + 1)
    if class_names is not None and len(class_names) < used:
        raise ValueError(f"class_names must name every class ({used}), got {len(class_names)}.")
    names = [str(n) for n in range(max(used, 2))] if class_names is None else list(class_names)
    if len(names) > len(CLASS_COLORS):
        raise ValueError(f"at most {len(CLASS_COLORS)} classes can be told apart by color, got {len(names)}.")
    return places, of_points, names


def _draw(
    regions: Regions,
    points: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64] | None,
    names: list[str],
    title: str | None,
) -> Figure:
    title = title or _title(regions)
    entries = [shorten(name, 14) for name in names]
    side = _SIDE / canvas.DPI
    longest = max(map(len, entries)) + 5
    lines = math.ceil(len(entries) / max(1, math.floor(side / canvas.CHARACTER / longest)))
    columns, extra = math.ceil(len(entries) / lines), 0.2 * (lines - 1)
    figure, axes = canvas.new_axes(side, side, left=0.6, bottom=0.35, top=canvas.TOP + extra)
    steps = [(axis[-1] - axis[0]) / (len(axis) - 1) / 2 for axis in (regions.x, regions.y)]
    extent = (
        regions.x[0] - steps[0], regions.x[-1] + steps[0], regions.y[0] - steps[1], regions.y[-1] + steps[1],
    )  # fmt: skip
    axes.imshow(_pixels(regions), aspect="auto", interpolation="nearest", extent=extent)
    size = 6.0 if len(points) <= 300 else 4.0 if len(points) <= 1500 else 2.0
    for index in range(len(names)) if labels is not None else [None]:
        chosen = points if index is None else points[labels == index]
        axes.add_line(
            Line2D(
                *chosen.T,
                linestyle="",
                marker="o" if index is None else _MARKERS[index],
                markersize=size,
                markerfacecolor="#FFFFFF" if index is None else CLASS_COLORS[index],
                markeredgecolor=_EDGE,
                markeredgewidth=0.7,
            )
        )
    axes.set(xlim=extent[:2], ylim=extent[2:])
    axes.tick_params(length=2.5, width=0.8)
    canvas.add_title(figure, title)
    handles = [
        Line2D([], [], linestyle="", marker=_MARKERS[n], markersize=7, markerfacecolor=CLASS_COLORS[n],
               markeredgecolor=_EDGE, label=name)
        if labels is not None else Patch(color=CLASS_COLORS[n], label=name)
        for n, name in enumerate(entries)
    ]  # fmt: skip
    canvas.add_legend(figure, handles, columns=columns)
    return figure


def _title(regions: Regions) -> str:
    return counted(regions.count, "linear region")


def _pixels(regions: Regions) -> npt.NDArray[np.uint8]:
    """The picture of a grid, one pixel of the figure each: colors of the classes, lines between linear regions."""
    rows, columns = (_nearest(axis) for axis in (regions.y, regions.x))
    cells = np.ix_(rows[::-1], columns)
    classes, patterns = regions.classes[cells], regions.patterns[cells]
    strength: Any = _STRONGEST
    if regions.confidence is not None:
        # What is sure is far above one half, with any number of classes.
        sure = np.clip(2 * regions.confidence[cells].astype(np.float64) - 1, 0, 1)
        strength = (_PALEST + (_STRONGEST - _PALEST) * sure)[..., None]
    colors = 255 - (255 - canvas.rgb(CLASS_COLORS)[classes].astype(np.float64)) * strength
    for kinds, weight in ((patterns, 0.3), (classes, 0.85)):
        line = np.zeros(kinds.shape, dtype=bool)
        line[:, 1:] |= kinds[:, 1:] != kinds[:, :-1]
        line[1:] |= kinds[1:] != kinds[:-1]
        colors[line] += (_LINE - colors[line]) * weight
    pixels: npt.NDArray[np.uint8] = np.round(colors).astype(np.uint8)
    return pixels


def _nearest(axis: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """For each pixel the index of the nearest of these places."""
    step = (axis[-1] - axis[0]) / (len(axis) - 1) / 2
    low, high = axis[0] - step, axis[-1] + step
    pixels = low + (np.arange(_SIDE) + 0.5) * (high - low) / _SIDE
    nearest: npt.NDArray[np.intp] = np.searchsorted((axis[1:] + axis[:-1]) / 2, pixels, side="right")
    return nearest
