"""The plots that a run draws at its end: curves, status of units over time, ranges of preactivations."""

from __future__ import annotations

from pathlib import Path

from jumpstart.history import StatusHistory
from jumpstart.plots.canvas import save_figure
from jumpstart.plotting import plot_curves, plot_ranges, plot_status_shares, plot_unit_life
from sweep.metrics_csv import MetricsCsv

_CURVES = (("loss", "loss", True), ("accuracy", "acc", False), ("jumpstart_loss", "jumpstart_loss", True))
"""Name of the file, metric, and whether its axis is logarithmic."""


def draw_curves(metrics: MetricsCsv, folder: Path) -> None:
    """Plot losses, accuracies and shares of unit status over the epochs.

    Args:
        metrics: The metrics of a run. With fewer than two rows, nothing is plotted.
        folder: Receives ``loss.png``, ``accuracy.png``, ``jumpstart_loss.png`` and ``unit_shares.png``.
    """
    table = metrics.read()
    if len(table) < 2:
        return
    epochs = table["epoch"].to_numpy()
    for name, metric, logy in _CURVES:
        columns = {stage: f"{stage}/{metric}" for stage in ("train", "val")}
        curves = {stage: table[column].to_numpy() for stage, column in columns.items() if column in table.columns}
        figure = plot_curves(epochs, curves, logy=logy, title=name.replace("_", " "))
        save_figure(figure, folder / f"{name}.png")
    stage = "val" if "val/unit_dead_ratio" in table.columns else "train"
    dead, linear, nonlinear = (
        table[f"{stage}/unit_{status}_ratio"].to_numpy() for status in ("dead", "linear", "nonlinear")
    )
    figure = plot_status_shares(epochs, dead, linear, nonlinear, title=f"Units over training ({stage})")
    save_figure(figure, folder / "unit_shares.png")


def draw_units(history: StatusHistory, margin: float, folder: Path) -> None:
    """Plot the status of every unit over the plotted epochs, and the range of its preactivations in the latest one.

    Args:
        history: The status history of a run, of at least one epoch.
        margin: The margin of the Jumpstart loss, marked in the plot of ranges.
        folder: Receives ``unit_life.png``, if there are two epochs, and ``unit_ranges.png``.
    """
    if len(history) > 1:
        figure = plot_unit_life(history.unit_status, history.epochs, history.units, history.layers)
        save_figure(figure, folder / "unit_life.png")
    parts, place = [], 0
    for count in history.units:
        parts.append(slice(place, place + count))
        place += count
    largest, smallest = history.unit_max[-1], history.unit_min[-1]
    figure = plot_ranges(
        [largest[part] for part in parts],
        [smallest[part] for part in parts],
        history.layers,
        margin,
        f"Preactivations, epoch {history.epochs[-1]}",
    )
    save_figure(figure, folder / "unit_ranges.png")
