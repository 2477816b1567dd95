"""Rows of ``metrics.csv`` that are lost or damaged: refused or named when a run is resumed, and in the report."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.faults import resume
from support.runs import run_tiny

from jumpstart.report.record import read_run
from model.config.rectangular import RectangularConfig
from sweep.files import RunDirectoryError
from sweep.metrics_csv import MetricsCsv
from sweep.resumption import check_resumable
from sweep.run_directory import RunDirectory
from sweep.signals import stopped_by_signals


def check(run: RunDirectory) -> None:
    check_resumable(run, RectangularConfig.from_dict(run.read_config()))


def in_cell(old: str, new: str) -> Callable[[Path], object]:
    """Change the first cell after the epoch in the last row, or a part of the header."""

    def change(file: Path) -> None:
        head, *rows = file.read_text().splitlines()
        if old:
            head = head.replace(old, new, 1)
        else:
            epoch, _, *others = rows[-1].split(",")
            rows[-1] = ",".join([epoch, new, *others])
        file.write_text("\n".join([head, *rows]) + "\n")

    return change


def as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size * 3 // 5]),
    "garbage in a cell": in_cell("", "0.4x7"),
    "another number": in_cell("", "0.4375"),
    "a column of another name": in_cell("train/loss", "train/lozs"),
    "a row in the middle": lambda file: file.write_text("".join(file.read_text().splitlines(keepends=True)[::2])),
    "an epoch of 5,000 digits": lambda file: file.write_text(file.read_text().replace("\n2,", f"\n{'9' * 5000},")),
    "a folder": as_folder,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_rows_that_are_lost_or_changed_are_refused_and_the_file_is_left(damage: str, finished: RunDirectory) -> None:
    check(finished)
    DAMAGE[damage](finished.metrics)
    before = finished.metrics.read_bytes() if finished.metrics.is_file() else b""
    with pytest.raises((RunDirectoryError, ValueError), match=r"metrics\.csv") as caught:
        check(finished)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)
    assert not finished.metrics.is_file() or finished.metrics.read_bytes() == before


@pytest.mark.parametrize("content", [None, ""])
def test_a_run_whose_rows_are_all_gone_goes_on_with_a_warning(
    content: str | None, finished: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    finished.metrics.unlink()
    if content is not None:
        finished.metrics.write_text(content)
    resume(finished, epochs=6)
    assert "metrics.csv has no rows: the epochs before epoch 4 will be missing" in caplog.text
    assert MetricsCsv(finished.metrics).read()["epoch"].tolist() == [4, 5]


def test_any_wrong_bit_in_the_rows_is_found(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    with MetricsCsv(file) as table:
        for epoch in range(3):
            table.append(epoch, {"train/loss": 0.1 * epoch, "val/loss": float("nan")})
    whole, mark = file.read_bytes(), table.mark
    accepted = []
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        with contextlib.suppress(RunDirectoryError, ValueError):
            accepted += [place] * MetricsCsv(file).holds(mark)
    assert accepted == []


@pytest.mark.parametrize("call", [1, 3])
def test_ctrl_c_while_rows_are_written_repeats_none(call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note, calls = MetricsCsv._note, []

    def interrupted(table: MetricsCsv, epoch: int, line: str) -> None:
        note(table, epoch, line)
        calls.append(epoch)
        if len(calls) == call:
            signal.raise_signal(signal.SIGINT)

    table = MetricsCsv(tmp_path / "metrics.csv")
    for epoch in range(3):
        table.append(epoch, {"a": epoch})
    monkeypatch.setattr(MetricsCsv, "_note", interrupted)
    with pytest.raises(KeyboardInterrupt), stopped_by_signals():
        table.flush()
    table.flush()
    assert MetricsCsv(table.path).mark == table.mark
    assert table.mark["rows"] == 3


def test_rows_and_columns_after_the_mark_do_not_matter(tmp_path: Path) -> None:
    with MetricsCsv(tmp_path / "metrics.csv") as table:
        empty = table.mark
        table.append(0, {"a": 0.5})
        table.flush()
        table.append(0, {"b": 0.25})
        table.append(1, {"a": 1.5})
        table.flush()
        mark = table.mark
        table.append(2, {"a": 2.5, "c": 3})
        table.flush()
        assert table.mark["rows"] == 3
        assert MetricsCsv(table.path).mark == table.mark
        assert all(MetricsCsv(table.path).holds(each) for each in (empty, mark, table.mark))
        table.path.write_text(table.path.read_text().replace("1.5", "1.6"))
        assert [MetricsCsv(table.path).holds(each) for each in (empty, mark)] == [True, False]


def test_the_report_names_rows_that_are_lost(finished: RunDirectory) -> None:
    assert not any("rows were lost" in note for note in read_run(finished.path).notes)
    lines = finished.metrics.read_text().splitlines(keepends=True)
    finished.metrics.write_text("".join(lines[:3]))
    assert "metrics.csv ends at epoch 1, but the run ended at epoch 3: rows were lost." in read_run(finished.path).notes


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the names of open files are read from /proc")
@pytest.mark.parametrize("engine", ["compiled", "lightning"])
def test_the_disk_has_the_rows_before_the_checkpoint_that_counts_them(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, stored, marks = tmp_path / "run" / "metrics.csv", [0], []
    fsync, replace = os.fsync, os.replace

    def note_stored(descriptor: int) -> None:
        fsync(descriptor)
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if Path(name) == metrics:
            stored.append(metrics.stat().st_size)

    def note_checkpoint(source: Path, target: Path) -> None:
        replace(source, target)
        if Path(target).name == "metrics.csv":  # a file that is replaced was synced before
            stored.append(metrics.stat().st_size)
        if Path(target).name == "last.ckpt":
            marks.append((stored[-1], metrics.stat().st_size))

    monkeypatch.setattr(os, "fsync", note_stored)
    monkeypatch.setattr(os, "replace", note_checkpoint)
    run_tiny(tmp_path, engine=engine, checkpoint_seconds=0)
    assert len({written for _, written in marks}) > (1 if engine == "lightning" else 0)
    assert all(before == written for before, written in marks), marks
    assert stored[-1] == metrics.stat().st_size
