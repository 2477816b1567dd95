"""A disk that is really full, and one that can't be written: small file systems in memory, which root can make."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import ledgers
from support.processes import begin, finish
from support.runs import command, flags

from jumpstart.__main__ import main as jumpstart
from jumpstart.files.checkpoints import load_checkpoint
from sweep.__main__ import main as look
from sweep.executors.worker import RUNS
from sweep.ledger.alive import is_alive, living
from sweep.ledger.results import write_results
from sweep.ledger.rows import Rows
from sweep.run_directory import RunDirectory

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Makes file systems of a size, and removes them."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    places: list[Path] = []

    def make(size: str) -> Path:
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        if subprocess.run(words, check=False, capture_output=True).returncode:
            pytest.skip("this system lets nobody mount a file system")
        places.append(place)
        return place

    yield make
    for place in places:
        subprocess.run(["umount", str(place)], check=True)


def outcome(folder: Path, *words: str) -> tuple[int, str]:
    """The exit code and the output of a command."""
    (folder / "output.txt").unlink(missing_ok=True)
    code = finish(begin(folder, *words))
    return code, (folder / "output.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["compiled", "lightning"])
@pytest.mark.parametrize("plot_status", [False, True])
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    engine: str, plot_status: bool, mount: Mount, tmp_path: Path
) -> None:
    refused = 0
    for size in range(8, 400, 40):
        disk = mount(f"{size}k")
        tiny = flags(output_dir=disk, name="run", engine=engine, checkpoint_seconds=0, plot_status=plot_status)
        code, output = outcome(tmp_path, *tiny)
        assert "Traceback" not in output, output
        assert not list(disk.rglob(".*.tmp*"))
        for file in disk.rglob("*.ckpt"):
            load_checkpoint(file)
        refused += code == 2
        if code == 0:
            break
        assert output.splitlines()[-1].startswith("error: ")
        if (disk / "run/checkpoints/last.ckpt").exists():
            subprocess.run(["mount", "-o", "remount,size=20M", str(disk)], check=True)
            assert outcome(tmp_path, f"--resume={disk / 'run'}")[0] == 0
    assert refused
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    code, output = outcome(tmp_path, f"--resume={disk / 'run'}")
    assert code == 2
    assert output.startswith("error: ")
    assert output.count("\n") == 1


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with a file system that Linux makes read-only at its first error, while files are open."""
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("only root can mount a file system, and mkfs.ext4 must be there")
    image, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(50_000_000)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    words = ["mount", "-o", "loop,errors=remount-ro", str(image), str(place)]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("this system can't mount a file as a disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def break_down(disk: Path) -> None:
    """Let the file system of a disk find an error."""
    source = subprocess.run(["findmnt", "-n", "-o", "SOURCE", str(disk)], check=True, capture_output=True, text=True)
    Path("/sys/fs/ext4", Path(source.stdout.strip()).name, "trigger_fs_error").write_text("1")


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "epochs"), [("compiled", 60_000), ("lightning", 100)])
@pytest.mark.parametrize("seeds", ["0", "0..3"], ids=["run", "sweep"])
def test_a_disk_that_becomes_read_only_costs_one_line_and_no_epoch(
    engine: str, epochs: int, seeds: str, failing_disk: Path, tmp_path: Path
) -> None:
    options = {"name": "run", "engine": engine, "checkpoint_seconds": 0, "epochs": epochs, "seed": 0}
    words = [*flags(output_dir=failing_disk, **options), f"--seed={seeds}"]
    process = begin(tmp_path, *words)
    while not list(failing_disk.rglob("last.ckpt")):
        assert process.exitcode is None
        time.sleep(0.05)
    break_down(failing_disk)
    assert finish(process) == 2
    output = (tmp_path / "output.txt").read_text()
    assert "Traceback" not in output
    error = output[output.index("error: ") :]
    assert re.match(r"error: .*Read-only file system.*(--resume=|same command again)", error), output

    subprocess.run(["umount", str(failing_disk)], check=True)
    subprocess.run(["mount", "-o", "loop", str(tmp_path / "image"), str(failing_disk)], check=True)
    assert not list(failing_disk.rglob("summary.json"))
    assert outcome(tmp_path, *([f"--resume={failing_disk / 'run'}"] if seeds == "0" else words))[0] == 0
    assert not list(failing_disk.rglob(".*.tmp*"))
    rows = {path.read_text() for path in failing_disk.rglob("metrics.csv")}
    assert len(rows) == (1 if seeds == "0" else 4)
    assert outcome(tmp_path, *flags(output_dir=tmp_path, **options))[0] == 0
    assert (tmp_path / "run" / "metrics.csv").read_text() in rows


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def last_line(act: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """The error line of a command that ends with an error, and has shown nothing else."""
    with contextlib.suppress(SystemExit):
        assert act() == 2
    error_text = capsys.readouterr().err
    assert error_text.count("\n") == 1, error_text
    return error_text


def test_commands_for_a_run_on_a_disk_that_can_not_be_written_are_one_line(
    finished: RunDirectory, tmp_path: Path, mount: Mount, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = mount("8M")
    run = shutil.copytree(finished.path, disk / "run")
    make_read_only(disk)
    remedies: dict[str, Callable[[], object]] = {
        "Make the run directory writable, or resume a copy": lambda: command(f"--resume={run}"),
        "Choose another": lambda: command(*flags(output_dir=disk / "new", name="run")),
        "Choose another --output_dir": lambda: command(*flags(output_dir=disk, name="sweep"), "--seed=0,1"),
        "name another file with --output": lambda: jumpstart(["report", str(run)]),
        "--output .*/t.md can't be written: .* Name another file": lambda: look(
            ["table", str(run), f"--output={disk}/a/t.md"]
        ),
        "--plot .*/t.png can't be written: .* Name another file": lambda: look(
            ["table", str(run), f"--plot={disk}/t.png"]
        ),
    }
    for remedy, act in remedies.items():
        assert re.search(remedy, last_line(act, capsys))
    assert look(["table", str(run)]) == 0
    assert jumpstart(["report", str(run), f"--output={tmp_path / 'one.html'}"]) == 0
    capsys.readouterr()
    assert jumpstart(["report", str(run), str(finished.path), f"--output={tmp_path / 'two.html'}"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{finished.path / 'report.html'}\n{tmp_path / 'two.html'}\n"
    assert shown.err.startswith(f"warning: the report of {run} can't be written: ")
    assert shown.err.count("\n") == 1
    copy = shutil.copytree(finished.path, tmp_path / "run")
    assert jumpstart(["report", str(copy)]) == 0
    own = (copy / "report.html").read_text()
    assert (tmp_path / "one.html").read_text().replace(str(run), str(copy)) == own


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "with a log"])
def test_a_sweep_on_a_disk_that_can_not_be_written_is_read(
    is_open: bool, tmp_path: Path, mount: Mount, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    ledger = ledgers.ledger_of(folder, {"seed": [0, 1]})
    ledgers.finish(ledger)
    write_results(Rows(ledger))
    disk = mount("8M")
    if not is_open:
        ledger.close()
    shutil.copytree(folder, disk / "sweep")
    (disk / "sweep" / RUNS).mkdir()
    ledger.close()
    assert look(["table", str(folder)]) == 0
    expected = capsys.readouterr().out
    make_read_only(disk)
    assert look(["table", str(disk / "sweep")]) == 0
    assert capsys.readouterr().out == expected
    assert look(["status", str(disk / "sweep")]) == 0
    assert "finished            2" in capsys.readouterr().out
    for words, remedy in ((["page"], "copy the folder"), (["open", "1"], "in a copy of the folder")):
        line = last_line(lambda words=words: look([words[0], str(disk / "sweep"), *words[1:]]), capsys)  # type: ignore[misc]
        assert remedy in line
    assert "can't be written. Make it writable" in last_line(
        lambda: command(*flags(output_dir=disk, name="sweep"), "--seed=0,1"), capsys
    )


def test_results_that_are_out_of_date_are_not_shown(
    tmp_path: Path, mount: Mount, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = mount("8M")
    with ledgers.ledger_of(disk / "sweep", {"seed": [0, 1]}) as ledger:
        ledgers.finish(ledger, most=1)
        write_results(Rows(ledger))
        ledgers.finish(ledger)
        (disk / "sweep" / "workers").mkdir(exist_ok=True)
        with living(ledger.folder, "dead"):
            shutil.copy(disk / "sweep" / "workers" / "dead", tmp_path)
    shutil.copy(tmp_path / "dead", disk / "sweep" / "workers")
    make_read_only(disk)
    assert "results.csv is not up to date, and can't be written" in last_line(
        lambda: look(["table", str(disk / "sweep")]), capsys
    )
    assert not is_alive(disk / "sweep", "dead")
