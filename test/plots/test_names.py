"""Names in plots are drawn character by character, whatever they contain, in every plot."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from support.hostile import HOSTILE
from support.images import PLOTS

from jumpstart.literal import visible
from jumpstart.plots.texts import plain
from jumpstart.plotting import animate_decision_regions, plot_point_status, save_figure
from jumpstart.regions.grid import Regions

NAMES = list(HOSTILE.values())
TITLE = " ".join(NAMES)
GRID = Regions([0, 1], [0, 1], classes=[[0, 0], [0, 1]], patterns=[[0, 0], [0, 1]])


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if isinstance(text, Text)]


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize("given", [False, True])
def test_no_name_is_read_as_mathematics_or_loses_a_sign(name: str, given: bool, tmp_path: Path) -> None:
    ax = Figure(figsize=(9, 9)).add_subplot() if given else None
    with matplotlib.rc_context({"text.usetex": not given, "text.parse_math": True}):  # of the user
        figure = PLOTS[name](NAMES, title=TITLE, ax=ax)
        save_figure(figure, tmp_path / "plot.png", dpi=30)
    named = [text for text in texts(figure) if "mathdefault" not in text.get_text()]
    assert not [text for text in named if "$" in text.get_text() and (text.get_parse_math() or text.get_usetex())]
    assert not [text for text in named if visible(text.get_text()) != text.get_text()]
    assert plain(TITLE) in " ".join(text.get_text() for text in named)


@pytest.mark.parametrize("first", [0, 10, 12])
def test_every_class_of_decision_regions_is_named_in_the_legend(first: int, tmp_path: Path) -> None:
    names = NAMES[first:][:10]
    figure = PLOTS["plot_decision_regions"](names)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [plain(name, 14) for name in names]
    path = animate_decision_regions([(0, GRID)], tmp_path / "plot.gif", class_names=names, fps=1)
    assert path.stat().st_size > 100


def test_every_curve_is_in_the_legend_with_its_value() -> None:
    legend = PLOTS["plot_curves"](NAMES).axes[0].get_legend()
    assert legend is not None
    shown = [text.get_text().strip("\u2068") for text in legend.get_texts()]
    assert len(shown) == len(set(NAMES))
    for name, text in zip(dict.fromkeys(NAMES), shown, strict=True):
        assert text.startswith(plain(name, 40))
        assert text.endswith("  2")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a\nb", r"a\nb"), ("\u202eab", r"\u202eab"), ("a\x00", r"a\x00"), ("$5", "$5"), ("\u05d0", "\u05d0")],
)
def test_signs_that_cannot_be_seen_are_escaped_and_others_are_not(name: str, expected: str) -> None:
    assert plain(name) == expected


def test_classes_that_differ_in_a_final_nul_stay_apart() -> None:
    axes: Axes = plot_point_status([[0], [2]], ["a", "a\x00"]).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", r"a\x00"]
