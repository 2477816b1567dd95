"""Draft folders: complete or absent, whichever process is killed."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.runs import ROOT, tiny

from sweep.files import draft_folder
from sweep.run_directory import RunDirectory


def old(path: Path, seconds: float) -> Path:
    """A folder with a file in it, last changed a while ago."""
    path.mkdir(exist_ok=True)
    (path / "config.yaml").touch()
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def test_the_draft_of_a_killed_process_is_removed_by_a_later_run(tmp_path: Path) -> None:
    code = (
        "import os, sys; from sweep import run_directory as r; "
        "r.describe_environment = lambda: os.kill(os.getpid(), 9); "
        "r.RunDirectory.create(sys.argv[1], 'a', type('C', (), {'label': 'a', 'to_dict': lambda self: {}})())"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    (draft,) = tmp_path.iterdir()
    RunDirectory.create(tmp_path, "b", tiny())
    assert draft.is_dir()  # younger than a minute
    old(draft, 90)
    RunDirectory.create(tmp_path, "c", tiny())
    assert sorted(os.listdir(tmp_path)) == ["b", "c"]


def test_drafts_of_running_processes_and_other_folders_are_kept(tmp_path: Path) -> None:
    kept = [old(tmp_path / name, 1e6) for name in (".new-", ".new-ideas", "new-" + "0" * 32, "a")]
    (tmp_path / (".new-" + "0" * 32)).write_text("a file")
    with draft_folder(tmp_path) as draft:
        old(draft, 1e6)
        RunDirectory.create(tmp_path, "b", tiny())
        assert (draft / "config.yaml").is_file()
    assert not draft.exists()
    assert all((path / "config.yaml").is_file() for path in kept)
    assert (tmp_path / (".new-" + "0" * 32)).is_file()


def test_where_folders_cannot_be_locked_a_draft_is_stale_after_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refuse)
    ages = {f".new-{number:032x}": 60.0 * minutes for number, minutes in enumerate((30, 59, 61, 600))}
    for name, age in ages.items():
        old(tmp_path / name, age)
    RunDirectory.create(tmp_path, "a", tiny())
    assert sorted(os.listdir(tmp_path)) == [*list(ages)[:2], "a"]
