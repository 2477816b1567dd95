"""Status of every unit over training: every unit in its place at every epoch, shares if there are too many units."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from support.images import RGB, WHITE, color_at, colors, inside, legend, tick_labels

from jumpstart.plotting import plot_unit_life
from jumpstart.status.codes import Status

UNITS = [3, 1, 20]


@pytest.mark.parametrize("epochs", [[0], [7, 8], [0, 1, 2, 10, 30]])
def test_every_unit_has_its_color_at_every_epoch(epochs: list[int]) -> None:
    status = np.random.default_rng(1).integers(0, 3, (len(epochs), sum(UNITS)))
    figure = plot_unit_life(status, epochs, UNITS)
    low, _ = figure.axes[0].get_ylim()
    cell, gap = 450 // sum(UNITS), 2
    assert low == sum(UNITS) * cell + 2 * gap
    layer_of = np.repeat(np.arange(3), UNITS)
    for unit, layer in enumerate(layer_of):
        y = unit * cell + layer * gap + cell / 2
        for index, epoch in enumerate(epochs):
            assert color_at(figure, epoch, y) == RGB[Status(status[index, unit])], (unit, epoch)


def test_a_gap_separates_the_layers() -> None:
    figure = plot_unit_life([[2, 2, 2]], [0], [1, 2])
    assert [color_at(figure, 0, y) for y in (10, 20.5, 22.5, 60)] == [RGB[2], WHITE, RGB[2], RGB[2]]
    assert tick_labels(figure.axes[0], "y") == ["1", "2"]


def test_every_pixel_shows_the_nearest_epoch() -> None:
    figure = plot_unit_life([[0], [2], [1]], [0, 10, 100], [1])
    for x, status in ((0, 0), (4.5, 0), (5.5, 2), (54, 2), (56, 1), (100, 1)):
        assert color_at(figure, x, 10) == RGB[Status(status)], x


@pytest.mark.parametrize(
    ("epochs", "limits"),
    [([7], (6.5, 7.5)), ([0, 49], (-0.5, 49.5)), ([0, 100, 3999], (-0.5, 3999.5)), ([0, 0.25, 1], (-0.125, 1.375))],
)
def test_the_axis_invents_no_epochs(epochs: list[float], limits: tuple[float, float]) -> None:
    figure = plot_unit_life(np.full((len(epochs), 1), 2), epochs, [1])
    assert figure.axes[0].get_xlim() == pytest.approx(limits)
    assert all(min(epochs) <= float(text) <= max(epochs) for text in tick_labels(figure.axes[0], "x"))


def test_epochs_that_are_not_drawn_take_no_memory() -> None:
    status = np.full((8000, 2500), 2, dtype=np.int8)
    tracemalloc.start()
    plot_unit_life(status, np.arange(8000), [2500])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * status.nbytes


def test_more_epochs_than_pixels_are_left_out_evenly() -> None:
    status = (np.arange(4000) >= 2000).astype(int)[:, None] * 2
    image = inside(plot_unit_life(status, np.arange(4000), [1]))
    assert (image == RGB[Status.DEAD]).all(axis=2).mean() == pytest.approx(0.5, abs=0.01)


def test_many_units_show_the_shares_of_their_layer_dead_at_the_bottom() -> None:
    layers = [np.repeat([0, 1, 2], [250, 250, 500]), np.repeat([1, 2], [1, 24_999]), np.full(8, 2)]
    status = np.concatenate(layers)[None]
    figure = plot_unit_life(status, [0], [len(layer) for layer in layers])
    low, _ = figure.axes[0].get_ylim()
    height = (low - 4) / 3
    for index, layer in enumerate(layers):
        top = index * (height + 2)
        column = [color_at(figure, 0, top + y + 0.5) for y in range(int(height))]
        for code in Status:
            share = (layer == code).mean()
            assert column.count(RGB[code]) / height == pytest.approx(share, abs=1.5 / height)
            assert (RGB[code] in column) == (share > 0), "every status that occurs is visible"
        assert column == sorted(column, key=lambda color: -next(s for s in Status if RGB[s] == color))
    assert "shares" in figure.axes[0].get_ylabel()


def test_70_layers_of_25000_units_are_all_visible() -> None:
    units = np.resize([64, 256, 512], 70)
    units[-1] += 25_000 - units.sum()
    status = np.full((3, 25_000), 2)
    status[:, np.cumsum(units) - 1] = 0  # the last unit of every layer
    figure = plot_unit_life(status, [0, 1, 2], units)
    image = inside(figure)[:, 100]
    dead = (image == RGB[Status.DEAD]).all(axis=1)
    assert np.diff(dead.astype(int), prepend=0).tolist().count(1) == 69 or dead.sum() == 70
    assert WHITE in colors(inside(figure))
    assert figure.get_size_inches()[1] < 10
    assert figure.texts[0].get_text() == "25,000 units in 70 layers over 3 epochs (legend: last)"
    assert plot_unit_life(status, [0, 1, 2], units, title="Mine").texts[0].get_text() == "Mine"


def test_the_legend_counts_the_last_epoch() -> None:
    assert legend(plot_unit_life([[0, 0, 0, 0], [2, 2, 1, 0]], [0, 1], [4])) == [
        "dead 1 (25.0 %)",
        "linear 1 (25.0 %)",
        "non-linear 2 (50.0 %)",
    ]


def test_layer_names_are_beside_their_layers() -> None:
    figure = plot_unit_life(np.full((2, 30), 2), [0, 1], [10] * 3, [f"net.{i}.relu" for i in (1, 3, 5)])
    assert tick_labels(figure.axes[0], "y") == ["1", "3", "5"]
    assert figure.axes[0].get_ylabel() == "layer: net.*.relu"
    assert tick_labels(figure.axes[0], "x") == ["0", "1"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_unit_life([[1]], [], [1]), "epochs must hold at least one"),
        (lambda: plot_unit_life([[1], [1]], [1, 1], [1]), "increasing"),
        (lambda: plot_unit_life([[1, 1]], [0], [1]), r"\(1, 1\) by the other arguments, got \(1, 2\)"),
        (lambda: plot_unit_life([[1]], [0, 1], [1]), r"\(2, 1\) by the other arguments, got \(1, 1\)"),
        (lambda: plot_unit_life([[1]], [0], []), "whole number >= 1 for every layer, got \\[\\]"),
        (lambda: plot_unit_life([[1]], [0], [1, 0]), "whole number >= 1 for every layer"),
        (lambda: plot_unit_life([[1]], [0], np.array([1.0])), "whole number >= 1 for every layer"),
        (lambda: plot_unit_life([[3]], [0], [1]), "codes 0, 1 and 2, got 3"),
        (lambda: plot_unit_life([1], [0], [1]), r"\(epochs, units\) with at least one code, got \(1,\)"),
        (lambda: plot_unit_life([[1]], [0], [1], ["a", "b"]), r"every layer \(1\), got 2"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
