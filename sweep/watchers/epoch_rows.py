"""The log of a run: metrics by epoch, in the CSV file and the loggers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from sweep.metrics_csv import Mark, MetricsCsv


class MetricsLogger(Protocol):
    """A logger of metrics, such as those of Lightning."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log metrics at a step."""


class EpochRows:
    """Writes the metrics of every n-th epoch, and of the last one, to a CSV file and to loggers.

    Args:
        metrics: The CSV file.
        every: Number of epochs between two rows.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> rows = EpochRows(MetricsCsv(Path(tempfile.mkdtemp(), "metrics.csv")), every=2)
        >>> for epoch in range(4):
        ...     rows.end_epoch({"epoch": epoch, "val/acc": 0.5}, last=False)
        >>> rows.finish()
        >>> rows.metrics.read()["epoch"].tolist()
        [0, 2, 3]
    """

    def __init__(self, metrics: MetricsCsv, every: int) -> None:
        self.metrics, self.every = metrics, every
        self._pending: dict[str, float] = {}

    def begin(self, mark: Mark | None) -> None:
        """Drop the rows after the checkpoint that a run resumes from, because the run repeats their epochs.

        Args:
            mark: That of the checkpoint; None without a checkpoint.
        """
        self.metrics.keep(mark["rows"] if mark else 0)

    def end_epoch(self, row: Mapping[str, float], *, last: bool, loggers: Sequence[MetricsLogger] = ()) -> None:
        """Write the row of an epoch, or store it in case no other epoch follows.

        Args:
            row: The metrics, with ``epoch``.
            last: Whether the epoch is known to be the last one.
            loggers: Receive the metrics at the step of the epoch.
        """
        self._pending = dict(row)
        if last or int(row["epoch"]) % self.every == 0:
            self._write(loggers)

    def finish(self, loggers: Sequence[MetricsLogger] = ()) -> None:
        """Write the last row, whatever its epoch, at the end of training or after an error."""
        self._write(loggers)
        self.metrics.sync()

    def _write(self, loggers: Sequence[MetricsLogger]) -> None:
        if not self._pending:
            return
        row, self._pending = self._pending, {}
        epoch = int(row.pop("epoch"))
        self.metrics.append(epoch, row)
        for logger in loggers:
            logger.log_metrics({"epoch": epoch, **row}, step=epoch)
