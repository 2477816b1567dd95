"""Names in tables that a spreadsheet, a browser, a Markdown reader or LaTeX would run."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

import pandas as pd
import pytest
from support.hostile import HOSTILE

from jumpstart.literal import csv_text, csv_value
from jumpstart.table import best_runs, results_table, to_csv, to_html, to_latex, to_markdown

SIGNS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
HIDDEN = ("", " ", "\t", "\r", "\n", "\0", "\ufeff", "\u200b ", "\u00a0", "'")
FORMULAS = [hidden + sign + "1+1|cmd" for hidden in HIDDEN for sign in SIGNS] + ["\tx", "\rx", "\nx"]
MARKUP = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "&lt;b&gt;",
    "&#60;b>",
    "<!--",
    "a\n\n<b>",
    "]]><",
)


def table(name: str) -> pd.DataFrame:
    """A table with a name as a head and as a cell."""
    return results_table([{name: name, "test/acc": 0.5}], name)


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_no_cell_of_a_csv_file_is_a_formula() -> None:
    for name in FORMULAS:
        head, row = cells(to_csv(table(name)))
        assert head[0].startswith("'"), name
        assert row[0].startswith("'"), name


def test_a_cell_of_a_csv_file_is_read_back() -> None:
    for name in (*FORMULAS, *MARKUP, "a=1", "'", "'x", "moons", ""):
        assert csv_value(csv_text(name)) == name


@pytest.mark.parametrize("name", [*MARKUP, *HOSTILE.values()])
def test_markdown_has_no_tag_no_entity_of_the_name_and_one_line_a_row(name: str) -> None:
    text = to_markdown(table(name or "x"))
    assert len(text.splitlines()) == 3
    assert "<" not in text
    assert re.search(r"&(?!amp;|lt;)#?\w+;", text) is None


@pytest.mark.parametrize("name", [*MARKUP, *HOSTILE.values()])
def test_html_has_no_tag_of_the_name(name: str) -> None:
    tags = set(re.findall(r"</?(\w+|!)", to_html(table(name or "x"))))
    assert tags == {"table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize(
    "name", ["a^b", "a~b", r"\input{/etc/passwd}", r"\write18{ls}", "^^5cinput", "a\n\\end{tabular}"]
)
def test_latex_has_no_command_of_the_name(name: str) -> None:
    text = to_latex(table(name))
    assert len(text.splitlines()) == 7
    known = r"\\(textbackslash|textasciicircum|textasciitilde|begin|end|toprule|midrule|bottomrule|[_{}\\])"
    assert re.search(r"[\\^~]", re.sub(known, "", text)) is None


@pytest.mark.parametrize("write", [to_markdown, to_latex, to_html, to_csv])
def test_a_table_without_rows_has_its_heads(write: Callable[[pd.DataFrame], str]) -> None:
    assert "name" in write(pd.DataFrame({"name": []}))


@pytest.mark.parametrize("make", [results_table, best_runs])
def test_no_runs_at_all_are_refused(make: Callable[..., pd.DataFrame]) -> None:
    with pytest.raises(ValueError, match="rows must hold at least one run, got none"):
        make([], "dataset")
