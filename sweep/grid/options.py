"""The options of a sweep itself, beside those of its runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from model.config.options import Config, option


class Keep(StrEnum):
    """What the run directory of a member keeps when the run is finished."""

    ALL = "all"
    """Everything, with plots and the report, as a single run."""
    WEIGHTS = "weights"
    """Config, curves, summary and the best weights."""
    METRICS = "metrics"
    """Config, curves and summary."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig(Config):
    """The options of a sweep. They have no effect on a single run, except ``technique`` and ``dry_run``.

    Example:
        >>> SweepConfig(keep="metrics").retries
        1
    """

    technique: str | None = option(
        None,
        "Named techniques, separated by commas, such as baseline,jumpstart,batchnorm+skip; sweep/grid/techniques.yaml "
        "defines them.",
    )
    dry_run: bool = option(False, "Whether to print the runs and their number, and to train nothing.")
    keep: str = option("weights", "What a finished run of a sweep keeps.", choices=Keep)
    retries: int = option(1, "How often a run of a sweep that failed is tried again.", minimum=0)
    workers: int | None = option(None, "Processes of a sweep; None: one for each core.", minimum=1)
    max_runs: int = option(10_000, "Largest number of runs of a sweep.", minimum=1)
