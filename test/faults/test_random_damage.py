"""A bit that flips and a file that is cut, at random places: found and named, or without effect; never a traceback.

``JUMPSTART_DAMAGE`` is the number of places for each kind of file; the usual number is small.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.ledgers import finish, ledger_of

from data.cache import DataError
from data.images.published import PublishedFile, obtain_published
from data.uci.files import DataFile, Remote, obtain
from jumpstart.history import StatusHistory
from jumpstart.report.record import read_run
from jumpstart.table import read_results
from model.config.options import options
from model.config.rectangular import RectangularConfig
from model.errors import ConfigError
from sweep.cli import combine
from sweep.files import RunDirectoryError
from sweep.grid.expand import identity_of
from sweep.ledger.entry import State
from sweep.ledger.ledger import NAME, Ledger, LedgerError
from sweep.resumption import _WITHOUT_EFFECT, check_resumable
from sweep.run_directory import RunDirectory

PLACES = int(os.environ.get("JUMPSTART_DAMAGE", "8"))
REFUSALS = (RunDirectoryError, ConfigError, DataError, ValueError)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content with one wrong bit, or cut."""
    if rng.random() < 0.25:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def attack(file: Path, read: Callable[[], object], places: int = PLACES) -> list[bytes]:
    """Damage a file again and again, and restore it.

    Args:
        file: The file.
        read: Reads it, with whatever else is beside it, and returns what matters of it.
        places: How often.

    Returns:
        The damage that was neither refused nor without effect.
    """
    rng, whole, expected = random.Random(file.name), file.read_bytes(), read()
    silent = []
    for _ in range(places):
        content = damaged(whole, rng)
        file.write_bytes(content)
        try:
            found = read()
        except REFUSALS as error:
            message = str(error)
            assert message.isprintable(), message
            assert len(message) < 2000
            assert str(file.parent) in message or file.name in message, message
        else:
            silent += [content] * (found != expected)
    file.write_bytes(whole)
    return silent


def resumed(run: RunDirectory) -> object:
    """What a resumed run takes from its files; options that may change on resume are what the file says."""
    config = combine(RectangularConfig, {}, config_file=None, resume=run.path).config
    content = check_resumable(run, config, warn=False)
    free = {name for name, item in options(RectangularConfig).items() if item.resumable} | _WITHOUT_EFFECT
    fixed = {name: value for name, value in config.to_dict().items() if name not in free}
    return fixed, content is None or int(content["row"]["epoch"])


@pytest.mark.parametrize("name", ["checkpoints/last.ckpt", "config.yaml", "metrics.csv"])
def test_a_damaged_file_of_a_run_is_never_trained_on(name: str, finished: RunDirectory) -> None:
    silent = attack(finished.path / name, lambda: resumed(finished))
    if name == "metrics.csv":  # without any row, the run goes on with a warning
        silent = [content for content in silent if content.count(b"\n") > 1]
    assert silent == []


def history_of(epochs: int) -> StatusHistory:
    history = StatusHistory(["a", "b"], [3, 2])
    for epoch in range(epochs):
        history.append(epoch, np.ones(5), -np.ones(5), np.full((6, 2), epoch % 3))
    return history


def test_a_damaged_status_history_is_found(tmp_path: Path) -> None:
    file = tmp_path / "status.npz"
    history_of(4).save(file)

    def read() -> object:
        found = StatusHistory.load(file)
        arrays = (found.unit_max, found.unit_min, found.point_status)
        return found.layers, found.units, found.epochs, [array.tobytes() for array in arrays]

    assert attack(file, read) == []


def test_a_damaged_cached_file_is_never_used(tmp_path: Path) -> None:
    content = random.Random(0).randbytes(3000)
    digest = hashlib.sha256(content).hexdigest()
    remote = Remote("letters", "7/x.zip", (DataFile("a.data", (digest,), len(content)),))
    published = PublishedFile("b.gz", "letters", len(content), f"sha256:{digest}", ("https://127.0.0.1:9/",))
    for place in ("uci/letters/a.data", "letters/b.gz"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_bytes(content)
    assert attack(tmp_path / "uci/letters/a.data", lambda: obtain(remote, tmp_path)) == []
    assert attack(tmp_path / "letters/b.gz", lambda: obtain_published(published, tmp_path).read_bytes()) == []


def reported(run: RunDirectory) -> object:
    """What the report says of a run of whose files it says nothing bad."""
    record = read_run(run.path)
    if record.notes or record.changed:
        raise ValueError(f"{run.path}: {record.notes} {record.changed}")
    assert record.history is not None
    numbers = [*record.metrics.values(), record.history.unit_max, record.history.unit_min, record.history.point_status]
    content = record.summary, record.config, record.environment, record.description, list(record.metrics)
    return content, [array.tobytes() for array in numbers]


def test_the_report_tells_that_a_file_of_a_finished_run_has_changed(finished: RunDirectory) -> None:
    history_of(2).save(finished.status)
    finished.write_summary(json.loads(finished.summary.read_text()))
    described = (finished.config, finished.environment, finished.description)
    for file in (finished.summary, finished.metrics, finished.status, *described):
        assert attack(file, lambda: reported(finished), PLACES // 4) == []


def test_a_table_is_not_made_from_a_run_that_has_changed(finished: RunDirectory) -> None:
    for file in (finished.summary, finished.config):
        assert attack(file, lambda: read_results(finished.path).to_csv(), PLACES // 2) == []


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """The file of a ledger with finished runs, runs that failed and runs that wait."""
    with ledger_of(tmp_path / "sweep", {"depth": [2, 3], "seed": list(range(5))}) as made:
        finish(made, most=7, fail_every=3)
    return tmp_path / "sweep" / NAME


def test_a_damaged_ledger_gives_no_other_run_and_no_other_result(ledger: Path) -> None:
    def read() -> object:
        with Ledger(ledger.parent, "rectangular") as opened:
            opened.counts()
            opened.marks()
            opened.mean_seconds()
            found = []
            for entry in opened.entries():
                try:  # as the process that trains the run
                    config = RectangularConfig.from_dict(entry.config)
                except ConfigError as error:
                    raise LedgerError(f"{NAME}: {error}") from None
                if identity_of(config) != entry.identity:
                    raise LedgerError(f"{NAME}: refused before it is trained")
                is_finished = entry.state is State.FINISHED
                found.append((entry.identity, (entry.summary, entry.seconds, entry.label) if is_finished else None))
            return sorted(found, key=str)

    def read_copy() -> object:
        before = ledger.read_bytes()
        try:
            return read()
        finally:
            for path in ledger.parent.glob(f"{NAME}-*"):
                path.unlink()
            ledger.write_bytes(before)

    with sqlite3.connect(ledger) as database:
        database.execute("PRAGMA journal_mode=DELETE")
    assert attack(ledger, read_copy) == []
