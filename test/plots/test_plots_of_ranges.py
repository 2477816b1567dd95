"""Ranges of preactivations: lines, boxes and strip have the positions of the data."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from support.images import RGB, WHITE, color_at, legend, tick_labels

from jumpstart.plotting import plot_ranges
from jumpstart.status.codes import Status, status_of

RNG = np.random.default_rng(0)
MIDDLES = RNG.normal(0, 1, (40, 5))
LARGEST, SMALLEST = MIDDLES + 1.2, MIDDLES - 1.2


def drawn(figure: Figure, kind: type, index: int) -> np.ndarray:
    """Corners or ends in data coordinates: (layers, corners, 2)."""
    collections = [item for item in figure.axes[0].collections if isinstance(item, kind)]
    return np.array([path.vertices for path in collections[index].get_paths()])


def test_lines_reach_from_the_smallest_to_the_largest() -> None:
    ends = drawn(plot_ranges(LARGEST, SMALLEST), LineCollection, 0)
    np.testing.assert_allclose(ends[:, 0, 0], np.arange(1, 6))
    np.testing.assert_allclose(ends[:, 0, 1], SMALLEST.min(axis=0))
    np.testing.assert_allclose(ends[:, 1, 1], LARGEST.max(axis=0))


@pytest.mark.parametrize(("index", "values"), [(0, LARGEST), (1, SMALLEST)])
def test_boxes_hold_eighty_percent_of_the_units_with_a_bar_at_the_median(index: int, values: np.ndarray) -> None:
    figure = plot_ranges(list(LARGEST.T), [torch.tensor(layer) for layer in SMALLEST.T])
    boxes = drawn(figure, PolyCollection, index)
    ordered = np.sort(values, axis=0)
    low, high = ([np.interp(share * 39, range(40), column) for column in ordered.T] for share in (0.1, 0.9))
    np.testing.assert_allclose(boxes[:, :, 1].min(axis=1), low)
    np.testing.assert_allclose(boxes[:, :, 1].max(axis=1), high)
    bars = drawn(figure, LineCollection, 1 + index)
    np.testing.assert_allclose(bars[:, 0, 1], np.median(values, axis=0))
    sides = boxes[:, :, 0] - np.arange(1, 6)[:, None]
    assert (sides < 0).all() if index == 0 else (sides > 0).all(), "boxes do not cover each other"


def test_the_strip_shows_the_status_of_the_units() -> None:
    figure = plot_ranges([[-1.0, -2.0], [1.0, 2.0], [1.0, 0.0]], [[-3.0, -2.0], [0.5, 0.1], [0.0, 0.0]])
    strip = figure.axes[1]
    expected = [[Status.DEAD] * 2, [Status.LINEAR] * 2, [Status.NONLINEAR, Status.DEAD]]
    for layer, (above, below) in enumerate(expected, 1):
        for y, status in ((5, above), (25, below)):
            pixels = np.asarray(_drawn(figure))
            across, up = strip.transData.transform((layer, y))
            assert tuple(pixels[pixels.shape[0] - 1 - int(up), int(across), :3]) == RGB[status], layer
    assert legend(figure) == ["dead 3 (50.0 %)", "linear 2 (33.3 %)", "non-linear 1 (16.7 %)"]
    high, low = torch.randn(9), torch.randn(9) - 3
    codes = np.bincount(status_of(high.maximum(low), low), minlength=3)
    assert [int(text.split()[-3]) for text in legend(plot_ranges([high.maximum(low)], [low]))] == codes.tolist()


def _drawn(figure: Figure) -> memoryview:
    figure.canvas.draw()
    return figure.canvas.buffer_rgba()


def test_layers_that_are_dead_or_linear_are_tinted() -> None:
    figure = plot_ranges(
        [[-1.0, -2.0], [1.0, 2.0], [1.0, -1.0], [1.0, 1.0]],
        [[-3.0, -2.0], [0.5, 0.1], [0.5, -2.0], [-1.0, 1.0]],
    )
    dead, linear, mixed, alive = (color_at(figure, layer + 0.47, -2.5) for layer in (1, 2, 3, 4))
    assert dead[0] == dead[1] == dead[2] < 230
    assert linear == mixed != dead
    assert linear[0] > linear[2]
    assert alive == WHITE


def test_zero_and_the_margin_are_marked_and_visible() -> None:
    for negative in (None, 0.1, 2.0):
        figure = plot_ranges([[1e-3]], [[-1e-3]], margin=0.5, negative_margin=negative)
        marks = sorted(float(np.ravel(line.get_ydata())[0]) for line in figure.axes[0].get_lines())
        assert marks == [-(negative or 0.5), 0, 0.5]
        low, high = figure.axes[0].get_ylim()
        assert low < marks[0] < marks[2] < high


@pytest.mark.parametrize(("largest", "margin", "scale"), [(9, 1, "linear"), (11, 1, "symlog"), (11, 2, "linear")])
def test_the_scale_is_logarithmic_beyond_ten_margins(largest: float, margin: float, scale: str) -> None:
    assert plot_ranges([[largest]], [[-1.0]], margin=margin).axes[0].get_yscale() == scale
    assert plot_ranges([[1.0]], [[-largest]], margin=margin).axes[0].get_yscale() == scale
    assert plot_ranges([[largest]], [[-1.0]], margin=margin, negative_margin=0.1).axes[0].get_yscale() == scale
    assert plot_ranges([[largest]], [[-1.0]], margin=0.1, negative_margin=margin).axes[0].get_yscale() == scale


@pytest.mark.parametrize("power", range(2, 36, 3))
def test_a_logarithmic_scale_has_few_round_ticks_and_all_values(power: int) -> None:
    axes = plot_ranges([[10.0**power, 3.0]], [[-5.0, -(10.0 ** (power / 2))]]).axes[0]
    labels = tick_labels(axes, "y")
    assert "0" in labels
    assert 4 <= len(labels) <= 11
    low, high = axes.get_ylim()
    assert low < -(10.0 ** (power / 2))
    assert high > 10.0**power


def test_names_and_title() -> None:
    figure = plot_ranges(LARGEST, SMALLEST, [f"net.{i}.relu" for i in range(5)])
    assert tick_labels(figure.axes[1], "x") == list("01234")
    assert figure.axes[1].get_xlabel() == "layer: net.*.relu"
    assert figure.texts[0].get_text() == "Preactivations of 200 units in 5 layers"
    assert plot_ranges(LARGEST, SMALLEST, title="Mine").texts[0].get_text() == "Mine"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_ranges([], []), "maximum must hold at least one layer, got none"),
        (lambda: plot_ranges([[]], [[]]), r"one value per unit for each layer, got \(0,\) for layer 1"),
        (lambda: plot_ranges([1.0], [1.0]), r"one value per unit for each layer, got \(\)"),
        (lambda: plot_ranges([[1.0]], [[1.0, 0.0]]), r"got \[1\] and \[2\] units"),
        (lambda: plot_ranges([[1.0], [1.0]], [[1.0]]), r"got \[1, 1\] and \[1\] units"),
        (lambda: plot_ranges([[1.0], [0.0]], [[1.0], [0.5]]), "minimum must be <= maximum, .* layer 2"),
        (lambda: plot_ranges([[math.nan]], [[0.0]]), "maximum must be finite, got nan in layer 1"),
        (lambda: plot_ranges([[0.0]], [[-math.inf]]), "minimum must be finite, got -inf in layer 1"),
        (lambda: plot_ranges([[1.0]], [[0.0]], margin=0), "margin must be a finite number > 0, got 0"),
        (lambda: plot_ranges([[1.0]], [[0.0]], negative_margin=-1), "negative_margin must be a finite number > 0"),
        (lambda: plot_ranges([[1.0]], [[0.0]], ["a", "b"]), r"every layer \(1\), got 2"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
