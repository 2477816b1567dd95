"""Results of a project of Weights & Biases as a DataFrame with one row per run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from jumpstart.tables.read import only_finished
from jumpstart.tables.records import Record, flattened, frame_of

if TYPE_CHECKING:
    import pandas as pd

_BEST = "best/"
"""The prefix of metrics of the best weights; without it, metrics are those of the last epoch."""
_NO_JSON = ("NaN", "Infinity", "-Infinity")
"""Numbers that JSON does not have, as Weights & Biases returns them."""


class WandbRun(Protocol):
    """What is read of a run; ``wandb.apis.public.Run`` has it."""

    name: str
    state: str
    config: Mapping[str, object]
    summary_metrics: Mapping[str, object]


class WandbApi(Protocol):
    """What is used of ``wandb.Api``."""

    def runs(self, path: str, filters: dict[str, object], *, lazy: bool) -> Iterable[WandbRun]:
        """The runs of a project."""


def read_wandb(
    project: str,
    *,
    filters: Mapping[str, object] | None = None,
    finished: bool = True,
    api: WandbApi | None = None,
) -> pd.DataFrame:
    """The results of the runs in a project of Weights & Biases, as :func:`read_results` returns those of folders.

    Args:
        project: ``entity/project``, or the project alone for the default entity.
        filters: Which runs to read, in the language of ``wandb.Api().runs``, such as ``{"group": "depths"}``.
        finished: Whether to leave out runs that have not finished; a warning then says how many.
        api: What reads the runs; None: ``wandb.Api()``, which needs an API key.

    Returns:
        ``run`` and ``state``; options under their names; metrics of the best weights as ``test/acc``. Metrics that a
        run has for the last epoch alone are those of the last epoch.

    Raises:
        ValueError: If ``project`` is not a project, can't be read, or has no run that has finished.

    Example:
        >>> from types import SimpleNamespace as Run
        >>> run = Run(name="a", state="finished", config={"depth": 2}, summary_metrics={"best/test/acc": 0.5})
        >>> read_wandb("me/depths", api=Run(runs=lambda *_, **__: [run]))
          run     state  depth  test/acc
        0   a  finished      2       0.5
    """
    names = project.split("/") if isinstance(project, str) else []
    if not 1 <= len(names) <= 2 or not all(name.strip() for name in names):
        raise ValueError(f"project must be 'entity/project' or 'project', got {project!r}.")
    chosen = dict(filters or {})
    runs = _fetched(project, chosen) if api is None else api.runs(project, chosen, lazy=False)
    rows = [_row(run) for run in runs]
    if not rows:
        raise ValueError(f"project must have runs, got {project!r}, where none is found.")
    return frame_of(only_finished(rows, project) if finished else rows)


def _fetched(project: str, filters: dict[str, object]) -> list[WandbRun]:
    """The runs on the server."""
    import wandb

    try:
        return list(wandb.Api().runs(project, filters, lazy=False))
    except wandb.Error as error:
        raise ValueError(f"project {project!r} can't be read: {' '.join(str(error).split())}") from error


def _row(run: WandbRun) -> Record:
    options = {name: value for name, value in flattened(run.config) if not name.startswith("_")}
    summary = {
        name: _number(value)
        for name, value in run.summary_metrics.items()
        if not name.startswith("_") and not isinstance(value, Mapping)
    }
    best = {name.removeprefix(_BEST): value for name, value in summary.items() if name.startswith(_BEST)}
    last = {name: value for name, value in summary.items() if not name.startswith(_BEST)}
    return {"run": run.name, "state": run.state, **options, **(last | best | options)}


def _number(value: object) -> object:
    return float(value) if isinstance(value, str) and value in _NO_JSON else value
