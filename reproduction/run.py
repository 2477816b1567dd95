"""The runs of a study: one sweep for each method, whose results become a file of the project."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jumpstart.files import user_path, write_text
from jumpstart.table import read_results
from model.errors import ConfigError
from reproduction.study import Study
from sweep.grid.expand import Grid
from sweep.grid.options import SweepConfig
from sweep.sweep import Sweep, run_sweep

DIGITS = "%.6g"
"""The format of numbers in the committed results."""


def run_method(
    study: Study,
    method: str,
    output_dir: str,
    *,
    seeds: str | None = None,
    workers: int | None = None,
    write: Callable[[str], object] = sys.stdout.write,
) -> Path:
    """Train all runs of a method that are not finished, and write its results.

    Args:
        study: The study.
        method: The name of the method.
        output_dir: The folder of the sweeps.
        seeds: Seeds in place of those of the study, as on the command line: ``0..9``.
        workers: Runs that are trained at once; None: one for each core.
        write: Takes the lines for the user.

    Returns:
        The file with the results.

    Raises:
        ConfigError: If there is no such method, or a run has failed.
        KeyboardInterrupt: At Ctrl-C; the same command goes on.
    """
    grids = study.grids(method, seeds)
    name = f"{study.name}-{method}-{_digest(grids)}"
    grids = [Grid({**grid.values, "output_dir": [output_dir], "name": [name]}, grid.techniques) for grid in grids]
    options = SweepConfig(keep="metrics", workers=workers, max_runs=1_000_000)
    write(f"{study.name}: {method}\n")
    code = run_sweep(Sweep(study.family, grids, options), write)
    folder = user_path(output_dir, "output_dir", "folder") / name
    if code == 1:
        raise ConfigError(f"some runs of {method} have failed, so its results are not written: see {folder}.")
    if code:
        raise KeyboardInterrupt
    return _write_results(study, method, folder, seeds)


def _digest(grids: Sequence[Grid]) -> str:
    """Eight digits that differ if the recipe differs; runs of further seeds share the folder of a sweep."""
    values = [sorted((name, value) for name, value in grid.values.items() if name != "seed") for grid in grids]
    return hashlib.sha256(repr(values).encode()).hexdigest()[:8]


def _write_results(study: Study, method: str, folder: Path, seeds: str | None) -> Path:
    """Write the results of the runs of the study, in a fixed order; the folder may hold further seeds."""
    frame = read_results(folder)
    for name in study.by:
        if name not in frame:  # an option with one value in all runs
            raise ConfigError(f"{folder} has no option {name}, which tells the runs of {study.name} apart.")
    wanted = {value for grid in study.grids(method, seeds) for value in grid.values.get("seed", [])}
    frame = frame[frame["seed"].isin(wanted)] if wanted else frame
    frame = frame[[*study.by, *study.metrics]].sort_values([*study.by])
    path = study.results_of(method)
    path.parent.mkdir(exist_ok=True)
    write_text(path, frame.to_csv(index=False, float_format=DIGITS, lineterminator="\n"))
    return path
