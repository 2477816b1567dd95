"""The report: one file with the content of a run directory, whatever is missing, and without injected code."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import shlex
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.fresh import python
from support.report_runs import make_run, random_history
from support.runs import run_tiny, tiny

import sweep.run_directory
from jumpstart.__main__ import main
from jumpstart.history import StatusHistory
from jumpstart.palette import COLORS
from jumpstart.report.charts import curves_svg, shares_svg
from jumpstart.report.description import DESCRIPTION, RunDescription
from jumpstart.report.payload import MOST_EPOCHS, MOST_POINTS, points_shown, thin_epochs
from jumpstart.report.record import FILES, read_run
from jumpstart.report.write import FAILURE, REPORT, NotARunError, write_comparison, write_report
from jumpstart.status.codes import Status
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig
from model.errors import NonFiniteLossError
from sweep import run as sweep_run
from sweep.cli import parse
from sweep.description import describe_run
from sweep.run_directory import RunDirectory

VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """The elements of a page; unbalanced tags are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open[-1:] == ["script"] else self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def data(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.scripts[0])
        return content


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def unpack(text: str, epochs: int) -> npt.NDArray[np.uint8]:
    """(cells, epochs) codes."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8).reshape(-1, epochs)


# What is in it ----------------------------------------------------------------------------------


def test_the_report_holds_every_file_of_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = write_report(run)
    assert path == run / REPORT
    page = read(path)
    for words in ("What to do next", "go.py --a=1", "9.9.9", "79.0 %", "77.0 %", "units are dead", "Jumpstart"):
        assert words in page.text
    for option in ("dataset", "depth", "lambda_", "epochs"):
        assert option in page.text
    assert "What is missing" not in page.text
    labels = [attributes.get("aria-label") or "" for tag, attributes in page.elements if tag == "svg"]
    assert any(label.startswith("Accuracy from epoch 0 to 29.") and "79.0 % in the last" in label for label in labels)
    dead = int((StatusHistory.load(run / "status.npz").unit_status[-1] == Status.DEAD).sum())
    assert f"<title>run: Training works, but {dead} of 11 units are dead.</title>" in path.read_text()


def test_the_maps_are_those_of_the_history(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    history = StatusHistory.load(run / "status.npz")
    (data,) = read(write_report(run)).data["runs"]
    assert (data["epochs"], data["layers"], data["units"]) == (history.epochs, list(history.layers), [4, 4, 3])
    assert np.array_equal(unpack(data["unitCodes"], 4), history.unit_status.T)
    order, classes = points_shown(history)
    assert sorted(order.tolist()) == list(range(40))
    codes = unpack(data["pointCodes"], 4).reshape(40, 3, 4)
    assert np.array_equal(codes, np.moveaxis(history.point_status[:, order], 0, -1))
    assert data["classes"] == [[name, count] for name, count in classes]
    assert data["metrics"]["val/acc"] == pytest.approx([0.5 + e / 100 for e in (0, 10, 20, 29)], abs=1e-4)


def test_the_palette_is_that_of_the_plots(tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path))
    assert [status["color"] for status in read(path).data["status"]] == list(COLORS.values())
    style = path.read_text().partition("<style>")[2].partition("</style>")[0]
    for code, color in COLORS.items():
        assert f"--{code.name.lower()}: {color};" in style


def test_the_page_loads_nothing_from_outside(tmp_path: Path) -> None:
    one, two = make_run(tmp_path, "one"), make_run(tmp_path, "two")
    for path in (write_report(one), write_comparison([one, two], tmp_path / "compare.html")):
        text = path.read_text()
        assert "default-src 'none'" in text
        assert not re.search(r"https?://|//cdn|@import|url\(", text)
        for tag, attributes in read(path).elements:
            assert "src" not in attributes
            assert (attributes.get("href") or "data:,") == "data:,", tag


def test_the_network_is_named_and_skip_connections_are_mentioned(tmp_path: Path) -> None:
    options = {"dataset": "fake", "depth": 18, "width_multiplier": 0.5}
    run = make_run(tmp_path)
    config = ResnetConfig(**options, use_skip_connections=True)
    (run / "run.json").write_text(json.dumps(describe_run(config)))
    (run / "metrics.csv").write_text("epoch,val/point_efficiency\n0,0.5\n1,0.25\n")
    text = read(write_report(run)).text
    assert "fake · ResNet-18, width x0.5, with skip connections, without batch normalization" in text
    assert "that a gradient reaches, except through skip connections" in text
    (run / "run.json").write_text(json.dumps(describe_run(ResnetConfig(**options, layer="dense"))))
    text = read(write_report(run)).text
    assert "fake · dense ResNet-18, width x0.5, without skip connections" in text
    assert "except through" not in text.partition("Curves")[2]
    (run / "run.json").unlink()
    assert "ResNet" not in read(write_report(run)).text


def test_text_of_a_run_is_shown_and_never_executed(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><b title=\"x\" a='$style ${body}'>&amp;"
    run = make_run(tmp_path, "a&b <i>", dataset=evil)
    (run / "environment.json").write_text(json.dumps({"command": evil, evil: evil}))
    remedies = {"resume": evil, "weight": evil}
    (run / "run.json").write_text(
        json.dumps({"dataset": evil, "network": evil, "settings": {evil: evil}, "weight": 0, "remedies": remedies})
    )
    history = StatusHistory([evil, "b"], [2, 2])
    history.append(0, [1.0] * 4, [-1.0] * 4, [[2, 2]] * 3, [0, 1, 1])
    history.save(run / "status.npz")
    summary = json.loads((run / "summary.json").read_text())
    summary["data"]["class_names"] = [evil, "\u2028"]
    (run / "summary.json").write_text(json.dumps(summary))
    (run / FAILURE).write_text(evil)
    other = make_run(tmp_path, "other")
    for path in (write_report(run), write_comparison([run, other], tmp_path / "compare.html")):
        page = read(path)
        assert len(page.scripts) == 2
        assert not {"b", "i"} & {tag for tag, attributes in page.elements if tag == "i" or "title" in attributes}
        assert " ".join(evil.split()) in page.text
        assert page.data["runs"][0]["layers"][0] == evil
        assert page.data["runs"][0]["classes"] == [[evil, 1], ["\u2028", 2]]


@pytest.mark.parametrize("gone", [*FILES, None])
def test_any_file_may_be_missing_or_damaged(gone: str | None, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for name in FILES if gone is None else [gone]:
        (run / name).write_bytes(b"\x00{[: \xff")
    text = read(write_report(run)).text
    assert "What is missing" in text
    for name in FILES:
        assert (f"{name} can't be read" in text) == (gone in (name, None))
    for name in list(FILES)[1:] if gone is None else [gone]:
        (run / name).unlink()
    text = read(write_report(run)).text
    for name in FILES:
        assert (f"{name} is missing" in text) == (gone == name or (gone is None and name != "config.yaml"))


def test_an_incomplete_row_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with (run / "metrics.csv").open("a") as file:
        file.write("30,0.1,0.")
    record = read_run(run)
    assert record.metrics["epoch"].tolist() == list(range(30))
    assert record.notes == ("metrics.csv has 1 damaged row, left out here.",)
    (run / "metrics.csv").write_text("epoch,val/acc\n0,\n1,0.5\n2,nan\n")
    epochs, values = read_run(run).series("val/acc")
    assert (epochs.tolist(), values.tolist()) == ([1.0], [0.5])


def test_a_report_is_replaced_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path)
    before = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == before

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(run)
    assert (run / REPORT).read_bytes() == before
    assert not list(run.glob(".*"))


def test_the_report_needs_no_matplotlib(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    code = (
        "import sys; sys.modules['matplotlib'] = None; from jumpstart.__main__ import main; "
        f"sys.exit(main(['report', {str(run)!r}]))"
    )
    assert python(code).returncode == 0
    assert (run / REPORT).is_file()


@pytest.mark.parametrize("content", [{}, {"epochs": "x", "weight": "y", "settings": 1, "remedies": 2, "network": None}])
def test_a_description_without_usable_values_is_an_empty_one(content: dict[str, object], tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "run.json").write_text(json.dumps(content))
    assert read_run(run).description == RunDescription()
    assert "resume" not in read(write_report(run)).text


# Large runs -------------------------------------------------------------------------------------


def test_a_page_holds_a_limited_number_of_epochs_and_points() -> None:
    history = random_history([3, 2], MOST_EPOCHS + 50, 5)
    kept = thin_epochs(history)
    assert len(kept) == MOST_EPOCHS
    assert (kept[0], kept[-1]) == (0, len(history) - 1)
    wide = StatusHistory(["wide"], [200_000])
    highest, lowest = np.ones(200_000), -np.ones(200_000)
    for epoch in range(300):
        wide.append(epoch, highest, lowest, [[2]], [0])
    assert 2 <= len(thin_epochs(wide)) * 200_000 / 200_000 <= 200
    assert thin_epochs(random_history([1], 1, 1)).tolist() == [0]


def test_the_smallest_class_has_a_row() -> None:
    history = StatusHistory(["a"], [1])
    labels = np.zeros(5000, dtype=int)
    labels[1234] = 7
    history.append(0, [1.0], [-1.0], np.full((5000, 1), 2), labels)
    order, classes = points_shown(history)
    assert MOST_POINTS <= len(order) <= MOST_POINTS + 2
    assert classes[-1] == ("7", 1)
    assert 1234 in order


def test_a_thinned_curve_keeps_its_peak() -> None:
    x = np.arange(20_000.0)
    y = np.ones_like(x)
    y[7777] = 5.0
    svg = curves_svg("Loss", {"train": (x, y)})
    (places,) = re.findall(r'<polyline class="line c0" points="(.*?)"', svg)
    heights = [float(place.split(",")[1]) for place in places.split()]
    assert len(heights) <= 502
    assert sum(height < min(heights) + 1 for height in heights) == 1


def test_charts_of_one_epoch_and_of_none() -> None:
    one = np.array([3.0])
    assert "<circle" in curves_svg("Loss", {"train": (one, one)})
    assert "epoch 3 to 3" in shares_svg("Units", one, dict.fromkeys(Status, one / 3))
    assert curves_svg("Loss", {"train": (np.empty(0), np.empty(0))}) == ""
    assert shares_svg("Units", np.empty(0), {}) == ""
    assert "(logarithmic)" in curves_svg("Loss", {"a": (np.arange(3.0), np.array([1.0, 10.0, 1e4]))})


# Several runs -----------------------------------------------------------------------------------


def test_several_runs_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path, "plain"), make_run(tmp_path, "jumped", lambda_=0.01)]
    (runs[1] / "status.npz").unlink()
    output = tmp_path / "both.html"
    assert main(["report", *map(str, runs), "--output", str(output)]) == 0
    assert capsys.readouterr().out.splitlines() == [*(str(run / REPORT) for run in runs), str(output)]
    page = read(output)
    assert "plain" in page.text
    assert "lambda_ 0.0 0.01" in page.text
    assert "depth" not in page.text
    assert [run is None for run in page.data["runs"]] == [False, True]
    assert sum(tag == "canvas" for tag, _ in page.elements) == 2


def test_the_report_of_one_run_is_written_where_output_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, output = make_run(tmp_path), tmp_path / "one.html"
    assert main(["report", str(run), f"--output={output}"]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    assert not (run / REPORT).exists()
    assert read(output).data == read(write_report(run)).data


def test_runs_of_the_same_name_are_shown_with_their_paths(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    runs = [make_run(tmp_path / folder) for folder in ("a", "b")]
    text = read(write_comparison(runs, tmp_path / "c.html")).text
    assert str(runs[0]) in text
    assert str(runs[1]) in text


def test_one_run_is_not_compared(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least two"):
        write_comparison([make_run(tmp_path)], tmp_path / "c.html")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "none is not a run directory: it does not exist."),
        (["file"], "file is not a run directory: it is a file."),
        (["empty"], "empty is not a run directory: it has none of config.yaml"),
        (["run", "none"], "none is not a run directory"),
        (["run", "--output=gone/a.html"], "can't be written"),
        (["run", "--output=empty"], "--output must name a file, got the folder"),
        (["run", "run", "--output=gone/a.html"], "can't be written"),
        ([], "RUN"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stop:
        main(["report", *arguments])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert "none" not in arguments or not (tmp_path / "run" / REPORT).exists()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotARunError, match="is not a run directory"):
        write_report(tmp_path)


# At the end of a run ----------------------------------------------------------------------------


@pytest.mark.usefixtures("data_alone")
def test_a_run_ends_with_its_report(tmp_path: Path) -> None:
    directory, _ = run_tiny(tmp_path, plot_status=True, epochs=2)
    page = read(directory.report)
    assert "The run has no result" not in page.text
    assert "layers of 4 units" in page.text
    assert not directory.failure.exists()
    assert "continue" not in page.text.lower()
    assert (sweep.run_directory.FAILURE, sweep.run_directory.REPORT) == (FAILURE, REPORT)
    assert directory.description.name == DESCRIPTION


def test_a_run_directory_describes_its_run_for_the_report(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path, "run", tiny(skip_connections=2, epochs=7))
    description = read_run(directory.path).description
    words = "4 layers of 4 units, skip connections over 2 layers added before the activation"
    assert (description.network, description.has_skips, description.epochs) == (words, True, 7)
    resume = description.remedies.command("resume", directory.path)
    assert parse(RectangularConfig, shlex.split(resume)[2:], description="").resume == directory.path
    extend = description.remedies.command("extend", directory.path, epochs=9)
    parsed = parse(RectangularConfig, shlex.split(extend)[2:], description="")
    assert parsed.config.epochs == 9
    directory.record_resume(parsed.config)
    assert read_run(directory.path).description.epochs == 9


def test_a_run_that_diverges_has_a_report(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError):
        run_tiny(tmp_path, lr=1e30, optimizer="sgd", gradient_clip=0.0)
    text = read(tmp_path / "run" / REPORT).text
    assert f"python run_rectangular_sweep.py --resume={tmp_path / 'run'}" in text
    assert "The run ended early, after 0 epochs. NonFiniteLossError: the loss of epoch 0 is not finite" in text
    assert "summary.json is missing" in text


def test_a_resumed_run_removes_its_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="lost the data"):
        patch.setattr(sweep_run, "summarize", _fail)
        run_tiny(tmp_path)
    assert (tmp_path / "run" / FAILURE).read_text() == "RuntimeError: lost the data\n"
    directory, _ = run_tiny(tmp_path, resume=tmp_path / "run")
    assert not directory.failure.exists()
    assert "ended early" not in read(directory.report).text


def test_a_report_that_fails_hides_no_other_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sweep_run, "write_report", _fail)
    with caplog.at_level(logging.WARNING):
        directory, summary = run_tiny(tmp_path)
        assert summary["epochs"] == 5
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(sweep_run, "summarize", _interrupt)
            run_tiny(tmp_path, name="other")
    assert caplog.text.count("no report was written for") == 2
    assert not directory.report.exists()
    assert (tmp_path / "other" / FAILURE).read_text() == "It was interrupted.\n"


def _fail(*args: object) -> None:
    raise RuntimeError("lost the data")


def _interrupt(*args: object) -> None:
    raise KeyboardInterrupt
