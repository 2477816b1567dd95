"""The colors for every kind of color blindness, and sizes, texts and ticks of the plots."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest

from jumpstart.palette import CLASS_COLORS, COLORS, CURVE_COLORS, LABELS
from jumpstart.plots.arrays import share_column, stacked_shares
from jumpstart.plots.canvas import BOTTOM, DPI, LEFT, TOP, new_axes, rgb
from jumpstart.plots.maps import plot_unit_status
from jumpstart.plots.ticks import round_ticks
from jumpstart.status.codes import Status
from jumpstart.words import counted, percent, shorten

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
EYES = {
    "normal": np.eye(3),
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def lab(color: str, eye: npt.ArrayLike) -> np.ndarray:
    srgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(eye) @ linear, 0, 1)
    to_xyz = [[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]]
    xyz = np.asarray(to_xyz) @ seen / [0.9505, 1.0, 1.0888]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", EYES)
def test_status_colors_are_distinct_for_every_eye(eye: str) -> None:
    seen = [lab(color, EYES[eye]) for color in (*COLORS.values(), "#FFFFFF")]
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(one - other) > 50
        assert abs(one[0] - other[0]) > 15  # lightness: paper without color
    assert set(COLORS) == set(LABELS) == set(Status)


@pytest.mark.parametrize("eye", EYES)
def test_class_colors_are_distinct_for_every_eye(eye: str) -> None:
    def distances(colors: Iterable[str]) -> list[float]:
        seen = [lab(color, EYES[eye]) for color in colors]
        return [float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2)]

    assert len(CLASS_COLORS) == 10
    assert min(distances(CLASS_COLORS)) > 25
    assert min(distances(CLASS_COLORS[:2])) > 50
    # Regions are paler; points on them have a shape of their own, too.
    paler = [255 - (255 - color.astype(float)) * 0.6 for color in rgb(CLASS_COLORS)]
    assert min(distances("#" + "".join(f"{round(level):02X}" for level in color) for color in paler)) > 15
    for color, status in itertools.product(CLASS_COLORS, COLORS.values()):
        assert distances([color, status])[0] > 15, "no class looks like a status"


@pytest.mark.parametrize("eye", EYES)
def test_curve_colors_are_distinct_for_every_eye(eye: str) -> None:
    seen = [lab(color, EYES[eye]) for color in CURVE_COLORS]
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)) > 10


@pytest.mark.parametrize("size", [8.2, 8.567, 0.29 * 100, 4.6, 7.0])
def test_figures_have_the_same_size_with_every_release_of_matplotlib(size: float) -> None:
    """Some releases round 819.9999 pixels to 819, others to 820."""
    figure, axes = new_axes(size - LEFT - 0.25, size - TOP - BOTTOM, right=0.25)
    size_in_pixels = figure.get_size_inches() * DPI
    whole = math.ceil(size * DPI - 1e-6)
    assert np.floor(size_in_pixels).tolist() == np.round(size_in_pixels).tolist() == [whole, whole]
    box = axes.get_window_extent()
    assert (box.width, box.x0, box.y0) == pytest.approx(((size - LEFT - 0.25) * DPI, LEFT * DPI, BOTTOM * DPI))


@pytest.mark.parametrize("lines", [3, 7, 450])
def test_stacked_shares_are_the_shares_of_each_column(lines: int) -> None:
    counts = np.random.default_rng(0).integers(0, 1000, (3, 50)) * np.random.default_rng(1).integers(0, 2, (3, 50))
    counts[0] += counts.sum(axis=0) == 0
    for column, drawn in zip(counts.T, stacked_shares(counts, lines).T, strict=True):
        assert drawn.tolist() == sorted(drawn, reverse=True), "dead at the bottom"
        shown = np.bincount(drawn, minlength=3)
        assert ((shown > 0) == (column > 0)).all(), "every status that occurs is visible"
        assert np.abs(shown / lines - column / column.sum()).max() < 2 / lines
        codes = np.repeat(np.arange(3, dtype=np.int8), column)
        assert share_column(codes, lines).tolist() == drawn.tolist()


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.0 %"),
        (1e-9, "< 0.1 %"),
        (0.085, "8.5 %"),
        (0.9994, "99.9 %"),
        (1 - 1e-9, "> 99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_only_none_is_zero_and_only_all_are_hundred_percent(share: float, text: str) -> None:
    assert percent(share) == text


def test_counts_and_shortened_names() -> None:
    assert [counted(n, "unit") for n in (0, 1, 25_000)] == ["0 units", "1 unit", "25,000 units"]
    assert shorten("layer", 5) == "layer"
    assert shorten("a_very_long_name_of_a_layer", 11) == "a_ver…layer"
    assert all(len(shorten("x" * 99, most)) <= most for most in range(5, 40))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 3, 12, 50, 200, 25_000])
@pytest.mark.parametrize("room", [0.5, 4, 12])
def test_ticks_are_few_in_range_and_begin_with_the_first(first: int, count: int, room: float) -> None:
    ticks = round_ticks(first, count, room)
    assert ticks[0] == first
    assert ticks == sorted(set(ticks))
    assert first <= ticks[-1] < first + count
    assert len(ticks) <= max(room, 2) + 1


def names_below(layers: int, names: list[str] | None) -> tuple[list[str], str]:
    axes = plot_unit_status(np.full((4, layers), 2), names).axes[0]
    return [text.get_text() for text in axes.get_xticklabels()], axes.get_xlabel()


def test_shared_parts_of_layer_names_move_to_the_axis_label() -> None:
    names = [f"layers.{i}.activation" for i in range(3)]
    assert names_below(3, names) == (["0", "1", "2"], "layer: layers.*.activation")
    mixed = ["relu", "a.relu", "a.b.relu"]
    assert names_below(3, mixed) == (mixed, "layer")
    assert names_below(2, ["a.b.relu", "a.relu"]) == (["b.relu", "relu"], "layer: a.*")
    assert names_below(1, ["a.b.c"]) == (["a.b.c"], "layer")
    numbers, label = names_below(50, None)
    assert numbers[:3] == ["1", "5", "10"]
    assert numbers[-1] == "50"
    assert label == "layer"
