"""Decision regions and linear regions of a network in the plane, as a plot and as an animation over training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.animation import PillowWriter
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jumpstart.arrays import to_array
from jumpstart.files import UserPath, atomic_path, user_path
from jumpstart.palette import CLASS_COLORS
from jumpstart.plots import canvas, headings
from jumpstart.plots.arrays import Floats
from jumpstart.plots.canvas import rgb
from jumpstart.plots.texts import plain
from jumpstart.regions.grid import Regions
from jumpstart.words import counted

_SIDE = 450
"""Pixels of a side of the plot."""
_LINE = np.array([40.0, 40.0, 40.0])
_EDGE = "#111111"  # darker than every class, so that points are visible on the region of their own class
_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "p")
_PALEST, _STRONGEST = 0.2, 0.6


@canvas.style()
def plot_decision_regions(
    regions: Regions,
    points: npt.ArrayLike | None = None,
    labels: npt.ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    title: str | None = None,
    *,
    ax: Axes | None = None,
) -> Figure:
    """Plot of the class that a network predicts at every place of the plane, and of its linear regions.

    The paler a color, the lower the probability of the class. Thin lines separate places where different hidden units
    are positive: between these lines a network of ReLUs is affine. Points have the color and the marker of their class.

    Args:
        regions: Predicted classes and linear regions on a grid, from :func:`jumpstart.regions.find_regions`.
        points: (P, 2) points; those outside the grid are left out.
        labels: (P,) classes 0, 1, ... of the points.
        class_names: Names of the classes; their numbers by default.
        title: Title of the plot; by default the number of linear regions.
        ax: Axes to draw into, such as one of ``plt.subplots()``; by default those of a new figure of fitting size.

    Returns:
        The figure.

    Raises:
        TypeError: If ``ax`` is no axes.
        ValueError: If shapes do not fit together, or there are more than ten classes.

    Example:
        >>> regions = Regions([0, 1], [0, 1], classes=[[0, 0], [0, 1]], patterns=[[0, 0], [0, 1]])
        >>> plot_decision_regions(regions, points=[[0.5, 0.5]], labels=[1])
        <Figure size ...
    """
    canvas.check_axes(ax)
    checked = _check([regions], points, labels, class_names)
    return canvas.figure_of(_draw(regions, checked, title or _title(regions), ax))


class _Writer(PillowWriter):
    """Writes a GIF that stays on its last frame for another second."""

    _frames: list[Any]  # images of Pillow, which matplotlib requires

    def finish(self) -> None:
        """Write the file. Frames that are repeated instead would each be reduced to 256 colors again."""
        first, *others = self._frames
        pause = int(1000 / self.fps)
        durations = [*(pause for _ in others), round(self.fps) * pause + pause]
        first.save(self.outfile, save_all=True, append_images=others, duration=durations, loop=0)


@canvas.style()
def animate_decision_regions(
    frames: Sequence[tuple[int, Regions]],
    path: UserPath,
    points: npt.ArrayLike | None = None,
    labels: npt.ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    fps: float = 8.0,
) -> Path:
    """Write decision regions over training as an animated GIF, which stays on its last frame for a second.

    The file is written atomically: a reader finds the old file or the new one, never a part of it. Writing takes about
    1 MB of memory per frame.

    Args:
        frames: (epoch, regions) in the order of training, such as ``DecisionRegions.frames``.
        path: Ends in ``.gif``; missing folders are made.
        points: As for :func:`plot_decision_regions`.
        labels: As for :func:`plot_decision_regions`.
        class_names: As for :func:`plot_decision_regions`.
        fps: Frames per second, above 0 and at most 50.

    Returns:
        The path.

    Raises:
        ValueError: If there is no frame, if the path does not end in ``.gif`` or :func:`~jumpstart.files.user_path`
            refuses it, or if :func:`plot_decision_regions` refuses the other arguments.
        OSError: If the file cannot be written.
    """
    path = user_path(path, "path", "file")
    if path.suffix.lower() != ".gif":
        raise ValueError(f"path must end in .gif, got {path.name!r}.")
    if not frames:
        raise ValueError("frames must hold at least one (epoch, regions), got none.")
    if not 0 < fps <= 50:
        raise ValueError(f"fps must be above 0 and at most 50 (what a GIF can do), got {fps}.")
    checked = _check([regions for _, regions in frames], points, labels, class_names)
    _, first = frames[0]
    axes = _draw(first, checked, title=" ")
    figure = canvas.figure_of(axes)
    image, text = axes.get_images()[0], figure.texts[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = _Writer(fps=fps)  # type: ignore[arg-type]
    with atomic_path(path) as draft:
        writer.setup(figure, draft, dpi=canvas.DPI)
        for epoch, regions in frames:
            image.set_data(_pixels(regions))
            text.set_text(f"Epoch {epoch:,}: {_title(regions)}")
            writer.grab_frame(facecolor="white")
        writer.finish()
    return path


@dataclass(frozen=True)
class _Points:
    """The points of a plot, and the names of all classes.

    Attributes:
        places: (P, 2) coordinates.
        labels: (P,) classes, or None.
        names: A name for each class that occurs or has a name.
    """

    places: Floats
    labels: npt.NDArray[np.int64] | None
    names: list[str]


def _check(
    regions: Sequence[Regions],
    points: npt.ArrayLike | None,
    labels: npt.ArrayLike | None,
    class_names: Sequence[str] | None,
) -> _Points:
    """Check that regions share one grid, and that points, labels and names fit together."""
    for one in regions:
        if not isinstance(one, Regions):
            raise ValueError(f"regions must be a jumpstart.regions.Regions, got {type(one).__name__}.")
        if not all(
            np.array_equal(axis[[0, -1]], first[[0, -1]])
            for axis, first in ((one.x, regions[0].x), (one.y, regions[0].y))
        ):
            raise ValueError("frames must all be of one grid.")
    places = np.zeros((0, 2)) if points is None else to_array(points).astype(np.float64)
    if places.ndim != 2 or places.shape[1] != 2:
        raise ValueError(f"points must be (P, 2) numbers, got {places.shape}.")
    classes = None if labels is None else _check_labels(labels, len(places))
    used = max(int(one.classes.max()) for one in regions) + 1
    if classes is not None and classes.size:
        used = max(used, int(classes.max()) + 1)
    return _Points(places, classes, _check_class_names(class_names, used))


def _check_labels(labels: npt.ArrayLike, points: int) -> npt.NDArray[np.int64]:
    classes = to_array(labels)
    if classes.shape != (points,):
        raise ValueError(f"labels must hold one class per point ({points}), got {classes.shape}.")
    if not np.issubdtype(classes.dtype, np.integer) or (classes < 0).any():
        raise ValueError("labels must be whole numbers >= 0: those of the network's outputs.")
    return classes


def _check_class_names(class_names: Sequence[str] | None, used: int) -> list[str]:
    """A name for each of the classes used."""
    if class_names is not None and len(class_names) < used:
        raise ValueError(f"class_names must name every class ({used}), got {len(class_names)}.")
    names = [str(n) for n in range(max(used, 2))] if class_names is None else list(class_names)
    if len(names) > len(CLASS_COLORS):
        raise ValueError(f"at most {len(CLASS_COLORS)} classes can be distinguished by color, got {len(names)}.")
    return names


def _draw(regions: Regions, points: _Points, title: str, ax: Axes | None = None) -> Axes:
    names = [plain(name, 14) for name in points.names]
    side = _SIDE / canvas.DPI
    longest = max(map(len, names)) + 5
    lines = math.ceil(len(names) / max(1, math.floor(side / canvas.CHARACTER / longest)))
    axes = canvas.axes_for(ax, side, side, left=0.6, bottom=0.35, top=canvas.TOP + 0.2 * (lines - 1))
    steps = [(axis[-1] - axis[0]) / (len(axis) - 1) / 2 for axis in (regions.x, regions.y)]
    extent = (
        regions.x[0] - steps[0], regions.x[-1] + steps[0], regions.y[0] - steps[1], regions.y[-1] + steps[1],
    )  # fmt: skip
    axes.imshow(_pixels(regions), aspect="auto", interpolation="nearest", extent=extent)
    _draw_points(axes, points)
    axes.set(xlim=extent[:2], ylim=extent[2:])
    axes.tick_params(length=2.5, width=0.8)
    handles = [_handle(index, name, marker=points.labels is not None) for index, name in enumerate(names)]
    headings.add_heading(axes, title, handles, given=ax is not None, columns=math.ceil(len(names) / lines))
    return axes


def _draw_points(axes: Axes, points: _Points) -> None:
    """Draw the points of each class with its color and marker; white circles without classes."""
    count = len(points.places)
    size = 6.0 if count <= 300 else 4.0 if count <= 1500 else 2.0
    groups = [(points.places, "o", "#FFFFFF")]
    if points.labels is not None:
        groups = [
            (points.places[points.labels == index], _MARKERS[index], CLASS_COLORS[index])
            for index in range(len(points.names))
        ]
    for places, marker, color in groups:
        axes.add_line(
            Line2D(
                *places.T,
                linestyle="",
                marker=marker,
                markersize=size,
                markerfacecolor=color,
                markeredgecolor=_EDGE,
                markeredgewidth=0.7,
            )
        )


def _handle(index: int, name: str, *, marker: bool) -> Artist:
    """The legend's sample of a class: the marker of its points, or a patch of its color."""
    color = CLASS_COLORS[index]
    if not marker:
        return Patch(color=color, label=name)
    return Line2D(
        [],
        [],
        linestyle="",
        marker=_MARKERS[index],
        markersize=7,
        markerfacecolor=color,
        markeredgecolor=_EDGE,
        label=name,
    )


def _title(regions: Regions) -> str:
    return counted(regions.count, "linear region")


def _pixels(regions: Regions) -> npt.NDArray[np.uint8]:
    """(side, side, 3) levels of the image: colors of the classes, and lines between linear regions."""
    rows, columns = (_nearest(axis) for axis in (regions.y, regions.x))
    cells = np.ix_(rows[::-1], columns)
    classes, patterns = regions.classes[cells], regions.patterns[cells]
    strength: float | Floats = _STRONGEST
    if regions.confidence is not None:
        # Colors fade from probability 1 to one half, however many classes there are.
        sure = np.clip(2 * regions.confidence[cells].astype(np.float64) - 1, 0, 1)
        strength = (_PALEST + (_STRONGEST - _PALEST) * sure)[..., None]
    colors = 255 - (255 - rgb(CLASS_COLORS)[classes].astype(np.float64)) * strength
    for kinds, weight in ((patterns, 0.3), (classes, 0.85)):
        line = np.zeros(kinds.shape, dtype=bool)
        line[:, 1:] |= kinds[:, 1:] != kinds[:, :-1]
        line[1:] |= kinds[1:] != kinds[:-1]
        colors[line] += (_LINE - colors[line]) * weight
    pixels: npt.NDArray[np.uint8] = np.round(colors).astype(np.uint8)
    return pixels


def _nearest(axis: Floats) -> npt.NDArray[np.intp]:
    """For each pixel of a side, the index of the nearest of these places."""
    step = (axis[-1] - axis[0]) / (len(axis) - 1) / 2
    low, high = axis[0] - step, axis[-1] + step
    pixels = low + (np.arange(_SIDE) + 0.5) * (high - low) / _SIDE
    nearest: npt.NDArray[np.intp] = np.searchsorted((axis[1:] + axis[:-1]) / 2, pixels, side="right")
    return nearest
