"""``sweep.html`` in a real browser, if one is installed: sort, filter, charts, links, reload, and no error."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import CHROMIUM, Browser
from support.hostile import HOSTILE
from support.ledgers import finish, ledger_of, mean_of, rows_of

from jumpstart.literal import visible
from jumpstart.report.html import metric_text
from sweep.ledger.alive import living
from sweep.ledger.entry import Entry, State
from sweep.ledger.ledger import Ledger
from sweep.ledger.rows import Rows
from sweep.page.write import SweepPage, write_page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: apt-get install chromium")

VALUES: dict[str, Sequence[Any]] = {"depth": [10, 9, 100], "width": [4, 2], "seed": [0, 1, 2]}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """36 runs, 30 of which have ended, every seventh with an error."""
    with ledger_of(tmp_path_factory.mktemp("sweeps") / "grid", VALUES, ["baseline", "jumpstart"]) as ledger:
        finish(ledger, most=30, fail_every=7)
        yield ledger


@pytest.fixture
def page(window: Browser, ledger: Ledger) -> Iterator[Browser]:
    window.open(write_page(ledger))
    yield window
    assert window.errors == []
    assert window.run("document.documentElement.dataset.error") is None


def numbers(window: Browser) -> list[int]:
    """The runs that the table shows."""
    texts: list[str] = window.run("[...document.querySelectorAll('#table tbody tr')].map(r => r.cells[0].textContent)")
    return [int(text) for text in texts]


def value(entry: Entry, name: str) -> Any:
    return entry.config.get(name, (entry.summary or {}).get(name))


def click_head(window: Browser, name: str) -> None:
    window.click(f'#table th button[data-name="{name}"]')


# Table ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test/acc", "depth", "best_epoch"])
def test_a_column_sorts_the_table(name: str, page: Browser, ledger: Ledger) -> None:
    entries = list(ledger.entries())
    for order, sign in (("ascending", 1), ("descending", -1)):
        click_head(page, name)
        known = [entry for entry in entries if value(entry, name) is not None]
        wanted = sorted(known, key=lambda entry: (sign * value(entry, name), entry.number))
        rest = [entry for entry in entries if value(entry, name) is None]
        assert numbers(page) == [entry.number for entry in wanted + rest]
        assert page.run(f"document.querySelector('#table th[aria-sort={order}]').textContent").startswith(name)
    assert page.run("document.activeElement.dataset.name") == name


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", lambda entry: True),
        ("depth=10", lambda entry: entry.config["depth"] == 10),
        ("depth>=10 width!=2", lambda entry: entry.config["depth"] >= 10 and entry.config["width"] != 2),
        ("test/acc>0.5", lambda entry: entry.summary is not None and entry.summary["test/acc"] > 0.5),
        ("test/acc<=50%", lambda entry: entry.summary is not None and entry.summary["test/acc"] <= 0.5),
        ("technique=jumpstart seed<1", lambda entry: entry.technique == "jumpstart" and entry.config["seed"] < 1),
        ("FAILED", lambda entry: entry.state is State.FAILED),
        ('"valueerror: no" baseline', lambda entry: bool(entry.error) and entry.technique == "baseline"),
        ("depth=9-width=4", lambda entry: (entry.config["depth"], entry.config["width"]) == (9, 4)),
        ("state=waiting", lambda entry: entry.state is State.WAITING),
        ("nothing=1", lambda entry: False),
        ("lambda_=0", lambda entry: entry.technique == "baseline"),
    ],
)
def test_the_filter(text: str, wanted: Callable[[Entry], bool], page: Browser, ledger: Ledger) -> None:
    page.click("#search")
    page.type(text)
    left = [entry.number for entry in ledger.entries() if wanted(entry)]
    page.wait(f"document.documentElement.dataset.rows === '{len(left)}'")
    assert numbers(page) == left
    hint = page.run("document.querySelector('#hint').textContent")
    assert ("No column has the name nothing" in hint) == ("nothing" in text)
    assert (f"leaves {len(left)} run" in hint) == (len(left) < 36)


def test_states_and_options_filter(page: Browser, ledger: Ledger) -> None:
    entries = list(ledger.entries())
    page.click('#states button[data-state="failed"]')
    assert numbers(page) == [entry.number for entry in entries if entry.state is State.FAILED]
    page.click('#states button[data-state="waiting"]')
    page.choose('[id="only:depth"]', "100")
    states = (State.FAILED, State.WAITING)
    wanted = [entry.number for entry in entries if entry.state in states and entry.config["depth"] == 100]
    assert numbers(page) == wanted
    page.click("#clear")
    assert len(numbers(page)) == 36
    assert page.run("location.hash") == ""


def test_columns_are_chosen(page: Browser) -> None:
    page.run("document.querySelector('#columns').open = true")
    page.click("#column-choices input[value='train/loss']")
    page.click("#column-choices input[value='state']")
    head = page.run("[...document.querySelectorAll('#table thead th')].map(cell => cell.textContent)")
    assert "train/loss" in head
    assert "state" not in head


def test_links_lead_to_files(window: Browser, tmp_path: Path) -> None:
    place = tmp_path / "a #1 %20?"
    with ledger_of(place, {"activation": ["relu", "elu"]}) as ledger:
        finish(ledger)
        first, second = (entry.label for entry in ledger.entries())
        (place / "runs" / first).mkdir(parents=True)
        (place / "opened" / second).mkdir(parents=True)
        (place / "opened" / second / "report.html").touch()
        window.open(Path(str(write_page(ledger))))
    links = window.run("[...document.querySelectorAll('#table tbody a')].map(link => link.href)")
    assert links == [f"{(place / 'runs' / first).as_uri()}/", (place / "opened" / second / "report.html").as_uri()]


# Charts ---------------------------------------------------------------------------------------------

HEAT = """[...document.querySelectorAll('.heat tbody tr')].map(row => [row.cells[0].textContent,
[...row.cells].slice(1).map(cell => { const { mean, count } = cell.dataset;
return mean ? [Number(mean), Number(count), cell.textContent] : null; })])"""


@pytest.mark.parametrize(
    ("x", "y", "metric", "text"),
    [
        ("width", "depth", "test/acc", ""),
        ("depth", "technique", "val/loss", ""),
        ("seed", "width", "test/unit_dead_ratio", "technique=baseline"),
        ("depth", "", "train/acc", ""),
    ],
)
def test_a_heat_map_shows_means(x: str, y: str, metric: str, text: str, page: Browser, ledger: Ledger) -> None:
    page.choose("#heat-metric", metric)
    page.choose("#heat-x", x)
    page.choose("#heat-y", y)
    if text:
        page.click("#search")
        page.type(text)
        page.wait("document.documentElement.dataset.rows === '18'")

    def of(entry: Entry, name: str) -> Any:
        return entry.technique if name == "technique" else entry.config.get(name)

    done = [entry for entry in ledger.entries(State.FINISHED) if not text or entry.technique == "baseline"]
    columns = sorted({of(entry, x) for entry in done})
    head = page.run("[...document.querySelectorAll('.heat thead th')].slice(1).map(c => c.textContent)")
    assert head == [str(column) for column in columns]
    seen = page.run(HEAT)
    assert [name for name, _ in seen] == [str(row or "all runs") for row in sorted({of(entry, y) for entry in done})]
    for name, cells in seen:
        for column, cell in zip(columns, cells, strict=True):
            own = [entry for entry in done if of(entry, x) == column and (not y or str(of(entry, y)) == name)]
            if not own:
                assert cell is None
                continue
            mean, count, words = cell
            assert (mean, count) == (pytest.approx(mean_of(own, metric), rel=1e-5), len(own))
            shown = metric_text(metric, round(mean_of(own, metric), 6))
            assert words == f"{shown}n = {len(own)}"


def test_a_cell_of_the_heat_map_leads_to_its_runs(page: Browser, ledger: Ledger) -> None:
    page.click(".heat tbody tr:nth-child(2) td:nth-child(3) button")
    assert page.run("document.querySelector('.heat caption').textContent") == "Mean test accuracy by depth and width"
    wanted = [e.number for e in ledger.entries() if (e.config["depth"], e.config["width"]) == (10, 4)]
    assert numbers(page) == wanted


def test_box_plots_show_quartiles(page: Browser, ledger: Ledger) -> None:
    page.choose("#box-metric", "val/loss")
    lines = "[...document.querySelectorAll('#box-table tbody tr')]"
    rows = page.run(f"{lines}.map(line => [...line.cells].map(cell => cell.textContent))")
    assert [row[0] for row in rows] == ["baseline", "jumpstart"]
    for name, count, mean, std, *quartiles in rows:
        values = np.array([e.summary["val/loss"] for e in ledger.entries(State.FINISHED) if e.technique == name])
        assert int(count) == len(values)
        assert [float(mean), float(std)] == pytest.approx([values.mean(), values.std(ddof=1)], abs=1e-4)
        assert [*map(float, quartiles)] == pytest.approx(np.percentile(values, [0, 25, 50, 75, 100]), abs=1e-4)
    boxes = page.run("[...document.querySelectorAll('#box .box')].map(b => [b.x.baseVal.value, b.width.baseVal.value])")
    medians = page.run("[...document.querySelectorAll('#box .median')].map(b => b.x1.baseVal.value)")
    for (left, width), middle, row in zip(boxes, medians, rows, strict=True):
        low, median, high = map(float, row[5:8])
        assert (middle - left) / width == pytest.approx((median - low) / (high - low), abs=2e-3)


def test_whiskers_end_within_reach(window: Browser, ledger: Ledger, tmp_path: Path) -> None:
    values = [0.5, 0.51, 0.52, 0.53, 0.54, 0.55, 0.63, 0.1]  # 0.63 is 2.5 times the height of the box above it
    with ledger_of(tmp_path / "w", {"seed": list(range(8))}) as own, living(own.folder, "me") as life:
        for number, accuracy in enumerate(values, 1):
            own.claim(life, 0)
            own.finish(number, {"test/acc": accuracy}, 1.0)
        window.open(write_page(own))
    ends = window.run("[...document.querySelectorAll('#box .whisker')].slice(2).map(line => line.x1.baseVal.value)")
    ticks = window.run("[...document.querySelectorAll('#box .grid')].map(line => line.x1.baseVal.value)")
    names = window.run("[...document.querySelectorAll('#box .grid + .tick')].map(text => parseFloat(text.textContent))")
    scale = np.polyfit(ticks, names, 1)
    assert np.polyval(scale, ends) == pytest.approx([50, 55], abs=0.2)


def test_the_scatter_plot_has_a_dot_for_each_run_and_names_it(page: Browser, ledger: Ledger) -> None:
    done = list(ledger.entries(State.FINISHED))
    for group, technique in enumerate(("baseline", "jumpstart")):
        drawn = page.run(f"document.querySelector('#dots svg .dots.d{group}').getAttribute('d').split('M').length - 1")
        assert drawn == sum(entry.technique == technique for entry in done)
    place = """(() => { const svg = document.querySelector('#dots svg'); svg.scrollIntoView({block: 'center'});
    const [x, y] = svg.querySelector('.dots').getAttribute('d').slice(1).split(/[h ]/).map(Number);
    const p = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM()); return [p.x + 1, p.y - 1]; })()"""
    page.move(*page.run(place))
    first = done[0].summary or {}
    shares = [metric_text("acc", round(float(str(first[f"test/{name}"])), 6)) for name in ("acc", "unit_dead_ratio")]
    wanted = f"{done[0].label}: test accuracy {shares[0]}, test dead units {shares[1]}"
    page.wait(f"document.querySelector('#dots-note').textContent === {json.dumps(wanted)}")


# Pages of all kinds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "most"),
    [({"seed": [0, 1]}, 0), ({"seed": [0]}, 1), ({"seed": [0, 1, 2]}, 3), (VALUES, 1)],
    ids=["nothing finished", "one run", "one option", "one result"],
)
def test_a_sweep_of_any_state_has_a_page(
    values: dict[str, Sequence[Any]], most: int, window: Browser, tmp_path: Path
) -> None:
    with ledger_of(tmp_path / "sweep", values) as ledger:
        finish(ledger, most=most)
        count = sum(ledger.counts().values())
        for width in (1240, 420):
            window.open(write_page(ledger), width=width)
            assert window.errors == []
            assert len(numbers(window)) == count
            assert window.run("document.querySelector('#heat-section').hidden") == (most == 0)
            assert window.run("document.documentElement.scrollWidth <= innerWidth"), "not wider than the window"


def test_hostile_names_are_shown_and_not_run(window: Browser, tmp_path: Path) -> None:
    place = tmp_path / "<img src=x onerror=alert(1)>"
    names = [name.encode("utf-8", "replace").decode() for name in HOSTILE.values()]
    with ledger_of(place, {"seed": list(range(len(names)))}) as ledger, living(place, "me") as life:
        for name in names:
            entry = ledger.claim(life, -1)
            assert entry is not None
            ledger.fail(entry.number, name, 0.0)
        window.open(write_page(ledger))
    assert window.errors == []
    assert window.run("document.querySelectorAll('img').length") == 0
    assert window.run("document.querySelector('h1').textContent") == place.name
    shown = window.run("[...document.querySelectorAll('#table td.error')].map(cell => cell.textContent)")
    assert [text for text in shown if len(text) < 300] == [visible(name) for name in names if len(name) < 300]


class ManyRows(Rows):
    """The rows of a ledger, over and over, up to 10,000."""

    def read(self) -> list[Any]:
        few = super().read()
        many = enumerate(itertools.islice(itertools.cycle(few), 10_000), 1)
        return [replace(row, number=number, label=f"{number:05d}-{row.label}") for number, row in many]


def test_ten_thousand_runs_are_no_burden(window: Browser, ledger: Ledger, tmp_path: Path) -> None:
    rows = ManyRows(ledger)
    page = SweepPage(rows)
    page.write(None)
    window.open(page.path)
    assert numbers(window) == list(range(1, 101))
    for button, first in (("4", 9901), ("2", 9801), ("1", 1), ("3", 101)):
        window.click(f"#pages button:nth-of-type({button})")
        assert numbers(window)[0] == first
    assert "Runs 101 to 200 of 10,000, page 2 of 100" in window.run("document.querySelector('#pages').textContent")
    head = "document.querySelector('#table th button[data-name=\"test/acc\"]')"
    spent = window.run(f"(begin => {{ {head}.click(); return performance.now() - begin; }})(performance.now())")
    assert spent < 3000, "a tenth of this on an idle machine"
    accuracies = window.run("[...document.querySelectorAll('#table tbody tr')].map(r => r.cells[4].textContent)")
    assert len(set(accuracies)) == 1, "the least accuracy is there 277 times"
    assert window.errors == []


# Reload -----------------------------------------------------------------------------------------------


def test_a_reload_keeps_what_was_chosen(window: Browser, tmp_path: Path) -> None:
    with ledger_of(tmp_path / "live", VALUES, ["baseline", "jumpstart"]) as ledger:
        page = SweepPage(rows_of(ledger))
        finish(ledger, most=10)
        page.write(0.2)
        window.open(page.path, "#pause=1")
        click_head(window, "test/acc")
        click_head(window, "test/acc")
        window.choose("#heat-x", "seed")
        window.choose("#heat-metric", "val/loss")
        window.run("document.querySelector('#box-details').open = true")
        window.click("#search")
        window.type("depth>9")
        window.wait("document.documentElement.dataset.rows === '24'")
        window.run("window.before = true, document.querySelector('#table').scrollLeft = 7, scrollTo(0, 321)")
        finish(ledger, most=9)
        page.write(60.0)
        press = "document.querySelector('#pause').click(); dispatchEvent(new Event('pointerdown'))"
        pause = "new Promise(done => setTimeout(() => done(window.before), 1000))"
        assert window.run(f"(() => {{ {press}; return {pause}; }})()"), "not while the reader does something"
        window.wait("!window.before && document.documentElement.dataset.ready")
        assert "19 of 36 runs finished" in window.run("document.querySelector('.verdict h2').textContent")
        assert window.run("[Math.round(scrollY), document.querySelector('#table').scrollLeft]") == [321, 7]
        chosen = "['search', 'heat-x', 'heat-metric'].map(id => document.getElementById(id).value)"
        assert window.run(chosen) == ["depth>9", "seed", "val/loss"]
        assert window.run("[document.activeElement.id, document.activeElement.selectionStart]") == ["search", 7]
        assert window.run("document.querySelector('#box-details').open")
        done = [e for e in ledger.entries() if e.config["depth"] > 9]
        order = sorted((e for e in done if e.summary), key=lambda e: (-float(str(e.summary["test/acc"])), e.number))
        assert numbers(window) == [e.number for e in order] + [e.number for e in done if not e.summary]
    assert window.errors == []


def test_a_page_is_loaded_again_until_the_sweep_has_ended(window: Browser, tmp_path: Path) -> None:
    with ledger_of(tmp_path / "live", {"seed": [0, 1]}) as ledger:
        page = SweepPage(rows_of(ledger))
        page.write(0.05)
        window.call("Page.navigate", url=page.path.as_uri())
        window.wait("document.querySelector('#pause') !== null")
        finish(ledger)
        page.write(None)
        window.wait("document.querySelector('.verdict h2')?.textContent === 'All 2 runs finished'")
        window.wait("document.documentElement.dataset.ready")
        window.run("window.before = true")
        assert window.run("document.querySelector('#pause')") is None
        assert window.run("new Promise(done => setTimeout(() => done(window.before), 900))"), "it is not loaded again"


def test_a_page_that_is_paused_or_old_says_so(window: Browser, tmp_path: Path) -> None:
    with ledger_of(tmp_path / "old", {"seed": [0, 1]}) as ledger:
        page = SweepPage(rows_of(ledger))
        page.write(0.05)
        window.open(page.path, "#pause=1")
        window.run("window.before = true")
        assert window.run("new Promise(done => setTimeout(() => done(window.before), 700))"), "paused"
        old = page.path.read_text(encoding="utf-8")
        data = json.loads(old.partition('id="data">')[2].partition("</script>")[0])
        page.path.write_text(old.replace(f'"written":{data["written"]}', f'"written":{data["written"] - 900}'))
        window.open(page.path, "#pause=1")
    assert "the sweep may have been stopped" in window.run("document.querySelector('#live').textContent")


def test_each_kind_of_error_is_detected(window: Browser, ledger: Ledger) -> None:
    page = write_page(ledger)
    text = page.read_text(encoding="utf-8")
    for wrong in ("undefined.x", "Promise.reject('no')", "console.error('no')", "fetch('https://example.org')"):
        page.write_text(text.replace("</body>", f"<script>{wrong}</script></body>"), encoding="utf-8")
        window.open(page)
        window.run("new Promise(done => setTimeout(done, 50))")
        assert window.errors, wrong
