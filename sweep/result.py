"""The result of a run in Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

# A result is imported with the functions that return it, before torch is needed.
if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from model.config.experiment import ExperimentConfig
    from model.experiment import Experiment
    from sweep.run_directory import RunDirectory

Summary = dict[str, object]
"""The content of ``summary.json``: numbers by name, and the nested mappings ``best_row``, ``last`` and ``data``."""


@dataclass(frozen=True, repr=False)
class RunResult:
    """What a run leaves: its directory, its summary, and the trained experiment.

    Attributes:
        config: The options of the run.
        directory: The run directory; ``directory.path`` is the folder, ``directory.report`` the report.
        summary: Metrics of the best weights under ``train/...``, ``val/...`` and ``test/...``, ``best_epoch``, and
            everything else that ``summary.json`` holds.
        network: The network with the best weights, in evaluation mode: (N, *input_shape) inputs -> (N, classes) logits.
        experiment: The experiment of the network, a ``LightningModule``; made when it is first read.
    """

    config: ExperimentConfig
    directory: RunDirectory
    summary: Summary
    network: nn.Module
    make_experiment: Callable[[], Experiment] = field(compare=False)

    def __repr__(self) -> str:
        metrics = ", ".join(f"{name}={self.summary[name]:.4f}" for name in ("val/acc", "test/acc"))
        return f"RunResult({str(self.path)!r}, best_epoch={self.best_epoch}, {metrics})"

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def best_epoch(self) -> int:
        """The epoch of the best weights, counted from 0."""
        return cast("int", self.summary["best_epoch"])

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment of the network, in evaluation mode."""
        return self.make_experiment()

    def curves(self) -> pd.DataFrame:
        """The metrics of each recorded epoch, one row per epoch, as in ``metrics.csv``.

        If a file of the run has changed since the run ended, a warning is logged.
        """
        from jumpstart.files.checksums import warn_of_changes
        from sweep.metrics_csv import MetricsCsv

        warn_of_changes(self.path)
        return MetricsCsv(self.directory.metrics).read()
