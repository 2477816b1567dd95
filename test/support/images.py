"""Pixels and texts of a figure, and the reference images.

``PYTHONPATH=. python test/support/images.py`` draws the reference images again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from jumpstart.palette import COLORS
from jumpstart.plots.canvas import save_figure
from jumpstart.plots.maps import plot_point_status, plot_unit_status
from jumpstart.plotting import plot_curves, plot_decision_regions, plot_ranges, plot_status_shares, plot_unit_life
from jumpstart.regions.grid import Regions

RGB = {s: tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for s, c in COLORS.items()}
WHITE = (255, 255, 255)
RESOURCES = Path(__file__).resolve().parents[1] / "resources"

# Root mean squares of differences between means over squares of this many pixels a side, in levels from 0 to 255.
# Text is gray, and differs most from one version of matplotlib to the next (3.10.8 and 3.11.2: up to 6.3, and 2.7 in
# color); everything else stays in place.
SQUARE = 8
COLOR_TOLERANCE = 4.0
GRAY_TOLERANCE = 8.0
# A color on at least this share of the image is a surface, and must be the same to the last bit.
SURFACE = 0.002


def draw_data_alone(patch: pytest.MonkeyPatch) -> None:
    """Draw figures without axes, texts and legends, which take most of the time of a small run with plots."""
    for name in ("axis.Axis", "legend.Legend", "text.Text"):
        patch.setattr(f"matplotlib.{name}.draw", lambda artist, renderer: None)


def pixels(figure: Figure) -> np.ndarray:
    if not figure.axes[0].get_label():
        figure.canvas.draw()
        figure.axes[0].set_label("drawn")
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def inside(figure: Figure) -> np.ndarray:
    """The pixels within the axes, without their outermost lines."""
    image = pixels(figure)
    box = figure.axes[0].get_window_extent()
    top, left = image.shape[0] - round(box.y1), round(box.x0)
    height, width = round(box.height), round(box.width)
    return image[top + 2 : top + height - 2, left + 2 : left + width - 2]


def color_at(figure: Figure, x: float, y: float) -> tuple[int, ...]:
    """The pixel at data coordinates."""
    image = pixels(figure)
    across, up = figure.axes[0].transData.transform((x, y))
    return tuple(int(c) for c in image[image.shape[0] - 1 - int(up), int(across)])


def colors(image: np.ndarray) -> set[tuple[int, ...]]:
    return set(_counted(image))


def _counted(image: np.ndarray) -> dict[tuple[int, ...], int]:
    """The number of pixels of each color."""
    red, green, blue = (image[..., channel].ravel().astype(np.int32) for channel in range(3))
    packed = red << 16 | green << 8 | blue
    begins = np.flatnonzero(np.diff(packed, prepend=-1))  # of runs of one color
    values, run = np.unique(packed[begins], return_inverse=True)
    counts = np.bincount(run, np.diff(begins, append=packed.size))
    return {(c >> 16, c >> 8 & 255, c & 255): int(n) for c, n in zip(values.tolist(), counts, strict=True)}


def legend(figure: Figure) -> list[str]:
    source = figure.legends[0] if figure.legends else figure.axes[0].get_legend()
    return [text.get_text() for text in source.get_texts()]


def ticks(axes: Axes, axis: str) -> list[Text]:
    """The labels of the ticks that are drawn."""
    pixels(axes.figure)
    low, high = sorted(getattr(axes, f"get_{axis}lim")())
    major = getattr(axes, f"{axis}axis").get_major_ticks()
    return [t.label1 for t in major if low <= t.get_loc() <= high and t.label1.get_text()]


def tick_labels(axes: Axes, axis: str) -> list[str]:
    return [label.get_text() for label in ticks(axes, axis)]


# Reference images ---------------------------------------------------------------------------------


def _status(rows: int, columns: int, alive: float) -> np.ndarray:
    """Codes of a network whose units die from left to right; every NumPy draws the same numbers."""
    chance = np.random.default_rng(0).random((rows, columns)) + np.linspace(0, 1 - alive, columns)
    return np.where(chance > 1, 0, np.where(chance > 0.9, 1, 2))


def _extrema(layers: int, growth: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    draws = np.random.default_rng(1)
    middles = [draws.normal(0, 0.6, 9) for _ in range(layers)]
    widths = [draws.uniform(0.5, 1.5, 9) * growth**layer for layer in range(layers)]
    return [m + w for m, w in zip(middles, widths, strict=True)], [m - w for m, w in zip(middles, widths, strict=True)]


def synthetic_regions(classes: int, places: int = 225) -> Regions:
    """Regions with straight lines through the plane and one sector for each class."""
    axis = np.linspace(-1, 1, places)
    x, y = np.meshgrid(axis, axis)
    angles = 0.3 + np.arange(classes) * 2 * np.pi / classes
    scores = np.stack([6 * (x * np.cos(a) + y * np.sin(a)) for a in angles])
    chances = np.exp(scores) / np.exp(scores).sum(axis=0)
    lines = [x + 0.5 * y > 0.31, x - y > -0.22, 0.3 * x + y > 0.11, x + y > 0.9]
    patterns = sum(line.astype(int) << bit for bit, line in enumerate(lines))
    return Regions(axis, axis, scores.argmax(axis=0), patterns, chances.max(axis=0))


def _points(classes: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(40) % classes
    draws = np.random.default_rng(2).normal(0, 0.12, (40, 2))
    angles = 0.3 + labels * 2 * np.pi / classes
    return draws + 0.6 * np.stack([np.cos(angles), np.sin(angles)], axis=1), labels


_EPOCHS = np.arange(0, 400, 4)
_NAMES = [f"layers.{i}.activation" for i in range(50)]
_MANY = np.resize([64, 500, 507], 70)

REFERENCES: dict[str, Callable[[], Figure]] = {
    "unit_status_dead": lambda: plot_unit_status(_status(4, 50, 0.0), _NAMES),
    "unit_status_alive": lambda: plot_unit_status(_status(4, 50, 0.9), _NAMES),
    "unit_status_large": lambda: plot_unit_status([_status(1, n, 0.3)[0] for n in _MANY]),
    "point_status": lambda: plot_point_status(_status(600, 50, 0.3), np.arange(600) % 3, _NAMES),
    "status_shares": lambda: plot_status_shares(_EPOCHS, _EPOCHS / 800, _EPOCHS / 1600, 1 - _EPOCHS * 3 / 1600),
    "curves": lambda: plot_curves(
        _EPOCHS, {f"{n} loss": np.exp(-_EPOCHS / (60 + 40 * n)) for n in range(6)}, logy=True, title="Losses"
    ),
    "unit_life": lambda: plot_unit_life(_status(200, 100, 0.2).T, _EPOCHS, [4] * 50, _NAMES),
    "unit_life_3": lambda: plot_unit_life(_status(3, 100, 0.2).T, _EPOCHS, [2, 1], ["first", "second"]),
    "unit_life_large": lambda: plot_unit_life(_status(int(_MANY.sum()), 100, 0.2).T, _EPOCHS, list(_MANY)),
    "ranges_dead": lambda: plot_ranges(*_extrema(50, 0.93), _NAMES),
    "ranges_alive": lambda: plot_ranges(*_extrema(50, 1.1), _NAMES),
    "regions_2": lambda: plot_decision_regions(synthetic_regions(2), *_points(2), ["ham", "spam"]),
    "regions_10": lambda: plot_decision_regions(synthetic_regions(10), *_points(10)),
}

_PLANE = synthetic_regions(2, places=9)


def _in_turn(one: float, other: float, layers: int) -> list[list[float]]:
    """The extremum of the only unit of each layer."""
    return [[other if layer % 2 else one] for layer in range(layers)]


PLOTS: dict[str, Callable[..., Figure]] = {
    "plot_unit_status": lambda names, **k: plot_unit_status(_status(3, len(names), 0.5), names, **k),
    "plot_point_status": lambda names, **k: plot_point_status(_status(len(names), 2, 0.5), names, ["$a$", "_b"], **k),
    "plot_status_shares": lambda names, **k: plot_status_shares([0, 1], [0.5, 0.1], [0.2, 0.2], [0.3, 0.7], **k),
    "plot_curves": lambda names, **k: plot_curves([0, 1], {name: [1, 2] for name in names}, **k),
    "plot_unit_life": lambda names, **k: plot_unit_life(
        _status(9 * len(names), 2, 0.5).T, [0, 1], [9] * len(names), names, **k
    ),
    "plot_ranges": lambda names, **k: plot_ranges(
        _in_turn(2.0, -1.0, len(names)), _in_turn(-2.0, -3.0, len(names)), names, **k
    ),
    "plot_decision_regions": lambda names, **k: plot_decision_regions(_PLANE, [[0.5, 0.5]], [1], names[:10], **k),
}
"""Every public plot, drawn with names (of layers, points, curves or classes) and with arguments such as ``ax``."""


@functools.cache
def load(name: str) -> np.ndarray:
    """The reference image, as levels from 0 to 255, which can't be written into."""
    image = np.round(imread(RESOURCES / f"{name}.png")[..., :3] * 255).astype(np.uint8)
    image.flags.writeable = False
    return image


def assert_same_image(image: np.ndarray, expected: np.ndarray) -> None:
    """Check that two images have one size, the same colors of surfaces, and differ in the setting of text alone.

    Raises:
        AssertionError: If they do not; the message says what differs, and how much.
    """
    assert image.shape == expected.shape, f"size {image.shape[:2]}, the reference has {expected.shape[:2]}"
    for one, other in ((image, expected), (expected, image)):
        missing = surfaces(other) - colors(one)
        assert not missing, f"surfaces have other colors: {missing} is in one image alone"
    color, gray = differences(image, expected)
    assert color <= COLOR_TOLERANCE, f"colors differ by {color:.2f} levels, the tolerance is {COLOR_TOLERANCE}"
    assert gray <= GRAY_TOLERANCE, f"grays differ by {gray:.2f} levels, the tolerance is {GRAY_TOLERANCE}"


def differences(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Root mean square differences between two images of one size, in color and in gray."""
    apart = _squares(one) - _squares(other)
    color = np.diff(apart, axis=-1)
    return float(np.sqrt(np.mean(color**2))), float(np.sqrt(np.mean(apart.mean(axis=-1) ** 2)))


def surfaces(image: np.ndarray) -> set[tuple[int, ...]]:
    """Colors of surfaces, without grays, which are those of text."""
    least = SURFACE * image.shape[0] * image.shape[1]
    large = {color for color, count in _counted(image).items() if count >= least}
    return {color for color in large if max(color) - min(color) > 8 or color == (0, 0, 0)}


def _squares(image: np.ndarray) -> np.ndarray:
    """Means over squares; incomplete squares at the right and at the bottom are left out."""
    rows, columns = (size // SQUARE for size in image.shape[:2])
    complete = image[: rows * SQUARE, : columns * SQUARE].astype(float)
    return complete.reshape(rows, SQUARE, columns, SQUARE, 3).mean(axis=(1, 3))


if __name__ == "__main__":
    for name, draw in REFERENCES.items():
        save_figure(draw(), RESOURCES / f"{name}.png")
