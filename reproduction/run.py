"""The runs of a study: one sweep for each method, whose results become a file of the project."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jumpstart.files import user_path, write_text
from jumpstart.table import read_results
from model.errors import ConfigError
from reproduction.diverged import ERROR, diverged_row
from reproduction.study import RECIPE, ROOT, Study
from sweep.executors.worker import RUNS
from sweep.grid.expand import Grid, expand
from sweep.grid.options import SweepConfig
from sweep.sweep import Sweep, run_sweep

if TYPE_CHECKING:
    import pandas as pd

DIGITS = "%.6g"
"""The format of numbers in the committed results."""


def run_method(
    study: Study,
    method: str,
    output_dir: str,
    *,
    seeds: str | None = None,
    workers: int | None = None,
    write: Callable[[str], object] | None = None,
) -> Path:
    """Train all runs of a method that are not finished, and write its results.

    Args:
        study: The study.
        method: The name of the method.
        output_dir: The folder of the sweeps.
        seeds: Seeds in place of those of the study, as on the command line: ``0..9``.
        workers: Runs that are trained at once; None: one for each core.
        write: Takes the lines for the user; None for the standard output.

    Returns:
        The file with the results.

    Raises:
        ConfigError: If there is no such method, or a run has failed for another reason than divergence.
        KeyboardInterrupt: At Ctrl-C; the same command goes on.
    """
    grids = study.grids(method, seeds)
    if (yardstick := study.yardstick(method)) is not None:
        return _measure(study, method, yardstick, seeds)
    name = f"{study.name}-{method}-{study.recipe(method)}"
    grids = [Grid({**grid.values, "output_dir": [output_dir], "name": [name]}, grid.techniques) for grid in grids]
    options = SweepConfig(keep="metrics", workers=workers, max_runs=1_000_000)
    write = write or sys.stdout.write
    write(f"{study.name}: {method}\n")
    code = run_sweep(Sweep(study.family, grids, options), write)
    folder = user_path(output_dir, "output_dir", "folder") / name
    if code > 1:
        raise KeyboardInterrupt
    return _write_results(study, method, _rows(study, method, folder), seeds)


def _rows(study: Study, method: str, folder: Path) -> pd.DataFrame:
    """The rows of all runs of a sweep, also of those that have diverged."""
    import pandas as pd

    frame = read_results(folder, finished=False).assign(diverged=0)
    finished = frame["state"] == "finished"
    diverged = ~finished & frame["error"].astype(str).str.startswith(ERROR)
    if not (finished | diverged).all():
        raise ConfigError(f"some runs of {method} have failed, so its results are not written: see {folder}.")
    rows = [diverged_row(study, folder / RUNS / str(name)) for name in frame["run"][diverged]]
    return pd.concat([frame[finished], pd.DataFrame(rows).assign(diverged=1)], ignore_index=True)


def _measure(study: Study, method: str, yardstick: str, seeds: str | None) -> Path:
    """Measure what the launchers do not train."""
    members = expand(study.family.config_class, study.grids(method, seeds))
    configs = [member.config for member in members]
    table = importlib.import_module(f"reproduction.{study.name}.yardsticks").table
    return _write_results(study, method, table(yardstick, configs), seeds)


def _write_results(study: Study, method: str, frame: pd.DataFrame, seeds: str | None) -> Path:
    """Write the results of the runs of the study, in a fixed order.

    Committed rows of other seeds stay if their recipe is the same. The frame may hold seeds that are not wanted.
    """
    import pandas as pd

    recipe = study.recipe(method)
    wanted = {value for grid in study.grids(method, seeds) for value in grid.values.get("seed", [])}
    frame = frame[frame["seed"].isin(wanted)] if wanted else frame
    frame = frame.reindex(columns=study.columns()).assign(**{RECIPE: recipe})
    if "dataset" in frame:
        frame["dataset"] = frame["dataset"].map(within_project)
    before = study.read(method)
    if before is not None and [*before.columns] == [*frame.columns]:
        others = (before[RECIPE] == recipe) & ~before["seed"].isin(frame["seed"])
        frame = pd.concat([frame, before[others]], ignore_index=True)
    path = study.results_of(method)
    path.parent.mkdir(exist_ok=True)
    frame = frame.sort_values([*study.by])
    write_text(path, frame.to_csv(index=False, float_format=DIGITS, lineterminator="\n"))
    return path


def within_project(dataset: str) -> str:
    """A data set, whose path is relative to the folder of the project if it is a file in it.

    Args:
        dataset: A name or a path.

    Example:
        >>> within_project("moons"), within_project(str(ROOT / "waves" / "line.csv"))
        ('moons', 'reproduction/waves/line.csv')
    """
    path = Path(dataset)
    return path.relative_to(ROOT.parent).as_posix() if path.is_relative_to(ROOT.parent) else dataset
