"""Values of any size are drawn, or refused in words: no plot of a run fails with an error of matplotlib or NumPy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.report_runs import make_run

from jumpstart.plotting import (
    plot_box,
    plot_curves,
    plot_decision_regions,
    plot_heat_map,
    plot_ranges,
    plot_scatter,
    plot_status_shares,
    plot_unit_life,
    plot_violin,
)
from jumpstart.regions import find_regions
from jumpstart.regions.grid import Regions
from jumpstart.report.charts import curves_svg, shares_svg
from jumpstart.report.page import run_page
from jumpstart.report.record import read_run
from jumpstart.status.codes import Status

MOST = float(np.finfo(np.float64).max)
SINGLE = float(np.finfo(np.float32).max)
VALUES = {
    "large": [1.0, 1e300],
    "small": [1.0, 1e-300],
    "both": [1e-300, 1e300],
    "equal": [3.0, 3.0],
    "equal and large": [1e300, 1e300],
    "zero": [0.0, 0.0],
    "negative": [-1.0, -5.0],
    "both signs": [-1e300, 1e300],
    "float32": [-SINGLE, SINGLE],
    "float64": [-MOST, MOST],
    "largest": [1.0, MOST],
    "least": [5e-324, 1.0],
    "nothing but the least": [5e-324, 5e-324],
    "infinite": [np.inf, 1.0],
    "not a number": [np.nan, 1.0],
    "close": [1.0, 1.0 + 3e-16],
    "one": [5.0],
    "one of the largest": [MOST],
}


def drawn_or_said(draw: Callable[[], Figure]) -> Figure | None:
    """The figure; None if a message in words names an argument. Warnings are errors in tests."""
    try:
        figure = draw()
        figure.draw_without_rendering()
        return figure
    except ValueError as error:
        if not re.match(
            r"(curves\['a'\]|groups\['[ab]'\]|values|x and y|epochs|maximum|margin|points|x) must", str(error)
        ):
            raise
        return None


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("logy", [False, True])
def test_curves_are_visible_and_the_legend_has_the_last_value(name: str, logy: bool) -> None:
    values = np.array(VALUES[name])
    figure = drawn_or_said(lambda: plot_curves(range(len(values)), {"a": values}, logy))
    can_be_drawn = np.isfinite(values) & ((values > 0) | (not logy))
    assert (figure is not None) == can_be_drawn.any()
    if figure is not None:
        axes = figure.axes[0]
        low, high = axes.get_ylim()
        (line,) = axes.lines
        heights = np.asarray(line.get_ydata(), dtype=float)
        assert ((low <= heights) & (heights <= high)).all()
        legend = axes.get_legend()
        assert legend is not None
        assert legend.get_texts()[0].get_text() == f"a  {values[can_be_drawn][-1]:.4g}"
        ticks = [label.get_text() for label in axes.get_yticklabels() if label.get_text()]
        assert 1 <= len(ticks) <= 12


@pytest.mark.parametrize("name", ["large", "both", "both signs", "float64", "least", "infinite", "one of the largest"])
def test_all_other_plots(name: str) -> None:
    values = np.array(VALUES[name])
    axis = np.unique(values)
    count = len(axis)
    square = np.zeros((count, count), dtype=int)
    small = Regions([0, 1], [0, 1], classes=[[0, 0], [0, 1]], patterns=[[0, 0], [0, 1]])
    points = np.stack([values, values], 1)
    draws: list[Callable[[], Figure]] = [
        lambda: plot_ranges([np.abs(values)], [-np.abs(values)], ["a"]),
        lambda: plot_ranges([values], [values]),
        lambda: plot_ranges([[1.0]], [[-1.0]], margin=float(np.abs(values[-1]))),
        lambda: plot_curves(axis, {"a": np.arange(count)}),
        lambda: plot_status_shares(axis, [0.5] * count, [0.0] * count, [0.5] * count),
        lambda: plot_unit_life([[2]] * count, axis, [1]),
        lambda: plot_decision_regions(Regions(axis, axis, square, square), [[1.0, 2.0]]),
        lambda: plot_decision_regions(small, points),
        lambda: plot_box({"a": values}),
        lambda: plot_violin({"a": values, "b": values[:1]}),
        lambda: plot_scatter(values, values, range(len(values))),
        lambda: plot_heat_map([values], ["a"], range(len(values))),
    ]
    for draw in draws:
        drawn_or_said(draw)


@pytest.mark.parametrize("name", [name for name in VALUES if np.isfinite(VALUES[name]).all()])
def test_charts_of_the_report_stay_inside_their_frame(name: str) -> None:
    y = np.array(VALUES[name])
    x = np.arange(float(len(y)))
    epochs = np.unique(y)
    charts = [curves_svg("a", {"a": (x, y)}), curves_svg("a", {"a": (epochs, np.arange(float(len(epochs))))})]
    charts.append(shares_svg("a", epochs, dict.fromkeys(Status, np.full(len(epochs), 1 / 3))))
    for chart in charts:
        assert not re.search(r"\b(nan|inf)\b", chart)
        heights = [
            float(place.split(",")[1]) for part in re.findall(r'points="([^"]*)"', chart) for place in part.split()
        ]
        assert all(0 <= height <= 250 for height in heights)
        assert re.findall(r'class="tick"[^>]*text-anchor="end"', chart)


def test_a_report_of_the_largest_losses_is_written(tmp_path: Path) -> None:
    record = read_run(make_run(tmp_path))
    huge = {"val/loss": np.full(30, MOST), "train/loss": np.full(30, 5e-324)}
    page = run_page(replace(record, metrics={**record.metrics, **huge}))
    assert "1.798e+308" in page
    assert "Infinity" not in re.findall(r'id="data">(.*?)</script>', page)[0]


def test_a_single_place_far_away_has_a_grid() -> None:
    import torch
    from torch import nn

    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    torch.nn.init.zeros_(net[0].weight)
    regions = find_regions(net, [[1e20, 1e20]], resolution=5)
    assert regions.x[0] < 1e20 < regions.x[-1]


@pytest.mark.parametrize("value", [1e-20, 1e16, 1e99])
def test_values_that_differ_in_their_last_digits_are_drawn_on_a_logarithmic_axis(value: float) -> None:
    for difference in (3e-16, 1e-13):
        assert drawn_or_said(partial(plot_curves, [0, 1], {"a": [value, value * (1 + difference)]}, True))
