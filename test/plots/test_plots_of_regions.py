"""Decision regions as a plot and as an animation."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.images import color_at, legend, pixels

from jumpstart.palette import CLASS_COLORS
from jumpstart.plots.canvas import rgb
from jumpstart.plotting import animate_decision_regions, plot_decision_regions
from jumpstart.regions.grid import Regions
from jumpstart.regions.plot import _Writer

IMAGE = importlib.import_module("PIL.Image")  # a dependency of matplotlib, which writes GIFs with it
AXIS = np.linspace(0, 1, 90)
X, Y = np.meshgrid(AXIS, AXIS)
HALVES = Regions(AXIS, AXIS, classes=(X > 0.5).astype(int), patterns=(Y > 0.25).astype(int))


def tint(index: int) -> tuple[int, ...]:
    return tuple(np.round(255 - (255 - rgb(CLASS_COLORS)[index].astype(float)) * 0.6).astype(int))


def test_every_place_has_the_color_of_its_class() -> None:
    figure = plot_decision_regions(HALVES)
    for x, y in ((0.1, 0.1), (0.1, 0.9), (0.4, 0.6)):
        assert color_at(figure, x, y) == tint(0)
        assert color_at(figure, 1 - x, y) == tint(1)
    assert legend(figure) == ["0", "1"]


def test_rows_go_upwards() -> None:
    figure = plot_decision_regions(Regions(AXIS, AXIS + 5, (Y > 0.5).astype(int), np.zeros((90, 90), int)))
    assert color_at(figure, 0.5, 5.1) == tint(0)
    assert color_at(figure, 0.5, 5.9) == tint(1)


def test_a_line_separates_linear_regions_and_a_darker_line_classes() -> None:
    image = pixels(plot_decision_regions(HALVES)).astype(int).sum(axis=2)
    box = plot_decision_regions(HALVES).axes[0].get_window_extent()
    top, left = image.shape[0] - round(box.y1), round(box.x0)
    inner = image[top + 3 : top + 447, left + 3 : left + 447]
    rows = np.flatnonzero(inner[:, 50] != np.median(inner[:, 50]))
    columns = np.flatnonzero(np.abs(np.diff(inner[50])) > 100)
    assert len(rows) == 1
    assert rows[0] == pytest.approx(447 * 0.75, abs=6)
    assert columns[0] == pytest.approx(222, abs=6)
    assert inner[50].min() < inner[rows[0], 50] < np.median(inner[:, 50])


def test_the_numbers_of_patterns_do_not_change_the_plot() -> None:
    same = Regions(AXIS, AXIS, HALVES.classes, HALVES.patterns * -(10**12) + 7)
    assert np.array_equal(pixels(plot_decision_regions(HALVES)), pixels(plot_decision_regions(same)))


def test_unsure_places_are_pale() -> None:
    confidence = np.where(Y > 0.5, 1.0, 0.5)
    figure = plot_decision_regions(Regions(AXIS, AXIS, HALVES.classes, HALVES.patterns, confidence))
    assert color_at(figure, 0.1, 0.9) == tint(0)
    assert sum(color_at(figure, 0.1, 0.4)) > sum(tint(0)) + 100


def test_points_have_the_color_of_their_own_class() -> None:
    points, labels = [[0.2, 0.8], [0.3, 0.1], [9.0, 9.0]], [1, 0, 1]
    figure = plot_decision_regions(HALVES, points, labels, ["ham", "spam"])
    for (x, y), label in zip(points[:2], labels, strict=False):
        around = {color_at(figure, x + i / 450, y + j / 450) for i in (-1, 0, 1) for j in (-1, 0, 1)}
        assert tuple(rgb(CLASS_COLORS)[label].tolist()) in around
    assert legend(figure) == ["ham", "spam"]
    assert color_at(plot_decision_regions(HALVES, points), 0.2, 0.8) == (255, 255, 255)
    assert figure.axes[0].get_xlim() == pytest.approx((-1 / 178, 1 + 1 / 178))


def test_ten_classes_have_ten_markers() -> None:
    figure = plot_decision_regions(HALVES, np.full((10, 2), 0.5), np.arange(10))
    assert len({line.get_marker() for line in figure.axes[0].get_lines()}) == 10


def test_title() -> None:
    assert plot_decision_regions(HALVES).texts[0].get_text() == "2 linear regions"
    assert plot_decision_regions(HALVES, title="Mine").texts[0].get_text() == "Mine"


# Animation ----------------------------------------------------------------------------------------

FRAMES = [(e, Regions(AXIS, AXIS, (0.2 + e / 100 < X).astype(int), HALVES.patterns)) for e in (0, 20, 40)]


def test_an_animation_has_every_frame(tmp_path: Path) -> None:
    path = animate_decision_regions(FRAMES, str(tmp_path / "new" / "moons.gif"), fps=4)
    assert path == tmp_path / "new" / "moons.gif"
    with IMAGE.open(path) as gif:
        assert gif.n_frames == 3
        assert gif.info["loop"] == 0
        durations, shares = [], []
        for index in range(3):
            gif.seek(index)
            durations.append(gif.info["duration"])
            image = np.asarray(gif.convert("RGB")).astype(int)
            shares.append((np.abs(image - tint(0)).sum(axis=2) < 24).mean())
    assert durations == [250, 250, 1250]
    whole = 450**2 / np.prod(image.shape[:2])
    assert shares == pytest.approx([0.2 * whole, 0.4 * whole, 0.6 * whole], abs=0.03)
    assert [file.name for file in path.parent.iterdir()] == ["moons.gif"]


def test_the_same_frames_make_the_same_file(tmp_path: Path) -> None:
    one, other = (animate_decision_regions(FRAMES[:2], tmp_path / f"{n}.gif", fps=1).read_bytes() for n in (1, 2))
    assert one == other


def test_an_animation_is_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "moons.gif"
    path.write_bytes(b"before")
    finish = _Writer.finish

    def interrupted(self: _Writer) -> None:
        finish(self)
        assert len(list(tmp_path.iterdir())) == 2
        raise KeyboardInterrupt

    monkeypatch.setattr(_Writer, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        animate_decision_regions(FRAMES[:1], path, fps=1)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


GIF = Path("never/written.gif")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_decision_regions(AXIS), "must be a jumpstart.regions.Regions, got ndarray"),
        (lambda: plot_decision_regions(HALVES, [1.0, 2.0]), r"points must be \(P, 2\) numbers, got \(2,\)"),
        (lambda: plot_decision_regions(HALVES, [[0, 0]], [0, 1]), r"one class per point \(1\), got \(2,\)"),
        (lambda: plot_decision_regions(HALVES, [[0, 0]], [-1]), "labels must be whole numbers >= 0"),
        (lambda: plot_decision_regions(HALVES, [[0, 0]], [0.5]), "labels must be whole numbers >= 0"),
        (lambda: plot_decision_regions(HALVES, [[0, 0]], [10]), "at most 10 classes .* got 11"),
        (lambda: plot_decision_regions(HALVES, class_names=["a"]), r"every class \(2\), got 1"),
        (lambda: animate_decision_regions([], GIF), "at least one .*, got none"),
        (lambda: animate_decision_regions(FRAMES, "a.png"), r"must end in \.gif, got 'a\.png'"),
        (lambda: animate_decision_regions(FRAMES, GIF, fps=0), "fps must be above 0 and at most 50"),
        (
            lambda: animate_decision_regions(
                [FRAMES[0], (1, Regions(AXIS + 1, AXIS, HALVES.classes, HALVES.patterns))], GIF
            ),
            "frames must all be of one grid",
        ),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
    assert not GIF.parent.exists()
