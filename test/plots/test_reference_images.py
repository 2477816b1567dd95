"""Properties of all plots: no text is cut off or collides, no global state changes; and the reference images."""

from __future__ import annotations

import gc
import itertools
import random
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from support.fresh import python
from support.images import (
    REFERENCES,
    RESOURCES,
    assert_same_image,
    load,
    pixels,
    synthetic_regions,
    ticks,
)

from jumpstart.palette import CLASS_COLORS, COLORS
from jumpstart.plots.maps import plot_point_status, plot_unit_status
from jumpstart.plotting import (
    plot_box,
    plot_critical_difference,
    plot_curves,
    plot_decision_regions,
    plot_heat_map,
    plot_ranges,
    plot_scatter,
    plot_status_shares,
    plot_unit_life,
    plot_violin,
)
from jumpstart.regions import plot as plots_of_regions
from jumpstart.regions.grid import Regions
from jumpstart.status.codes import Status

RNG = np.random.default_rng(0)
LONG = [f"encoder.block_{i}.inner.activation_of_{i}" for i in range(30)]
EPOCHS = np.arange(4000)

FIGURES: dict[str, Callable[[], Figure]] = {
    "units": lambda: plot_unit_status(RNG.integers(0, 3, (4, 50))),
    "one unit": lambda: plot_unit_status([[2]]),
    "200 layers": lambda: plot_unit_status(RNG.integers(0, 3, (3, 200))),
    "ragged": lambda: plot_unit_status([RNG.integers(0, 3, n) for n in (3, 64, 9)], LONG[:3]),
    "25,000 units": lambda: plot_unit_status([RNG.integers(0, 3, n) for n in (64, 24_936)]),
    "long names": lambda: plot_unit_status(RNG.integers(0, 3, (3, 30)), LONG),
    "points": lambda: plot_point_status(RNG.integers(0, 3, (1000, 50)), RNG.integers(0, 3, 1000)),
    "one point": lambda: plot_point_status([[0]]),
    "named classes": lambda: plot_point_status(RNG.integers(0, 3, (9, 4)), ["malignant tumour"] * 4 + ["benign"] * 5),
    "29 classes": lambda: plot_point_status(RNG.integers(0, 3, (999, 8)), np.arange(999) % 29),
    "rare classes": lambda: plot_point_status(np.full((999, 8), 2), [0] * 996 + [1, 2, 3]),
    "shares": lambda: plot_status_shares(EPOCHS, EPOCHS / 8000, EPOCHS / 8000, 1 - EPOCHS / 4000),
    "one epoch": lambda: plot_status_shares([7], [0.2], [0.3], [0.5]),
    "curves": lambda: plot_curves(
        EPOCHS, {f"val/quite_a_long_name_{i}": np.exp(-EPOCHS / (99 + i)) for i in range(17)}, True
    ),
    "one value": lambda: plot_curves([3], {"accuracy": [0.5]}, title="Accuracy"),
    "life": lambda: plot_unit_life(RNG.integers(0, 3, (400, 200)), np.arange(400), [4] * 50),
    "life of 3 units": lambda: plot_unit_life(RNG.integers(0, 3, (9, 3)), np.arange(9), [3]),
    "life of one unit": lambda: plot_unit_life([[2]], [7], [1]),
    "life, long names": lambda: plot_unit_life(RNG.integers(0, 3, (2, 90)), [0, 50], [3] * 30, LONG),
    "life of 25,000 units": lambda: plot_unit_life(
        RNG.integers(0, 3, (40, 24_990)), EPOCHS[::100], [357] * 70, [f"stage{i}.block.relu" for i in range(70)]
    ),
    "life of 300 layers": lambda: plot_unit_life(RNG.integers(0, 3, (4, 1200)), np.arange(4), [4] * 300),
    "life, ragged": lambda: plot_unit_life(RNG.integers(0, 3, (4, 320)), np.arange(4), [300, 1, 1, 1, 17]),
    "ranges": lambda: plot_ranges(RNG.random((4, 50)), -RNG.random((4, 50)), [f"layers.{i}.relu" for i in range(50)]),
    "ranges of one unit": lambda: plot_ranges([[2.0]], [[1.0]]),
    "ranges, long names": lambda: plot_ranges(RNG.random((4, 30)) * 1e-3, np.zeros((4, 30)), LONG),
    "wide ranges": lambda: plot_ranges(np.geomspace(1, 1e12, 70)[None], -np.geomspace(1e-3, 1e9, 70)[None]),
    "ranges over 41 powers of ten": lambda: plot_ranges([[1e30], [3.0]], [[-1e11], [-1e-3]], margin=1e-3),
    "200 ranges": lambda: plot_ranges(RNG.random((3, 200)) * 99, -RNG.random((3, 200)), margin=0.3),
    "regions": lambda: plot_decision_regions(synthetic_regions(2), RNG.random((9, 2)), np.arange(9) % 2),
    "regions of 10 classes": lambda: plot_decision_regions(
        synthetic_regions(10), class_names=[f"a class with a long name, {i}" for i in range(10)]
    ),
    "large coordinates": lambda: plot_decision_regions(
        Regions([-123456.5, 2e5], [1e-7, 2e-7], [[0, 1], [1, 1]], [[0, 1], [1, 1]])
    ),
    "boxes": lambda: plot_box({name: RNG.random(5) for name in LONG[:9]}, "Accuracies", label="test accuracy"),
    "violins": lambda: plot_violin({"one run": [0.5], "equal runs": [1.0, 1.0], "runs": RNG.random(9)}),
    "scatter": lambda: plot_scatter(RNG.random(90), RNG.random(90), LONG * 3, x_label="dead", y_label="accuracy"),
    "heat map": lambda: plot_heat_map(RNG.random((13, 9)), range(13), range(9), row_label="depth", label="accuracy"),
    "heat map, long names": lambda: plot_heat_map(RNG.random((30, 30)), LONG, LONG, column_label="layer"),
    "heat map of one cell": lambda: plot_heat_map([[1e-9]], ["a"], ["b"], column_label="width"),
    "critical differences": lambda: plot_critical_difference(
        {name: rank for rank, name in enumerate(LONG[:9])}, np.eye(9), title="Ranks"
    ),
}


@pytest.fixture(scope="module", params=FIGURES)
def figure_name(request: pytest.FixtureRequest) -> str:
    """One figure after the other, so that few objects are left when the garbage collector is called."""
    return str(request.param)


def global_state() -> tuple[object, ...]:
    """Settings of matplotlib, figures of pyplot, and the states of all random generators."""
    return (
        dict(matplotlib.rcParams),
        plt.get_fignums(),
        random.getstate(),
        str(np.random.get_state()),
        torch.get_rng_state().tolist(),
    )


@dataclass
class Drawing:
    """A figure, drawn while the settings of matplotlib differ from the default, and the global state around that."""

    figure: Figure
    before: tuple[object, ...]
    after: tuple[object, ...]


DRAWINGS: dict[str, Drawing] = {}
"""Each figure is drawn once for the two tests that examine it; the second one deletes it."""


def drawing_of(name: str) -> Drawing:
    if name not in DRAWINGS:
        with matplotlib.rc_context({"font.size": 31.0}):
            before = global_state()
            figure = FIGURES[name]()
            pixels(figure)
            DRAWINGS[name] = Drawing(figure, before, global_state())
    return DRAWINGS[name]


def test_no_text_is_cut_off_and_no_labels_collide(figure_name: str) -> None:
    figure = drawing_of(figure_name).figure
    axes, lowest = figure.axes[0], figure.axes[-1]
    across, up = ticks(lowest, "x"), ticks(axes, "y")
    heads = [*figure.texts, *figure.legends]
    side = axes.get_legend()
    for item in (
        *across,
        *up,
        *heads,
        lowest.xaxis.label,
        axes.yaxis.label,
        *([side] if side else ()),
    ):
        box = item.get_window_extent()
        assert box.width * box.height == 0 or (
            0 <= box.x0 < box.x1 <= figure.bbox.x1 and 0 <= box.y0 < box.y1 <= figure.bbox.y1
        ), item
    boxes = [[item.get_window_extent() for item in group] for group in (across, up, heads)]
    boxes.append([axes.get_window_extent(), *boxes[2], lowest.xaxis.label.get_window_extent()])
    boxes.append([axes.yaxis.label.get_window_extent(), *boxes[1]])
    for group in boxes:
        assert not any(one.overlaps(other) for one, other in itertools.combinations(group, 2))
    assert len(across) >= 1
    for label in across:
        assert not label.get_window_extent().overlaps(lowest.xaxis.label.get_window_extent())


def test_drawing_changes_no_global_state_and_leaves_no_reference(figure_name: str) -> None:
    drawing = drawing_of(figure_name)
    assert drawing.after == drawing.before
    assert plt.get_fignums() == []
    gone = weakref.ref(drawing.figure)
    del drawing, DRAWINGS[figure_name]
    gc.collect()
    assert gone() is None


def test_pyplot_is_not_imported() -> None:
    code = (
        "import sys; from jumpstart.plotting import *; plot_unit_status([[1]]); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr


# Reference images ---------------------------------------------------------------------------------

every_reference = pytest.mark.parametrize("name", REFERENCES)


@every_reference
def test_every_plot_equals_its_reference_image(name: str) -> None:
    assert_same_image(pixels(REFERENCES[name]()), load(name))


def test_every_reference_image_exists_and_is_small() -> None:
    files = {path.stem: path.stat().st_size for path in RESOURCES.glob("*.png")}
    assert set(files) == set(REFERENCES)
    assert max(files.values()) < 60_000


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("unit_status_dead", Status.DEAD),
        ("unit_status_dead", Status.LINEAR),
        ("unit_status_dead", Status.NONLINEAR),
        ("point_status", Status.LINEAR),
        ("status_shares", Status.LINEAR),
        ("unit_life", Status.DEAD),
        ("unit_life_large", Status.NONLINEAR),
        ("ranges_dead", Status.LINEAR),
    ],
)
def test_a_hardly_visible_change_of_the_palette_is_noticed(
    name: str, key: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    color = COLORS[key]
    monkeypatch.setitem(COLORS, key, f"{color[:5]}{(int(color[5:], 16) + 9) % 256:02X}")
    with pytest.raises(AssertionError, match="surfaces have other colors"):
        assert_same_image(pixels(REFERENCES[name]()), load(name))


@pytest.mark.parametrize(("name", "index"), [("regions_2", 0), ("regions_2", 1), ("regions_10", 9)])
def test_another_color_of_a_class_is_noticed(name: str, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = list(CLASS_COLORS)
    changed[index] = "#009E73"
    monkeypatch.setattr(plots_of_regions, "CLASS_COLORS", tuple(changed))
    with pytest.raises(AssertionError):
        assert_same_image(pixels(REFERENCES[name]()), load(name))


@every_reference
def test_a_different_image_is_not_accepted(name: str) -> None:
    image = load(name)
    others = [load(other) for other in REFERENCES if other != name]
    turned = [image[:, ::-1], image[::-1], np.full_like(image, 255), image[:-1]]
    for other in (*others, *turned):
        with pytest.raises(AssertionError):
            assert_same_image(other, image)


def test_text_shifted_by_a_pixel_is_accepted() -> None:
    image = load("unit_life")
    moved = image.copy()
    moved[:60, 1:] = image[:60, :-1]
    assert_same_image(moved, image)
