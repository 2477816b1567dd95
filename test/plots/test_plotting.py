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
            drawn = (column == RGB[status]).all(axis=1).sum() / lines
            assert drawn == pytest.approx((codes == status).mean(), abs=6 / lines)
    first = image[:, width // 2]
    assert tuple(first[-1]) == RGB[Status.DEAD]
    assert tuple(first[int(lines * 0.6)]) == RGB[Status.LINEAR]
    assert tuple(first[0]) == RGB[Status.NONLINEAR]


def test_one_dead_unit_in_25000_is_visible() -> None:
    figure = plot_unit_status([np.r_[[0], np.full(24_999, 2)]])
    assert RGB[Status.DEAD] in colors(pixels(figure)[-65:-40, 80:110])
    assert legend(figure)[0] == "dead 1 (< 0.1 %)"
    assert legend(figure)[2] == "non-linear 24,999 (> 99.9 %)"


def test_legend_counts_all_units() -> None:
    status = np.full((4, 50), 2)
    status[0, :17] = 0
    figure = plot_unit_status(status)
    assert legend(figure) == ["dead 17 (8.5 %)", "linear 0 (0.0 %)", "non-linear 183 (91.5 %)"]
    assert figure.texts[0].get_text() == "200 units in 50 layers"
    assert plot_unit_status(status, title="Mine").texts[0].get_text() == "Mine"


def test_tensors_are_accepted() -> None:
    status = status_of(torch.tensor([[1.0, -1.0]]), torch.tensor([[-1.0, -2.0]]))
    figure = plot_unit_status(status)
    assert color_at(figure, 1, 0) == RGB[Status.NONLINEAR]
    assert color_at(figure, 2, 0) == RGB[Status.DEAD]
    assert legend(plot_point_status(status)) == legend(figure)


@pytest.mark.parametrize("labeled", [False, True])
def test_points_are_ordered_by_class_first_dead_layer_and_status(labeled: bool) -> None:
    rng = np.random.default_rng(2)
    status = rng.choice(3, size=(300, 6), p=[0.1, 0.2, 0.7])
    labels = rng.integers(0, 4, 300) if labeled else None

    def key(point: int) -> tuple[object, ...]:
        row = status[point].tolist()
        first_dead = row.index(0) if 0 in row else len(row)
        return (0 if labels is None else labels[point], first_dead, row)

    assert point_order(status, labels).tolist() == sorted(range(300), key=key)


def test_points_are_drawn_in_their_order() -> None:
    status = np.array([[2, 2, 2], [2, 0, 2], [0, 1, 2], [2, 2, 0], [2, 0, 1]])
    labels = np.array(["b", "a", "a", "b", "b"])
    figure = plot_point_status(status, labels)
    assert point_order(status, labels).tolist() == [2, 1, 4, 3, 0]
    for row, point in enumerate([2, 1, 4, 3, 0]):
        for layer in range(3):
            assert color_at(figure, layer + 1, row) == RGB[Status(status[point, layer])]
    assert tick_labels(figure.axes[0], "y") == ["a", "b"]
    assert legend(figure) == ["dead 4 (26.7 %)", "linear 2 (13.3 %)", "non-linear 9 (60.0 %)"]
    assert figure.texts[0].get_text() == "5 points in 3 layers, 4 dead in at least one"


@pytest.mark.parametrize(
    ("labels", "kinds"), [(["a", None], "NoneType and str"), ([1, None], "NoneType and int"), ([1j, "a"], "")]
)
def test_labels_without_an_order_are_refused(labels: list[object], kinds: str) -> None:
    with pytest.raises(ValueError, match=f"labels must be all numbers or all texts, got .*{kinds}"):
        plot_point_status([[2, 2], [2, 0]], np.array(labels, dtype=object))


def test_more_points_than_lines_keep_their_proportions() -> None:
    status = np.full((20_000, 2), 2)
    status[:5000] = 0
    labels = np.r_[np.zeros(19_999), 1]
    status[-1] = 1
    image = inside(plot_point_status(np.random.default_rng(3).permutation(status[:-1])))
    column = image[:, image.shape[1] // 4]
    dead = (column == RGB[Status.DEAD]).all(axis=1)
    assert dead.mean() == pytest.approx(0.25, abs=0.01)
    assert dead[: dead.sum()].all()
    # The one point of a class stays, whatever else is left out.
    figure = plot_point_status(status, labels)
    assert RGB[Status.LINEAR] in colors(pixels(figure)[-70:, 80:])
    assert tick_labels(figure.axes[0], "y") == ["0.0", "1.0"]


def test_shares_are_stacked_with_dead_at_the_bottom() -> None:
    figure = plot_status_shares([0, 10], [0.5, 0.1], [0.25, 0.1], [0.25, 0.8])
    for x, expected in ((0.1, (0.5, 0.75)), (9.9, (0.1, 0.2))):
        low, high = expected
        assert color_at(figure, x, low - 0.05) == RGB[Status.DEAD]
        assert color_at(figure, x, (low + high) / 2) == RGB[Status.LINEAR]
        assert color_at(figure, x, high + 0.05) == RGB[Status.NONLINEAR]
    assert legend(figure) == ["dead 10.0 %", "linear 10.0 %", "non-linear 80.0 %"]


def test_one_epoch_of_shares_fills_the_axes() -> None:
    figure = plot_status_shares([3], [0.5], [0.0], [0.5])
    assert colors(inside(figure)) >= {RGB[Status.DEAD], RGB[Status.NONLINEAR]}
    assert WHITE not in colors(inside(figure))
    assert tick_labels(figure.axes[0], "x") == ["3"]


def test_curves_join_across_missing_values() -> None:
    losses = [3.0, math.nan, 2.0, math.inf, 1.0]
    figure = plot_curves(range(5), {"train": losses, "val": [1, 1, 1, 1, 1]})
    line = figure.axes[0].get_lines()[0]
    assert line.get_xdata().tolist() == [0, 2, 4]
    assert line.get_ydata().tolist() == [3, 2, 1]
    assert legend(figure) == ["train  1", "val  1"]
    low, high = figure.axes[0].get_ylim()
    assert low < 1.0 < 3.0 < high


def test_logarithmic_curves_leave_out_values_that_are_not_positive() -> None:
    figure = plot_curves([0, 1, 2], {"loss": [10.0, 0.0, 0.1]}, logy=True)
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[0].get_lines()[0].get_xdata().tolist() == [0, 2]
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < 0.1 < 10 < high


def test_every_curve_has_a_look_of_its_own() -> None:
    figure = plot_curves([0, 1], {str(i): [i, i] for i in range(20)})
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].get_lines()}
    assert len(looks) == 20
    assert not {color for color, _ in looks} & set(COLORS.values())


def test_the_settings_of_the_user_do_not_change_a_plot(tmp_path: Path) -> None:
    def drawn(name: str) -> bytes:
        figure = plot_unit_status(np.arange(12).reshape(3, 4) % 3)
        return save_figure(figure, tmp_path / name).read_bytes()

    expected = drawn("a.png")
    mine = {"axes.grid": True, "font.size": 30, "savefig.bbox": "tight", "figure.dpi": 40}
    with matplotlib.rc_context(mine):
        assert drawn("b.png") == expected


def test_a_figure_is_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plots" / "units.png"
    figure = plot_unit_status([[0, 1, 2]])
    assert save_figure(figure, str(path)) == path
    before = path.read_bytes()
    assert before.startswith(b"\x89PNG")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask

    def interrupted(self: Figure, target: io.BytesIO, **_: object) -> None:
        target.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_figure(figure, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["units.png"]
    with pytest.raises(ValueError, match=r"must end in \.png, got 'units\.pdf'"):
        save_figure(figure, tmp_path / "units.pdf")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_unit_status([]), "at least one layer, got none"),
        (lambda: plot_unit_status(np.zeros((0, 3))), "at least one code"),
        (lambda: plot_unit_status(np.zeros((3, 0))), "at least one code"),
        (lambda: plot_unit_status(np.zeros(3)), r"\(rows, layers\).*got \(3,\)"),
        (lambda: plot_unit_status([[1], []]), "at least one code per layer.*layer 2"),
        (lambda: plot_unit_status([[1, 3]]), "codes 0, 1 and 2, got 3"),
        (lambda: plot_unit_status([[1, -1]]), "codes 0, 1 and 2, got -1"),
        (lambda: plot_unit_status([[0.5]]), "codes 0, 1 and 2, got 0.5"),
        (lambda: plot_unit_status([[1]], ["a", "b"]), r"every layer \(1\), got 2"),
        (lambda: plot_point_status([[]]), "at least one code"),
        (lambda: plot_point_status([[1], [1]], [0]), r"one class per point \(2\), got \(1,\)"),
        (lambda: plot_point_status([[1]], [0], ["a", "b"]), "layer_names"),
        (lambda: plot_status_shares([], [], [], []), "epochs must hold at least one"),
        (lambda: plot_status_shares([1, 0], [1, 1], [0, 0], [0, 0]), "increasing"),
        (lambda: plot_status_shares([0], [1, 1], [0], [0]), "dead must have one value per epoch"),
        (lambda: plot_status_shares([0], [0.5], [0.5], [0.5]), "add up to 1"),
        (lambda: plot_status_shares([0], [1.5], [-0.5], [0.0]), "add up to 1"),
        (lambda: plot_status_shares([0], [math.nan], [0.5], [0.5]), "add up to 1"),
        (lambda: plot_curves([], {}), "epochs must hold at least one"),
        (lambda: plot_curves([0], {}), "at least one curve"),
        (lambda: plot_curves([0], {"a": []}), r"curves\['a'\] must have one value per epoch"),
        (lambda: plot_curves([0], {"a": [math.nan]}), "must have a finite value"),
        (lambda: plot_curves([0], {"a": [-1.0]}, logy=True), "must have a positive value"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], Figure], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_mappings_of_a_monitor_can_be_drawn() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2), torch.nn.Tanh())
    with StatusMonitor(model) as monitor:
        model(torch.randn(9, 3))
        calls: list[tuple[Callable[..., Figure], tuple[dict[str, torch.Tensor], ...]]] = [
            (plot_unit_status, (monitor.unit_status,)),
            (plot_point_status, (monitor.point_status,)),
            (plot_ranges, (monitor.unit_max, monitor.unit_min)),
        ]
        for plot, mappings in calls:
            lists = [list(mapping.values()) for mapping in mappings]
            arrays = [torch.stack(values, 1) for values in lists] if plot is plot_point_status else lists
            expected = plot(*arrays, layer_names=["1", "3"])
            assert np.array_equal(pixels(plot(*mappings)), pixels(expected)), plot
            assert not np.array_equal(pixels(plot(*mappings, layer_names=["a", "b"])), pixels(expected)), plot
        turned = dict(reversed(monitor.unit_min.items()))
        with pytest.raises(ValueError, match=r"must have the same layers, got \['1', '3'\] and \['3', '1'\]"):
            plot_ranges(monitor.unit_max, turned)
