"""LaTeX that compiles, HTML that browsers read, and colors from the worst to the best number."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from support.hostile import HOSTILE

from jumpstart.literal import visible
from jumpstart.palette import CURVE_COLORS
from jumpstart.table import Spread, to_html, to_latex, to_markdown

PDFLATEX = shutil.which("pdflatex")
NAMES = list(HOSTILE.values())
WINNERS = pd.DataFrame(
    {
        "data": ["moons", "iris"],
        "plain": [Spread.of([0.5, 0.7]), Spread.of([0.9])],
        "ours": [Spread.of([0.98, 1.0]), Spread.of([0.9])],
        "other": [Spread.of([0.8]), Spread.of([])],
    },
    dtype=object,
)


@pytest.mark.skipif(PDFLATEX is None, reason="needs pdflatex")
def test_latex_compiles(tmp_path: Path) -> None:
    known = [name for name in NAMES if visible(name).isascii() and len(name) < 100]
    hostile = pd.DataFrame({"name": known, "value": [float("inf"), *[0.5] * (len(known) - 1)]}, dtype=object)
    wide = pd.DataFrame([known], columns=known)
    tables = [to_latex(WINNERS, best="max", colors=True), to_latex(hostile), to_latex(wide)]
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs}\usepackage[table]{xcolor}"
    document = [rf"\documentclass{{article}}{packages}\begin{{document}}", "\n\n".join(tables), r"\end{document}"]
    (tmp_path / "table.tex").write_text("\n".join(document), encoding="utf-8")
    done = subprocess.run(
        [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "table.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in done.stdout
    assert (tmp_path / "table.pdf").read_bytes().startswith(b"%PDF")


def test_colors_go_from_the_worst_to_the_best_number_of_a_row() -> None:
    first, second = to_latex(WINNERS, best="max", colors=True).splitlines()[4:6]
    assert first == (
        r"moons & \cellcolor[HTML]{FFFFFF} $0.600 \pm 0.141$ & \cellcolor[HTML]{80CEB9} $\mathbf{0.990 \pm 0.014}$ "
        r"& \cellcolor[HTML]{BEE6DB} $0.800$ \\"
    )
    assert second == r"iris & $\mathbf{0.900}$ & $\mathbf{0.900}$ & - \\", "equal numbers have no color"
    lowest = to_latex(WINNERS, best="min", colors=True).splitlines()[4]
    assert re.findall(r"\{([0-9A-F]{6})\}", lowest) == ["80CEB9", "FFFFFF", "C1E7DD"]
    assert CURVE_COLORS[0] == "#009E73"
    assert "cellcolor" not in to_latex(WINNERS, best="max")


def test_infinity_is_one_sign_in_latex() -> None:
    table = pd.DataFrame({"loss": [float("inf")], "other": [float("-inf")]})
    assert to_latex(table).splitlines()[4] == r"$\infty$ & $-\infty$ \\"


class Rows(HTMLParser):
    """The cells of a table: text, background, and whether it is bold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[list[object]]] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            found = re.search(r"background:(#\w+)", dict(attrs).get("style") or "")
            self.rows[-1].append(["", found and found[1], False])
        elif tag == "strong":
            self.rows[-1][-1][2] = True

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1] and data.strip("\n"):
            self.rows[-1][-1][0] = str(self.rows[-1][-1][0]) + data


def test_html_shows_the_same_as_markdown() -> None:
    rows = Rows(to_html(WINNERS, 2, "max", colors=True)).rows
    assert rows[0] == [[name, None, False] for name in WINNERS.columns]
    assert rows[1] == [
        ["moons", None, False],
        ["0.60 ± 0.14", "#FFFFFF", False],
        ["0.99 ± 0.01", "#80CEB9", True],
        ["0.80", "#BEE6DB", False],
    ]
    plain = [[str(cell[0]) for cell in row] for row in Rows(to_html(WINNERS, 2, "max")).rows]
    lines = [line for line in to_markdown(WINNERS, 2, "max").splitlines() if ":--" not in line]
    assert plain == [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]


def test_an_html_table_holds_every_name_in_its_own_cell() -> None:
    parsed = Rows(to_html(pd.DataFrame(dict.fromkeys(NAMES, NAMES), dtype=object)))
    assert parsed.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    for row, name in zip(parsed.rows, [None, *NAMES], strict=True):
        assert [cell[0] for cell in row] == [visible(n) for n in (NAMES if name is None else [name] * len(NAMES))]


def test_colors_need_to_know_what_is_best() -> None:
    for write in (to_latex, to_html):
        with pytest.raises(ValueError, match="colors needs best='max' or best='min', got best=None"):
            write(WINNERS, colors=True)
    with pytest.raises(TypeError, match="colors must be True or False, got 'yes'"):
        to_latex(WINNERS, best="max", colors="yes")
