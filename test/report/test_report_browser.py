"""The report in a real browser, if one is installed: it loads without an error, and the slider moves the maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.browser import CHROMIUM, Browser
from support.report_runs import make_run, random_history

from jumpstart.history import StatusHistory
from jumpstart.palette import COLORS
from jumpstart.report.write import write_comparison, write_report
from jumpstart.status.codes import Status

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: apt-get install chromium")

PROBE = """
(async () => {
  const slider = document.querySelector("#epoch");
  const seen = [];
  for (let value = 0; value <= Number(slider.max); value += 1) {
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
    const maps = [...document.querySelectorAll(".map")].map((map) => {
      const canvas = map.querySelector("canvas");
      // Reading a copy, as reading the canvas itself again and again would be warned of.
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
      copy.drawImage(canvas, 0, 0);
      const pixels = new Uint32Array(copy.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
      const counts = new Map();
      for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) || 0) + 1);
      const colors = {};
      for (const [pixel, count] of counts) {  // alpha, blue, green and red from the highest byte to the lowest
        const hex = pixel.toString(16).padStart(8, "0");
        const name = hex.startsWith("ff") ? hex.slice(6) + hex.slice(4, 6) + hex.slice(2, 4) : "clear";
        colors[name] = (colors[name] || 0) + count;
      }
      return { colors, caption: map.querySelector(".caption").textContent, label: canvas.getAttribute("aria-label") };
    });
    const cursor = document.querySelector(".cursor");
    seen.push({ at: document.querySelector("#at").textContent, value: slider.ariaValueText
      || slider.getAttribute("aria-valuetext"), maps, cursor: cursor && Number(cursor.getAttribute("x1")),
      wide: document.documentElement.scrollWidth > innerWidth });
  }
  return seen;
})()
"""
COUNTS = "[...document.querySelectorAll('[data-counts]')].map(map => map.dataset.counts.split('/').map(Number))"


@pytest.fixture
def visit(window: Browser) -> Callable[..., str]:
    """Loads a page from a file, waits until its script has finished, and returns what is ready."""

    def load(page: Path, fragment: str = "", width: int = 1000) -> str:
        window.open(page, fragment, width)
        ready: str = window.run("document.documentElement.dataset.ready")
        return ready

    return load


def errors_of(window: Browser) -> list[str]:
    """All errors since the page was loaded."""
    return [*window.errors, *filter(None, [window.run("document.documentElement.dataset.error")])]


def shares_of_pixels(colors: dict[str, int]) -> list[float]:
    counts = np.array([colors.get(COLORS[code].lstrip("#").lower(), 0) for code in Status])
    return (counts / counts.sum()).tolist()


@pytest.mark.parametrize("width", [1000, 500])
def test_the_slider_moves_the_maps(width: int, visit: Callable[..., str], window: Browser, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    history = StatusHistory.load(run / "status.npz")
    assert visit(write_report(run), width=width) == "maps"
    probe = window.run(PROBE)
    assert errors_of(window) == []
    assert [entry["at"] for entry in probe] == ["0", "10", "20", "30"]
    assert [entry["value"] for entry in probe] == ["epoch 0", "epoch 10", "epoch 20", "epoch 30"]
    for index, entry in enumerate(probe):
        units, points = entry["maps"]
        status = history.unit_status[index]
        expected = [int((status == code).sum()) for code in Status]
        dead = int((history.point_status[index] == Status.DEAD).any(axis=1).sum())
        assert units["caption"].startswith(f"Epoch {index * 10}: of 11 units {expected[0]} dead")
        assert units["caption"] in units["label"]
        assert f"of 40 points {dead} dead in at least one layer" in points["caption"]
        # Cells are of one size, so their pixels stand in the proportion of their numbers. The axes' text is gray.
        assert shares_of_pixels(units["colors"]) == pytest.approx([n / 11 for n in expected])
        pairs = [(history.point_status[index] == code).mean() for code in Status]
        assert shares_of_pixels(points["colors"]) == pytest.approx(pairs, abs=0.01)
        assert not entry["wide"], "the page must not be wider than the window"
    assert probe[1]["cursor"] - probe[0]["cursor"] == pytest.approx(10 / 29 * (560 - 58 - 14), abs=0.1)


def test_the_fragment_of_the_address_chooses_the_epoch(
    visit: Callable[..., str], window: Browser, tmp_path: Path
) -> None:
    run = make_run(tmp_path)
    history = StatusHistory.load(run / "status.npz")
    page = write_report(run)
    for fragment, index in (("", 3), ("#epoch=10", 1), ("#epoch=14", 1), ("#epoch=9999", 3)):
        visit(page, fragment)
        units, points = window.run(COUNTS)
        assert units == [int((history.unit_status[index] == code).sum()) for code in Status]
        assert points == [int((history.point_status[index] == code).sum()) for code in Status]


@pytest.mark.parametrize(
    ("units", "epochs", "points"),
    [([1, 1, 1], 2, 1), ([4] * 50, 1, 30), ([500] * 50, 3, 600), ([64, 2048, 10], 2, 0), ([200_000], 2, 3)],
    ids=["3 units", "one epoch", "25,000 units", "uneven, no points", "too many for a cell each"],
)
def test_maps_of_networks_of_all_sizes(
    units: list[int], epochs: int, points: int, visit: Callable[..., str], window: Browser, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    history = random_history(units, epochs, points)
    history.save(run / "status.npz")
    assert visit(write_report(run)) == "maps"
    probe = window.run(PROBE)
    assert errors_of(window) == []
    assert len(probe) == epochs
    pixels = shares_of_pixels(probe[-1]["maps"][0]["colors"])
    assert pixels == pytest.approx([(history.unit_status[-1] == code).mean() for code in Status], abs=0.01)
    assert len(probe[-1]["maps"]) == 1 + (points > 0)


def test_a_run_without_maps(visit: Callable[..., str], window: Browser, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "status.npz").unlink()
    assert visit(write_report(run)) == "no maps"
    assert errors_of(window) == []


def test_one_slider_moves_the_maps_of_all_runs(visit: Callable[..., str], window: Browser, tmp_path: Path) -> None:
    runs = [make_run(tmp_path, "one"), make_run(tmp_path, "two"), make_run(tmp_path, "three")]
    shorter = random_history([2], 2, 5)
    shorter.save(runs[1] / "status.npz")
    (runs[2] / "status.npz").unlink()
    assert visit(write_comparison(runs, tmp_path / "c.html")) == "maps"
    captions = [[m["caption"].partition(":")[0] for m in entry["maps"][::2]] for entry in window.run(PROBE)]
    assert errors_of(window) == []
    assert captions == [
        ["Epoch 0", "Epoch 0"], ["Epoch 10", "Epoch 10"], ["Epoch 20", "Epoch 10"], ["Epoch 30", "Epoch 10"],
    ]  # fmt: skip


def test_each_kind_of_error_is_detected(visit: Callable[..., str], window: Browser, tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path))
    text = page.read_text(encoding="utf-8")
    kinds = {
        "undefined.x": "reading 'x'",
        "Promise.reject('one')": '"value": "one"',
        "console.error('two')": '"value": "two"',
        "fetch('https://example.org')": "example.org",
    }
    wrong = "".join(f"<script>{script}</script>" for script in kinds)
    page.write_text(text.replace("</body>", f"{wrong}</body>"), encoding="utf-8")
    visit(page)
    for script, word in kinds.items():
        for _ in range(100):  # until the request has failed
            if any(word in error for error in errors_of(window)):
                break
            window.run("new Promise(done => setTimeout(done, 20))")
        else:
            raise AssertionError(f"{script} is none of the errors {errors_of(window)}")
