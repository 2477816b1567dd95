"""The ledger of a sweep: states of runs, processes that die, several writers, and files that can't be used."""

from __future__ import annotations

import contextlib
import csv
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.runs import ROOT

from data.cache import DataError
from model.config.rectangular import RectangularConfig
from sweep.__main__ import main as look
from sweep.grid.expand import Grid, Member, expand
from sweep.ledger.alive import Life, living
from sweep.ledger.entry import State, label_of
from sweep.ledger.ledger import NAME, Ledger, LedgerError
from sweep.ledger.place import network_drive
from sweep.ledger.results import results_text, write_results
from sweep.ledger.rows import Rows
from sweep.ledger.status import status_text, time_left


def members(count: int, first: int = 0) -> list[Member]:
    grid = Grid({"depth": [2], "seed": list(range(first, first + count))}, ["jumpstart"])
    return expand(RectangularConfig, [grid])


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path, "rectangular")


def states(ledger: Ledger) -> list[str]:
    return [entry.state.value for entry in ledger.entries()]


def test_a_run_goes_from_waiting_to_its_result(ledger: Ledger) -> None:
    assert ledger.add(members(3)) == (3, 0)
    with living(ledger.folder, "me") as life:
        first = ledger.claim(life, 1)
        assert first is not None
        assert (first.number, first.state, first.tries, first.config["seed"]) == (1, State.RUNNING, 1, 0)
        ledger.finish(1, {"test/acc": 0.5, "data": {}}, 2.0)
        second = ledger.claim(life, 1)
        assert second is not None
        ledger.interrupt(second.number)
        assert states(ledger) == ["finished", "interrupted", "waiting"]
        again = ledger.claim(life, 1)
        assert again is not None
        assert (again.number, again.tries) == (2, 2), "an interrupted run comes before one that waits"
    entry = ledger.entry(1)
    assert (entry.summary, entry.seconds, entry.error) == ({"test/acc": 0.5, "data": {}}, 2.0, None)
    assert ledger.counts()[State.FINISHED] == 1
    assert ledger.mean_seconds() == 2.0


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_run_that_fails_is_tried_again_as_often_as_wanted(ledger: Ledger, retries: int) -> None:
    ledger.add(members(2))
    order = []
    with living(ledger.folder, "me") as life:
        while (entry := ledger.claim(life, retries)) is not None:
            order.append(entry.number)
            ledger.fail(entry.number, f"error {len(order)}", 0.0)
        assert order == [1, 2] + [1] * retries + [2] * retries, "others come first"
        assert states(ledger) == ["failed", "failed"]
        assert ledger.entry(2).error == f"error {len(order)}"
        assert ledger.forgive() == 2
        assert ledger.claim(life, 0) is not None


def test_a_grid_that_grows_adds_what_is_new(ledger: Ledger) -> None:
    ledger.add(members(3))
    labels = [entry.label for entry in ledger.entries()]
    assert ledger.add(members(4, first=1)) == (2, 2)
    assert [entry.label for entry in ledger.entries()][:3] == labels
    assert [entry.config["seed"] for entry in ledger.entries()] == [0, 1, 2, 3, 4]
    assert labels[0] == "00001-jumpstart-seed=0"


def test_a_run_without_a_technique_gets_that_of_a_later_grid(ledger: Ledger) -> None:
    grid = Grid({"depth": [2], "seed": [0, 1, 2], "lambda_": [0.0]})
    plain, named = expand(RectangularConfig, [grid]), expand(RectangularConfig, [Grid(grid.values, ["baseline"])])
    ledger.add(plain[:2])
    other = expand(RectangularConfig, [Grid({**grid.values, "depth": [3], "seed": [0]})])
    with living(ledger.folder, "me") as life:
        assert ledger.claim(life, 1) is not None
        ledger.finish(1, {"test/acc": 0.5, "loss": float("nan")}, 2.0)
        assert ledger.add(named) == (1, 2)
        assert ledger.claim(life, 1) is not None
        ledger.finish(2, {"test/acc": 0.75}, 1.0)
        ledger.add(other)
        assert ledger.add(named) == (0, 3), "a run of another grid may have none"
    *entries, last = ledger.entries()  # which also compares the checksums
    assert last.technique is None
    assert [entry.technique for entry in entries] == ["baseline"] * 3
    assert [entry.label for entry in entries] == ["00001-seed=0", "00002-seed=1", "00003-baseline-seed=2"]
    assert [entry.summary and entry.summary["test/acc"] for entry in entries] == [0.5, 0.75, None]
    assert [entry.seconds for entry in entries] == [2.0, 1.0, None]


def test_a_result_that_has_changed_gets_no_new_checksum(ledger: Ledger) -> None:
    grid = Grid({"depth": [2], "lambda_": [0.0]})
    ledger.add(expand(RectangularConfig, [grid]))
    with living(ledger.folder, "me") as life:
        assert ledger.claim(life, 1) is not None
        ledger.finish(1, {"test/acc": 0.5}, 2.0)
    with contextlib.closing(sqlite3.connect(ledger.folder / NAME)) as database, database:
        database.execute("UPDATE runs SET summary = replace(summary, '0.5', '0.9')")
    ledger.add(expand(RectangularConfig, [Grid(grid.values, ["baseline"])]))
    with pytest.raises(LedgerError, match="has changed since the run ended"):
        ledger.entry(1)
    assert ledger.reopen_changed() == [label_of(1, expand(RectangularConfig, [grid])[0])]


def test_no_run_is_given_to_two_claimants(tmp_path: Path) -> None:
    with Ledger(tmp_path, "rectangular") as ledger:
        ledger.add(members(60))
    taken: list[int] = []

    def take(name: str) -> None:
        with Ledger(tmp_path, None) as own, living(tmp_path, name) as life:
            while (entry := own.claim(life, 0)) is not None:
                taken.append(entry.number)
                own.finish(entry.number, {}, 0.0)

    threads = [threading.Thread(target=take, args=(f"worker-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 61))


_TAKE_AND_WAIT = """
import sys
from pathlib import Path
from sweep.ledger.alive import living
from sweep.ledger.ledger import Ledger
folder = Path(sys.argv[1])
with Ledger(folder, None) as ledger, living(folder, "doomed") as life:
    print(ledger.claim(life, 0).number, flush=True)
    sys.stdin.read()
"""


def test_a_run_whose_process_was_killed_is_interrupted_and_no_other(ledger: Ledger) -> None:
    ledger.add(members(3))
    words = [sys.executable, "-c", _TAKE_AND_WAIT, str(ledger.folder)]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process,
        living(ledger.folder, "me") as life,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        mine = ledger.claim(life, 0)
        assert mine is not None
        assert (mine.number, ledger.recover()) == (2, 0), "both are alive"
        process.kill()
        process.wait()
        assert ledger.recover() == 1
        assert states(ledger) == ["interrupted", "running", "waiting"]


def test_a_name_is_alive_while_its_block_runs(tmp_path: Path) -> None:
    from sweep.ledger.alive import is_alive

    with living(tmp_path, "one"):
        assert is_alive(tmp_path, "one")
        assert not is_alive(tmp_path, "other")
        with pytest.raises(FileExistsError), living(tmp_path, "one"):
            pass
    assert not is_alive(tmp_path, "one")


# Files --------------------------------------------------------------------------------------------


def test_a_ledger_that_cannot_be_used_is_refused_and_kept(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"is no folder of a sweep: it has no ledger\.sqlite"):
        Ledger(tmp_path, None)
    (tmp_path / NAME).write_bytes(b"something else, longer than the header of a database" * 99)
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(LedgerError, match=r"ledger\.sqlite can't be used: file is not a database\. It is kept"):
        Ledger(tmp_path, "rectangular")
    assert (tmp_path / NAME).read_bytes() == before


@pytest.mark.parametrize("words", [["status"], ["table"], ["page"], ["open", "1"]])
def test_an_empty_ledger_is_refused_by_what_reads_it(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / NAME).touch()
    with pytest.raises(SystemExit):
        look([words[0], str(tmp_path), *words[1:]])
    assert "is empty. Run the command of the sweep again" in capsys.readouterr().err
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [(NAME, 0)]
    with sqlite3.connect(tmp_path / NAME) as database:
        database.execute("PRAGMA user_version = 1")
    with pytest.raises(LedgerError, match="is empty"):
        Ledger(tmp_path, None)
    assert Ledger(tmp_path, "rectangular").add(members(1)) == (1, 0)


@pytest.mark.parametrize("run", ["2", "99999999999999999999", "9" * 5000, "no-such-run"])
def test_a_run_that_is_missing_is_one_line(ledger: Ledger, run: str, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.add(members(1))
    with pytest.raises(SystemExit):
        look(["open", str(ledger.folder), run])
    message = capsys.readouterr().err
    assert " has no run " in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    "error", [DataError("a.csv does not exist."), OSError(28, "No space left on device"), MemoryError("too large")]
)
def test_an_error_that_can_be_corrected_is_one_line(
    ledger: Ledger, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> Path:
        raise error

    ledger.add(members(1))
    monkeypatch.setattr("sweep.open.whole_directory", fail)
    with pytest.raises(SystemExit) as caught:
        look(["open", str(ledger.folder), "1"])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert str(error.args[-1]).rstrip(".") in message
    assert message.count("\n") == 1


def test_ctrl_c_ends_a_watch_quietly(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    ledger.add(members(1))
    monkeypatch.setattr("sweep.__main__.time.sleep", stop)
    with living(ledger.folder, "me") as life:
        ledger.claim(life, 0)
        assert look(["status", str(ledger.folder), "--watch"]) == 130


def test_a_ledger_of_another_version_or_family_is_refused(tmp_path: Path) -> None:
    Ledger(tmp_path, "rectangular").close()
    with pytest.raises(LedgerError, match="is a sweep of rectangular networks"):
        Ledger(tmp_path, "resnet")
    assert Ledger(tmp_path, None).family == "rectangular"
    with sqlite3.connect(tmp_path / NAME) as database:
        database.execute("UPDATE sweep SET version = 99")
    with pytest.raises(LedgerError, match=r"is of version 99, and this program writes version 1\. Keep the folder"):
        Ledger(tmp_path, "rectangular")


def test_a_network_drive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/x {str(tmp_path).replace(' ', chr(92) + '040')} nfs4 rw 0 0\n")
    monkeypatch.setattr("sweep.ledger.place._MOUNTS", mounts)
    with pytest.raises(LedgerError, match=r"is on a network drive \(nfs4\).*Choose an --output_dir on a local disk"):
        Ledger(tmp_path, "rectangular")
    assert not (tmp_path / NAME).exists()
    assert network_drive(Path("/home/a b/c"), "s /home/a\\040b fuse.sshfs rw 0 0") == "fuse.sshfs"


# Tables -------------------------------------------------------------------------------------------


def test_results_have_a_row_for_each_run(ledger: Ledger) -> None:
    ledger.add(expand(RectangularConfig, [Grid({"depth": [2, 3], "lr": [0.1]}, ["baseline", "jumpstart"])]))
    with living(ledger.folder, "me") as life:
        ledger.claim(life, 0)
        ledger.finish(1, {"test/acc": 0.75, "best_epoch": 3, "data": {"rows": 5}}, 1.5)
        ledger.claim(life, 0)
        ledger.fail(2, "ValueError: a, b", 1.0)
    write_results(Rows(ledger))
    rows = list(csv.DictReader((ledger.folder / "results.csv").read_text().splitlines()))
    assert [row["state"] for row in rows] == ["finished", "failed", "waiting", "waiting"]
    assert [row["technique"] for row in rows] == ["baseline", "baseline", "jumpstart", "jumpstart"]
    assert [(row["depth"], row["lambda_"]) for row in rows] == [
        ("2", "0.0"),
        ("3", "0.0"),
        ("2", "0.01"),
        ("3", "0.01"),
    ]
    assert (rows[0]["test/acc"], rows[0]["best_epoch"], rows[1]["test/acc"]) == ("0.75", "3", "")
    assert rows[1]["error"] == "ValueError: a, b"
    assert "lr" not in rows[0], "an option with one value is no column"


def test_results_without_a_run_have_a_head(ledger: Ledger) -> None:
    assert results_text(Rows(ledger)).count("\n") == 1


def test_status_says_what_runs_and_what_failed(ledger: Ledger) -> None:
    ledger.add(members(14))
    with living(ledger.folder, "me") as life:
        for number in range(1, 13):
            ledger.claim(life, 0)
            ledger.fail(number, f"boom {number}", 0.0)
        ledger.claim(life, 0)
        ledger.finish(13, {}, 60.0)
        ledger.claim(life, 0)
        text = status_text(ledger)
    assert "14 runs of rectangular networks" in text
    assert "time left: about 0:01:00" in text
    assert "running: 00014-jumpstart-seed=13" in text
    assert "12 runs failed:" in text
    assert "00010-jumpstart-seed=9: boom 10" in text
    assert "and 2 more, see results.csv" in text


def test_the_time_that_is_left() -> None:
    assert time_left({State.RUNNING: 0, State.WAITING: 5}, 3.0) is None
    assert time_left({State.RUNNING: 1, State.WAITING: 5}, None) is None
    assert time_left({State.RUNNING: 4, State.WAITING: 8, State.INTERRUPTED: 4}, 10.0) == "0:00:40"


def test_a_life_is_its_name() -> None:
    assert Life("a") == Life("a")
