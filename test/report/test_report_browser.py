"""The report in a real browser, if one is installed: it loads without an error, and the slider moves the maps."""

from __future__ import annotations

import html
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import CHROMIUM, FLAGS
from support.report_runs import make_run, random_history

from jumpstart.history import StatusHistory
from jumpstart.palette import COLORS
from jumpstart.report.write import write_comparison, write_report
from jumpstart.status.codes import Status

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: apt-get install chromium")

PROBE = """
<script>
(async () => {
  const pause = () => new Promise((done) => setTimeout(done, 20));
  while (!document.documentElement.dataset.ready) await pause();
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
      const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data;
      const colors = {};
      for (let i = 0; i < pixels.length; i += 4) {
        const [red, green, blue, alpha] = pixels.slice(i, i + 4);
        const name = alpha === 255 ? (red << 16 | green << 8 | blue).toString(16).padStart(6, "0") : "clear";
        colors[name] = (colors[name] || 0) + 1;
      }
      return { colors, caption: map.querySelector(".caption").textContent, label: canvas.getAttribute("aria-label") };
    });
    const cursor = document.querySelector(".cursor");
    seen.push({ at: document.querySelector("#at").textContent, value: slider.ariaValueText
      || slider.getAttribute("aria-valuetext"), maps, cursor: cursor && Number(cursor.getAttribute("x1")),
      wide: document.documentElement.scrollWidth > innerWidth });
  }
  const told = document.body.appendChild(document.createElement("pre"));
  told.id = "probe";
  told.textContent = JSON.stringify(seen);
})();
</script>
"""


@dataclass
class Visit:
    """The document and the errors of a page after a browser has loaded it."""

    dom: str
    errors: list[str]

    @property
    def ready(self) -> str:
        return re.findall(r'<html[^>]*data-ready="([^"]*)"', self.dom)[0]

    @property
    def probe(self) -> list[dict[str, Any]]:
        (text,) = re.findall(r'<pre id="probe">(.*?)</pre>', self.dom, re.DOTALL)
        seen: list[dict[str, Any]] = json.loads(html.unescape(text))
        return seen

    @property
    def counts(self) -> list[list[int]]:
        return [list(map(int, found.split("/"))) for found in re.findall(r'data-counts="([\d/]+)"', self.dom)]


def visit(page: Path, profile: Path, fragment: str = "", width: int = 1000) -> Visit:
    """Load a page from a file, and wait until its script has finished."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},900", "--enable-logging=stderr",
            "--virtual-time-budget=20000", "--dump-dom", f"{page.as_uri()}{fragment}",
        ],
        capture_output=True, text=True, timeout=180, check=True,
    )  # fmt: skip
    errors = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    errors += re.findall(r'<html[^>]*data-error="([^"]*)"', done.stdout)
    return Visit(done.stdout, errors)


def with_probe(page: Path) -> Path:
    """A copy of the page with a script that reads its maps at every epoch."""
    copy = page.with_name("probe.html")
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    return copy


def shares_of_pixels(colors: dict[str, int]) -> list[float]:
    counts = np.array([colors.get(COLORS[code].lstrip("#").lower(), 0) for code in Status])
    return (counts / counts.sum()).tolist()


@pytest.mark.parametrize("width", [1000, 500])
def test_the_slider_moves_the_maps(width: int, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    history = StatusHistory.load(run / "status.npz")
    seen = visit(with_probe(write_report(run)), tmp_path / "profile", width=width)
    assert seen.errors == []
    assert seen.ready == "maps"
    probe = seen.probe
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


def test_the_fragment_of_the_address_chooses_the_epoch(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    history = StatusHistory.load(run / "status.npz")
    page = write_report(run)
    for fragment, index in (("", 3), ("#epoch=10", 1), ("#epoch=14", 1), ("#epoch=9999", 3)):
        units, points = visit(page, tmp_path / "profile", fragment).counts
        assert units == [int((history.unit_status[index] == code).sum()) for code in Status]
        assert points == [int((history.point_status[index] == code).sum()) for code in Status]


@pytest.mark.parametrize(
    ("units", "epochs", "points"),
    [([1, 1, 1], 2, 1), ([4] * 50, 1, 30), ([500] * 50, 3, 600), ([64, 2048, 10], 2, 0), ([200_000], 2, 3)],
    ids=["3 units", "one epoch", "25,000 units", "uneven, no points", "too many for a cell each"],
)
def test_maps_of_networks_of_all_sizes(units: list[int], epochs: int, points: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    history = random_history(units, epochs, points)
    history.save(run / "status.npz")
    seen = visit(with_probe(write_report(run)), tmp_path / "profile")
    assert (seen.errors, seen.ready) == ([], "maps")
    assert len(seen.probe) == epochs
    pixels = shares_of_pixels(seen.probe[-1]["maps"][0]["colors"])
    assert pixels == pytest.approx([(history.unit_status[-1] == code).mean() for code in Status], abs=0.01)
    assert len(seen.probe[-1]["maps"]) == 1 + (points > 0)


def test_a_run_without_maps(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "status.npz").unlink()
    seen = visit(write_report(run), tmp_path / "profile")
    assert (seen.errors, seen.ready) == ([], "no maps")


def test_one_slider_moves_the_maps_of_all_runs(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, "one"), make_run(tmp_path, "two"), make_run(tmp_path, "three")]
    shorter = random_history([2], 2, 5)
    shorter.save(runs[1] / "status.npz")
    (runs[2] / "status.npz").unlink()
    seen = visit(with_probe(write_comparison(runs, tmp_path / "c.html")), tmp_path / "profile")
    assert (seen.errors, seen.ready) == ([], "maps")
    captions = [[m["caption"].partition(":")[0] for m in entry["maps"][::2]] for entry in seen.probe]
    assert captions == [
        ["Epoch 0", "Epoch 0"], ["Epoch 10", "Epoch 10"], ["Epoch 20", "Epoch 10"], ["Epoch 30", "Epoch 10"],
    ]  # fmt: skip


def test_each_kind_of_error_is_detected(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path))
    text = page.read_text(encoding="utf-8")
    kinds = {
        "undefined.x": "reading 'x'",
        "Promise.reject('one')": "one",
        "console.error('two')": "two",
        "fetch('https://example.org')": "example.org",
    }
    wrong = "".join(f"<script>{script}</script>" for script in kinds)
    page.write_text(text.replace("</body>", f"{wrong}</body>"), encoding="utf-8")
    # Chromium ends a line with the address of the page, in the folder of this test.
    errors = [error.partition(", source:")[0] for error in visit(page, tmp_path / "profile").errors]
    for script, word in kinds.items():
        assert any(word in error for error in errors), (script, errors)
