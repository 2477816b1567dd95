"""Temporary files and folders: removed by a later process after any kill, and never under a living one."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.forks import fork
from support.ledgers import finish
from support.runs import TINY, tiny

from data.images.folders import find_folders
from data.images.published import PublishedFile, obtain_published
from data.uci.files import DataFile, Remote, obtain
from jumpstart.files import drafts, write_text
from jumpstart.files.drafts import draft_file, draft_folder, remove_drafts
from model.config.rectangular import RectangularConfig
from sweep.executors.ray import Trainer
from sweep.grid.expand import Grid, expand
from sweep.grid.options import Keep, SweepConfig
from sweep.ledger.alive import living, remove_dead
from sweep.ledger.ledger import Ledger
from sweep.rectangular import RECTANGULAR
from sweep.run_directory import RunDirectory
from sweep.sweep import Sweep, run_sweep

DAY = 86_400


def ended(pid: int) -> int:
    """The exit code of a fork, negative after a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def leave(folder: Path, *, of_file: bool = True) -> Path:
    """A draft of a process that was killed while it filled the draft."""
    folder.mkdir(parents=True, exist_ok=True)

    def die() -> None:
        block = draft_file(folder / "last.ckpt") if of_file else draft_folder(folder)
        with block as draft:
            (draft if of_file else draft / "part").write_text("a part")
            os.kill(os.getpid(), signal.SIGKILL)

    before = set(folder.iterdir())
    assert ended(fork(die, ())) == -signal.SIGKILL
    (draft,) = set(folder.iterdir()) - before
    return draft


def age(path: Path, seconds: float) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


@pytest.fixture(autouse=True)
def _new_process() -> None:
    drafts._remove_at_first.cache_clear()


@pytest.mark.parametrize("of_file", [True, False])
def test_the_draft_of_a_killed_process_is_removed_by_whatever_makes_the_next_one(of_file: bool, tmp_path: Path) -> None:
    leave(tmp_path, of_file=of_file)
    write_text(tmp_path / "a.txt", "whole")
    assert os.listdir(tmp_path) == ["a.txt"]
    leave(tmp_path, of_file=of_file)
    RunDirectory.create(tmp_path, "b", tiny())
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b"]


@contextmanager
def draft_of(folder: Path, *, of_file: bool) -> Iterator[Path]:
    with draft_file(folder / "a") if of_file else draft_folder(folder) as draft:
        yield draft


@pytest.mark.parametrize("of_file", [True, False])
def test_the_draft_of_a_running_process_stays_however_old(of_file: bool, tmp_path: Path) -> None:
    with draft_of(tmp_path, of_file=of_file) as draft:
        age(draft, 9 * DAY)
        assert ended(fork(lambda: remove_drafts(tmp_path), ())) == 0
        remove_drafts(tmp_path)
        assert draft.exists()
    assert not draft.exists()


@pytest.mark.parametrize("of_file", [True, False])
def test_a_draft_that_is_removed_before_it_is_locked_is_made_again(
    of_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = drafts._try_lock
    made: list[Path] = []

    def late(descriptor: int) -> bool | None:
        if not made:  # the first call is that of the process which has just made the draft
            made.extend(tmp_path.iterdir())
            remove_drafts(tmp_path)
        return lock(descriptor)

    monkeypatch.setattr(drafts, "_try_lock", late)
    with draft_of(tmp_path, of_file=of_file) as draft:
        assert made
        assert draft not in made
        assert list(tmp_path.iterdir()) == [draft]
    assert not list(tmp_path.iterdir())


def test_processes_that_share_a_folder_never_lose_a_draft(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for count in range(30):
            drafts._remove_at_first.cache_clear()
            write_text(tmp_path / "shared", f"{number} {count}")
        (tmp_path / f"done {number}").touch()

    for pid in [fork(partial(write, number), ()) for number in range(3)]:
        assert ended(pid) == 0
    assert sorted(os.listdir(tmp_path)) == ["done 0", "done 1", "done 2", "shared"]


@pytest.mark.parametrize(
    ("days", "locks", "of_file"), [(0.9, True, True), (1.1, True, False), (0.9, False, False), (1.1, False, True)]
)
def test_a_draft_of_another_machine_or_without_locks_is_left_after_a_day(
    days: float, locks: bool, of_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(9, "Bad file descriptor")

    draft = age(leave(tmp_path, of_file=of_file), days * DAY)
    if locks:
        monkeypatch.setattr(drafts, "_machine", lambda: "0" * 8)
    else:
        monkeypatch.setattr(fcntl, "flock", refuse)
    write_text(tmp_path / "a", "whole")
    assert draft.exists() == (days < 1)
    assert (tmp_path / "a").exists()


def test_files_of_the_user_are_kept_and_links_are_not_followed(tmp_path: Path) -> None:
    names = (".notes.tmp", ".new-", ".new-ideas", f".new-{drafts._machine()}", f".a.{drafts._machine()}.tmp.csv")
    for name in names:
        age(write(tmp_path / name), 9 * DAY)
    draft, target = leave(tmp_path), write(tmp_path / "target")
    draft.unlink()
    draft.symlink_to(target)
    write_text(tmp_path / "a", "whole")
    assert set(os.listdir(tmp_path)) == {*names, "target", draft.name, "a"}
    assert target.read_text() == "of the user"


def write(path: Path) -> Path:
    path.write_text("of the user")
    return path


# Places -------------------------------------------------------------------------------------------


def uci_file(folder: Path) -> object:
    digest = hashlib.sha256(b"of the user").hexdigest()
    write(folder / "uci/letters/a.data")
    return obtain(Remote("letters", "7/x.zip", (DataFile("a.data", (digest,), 11),)), folder)


def published_file(folder: Path) -> object:
    digest = hashlib.sha256(b"of the user").hexdigest()
    write(folder / "letters/a.gz")
    return obtain_published(PublishedFile("a.gz", "letters", 11, f"sha256:{digest}", ()), folder)


def image_folders(folder: Path) -> object:
    for part in ("train", "val"):
        (folder / "imagenette/imagenette2" / part / "n01").mkdir(parents=True)
    return find_folders("imagenette", folder, download=True)


CACHES: dict[str, Callable[[Path], object]] = {
    "uci/letters": uci_file,
    "letters": published_file,
    "imagenette": image_folders,
}


@pytest.mark.parametrize("place", CACHES)
def test_a_cache_that_has_everything_loses_the_drafts_too(place: str, tmp_path: Path) -> None:
    left = leave(tmp_path / place)
    CACHES[place](tmp_path)
    assert not left.exists()


def test_a_run_directory_loses_them_when_it_is_resumed(tmp_path: Path) -> None:
    finished = RunDirectory.create(tmp_path, "a run", tiny())
    own = write(finished.path / ".notes.tmp")
    left = [leave(folder) for folder in (finished.path, finished.checkpoints, finished.plots)]
    finished.record_resume(tiny())
    assert not any(draft.exists() for draft in left)
    assert own.exists()


def test_a_sweep_loses_drafts_and_lock_files_of_killed_processes_when_it_starts(tmp_path: Path) -> None:
    values: dict[str, list[Any]] = {
        **{name: [value] for name, value in TINY.items()},
        "output_dir": [str(tmp_path)],
        "name": ["grid"],
    }
    grid = Grid(values)
    folder = tmp_path / "grid"
    folder.mkdir()
    with Ledger(folder, "rectangular") as ledger:
        ledger.add(expand(RectangularConfig, [Grid({**values, "plot_status": [False], "threads": [1]})]))
        finish(ledger)
    left = [leave(folder), write(folder / "workers/killed")]
    with living(folder, "alive"):
        assert run_sweep(Sweep(RECTANGULAR, [grid], SweepConfig(workers=1)), lambda line: None) == 0
        assert not any(path.exists() for path in left)
        assert os.listdir(folder / "workers") == ["alive"]


def test_the_lock_file_of_a_process_that_begins_is_made_again_if_another_removes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweep.ledger import alive

    lock, calls = alive.try_lock, []

    def late(descriptor: int, *, shared: bool) -> bool:
        calls.append(shared)
        if len(calls) == 1:
            remove_dead(tmp_path)
        return lock(descriptor, shared=shared)

    monkeypatch.setattr(alive, "try_lock", late)
    with living(tmp_path, "me"):
        assert calls == [True, False, True]
        remove_dead(tmp_path)
        assert alive.is_alive(tmp_path, "me")


def test_a_machine_of_a_cluster_loses_the_folders_of_killed_actors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = leave(tmp_path, of_file=False)
    actor = Trainer(Path("elsewhere"), "me", "rectangular", Keep.ALL)
    with actor._place() as place:
        assert os.listdir(tmp_path) == [place.name]
        assert place.stat().st_mode & 0o777 == 0o700
    assert not left.exists()
