"""Files that a person names for an output: devices, pipes and links stay, and so do the files of runs and sweeps."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.report_runs import make_run

import sweep.page.write
from jumpstart.__main__ import main as jumpstart
from jumpstart.report.record import FILES, KEPT
from jumpstart.report.write import write_comparison, write_report
from model.config.rectangular import RectangularConfig
from sweep.__main__ import main as look
from sweep.grid.expand import Grid, expand
from sweep.ledger import ledger, results
from sweep.run_directory import RunDirectory

ROOT = Path(__file__).parents[2]
KINDS = ["report", "comparison", "table", "plot"]
Write = Callable[[Path], int]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = make_run(tmp_path, "first")
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    for name in ("data.json", "failure.txt", "SHA256SUMS"):
        (path / name).touch()
    return path


@pytest.fixture
def sweep_folder(tmp_path: Path) -> Path:
    path = tmp_path / "sweep"
    path.mkdir()
    with ledger.Ledger(path, "rectangular") as rows:
        rows.add(expand(RectangularConfig, [Grid({"seed": [0, 1]})]))
        for entry in rows.entries():
            rows.finish(entry.number, {"val/acc": 0.5, "test/acc": 0.5}, 1.0)
    return path


@pytest.fixture(params=KINDS)
def write(request: pytest.FixtureRequest, run: Path, sweep_folder: Path, tmp_path: Path) -> Write:
    """A command that writes to a path."""
    if request.param == "report":
        return lambda path: jumpstart(["report", str(run), f"--output={path}"])
    if request.param == "comparison":
        other = make_run(tmp_path, "other")
        return lambda path: jumpstart(["report", str(run), str(other), f"--output={path}"])
    flag = "--output" if request.param == "table" else "--plot"
    return lambda path: look(["table", str(sweep_folder), "--by=seed", f"{flag}={path}"])


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("linked", [False, True], ids=["pipe", "link to a pipe"])
def test_a_pipe_is_written_to_and_stays(write: Write, linked: bool, tmp_path: Path) -> None:
    assert write(tmp_path / "file.png") == 0
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    if linked:
        (tmp_path / "link.png").symlink_to("pipe.png")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert write(tmp_path / "link.png" if linked else pipe) == 0
    reader.join(10)  # it waits in vain if the pipe was replaced
    assert received == [(tmp_path / "file.png").read_bytes()]
    assert pipe.is_fifo()
    assert (tmp_path / "link.png").is_symlink() == linked


def test_a_link_is_followed_and_stays(write: Write, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file.png").write_text("old")
    (tmp_path / "second.png").symlink_to("far/file.png")
    (tmp_path / "link.png").symlink_to("second.png")
    (tmp_path / "new.png").symlink_to("far/new.png")
    inode = (tmp_path / "far" / "file.png").stat().st_ino
    assert write(tmp_path / "link.png") == 0
    assert write(tmp_path / "new.png") == 0
    assert all((tmp_path / name).is_symlink() for name in ("link.png", "second.png", "new.png"))
    assert sorted(path.name for path in (tmp_path / "far").iterdir()) == ["file.png", "new.png"]
    assert (tmp_path / "far" / "file.png").read_bytes() == (tmp_path / "far" / "new.png").read_bytes() != b"old"
    assert (tmp_path / "far" / "file.png").stat().st_ino != inode  # replaced, so a reader never finds a part of it


def test_a_loop_of_links_is_refused_in_one_line(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").symlink_to("b.png")
    (tmp_path / "b.png").symlink_to("a.png")
    with pytest.raises(SystemExit):
        write(tmp_path / "a.png")
    error = capsys.readouterr().err
    assert "can't be written" in error
    assert error.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/proc/self/fd/1"), reason="needs /proc")
@pytest.mark.parametrize(("kind", "mode"), [("report", "pipe"), ("report", "w"), ("table", "w"), ("table", "a")])
def test_standard_output_is_written_to(kind: str, mode: str, run: Path, sweep_folder: Path, tmp_path: Path) -> None:
    """Also if it is a file: whoever wrote to it before and whoever does afterwards lose nothing."""
    main, words = (jumpstart, ["report", str(run)]) if kind == "report" else (look, ["table", str(sweep_folder)])
    assert main([*words, f"--output={tmp_path / 'expected'}"]) == 0
    stdout = tmp_path / "stdout"  # as /dev/stdout, which a mistake in the code must not reach
    stdout.symlink_to("/proc/self/fd/1")
    package = "jumpstart" if kind == "report" else "sweep"
    command = [sys.executable, "-m", package, *words, f"--output={stdout}"]
    if mode == "pipe":
        text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    else:
        with (tmp_path / "out").open(f"{mode}b") as file:
            file.write(b"before\n")
            file.flush()
            subprocess.run(command, cwd=ROOT, check=True, stdout=file)
            file.seek(0, os.SEEK_END)
            file.write(b"after\n")
        whole = (tmp_path / "out").read_bytes()
        text = whole.removeprefix(b"before\n").removesuffix(b"after\n")
        assert len(whole) - len(text) == len(b"before\nafter\n")
    assert stdout.is_symlink()
    assert text == (tmp_path / "expected").read_bytes()


RUN_FILES = [*FILES, "data.json", "failure.txt", "SHA256SUMS", "checkpoints/best.ckpt", "status-test.npz"]
SWEEP_FILES = ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "results.csv", "sweep.html"]


@pytest.mark.parametrize("way", ["as it is", "a link to it", "a link to its folder", "with .."])
@pytest.mark.parametrize("flag", ["report --output", "table --output", "table --plot"])
def test_a_file_of_a_run_or_a_sweep_is_never_replaced(
    way: str, flag: str, run: Path, sweep_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, option = flag.split()
    files = [(run / name, "run") for name in RUN_FILES] + [(sweep_folder / name, "sweep") for name in SWEEP_FILES]
    for number, (file, owner) in enumerate(files):
        path = tmp_path / f"link{number}"
        if way == "a link to it":
            path.symlink_to(file)
        elif way == "a link to its folder":
            path.symlink_to(file.parent)
            path /= file.name
        else:
            path = file if way == "as it is" else run / ".." / file.relative_to(tmp_path)
        before, exists = content_of(tmp_path), path.exists()
        with pytest.raises(SystemExit) as stop:
            if command == "report":
                jumpstart(["report", str(run), f"{option}={path}"])
            else:
                look(["table", str(sweep_folder), f"{option}={path}"])
        assert stop.value.code == 2
        words = "replace" if exists else "take the place of"
        error = capsys.readouterr().err
        assert f"{option} must not {words} a file of a {owner}, got {path}: name another file.\n" in error
        assert error.count("\n") == 1
        assert content_of(tmp_path) == before


def test_the_functions_refuse_the_same_files(run: Path) -> None:
    for write in (write_report, lambda runs, output: write_comparison([runs, runs], output)):
        with pytest.raises(
            ValueError, match=r"^output must not replace a file of a run, got .*config.yaml: name another"
        ):
            write(run, run / "config.yaml")


def test_other_files_in_the_folders_are_written(write: Write, run: Path, sweep_folder: Path) -> None:
    for path in (run / "report.html.png", run / "compare.png", sweep_folder / "table.png", run.parent / "config.png"):
        assert write(path) == 0
        assert write(path) == 0


def test_a_report_is_written_again_in_the_place_of_a_report(run: Path) -> None:
    for name in ("report.html", "compare.html"):
        for _ in range(2):
            assert jumpstart(["report", str(run), f"--output={run / name}"]) == 0


def test_a_name_of_a_run_is_free_elsewhere(run: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.yaml").touch()  # of another program
    assert jumpstart(["report", str(run), f"--output={tmp_path / 'own' / 'config.yaml'}"]) == 0
    assert jumpstart(["report", str(run), f"--output={tmp_path / 'own' / 'results.csv'}"]) == 0


def test_the_files_that_a_run_writes_itself_follow_no_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("mine")
    (run / "report.html").symlink_to(tmp_path / "private")
    assert jumpstart(["report", str(run)]) == 0
    assert (tmp_path / "private").read_text() == "mine"
    assert not (run / "report.html").is_symlink()


def test_the_page_without_a_name_follows_no_link(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "private").write_text("mine")
    (tmp_path / "compare.html").symlink_to("private")
    assert jumpstart(["report", str(run), str(run)]) == 0
    assert (tmp_path / "private").read_text() == "mine"


def test_every_file_of_a_run_directory_and_of_a_sweep_is_known(tmp_path: Path) -> None:
    directory, (runs, sweeps) = RunDirectory(tmp_path), KEPT
    names = {path.relative_to(tmp_path).as_posix() for path in vars(directory).values() if path != tmp_path}
    known = {name.removesuffix("/*") for name in runs.files} | {"report.html"}
    assert names - known == {"checkpoints/last.ckpt", "checkpoints/best.ckpt"}
    assert {f"{ledger.NAME}*", results.NAME, sweep.page.write.NAME, f"{ledger.LOGS}/*"} == set(sweeps.files)
