"""A sweep on data of the user: they may not change while it lasts, nor between two of its commands."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.runs import run_tiny

from sweep.executors.worker import RUNS
from sweep.files import RunDirectoryError
from sweep.ledger.ledger import NAME

ROWS = [f"{row * 37 % 50 / 10},{row % 7},{'ab'[row % 2]}" for row in range(60)]
CHANGED = (
    r"the data changed since the first run of .* began: .*, and before .*\. Restore the data, or choose another --name"
)


def write_table(path: Path, rows: int = 60) -> Path:
    path.write_text("\n".join(["width,height,kind", *ROWS[:rows]]) + "\n")
    return path


def write_images(folder: Path, each: int) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    for c in range(2):
        (folder / str(c)).mkdir(parents=True)
        for i in range(each):
            pixels = np.clip(rng.normal(100 + 50 * c, 20, (6, 6, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / str(c) / f"{i}.png")
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """The folder of a sweep, as far as a run sees it."""
    (tmp_path / "sweep" / RUNS).mkdir(parents=True)
    (tmp_path / "sweep" / NAME).touch()
    return tmp_path / "sweep"


@pytest.mark.parametrize("engine", ["compiled", "lightning"])
def test_a_table_that_changed_is_refused_by_every_other_run(engine: str, sweep: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "own.csv")
    options = {"dataset": str(table), "target": "-1", "engine": engine, "epochs": 1, "depth": 2}
    run_tiny(sweep / RUNS, name="first", **options)
    run_tiny(sweep / RUNS, name="second", seed=1, **options)
    write_table(table, rows=58)
    with pytest.raises(RunDirectoryError, match=CHANGED):
        run_tiny(sweep / RUNS, name="third", seed=2, **options)
    assert not (sweep / RUNS / "third").exists()
    run_tiny(tmp_path, name="alone", **options)
    write_table(table)
    run_tiny(sweep / RUNS, name="third", seed=2, **options)


def test_images_that_changed_are_refused_in_runs_with_the_same_split(sweep: Path, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "own", each=12)
    options = {"dataset": str(folder), "epochs": 1, "depth": 2, "data_dir": str(tmp_path / "cache")}
    run_tiny(sweep / RUNS, name="first", **options)
    run_tiny(sweep / RUNS, name="other split", seed=1, **options)
    write_images(folder, each=13)
    with pytest.raises(RunDirectoryError, match=CHANGED):
        run_tiny(sweep / RUNS, name="second", lambda_=0.5, **options)


def test_two_tables_of_one_sweep_are_compared_each_with_itself(sweep: Path, tmp_path: Path) -> None:
    tables = [write_table(tmp_path / f"{rows}.csv", rows) for rows in (60, 50)]
    for name in ("first", "second"):
        for table in tables:
            run_tiny(sweep / RUNS, name=f"{name}-{table.stem}", dataset=str(table), target="-1", epochs=1, depth=2)


def test_a_named_data_set_leaves_nothing(sweep: Path) -> None:
    run_tiny(sweep / RUNS, name="first", epochs=1)
    assert {path.name for path in sweep.iterdir()} == {RUNS, NAME}
