"""Boxes, violins, points of runs, heat maps and critical differences: what is drawn is what was given."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from support.images import color_at, legend, pixels, tick_labels

from jumpstart.palette import COLORS, CURVE_COLORS
from jumpstart.plotting import plot_box, plot_critical_difference, plot_heat_map, plot_scatter, plot_violin

GROUPS = {"plain": [0.5, 0.6, 0.9, np.nan, 0.7], "ours": [1.0, np.inf], "$skip$": [0.8, 0.8, 0.8]}


@pytest.mark.parametrize("plot", [plot_box, plot_violin])
def test_every_finite_run_is_a_point_on_the_line_of_its_group(plot: Callable[..., Figure]) -> None:
    axes = plot(GROUPS, label="accuracy").axes[0]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [sorted(np.asarray(line.get_xdata()).tolist()) for line in points] == [
        [0.5, 0.6, 0.7, 0.9],
        [1.0],
        [0.8, 0.8, 0.8],
    ]
    assert [round(float(np.mean(line.get_ydata()))) for line in points] == [0, 1, 2]
    assert len(set(np.asarray(points[2].get_ydata()).tolist())) == 3, "equal runs stay apart"
    assert [line.get_color() for line in points] == list(CURVE_COLORS[:3])
    assert (tick_labels(axes, "y"), axes.get_xlabel()) == (["plain", "ours", "$skip$"], "accuracy")
    assert axes.yaxis_inverted(), "the first group is on top"


def test_a_box_has_the_quartiles_and_a_violin_the_range() -> None:
    values = [0.0, 1.0, 2.0, 3.0, 4.0, 100.0]
    box = plot_box({"a": values}).axes[0].patches[0].get_path().vertices
    assert (box[:, 0].min(), box[:, 0].max()) == (1.25, 3.75)
    whiskers = [line.get_xdata() for line in plot_box({"a": values}).axes[0].lines if line.get_marker() != "o"]
    assert {float(x) for ends in whiskers for x in ends} == {0.0, 1.25, 2.5, 3.75, 4.0}
    violin = plot_violin({"a": values}).axes[0].collections[0].get_paths()[0].vertices
    assert (violin[:, 0].min(), violin[:, 0].max()) == (0.0, 100.0)
    assert np.abs(violin[violin[:, 0] < 10, 1]).max() > np.abs(violin[violin[:, 0] > 90, 1]).max()


def test_the_points_of_a_group_have_its_color_and_marker() -> None:
    x, y, groups = [0.0, 0.5, 1.0, np.nan], [1.0, 0.5, 0.0, 0.3], ["a", "_b", "a", "a"]
    figure = plot_scatter(x, y, pd.Series(groups), x_label="dead", y_label="accuracy")
    first, second = figure.axes[0].collections
    assert first.get_offsets().tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert second.get_offsets().tolist() == [[0.5, 0.5]]
    assert [tuple(c.get_facecolor()[0][:3]) for c in (first, second)] == [to_rgba(c)[:3] for c in CURVE_COLORS[:2]]
    assert legend(figure) == ["a", "_b"]
    assert plot_scatter(x, y).axes[0].get_legend() is None
    looks = plot_scatter(range(20), range(20), range(20)).axes[0].collections
    assert len({(c.get_facecolor().tobytes(), c.get_paths()[0].vertices.tobytes()) for c in looks}) == 20


def test_the_cells_of_a_heat_map_have_the_colors_of_their_values() -> None:
    table = pd.DataFrame({4: [0.5, np.nan], 8: [0.75, 1.0], 16: [0.5, 0.9]}, index=[10, 50])
    figure = plot_heat_map(table, table.index, table.columns, row_label="depth", column_label="width", label="acc")
    axes = figure.axes[0]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "0.50", (1, 0): "0.75", (2, 0): "0.50", (1, 1): "1.00", (2, 1): "0.90"}
    colors = matplotlib.colormaps["cividis"]
    for row, column in np.ndindex(2, 3):
        value = (table.to_numpy()[row, column] - 0.5) / 0.5
        wanted = (255, 255, 255) if np.isnan(value) else tuple(round(255 * c) for c in colors(value)[:3])
        assert color_at(figure, column - 0.45, row - 0.4) == pytest.approx(wanted, abs=2)
    assert (tick_labels(axes, "y"), tick_labels(axes, "x")) == (["10", "50"], ["4", "8", "16"])
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("depth", "width")


def test_heat_maps_with_the_same_limits_can_be_compared() -> None:
    one, other = (plot_heat_map([[0.5, high]], ["a"], [1, 2], limits=(0, 1)) for high in (0.6, 1.0))
    assert color_at(one, -0.45, 0.4) == color_at(other, -0.45, 0.4) != color_at(other, 0.55, 0.4)


def test_bars_join_the_techniques_that_do_not_differ() -> None:
    ranks = {"c$": 3.0, "a": 1.0, "d": 3.5, "b": 2.0}
    pairs = np.array([[1, 0.01, 0.9, 0.2], [0.01, 1, 0.01, 0.3], [0.9, 0.01, 1, 0.01], [0.2, 0.3, 0.01, 1]])
    figure = plot_critical_difference(ranks, pairs)
    axes = figure.axes[0]
    bars = [sorted(np.asarray(line.get_xdata()).tolist()) for line in axes.lines if line.get_linewidth() == 3.0]
    assert sorted(bars) == [[1.0, 2.0], [2.0, 3.0], [3.0, 3.5]]
    assert [text.get_text() for text in axes.texts] == ["a  (1.00)", "b  (2.00)", "d  (3.50)", "c$  (3.00)"]
    assert axes.get_xlabel() == "mean rank"
    stricter = plot_critical_difference(ranks, pairs, alpha=0.25).axes[0]
    assert sum(line.get_linewidth() == 3.0 for line in stricter.lines) == 2
    pixels(figure)
    for text in axes.texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert box.y0 >= 0


def test_no_group_has_the_color_of_a_status() -> None:
    for figure in (plot_box(GROUPS), plot_scatter(range(9), range(9), range(9))):
        used = {tuple(color) for c in figure.axes[0].collections for color in c.get_facecolor()}
        assert used.isdisjoint(to_rgba(color) for color in COLORS.values())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plot_box([1.0]), TypeError, "groups must be a mapping from names to values, got list"),
        (lambda: plot_box({}), ValueError, "groups must hold at least one group"),
        (lambda: plot_violin({"a": [np.nan]}), ValueError, r"groups\['a'\] must have a finite value"),
        (lambda: plot_box({"a": ["x"]}), ValueError, r"groups\['a'\] must hold numbers"),
        (lambda: plot_scatter([1], [1, 2]), ValueError, r"one value per run, got \(1,\) and \(2,\)"),
        (lambda: plot_scatter([1, 2], [1, 2], ["a"]), ValueError, r"groups must hold one name per run \(2\), got 1"),
        (lambda: plot_scatter([np.nan], [1]), ValueError, "finite for at least one run"),
        (lambda: plot_heat_map([1, 2], [1], [1, 2]), ValueError, r"one row for each .* got \(2,\)"),
        (lambda: plot_heat_map([[1, 2]], [1, 2], [1]), ValueError, r"got \(1, 2\)"),
        (lambda: plot_heat_map([[np.nan]], [1], [1]), ValueError, "values must have a finite value"),
        (lambda: plot_heat_map([[1]], [1], [1], limits=(1, 1)), ValueError, "limits must be two increasing numbers"),
        (lambda: plot_critical_difference([1, 2], [[1]]), TypeError, "ranks must be a mapping"),
        (lambda: plot_critical_difference({"a": 1}, [[1]]), ValueError, "at least 2 techniques"),
        (
            lambda: plot_critical_difference({"a": 1, "b": 2}, [[1]]),
            ValueError,
            r"each technique \(2, 2\), got \(1, 1\)",
        ),
        (lambda: plot_critical_difference({"a": 1, "b": 2}, [[1, 0], [1, 1]]), ValueError, "finite and symmetric"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
