"""``sweep.html`` without a browser: what it holds, what it costs to write it again, and names that are no names."""

from __future__ import annotations

import itertools
import json
import logging
import math
import re
import sqlite3
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.hostile import HOSTILE
from support.ledgers import finish, ledger_of, rows_of

from jumpstart.literal import visible
from sweep.__main__ import main as look
from sweep.ledger.alive import living
from sweep.ledger.entry import Entry, State
from sweep.ledger.ledger import NAME as LEDGER
from sweep.ledger.ledger import Ledger, LedgerError
from sweep.ledger.results import results_text
from sweep.ledger.rows import Row, Rows, cell
from sweep.page.payload import Payload
from sweep.page.write import NAME, SweepPage, write_page
from sweep.seldom import Seldom
from sweep.sweep import _Tables


class Page(HTMLParser):
    """The elements, the texts, the addresses and the data of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.content = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.addresses: list[str | None] = []
        self._script = False
        self.feed(self.content)
        (text,) = re.findall(r'id="data">(.*?)</script>', self.content)
        assert not set("<>&") & set(text), "HTML must find no tag and no comment in the data"
        self.data: dict[str, Any] = json.loads(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._script = tag in ("script", "style")
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action")]

    def handle_endtag(self, tag: str) -> None:
        self._script = False

    def handle_data(self, data: str) -> None:
        if not self._script:
            self.texts.append(data)

    @property
    def headline(self) -> str:
        return re.findall(r"<h2>(.*?)</h2>", self.content)[0]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with ledger_of(tmp_path / "grid", {"depth": [10, 9], "seed": [0, 1, 2]}, ["baseline", "jumpstart"]) as ledger:
        yield ledger


def numbers(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def near(values: Sequence[float | None]) -> Any:
    return pytest.approx(numbers(values), rel=1e-5, nan_ok=True)


def page_of(ledger: Ledger) -> Page:
    return Page(write_page(ledger))


# Content ------------------------------------------------------------------------------------------


def test_the_columns_hold_the_ledger(ledger: Ledger) -> None:
    finish(ledger, most=8, fail_every=5)
    data, entries = page_of(ledger).data, list(ledger.entries())
    runs = data["runs"]
    assert runs["number"] == [entry.number for entry in entries]
    assert runs["label"] == [entry.label for entry in entries]
    assert [data["states"][code] for code in runs["state"]] == [entry.state.value for entry in entries]
    assert runs["tries"] == [entry.tries for entry in entries]
    assert numbers(runs["elapsed"]) == near([entry.seconds for entry in entries])
    errors = [None if place is None else data["errors"][place] for place in runs["error"]]
    assert errors == [entry.error for entry in entries]
    found = {option["name"]: [option["values"][code] for code in option["codes"]] for option in data["options"]}
    assert list(found) == ["technique", "depth", "lambda_", "seed"]
    assert found["technique"] == [entry.technique for entry in entries]
    assert found["depth"] == [str(entry.config["depth"]) for entry in entries]
    assert found["lambda_"] == [f"{entry.config['lambda_']:g}" for entry in entries]
    for metric in data["metrics"]:
        wanted = [(entry.summary or {}).get(metric["name"]) for entry in entries]
        assert numbers(metric["values"]) == near(wanted)
        assert metric["share"] == metric["name"].endswith(("acc", "ratio"))
    assert {"test/acc", "val/unit_dead_ratio", "best_epoch"} < {metric["name"] for metric in data["metrics"]}


def test_values_stand_in_their_order(tmp_path: Path) -> None:
    values = {"width": [10, 9, 100], "use_batchnorm": [True, False], "activation": ["relu", "elu"], "lr": [0.1, 1e-5]}
    with ledger_of(tmp_path, values) as ledger:
        options = {option["name"]: option for option in page_of(ledger).data["options"]}
    assert options["width"]["values"] == ["9", "10", "100"]
    assert options["width"]["numbers"] == [9, 10, 100]
    assert (options["use_batchnorm"]["values"], options["use_batchnorm"]["numbers"]) == (["False", "True"], None)
    assert (options["activation"]["values"], options["activation"]["numbers"]) == (["relu", "elu"], None)
    assert options["lr"]["values"] == ["1e-05", "0.1"]


def test_numbers_that_differ_have_texts_that_differ(tmp_path: Path) -> None:
    with ledger_of(tmp_path, {"lr": [0.123456, 0.123457], "momentum": [1 / 3, 0.5]}) as ledger:
        options = {option["name"]: option["values"] for option in page_of(ledger).data["options"]}
    assert options == {"lr": ["0.123456", "0.123457"], "momentum": ["0.3333", "0.5"]}


def test_the_page_needs_nothing_but_itself(ledger: Ledger) -> None:
    finish(ledger)
    page = page_of(ledger)
    assert page.addresses == ["data:,", "results.csv"]
    assert "default-src 'none'" in page.content
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page.content)


@pytest.mark.parametrize(
    ("finished", "fail_every", "words", "tone"),
    [
        (0, 0, "0 of 12 runs finished; the sweep does not run now", "warn"),
        (5, 0, "5 of 12 runs finished; the sweep does not run now", "warn"),
        (12, 0, "All 12 runs finished", "good"),
        (12, 4, "9 of 12 runs finished, 3 failed", "bad"),
    ],
)
def test_the_headline(finished: int, fail_every: int, words: str, tone: str, ledger: Ledger) -> None:
    finish(ledger, most=finished, fail_every=fail_every)
    page = page_of(ledger)
    assert page.headline == words
    assert f'class="verdict {tone}"' in page.content
    assert page.data["seconds"] is None
    assert ("3 runs failed: ValueError: no" in page.texts) == (fail_every > 0)
    assert "12 runs of rectangular networks" in " ".join(page.texts)


def test_a_page_of_a_sweep_that_runs_is_loaded_again(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    finish(ledger, most=2)
    with living(ledger.folder, "me") as life:
        ledger.claim(life, 0)
        assert look(["page", str(ledger.folder)]) == 0
        page = Page(Path(capsys.readouterr().out.strip()))
        assert page.data["seconds"] == 5.0
        assert re.fullmatch(r"2 of 12 runs finished; about \d:\d\d:\d\d left", page.headline)
    look(["page", str(ledger.folder)])
    page = Page(ledger.folder / NAME)
    assert (page.data["seconds"], page.data["runs"]["state"][2]) == (None, 3), "the process has ended"


def test_links_lead_to_what_a_run_left(ledger: Ledger) -> None:
    finish(ledger, most=4)
    labels = [entry.label for entry in ledger.entries()]
    folders = [ledger.folder / place / label for place, label in zip(["runs"] * 3 + ["opened"], labels, strict=False)]
    for folder in folders:
        folder.mkdir(parents=True)
    for folder in (folders[1], folders[3]):
        (folder / "report.html").touch()
    data = page_of(ledger).data
    places = [data["places"][place] for place in data["runs"]["place"]]
    links = [place.replace("*", label) for place, label in zip(places, labels, strict=True)]
    assert links[:5] == [f"runs/{labels[0]}/", f"runs/{labels[1]}/report.html", f"runs/{labels[2]}/",
                         f"opened/{labels[3]}/report.html", ""]  # fmt: skip
    assert all((ledger.folder / link).exists() for link in links)


def test_a_running_run_has_a_link_as_soon_as_it_has_a_directory(ledger: Ledger) -> None:
    payload = Payload(Rows(ledger))
    with living(ledger.folder, "me") as life:
        entry = ledger.claim(life, 0)
        assert entry is not None
        places = [payload.make()["runs"]["place"][0]]  # type: ignore[index]
        (ledger.folder / "runs" / entry.label).mkdir(parents=True)
        places.append(payload.make()["runs"]["place"][0])  # type: ignore[index]
    assert places == [0, 1]


@pytest.mark.parametrize("folder", ["</h1><img src=x onerror=alert(1)>", "\u202egnp", "a'b\"c & $name ${x}"])
def test_hostile_names_are_texts(folder: str, tmp_path: Path) -> None:
    place = tmp_path / folder.replace("/", "\u2215")
    with ledger_of(place, {"seed": list(range(len(HOSTILE)))}) as ledger, living(place, "me") as life:
        for name in HOSTILE.values():
            entry = ledger.claim(life, -1)
            assert entry is not None
            ledger.fail(entry.number, name.encode("utf-8", "replace").decode(), 0.0)
        page = page_of(ledger)
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    body = page.content.partition("<body>")[2].partition("<script")[0]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2028\u2029\ufeff]", body)
    assert visible(place.name) in page.texts
    for text in page.data["errors"]:
        assert visible(text) == text
        assert len(text) <= 300


# What it costs ------------------------------------------------------------------------------------


def test_only_runs_that_changed_are_read_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(ledger, most=3)
    rows = Rows(ledger)
    payload = Payload(rows)
    read: list[int] = []
    numbered = ledger.numbered

    def counting(numbers: list[int]) -> Iterator[Entry]:
        read.extend(numbers)
        return numbered(numbers)

    monkeypatch.setattr(ledger, "numbered", counting)
    for _ in range(2):
        payload.make()
        results_text(rows)
    assert read == list(range(1, 13))
    read.clear()
    finish(ledger, most=4, fail_every=6)
    with living(ledger.folder, "other") as life, Ledger(ledger.folder, None) as other:
        ledger.claim(life, 0)
        assert payload.make() == Payload(Rows(other)).make()
        assert results_text(rows) == results_text(Rows(other))
    assert read == [4, 5, 6, 7, 8]
    ledger.fail(6, "another error", 0.0)
    assert [row.error for row in rows.read()] == [entry.error for entry in ledger.entries()]
    ledger.recover()
    assert [row.state for row in rows.read()] == [entry.state for entry in ledger.entries()]


def test_rows_have_every_option_of_every_run(ledger: Ledger) -> None:
    entries = list(ledger.entries())
    rows = rows_of(ledger)
    for row, entry in zip(rows.read(), entries, strict=True):
        assert isinstance(row, Row)
        assert {name: rows.option(row, name) for name in entry.config} == dict(entry.config)
        assert rows.option(row, "technique") == entry.technique
    assert rows.varied() == ["depth", "lambda_", "seed"]


def test_options_differ_as_their_texts_do(ledger: Ledger) -> None:
    change = "UPDATE runs SET config = json_set(config, '$.width', json(?)) WHERE number = ?"
    with sqlite3.connect(ledger.folder / LEDGER) as database:
        for number, text in enumerate(("1", "1.0", "true", "null", "[1]"), 1):
            database.execute(change, (text, number))
    rows = Rows(ledger)
    assert [cell(rows.option(row, "width")) for row in rows.read()[:5]] == ["1", "1.0", "true", "null", "[1]"]


def test_a_grid_that_grows_has_all_its_options(ledger: Ledger) -> None:
    rows = Rows(ledger)
    payload = Payload(rows)
    payload.make()
    with ledger_of(ledger.folder, {"depth": [10], "width": [5, 6]}):
        pass
    names = [option["name"] for option in page_of(ledger).data["options"]]
    assert [option["name"] for option in payload.make()["options"]] == names  # type: ignore[attr-defined]
    assert "width" in names


def test_what_takes_long_is_done_seldom() -> None:
    now, told, costs = [100.0], [], [0.001]

    def act(seconds: float) -> None:
        told.append((now[0], seconds))
        now[0] += costs[-1]

    seldom = Seldom(act, 5.0, clock=lambda: now[0])
    for _ in range(200):
        seldom()
        now[0] += 0.1
    times = [time for time, _ in told]
    assert len(told) == 3
    assert all(later - earlier >= 5.0 for earlier, later in itertools.pairwise(times))
    for cost, wait in ((0.2, 100.0), (60.0, 300.0)):
        told.clear()
        costs.append(cost)
        for _ in range(40_000):
            seldom()
            now[0] += 0.1
        assert told[-1][1] == pytest.approx(wait)
        assert len(told) == pytest.approx(4000 / wait, abs=2)


def test_a_sweep_keeps_its_page_and_goes_on_without_it(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    tables = _Tables(ledger)
    assert Page(ledger.folder / NAME).data["seconds"] == 5.0, "it is there from the beginning"
    finish(ledger, most=12)
    tables(ledger.counts())
    assert Page(ledger.folder / NAME).headline.startswith("0 of 12"), "not written again within five seconds"
    tables.end()
    page = Page(ledger.folder / NAME)
    assert (page.headline, page.data["seconds"]) == ("All 12 runs finished", None)
    (ledger.folder / NAME).unlink()
    (ledger.folder / NAME).mkdir()
    with caplog.at_level(logging.WARNING):
        tables.end()
    assert "the sweep goes on without it" in caplog.text
    with pytest.raises(LedgerError, match=r"sweep\.html can't be written: .*directory.* Make room, or move it away"):
        write_page(ledger)


def test_results_are_written_when_a_run_has_ended(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.sweep._RESULTS_SECONDS", 0.0)
    monkeypatch.setattr("sweep.seldom._SHARE", 1.0)
    tables, results = _Tables(ledger), ledger.folder / "results.csv"
    tables(ledger.counts())
    assert not results.exists()
    finish(ledger, most=1)
    tables(ledger.counts())
    assert results.read_text().count("finished") == 1
    results.unlink()
    tables(ledger.counts())
    assert not results.exists()


def test_the_last_page_of_one_command_follows_another(ledger: Ledger) -> None:
    with living(ledger.folder, "other") as life:
        ledger.claim(life, 0)
        _Tables(ledger).end()
        assert Page(ledger.folder / NAME).data["seconds"] == 5.0


def test_a_page_of_many_runs_is_small(tmp_path: Path) -> None:
    with ledger_of(tmp_path, {"depth": [2, 3], "seed": list(range(100))}) as ledger:
        finish(ledger)
        page = SweepPage(rows_of(ledger))
        page.write(None)
        full = page.path.stat().st_size
        assert ledger.counts()[State.FINISHED] == 200
    with ledger_of(tmp_path / "few", {"depth": [2, 3]}) as ledger:
        empty = write_page(ledger).stat().st_size
    assert (full - empty) / 198 < 220, "bytes of a run: nine metrics, four texts"
