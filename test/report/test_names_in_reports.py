"""Names in tables and on report pages are text, whatever they contain."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from support.hostile import HOSTILE
from support.report_runs import make_run

from jumpstart.history import StatusHistory
from jumpstart.literal import csv_value, html_text, isolated, latex_text, markdown_text, visible
from jumpstart.report.write import write_comparison, write_report
from jumpstart.table import summary_table, to_csv, to_latex, to_markdown

NAMES = list(HOSTILE.values())
TABLE = pd.DataFrame(dict.fromkeys(NAMES, NAMES), dtype=object)
WORDS_JS = Path(__file__).resolve().parents[2] / "jumpstart" / "report" / "words.js"
NODE = shutil.which("node")


@pytest.mark.parametrize("name", NAMES, ids=list(HOSTILE))
def test_a_visible_name_is_one_line_that_can_be_stored_and_stays_as_it_is(name: str) -> None:
    text = visible(name)
    assert len(text.splitlines()) <= 1
    assert text.encode("utf-8").decode() == text
    assert visible(text) == text
    assert visible(isolated(name)) == isolated(name)
    assert text.replace("\\", "").isprintable() or "\u200d" in text


@pytest.mark.parametrize("sign", ["\n", "\u202e", "\u200b", "\x00", "\ud800", "\u2028", "\ufffe", "\U000e0041"])
def test_names_that_differ_in_a_sign_that_cannot_be_seen_are_shown_differently(sign: str) -> None:
    assert visible(f"a{sign}b") == "a" + sign.encode("unicode_escape", "backslashreplace").decode() + "b"


def test_a_markdown_table_holds_every_name_in_its_own_cell() -> None:
    head, _, *body = to_markdown(TABLE).splitlines()
    assert len(body) == len(NAMES)
    for line, name in zip([head, *body], [None, *NAMES], strict=True):
        inner = re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]
        wanted = NAMES if name is None else [name] * len(NAMES)
        assert [read_markdown(cell)[1:-1] for cell in inner] == [visible(n) for n in wanted]


def read_markdown(text: str) -> str:
    """The text that a reader of Markdown shows."""
    signs = {"&lt;": "<", "&amp;": "&"}
    return re.sub(r"&lt;|&amp;|\\[!-/:-@\[-`{-~]", lambda found: signs.get(found[0], found[0][-1]), text)


@pytest.mark.parametrize("name", NAMES, ids=list(HOSTILE))
def test_markdown_has_no_mark_that_is_not_escaped(name: str) -> None:
    rest = re.sub(r"&lt;|&amp;|\\[!-/:-@\[-`{-~]", "", markdown_text(name))
    assert not re.search(r"[`*\[\]<|~$\\]|&#?\w+;", rest)
    assert markdown_text("unit_dead_ratio") == "unit_dead_ratio"


WORDS = {r"\textbackslash{}": "\\", r"\textasciicircum{}": "^", r"\textasciitilde{}": "~", r"\textless{}": "<",
         r"\textgreater{}": ">", r"\textbar{}": "|", r"\textasciigrave{}": "`"}  # fmt: skip


def read_latex(text: str) -> str:
    """The text that LaTeX prints, for the few commands that names are written with."""
    parts = re.findall(r"\\[a-z]+\{\}|\\[&%$#_{}]|\{[\[*]\}|\{\}|[^\\{}&%$#_^~]", text)
    assert "".join(parts) == text, f"a sign with a meaning of its own in {text!r}"
    return "".join(WORDS.get(part, part.strip("{}") if len(part) == 3 else part.removeprefix("\\")) for part in parts
                   if part != "{}")  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=list(HOSTILE))
def test_latex_prints_the_name(name: str) -> None:
    text = latex_text(name)
    assert read_latex(text) == visible(name)
    assert not re.search(r"--|''|,,|<<|^[\[*]", text)


def test_a_latex_table_holds_every_name_in_its_own_cell() -> None:
    _, _, head, _, *body = to_latex(TABLE).splitlines()[:-2]
    for line, name in zip([head, *body], [None, *NAMES], strict=True):
        shown = [read_latex(cell) for cell in line.removesuffix(r" \\").split(" & ")]
        assert shown == [visible(n) for n in (NAMES if name is None else [name] * len(NAMES))]


def test_a_csv_file_returns_every_name() -> None:
    names = [name for name in NAMES if name.isascii() or name.isprintable() or "\ud83d" not in name]
    text = to_csv(pd.DataFrame({"a": NAMES}, dtype=object))
    assert text.encode("utf-8")
    rows = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row[:1] or [""]][1:]
    assert len(rows) == len(NAMES)
    assert [csv_value(row) for row in rows if csv_value(row) in names] == names


def test_the_terminal_gets_one_line_for_each_value() -> None:
    text = summary_table({name or "none": name for name in NAMES})
    assert len(text.splitlines()) == len(NAMES)
    assert "\x1b" not in text


class Page(HTMLParser):
    """The elements, the texts and the attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "src"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_report_shows_every_name_and_runs_none(tmp_path: Path) -> None:
    odd = " ".join(name for name in NAMES if "\x00" not in name and "/" not in name and len(name) < 50)
    folder = os.fsdecode(odd[:60].encode("utf-8", "replace") + b"\xff")  # a byte that is no text
    run = make_run(tmp_path, folder, note=odd)
    description = {"dataset": "\n".join(NAMES), "network": "one", "settings": {name: name for name in NAMES}}
    (run / "run.json").write_text(json.dumps(description))
    summary = json.loads((run / "summary.json").read_text())
    summary["data"]["class_names"] = NAMES
    (run / "summary.json").write_text(json.dumps(summary))
    history = StatusHistory([name.rstrip("\x00") for name in NAMES], [1] * len(NAMES))
    points = [[2] * len(NAMES)] * len(NAMES)
    history.append(0, [1.0] * len(NAMES), [-1.0] * len(NAMES), points, list(range(len(NAMES))))
    history.save(run / "status.npz")
    for path in (write_report(run), write_comparison([run, make_run(tmp_path, "other")], tmp_path / "compare.html")):
        content = path.read_text(encoding="utf-8")
        page = Page(content)
        assert page.tags.count("script") == 2
        assert "img" not in page.tags
        shown = " ".join(page.texts)
        assert visible(folder) in shown
        if path.name == "report.html":
            assert all(visible(name) in shown for name in NAMES)
        body = content.partition("<body>")[2].partition("<script")[0]
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2028\u2029\ufeff]", body)
        data = json.loads(re.findall(r'id="data">(.*?)</script>', content)[0])
        assert data["runs"][0]["layers"] == list(history.layers)


@pytest.mark.skipif(NODE is None, reason="no Node.js on the PATH")
def test_the_script_of_a_page_shows_names_as_python_does() -> None:
    source = WORDS_JS.read_text(encoding="utf-8")
    code = f"{source}\nconsole.log(JSON.stringify({json.dumps(NAMES)}.map(words.visible)));"
    told = subprocess.run([str(NODE), "-e", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert json.loads(told) == [visible(name) for name in NAMES]


def test_html_text_can_stand_in_an_attribute() -> None:
    for name in NAMES:
        assert not set("<>\"'") & set(html_text(name))
        assert html.unescape(html_text(name)) == visible(name)
