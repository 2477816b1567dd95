"""Maps, shares and curves: the pixels have the colors of the data."""

from __future__ import annotations

import io
import itertools
import math
import os
import stat
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from support.images import RGB, WHITE, color_at, colors, inside, legend, pixels, tick_labels

from jumpstart.monitor import StatusMonitor
from jumpstart.palette import COLORS
from jumpstart.plots.arrays import point_order
from jumpstart.plots.canvas import save_figure
from jumpstart.plots.maps import plot_point_status, plot_unit_status
from jumpstart.plotting import plot_curves, plot_ranges, plot_status_shares
from jumpstart.status.codes import Status, status_of


@pytest.mark.parametrize("shape", [(4, 50), (3, 1), (1, 1), (128, 12), (7, 200)])
def test_every_unit_has_its_color_in_its_place(shape: tuple[int, int]) -> None:
    status = np.random.default_rng(1).integers(0, 3, shape)
    figure = plot_unit_status(status)
    for unit, layer in itertools.product(range(shape[0]), range(shape[1])):
        expected = RGB[Status(status[unit, layer])]
        assert color_at(figure, layer + 1, unit) == expected, (unit, layer)


def test_first_unit_is_on_top_and_first_layer_on_the_left() -> None:
    image = inside(plot_unit_status(np.array([[0, 2, 2], [2, 2, 2], [2, 2, 1]])))
    assert tuple(image[5, 5]) == RGB[Status.DEAD]
    assert tuple(image[-5, -5]) == RGB[Status.LINEAR]
    assert tuple(image[-5, 5]) == tuple(image[5, -5]) == RGB[Status.NONLINEAR]


@pytest.mark.parametrize("units", [4, 1000])
@pytest.mark.parametrize("present", [{0}, {1}, {0, 2}, {0, 1, 2}])
def test_a_map_has_the_colors_of_the_statuses_that_occur_and_no_others(present: set[int], units: int) -> None:
    status = np.resize(sorted(present), (units, 6))
    units_colors = colors(inside(plot_unit_status(status)))
    assert {s for s in Status if RGB[s] in units_colors} == {Status(code) for code in present}
    points = colors(inside(plot_point_status(status)))
    assert {s for s in Status if RGB[s] in points} == {Status(code) for code in present}


def test_cells_below_a_short_layer_stay_white() -> None:
    figure = plot_unit_status([[0, 1, 2], [2], np.array([1, 0])])
    expected = [[0, 1, 2], [2, None, None], [1, 0, None]]
    for layer, unit in itertools.product(range(3), range(3)):
        code = expected[layer][unit]
        color = WHITE if code is None else RGB[Status(code)]
        assert color_at(figure, layer + 1, unit) == color
    assert legend(figure) == ["dead 2 (33.3 %)", "linear 2 (33.3 %)", "non-linear 2 (33.3 %)"]


def test_many_units_show_the_shares_of_their_layer_dead_at_the_bottom() -> None:
    layers = [np.r_[[2] * 500, [0] * 250, [1] * 250], np.full(20, 2), np.r_[[1], [2] * 24_999]]
    figure = plot_unit_status(layers)
    image = inside(figure)
    lines, width = image.shape[0], image.shape[1] // 3
    for layer, codes in enumerate(layers):
        column = image[:, layer * width + width // 2]
        for status in Status:
            drawn: list[tuple[Callable[..., Figure], tuple[dict[str, torch.Tensor], ...]]] = [
                (plot_unit_status, (monitor.unit_status,)),
                (plot_point_status, (monitor.point_status,)),
                (plot_ranges, (monitor.unit_max, monitor.unit_min)),
            ]
        for plot, mappings in drawn:
            lists = [list(mapping.values()) for mapping in mappings]
            arrays = [torch.stack(values, 1) for values in lists] if plot is plot_point_status else lists
            expected = plot(*arrays, layer_names=["1", "3"])
            assert np.array_equal(pixels(plot(*mappings)), pixels(expected)), plot
            assert not np.array_equal(pixels(plot(*mappings, layer_names=["a", "b"])), pixels(expected)), plot
        turned = dict(reversed(monitor.unit_min.items()))
        with pytest.raises(ValueError, match=r"must have the same layers, got \['1', '3'\] and \['3', '1'\]"):
            plot_ranges(monitor.unit_max, turned)
