"""A digit that changes in the result of a finished run: the run is named, and no table is made from it."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest
from support.faults import resume
from support.ledgers import finish, ledger_of
from support.runs import TINY

from jumpstart.__main__ import main as jumpstart
from jumpstart.files.checksums import CHECKSUMS, changed_files
from jumpstart.table import read_results
from model.config.rectangular import RectangularConfig
from sweep.__main__ import main as look
from sweep.executors.worker import RUNS, train
from sweep.grid.expand import Grid, expand
from sweep.grid.options import Keep
from sweep.ledger.alive import living
from sweep.ledger.entry import State
from sweep.ledger.ledger import NAME, Ledger, LedgerError
from sweep.open import whole_directory
from sweep.rectangular import RECTANGULAR, run_rectangular
from sweep.run_directory import RunDirectory

LINE = "{} or its checksum in SHA256SUMS has changed since the run ended"


def change_digit(file: Path) -> None:
    """Change the last digit of a file, such as one of the last number in a table."""
    text = file.read_text()
    head, digit, tail = re.fullmatch(r"(.*)(\d)(\D*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    file.write_text(f"{head}{(int(digit) + 1) % 10}{tail}")


@pytest.mark.parametrize("name", ["summary.json", "metrics.csv", "config.yaml", "environment.json"])
def test_a_report_names_a_file_that_has_changed(
    name: str, finished: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    assert changed_files(finished.path) == []
    change_digit(finished.path / name)
    assert jumpstart(["report", str(finished.path)]) == 0
    assert LINE.format(name) in finished.report.read_text()
    assert [record.getMessage() for record in caplog.records] == [
        f"{LINE.format(finished.path / name)}: the content of the file may be wrong."
    ]
    other = finished.path.with_name("other")
    finished.path.rename(other)
    (other / CHECKSUMS).unlink()
    caplog.clear()
    assert jumpstart(["report", str(other)]) == 0
    assert not caplog.records, "a run of an earlier version has no checksums"


@pytest.mark.parametrize("name", ["summary.json", "config.yaml", CHECKSUMS])
def test_a_table_is_not_made_from_a_run_that_has_changed(name: str, finished: RunDirectory) -> None:
    whole = read_results(finished.path)
    change_digit(finished.metrics)  # which no table reads
    assert read_results(finished.path).equals(whole)
    if name == CHECKSUMS:
        finished.checksums.write_bytes(b"\xff no checksum")
    else:
        change_digit(finished.path / name)
    with pytest.raises(ValueError, match=rf"{name}( or its .*)? has changed since the run ended\. Restore the file"):
        read_results(finished.path)
    finished.checksums.unlink()
    read_results(finished.path)


class Killed(BaseException):
    pass


def test_a_run_that_goes_on_has_new_checksums_at_its_end_and_no_wrong_ones_before(
    finished: RunDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def killed(*_: object) -> None:
        assert changed_files(finished.path) == []
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("sweep.run.summarize", killed)
        with pytest.raises(Killed):
            resume(finished, epochs=6)
    assert changed_files(finished.path) == []
    change_digit(finished.summary)
    assert changed_files(finished.path) == [finished.summary]
    caplog.clear()
    resume(finished, epochs=7)
    assert [record.getMessage() for record in caplog.records] == [
        f"{LINE.format(finished.summary)}: the content of the file may be wrong."
    ]
    assert changed_files(finished.path) == []
    change_digit(finished.metrics)
    assert changed_files(finished.path) == [finished.metrics]


# Sweeps -------------------------------------------------------------------------------------------


def change_in_ledger(folder: Path, column: str) -> None:
    with sqlite3.connect(folder / NAME) as database:
        (before,) = database.execute(f"SELECT {column} FROM runs WHERE number = 1").fetchone()
        changed = re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), str(before), count=1)
        after = f"{before}2" if changed == before else changed
        database.execute(f"UPDATE runs SET {column} = ? WHERE number = 1", (after,))


@pytest.mark.parametrize("column", ["summary", "config", "label", "technique", "seconds"])
def test_no_table_and_no_page_are_made_from_a_result_that_has_changed(
    column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ledger_of(tmp_path / "sweep", {"seed": [0, 1]}, ["jumpstart"]) as ledger:
        finish(ledger)
        label = ledger.entry(1).label
    assert look(["table", str(tmp_path / "sweep")]) == 0
    change_in_ledger(tmp_path / "sweep", column)
    for command in ("table", "page"):
        with pytest.raises(SystemExit):
            look([command, str(tmp_path / "sweep")])
        line = capsys.readouterr().err.splitlines()[-1]
        changed, damaged = f"run {label} in {tmp_path / 'sweep' / NAME} has changed", f"{NAME} can't be used: run 1"
        assert (changed if column == "summary" else damaged) in line


def test_a_result_without_checksums_is_read(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "sweep", {"seed": [0]}) as ledger:
        finish(ledger)
        summary = ledger.entry(1).summary
        with sqlite3.connect(tmp_path / "sweep" / NAME) as database:
            database.execute("UPDATE runs SET summary = ?", (json.dumps(summary),))
        assert ledger.entry(1).summary == summary
        assert ledger.reopen_changed() == []


@pytest.fixture
def trained(tmp_path: Path) -> Ledger:
    """A sweep of one run, which is not trained yet."""
    (tmp_path / RUNS).mkdir()
    ledger = Ledger(tmp_path, "rectangular")
    values = {**{name: [value] for name, value in TINY.items()}, "threads": [1], "epochs": [1]}
    ledger.add(expand(RectangularConfig, [Grid(values)]))
    return ledger


def work(ledger: Ledger, keep: Keep) -> None:
    with living(ledger.folder, "me") as life:
        while (entry := ledger.claim(life, 0)) is not None:
            train(ledger, RECTANGULAR, entry, keep)


def test_the_command_of_a_sweep_restores_a_result_that_has_changed_in_the_ledger(trained: Ledger) -> None:
    work(trained, Keep.METRICS)
    whole = trained.entry(1)
    change_in_ledger(trained.folder, "summary")
    with pytest.raises(LedgerError, match="Run the command of the sweep again"):
        trained.entry(1)
    assert trained.reopen_changed() == [whole.label]
    assert trained.entry(1).state is State.INTERRUPTED
    work(trained, Keep.METRICS)
    assert trained.entry(1).summary == whole.summary
    assert trained.reopen_changed() == []


def test_a_result_that_has_changed_in_its_directory_is_not_taken_into_the_ledger(trained: Ledger) -> None:
    work(trained, Keep.METRICS)
    run = RunDirectory(trained.folder / RUNS / trained.entry(1).label)
    trained.interrupt(1)
    change_digit(run.summary)
    work(trained, Keep.METRICS)
    entry = trained.entry(1)
    assert entry.state is State.FAILED
    assert entry.error is not None
    assert f"{LINE.format(run.summary)}. Restore it, or remove {run.path}" in entry.error


def test_no_result_is_taken_from_a_directory_for_other_options(trained: Ledger) -> None:
    work(trained, Keep.METRICS)
    trained.interrupt(1)
    change_in_ledger(trained.folder, "config")
    work(trained, Keep.METRICS)
    entry = trained.entry(1)
    assert entry.state is State.FAILED
    assert "are not those that it was added with" in str(entry.error)


def test_a_run_that_is_opened_and_curves_that_are_read_again_are_compared(
    trained: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    options = {**TINY, "epochs": 1, "output_dir": trained.folder / RUNS, "name": trained.entry(1).label}
    result = run_rectangular(**options)
    trained.finish(1, result.summary, 1.0)
    (result.path / "plots" / "a.png").touch()
    whole_directory(trained, trained.entry(1))
    result.curves()
    assert not caplog.records
    change_digit(result.directory.metrics)
    for read in (lambda: whole_directory(trained, trained.entry(1)), result.curves):
        caplog.clear()
        read()
        (record,) = caplog.records
        assert record.getMessage().startswith(LINE.format(result.directory.metrics))
