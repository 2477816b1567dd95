"""Plots in the axes of a user: what is drawn, what stays as it was, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from support.images import PLOTS, colors, inside

from jumpstart import plotting
from jumpstart.palette import COLORS
from jumpstart.plotting import plot_curves, plot_unit_status

CODES = [[0, 2], [1, 2], [2, 2]]
NAMES = ["block.one.relu", "block.two.relu"]


def grid() -> tuple[Figure, np.ndarray]:
    """A figure with four axes, each with a line of the user's."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    for ax in axes.flat:
        ax.plot([0, 1], [0, 1], gid="mine")
    return figure, axes


def test_every_plot_takes_axes() -> None:
    assert {name for name in plotting.__all__ if name.startswith("plot_")} == set(PLOTS)


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_drawn_into_the_given_axes_alone(name: str) -> None:
    figure, axes = grid()
    before = [len(ax.get_children()) for ax in axes.flat], dict(matplotlib.rcParams), np.random.get_state()[1].tolist()  # type: ignore[index]
    open_figures = plt.get_fignums()
    assert PLOTS[name](NAMES, ax=axes[0, 1]) is figure
    assert plt.get_fignums() == open_figures
    after = [len(ax.get_children()) for ax in axes.flat]
    assert [n for n in range(4) if after[n] != before[0][n]] == [1]
    assert dict(matplotlib.rcParams) == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # type: ignore[index]
    assert all(any(child.get_gid() == "mine" for child in ax.get_children()) for ax in axes.flat)
    assert len(figure.axes) == 4
    assert not figure.texts
    assert not figure.legends
    figure.canvas.draw()
    assert axes[0, 1].get_legend().get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize("name", PLOTS)
def test_given_axes_show_the_same_as_axes_of_their_own(name: str) -> None:
    own, figure = PLOTS[name](NAMES), Figure(figsize=(12, 8))
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    assert PLOTS[name](NAMES, ax=ax) is figure
    alone = own.axes[0]
    assert ax.get_xlim() == pytest.approx(alone.get_xlim(), rel=0.05)
    assert ax.get_ylim() == pytest.approx(alone.get_ylim(), rel=0.05)
    assert ax.get_xlabel() == alone.get_xlabel()
    if name == "plot_curves":  # has no color of a status
        return
    wanted = {tuple(int(color[i : i + 2], 16) for i in (1, 3, 5)) for color in COLORS.values()}
    assert colors(inside(figure)) & wanted == colors(inside(own)) & wanted


def test_curves_are_added_to_those_of_the_user() -> None:
    ax = Figure().add_subplot()
    ax.plot([0, 1], [100, 200], label="mine")
    plot_curves([0, 1], {"loss": [1, 2]}, title="Loss", ax=ax)
    assert len(ax.lines) == 2
    assert ax.get_ylim()[1] >= 200
    assert ax.get_title(loc="left") == "Loss"


def test_axes_of_a_subfigure_belong_to_the_whole_figure() -> None:
    figure = Figure()
    assert plot_curves([0], {"a": [1]}, ax=figure.subfigures(1, 2)[1].add_subplot()) is figure


def removed() -> Axes:
    ax = Figure().add_subplot()
    ax.remove()
    return ax


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: "left", TypeError, "ax must be a matplotlib Axes or None, got str"),
        (lambda: Figure().subplots(1, 2), TypeError, r"got ndarray. Give one of them, such as ax\[0\]"),
        (lambda: Figure(), TypeError, r"got Figure. Give its axes, such as figure.add_subplot\(\)"),
        (lambda: Figure().add_subplot(projection="polar"), ValueError, "straight axes, got the projection 'polar'"),
        (removed, ValueError, "ax must be part of a figure"),
    ],
)
def test_what_is_no_axes_is_refused_by_every_plot(
    make: Callable[[], Any], error: type[Exception], message: str
) -> None:
    for plot in PLOTS.values():
        with pytest.raises(error, match=message):
            plot(NAMES, ax=make())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_unit_status(CODES, "ab"), "layer_names must be a list of names, got the text 'ab'"),
        (lambda: plot_curves([0], [1]), "curves must be a mapping from names to values, got list"),  # type: ignore[arg-type]
        (lambda: plot_curves([0], {"a": [1]}, "yes"), "logy must be True or False, got 'yes'"),  # type: ignore[arg-type]
    ],
)
def test_arguments_of_a_wrong_type_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()
