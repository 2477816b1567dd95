"""Standard streams that are closed, that are full, or whose reader goes away."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ledgers
from support.runs import ROOT, command, flags, run_tiny

from jumpstart.__main__ import main as jumpstart
from jumpstart.files.streams import OutputError
from sweep.__main__ import main as look

pytestmark = pytest.mark.skipif(os.name != "posix", reason="closes files as a shell of POSIX does")
UNBUFFERED = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


def outcome(redirection: str, *words: str, unbuffered: str = "") -> tuple[int, str]:
    """The exit code and the standard error of a Python command whose streams a shell redirects."""
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "PYTHONPATH": str(ROOT)}
    shell = ["bash", "-o", "pipefail", "-c", f'"$@" {redirection}', "bash", sys.executable, *words]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=300, check=False, env=environment)
    return done.returncode, done.stderr


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_whose_streams_are_closed_is_complete(redirection: str, tmp_path: Path) -> None:
    words = [str(ROOT / "run_rectangular_sweep.py"), *flags(output_dir=tmp_path, name="run", progress=True)]
    code, error = outcome(redirection, *words)
    assert code == 0, error
    assert (tmp_path / "run" / "summary.json").is_file()
    assert (tmp_path / "run" / "config.yaml").read_text().startswith("depth: "), "no file has the number of a stream"


@UNBUFFERED
def test_a_run_whose_reader_goes_away_is_complete(unbuffered: str, tmp_path: Path) -> None:
    words = [str(ROOT / "run_rectangular_sweep.py"), *flags(output_dir=tmp_path, name="run")]
    assert outcome("| true", *words, unbuffered=unbuffered) == (0, "")
    assert (tmp_path / "run" / "summary.json").is_file()


SCRIPT = """
import os, subprocess, sys
from jumpstart.files.streams import command, is_dropped

@command
def main():
    with open(sys.argv[1], "w") as file:
        os.write(1, b"")
        subprocess.run([sys.executable, "-c", "import os; [os.fstat(number) for number in range(3)]"], check=True)
        assert file.fileno() > 2
    for _ in range(3):
        sys.stdout.write("line\\n" * 5000)
        sys.stderr.write("message\\n" * 5000)
    sys.stdout.flush()
    return 10 + is_dropped(sys.stdout)

sys.exit(main())
"""


@UNBUFFERED
@pytest.mark.parametrize(
    ("redirection", "code"),
    [("> /dev/null 2>&1", 10), (">&- 2>&-", 10), ("<&- >&-", 10), ("2>&1 | true", 11), ("2>/dev/full >&-", 10)],
)
def test_output_that_nobody_takes_is_dropped(redirection: str, code: int, unbuffered: str, tmp_path: Path) -> None:
    found, error = outcome(redirection, "-c", SCRIPT, str(tmp_path / "file"), unbuffered=unbuffered)
    assert found == code, error
    assert (tmp_path / "file").read_bytes() == b"", "the output is not in a file of the command"


@UNBUFFERED
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_is_full_is_one_line(unbuffered: str, tmp_path: Path) -> None:
    code, error = outcome("> /dev/full", "-m", "data", unbuffered=unbuffered)
    assert code == 2
    assert error.startswith("error: the output can't be written: No space left on device. Make room")
    assert error.count("\n") == 1


class Full(io.StringIO):
    """A standard output on a full disk."""

    def write(self, text: str) -> int:
        raise OutputError(os.strerror(errno.ENOSPC))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs and a sweep."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("one", "two"):
        run, _ = run_tiny(folder, epochs=1, depth=2)
        run.path.rename(folder / name)
    with ledgers.ledger_of(folder / "sweep", {"seed": [0, 1]}) as ledger:
        ledgers.finish(ledger)
    return folder


@pytest.mark.parametrize(
    "words",
    ["report one", "report one two", "sweep status sweep", "sweep table sweep", "sweep page sweep", "run"],
)
def test_full_output_is_answered_alike_by_every_command(
    words: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    monkeypatch.setattr(sys, "stdout", Full())
    first, *others = words.split()
    if first == "run":
        code = command(*flags(output_dir=tmp_path, name="run", epochs=1, depth=2))
    else:
        code = look(others) if first == "sweep" else jumpstart([first, *others])
    assert code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: the output can't be written: No space left on device. Make room, or send it")
    assert error.count("\n") == 1
