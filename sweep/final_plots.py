"""The pictures of a run besides those that are drawn while it trains: curves, lives, ranges, decision regions."""

from __future__ import annotations

import logging
from pathlib import Path

from jumpstart.history import StatusHistory
from jumpstart.plots.canvas import save_figure
from jumpstart.plotting import (
    plot_curves,
    plot_ranges,
    plot_status_shares,
    plot_unit_life,
)
from sweep.metrics_csv import MetricsCsv

logger = logging.getLogger(__name__)


def draw_curves(metrics: MetricsCsv, folder: Path) -> None:
    """The curves of a run, from its CSV file: losses, accuracies, status of units."""
    table = metrics.read()
    if len(table) < 2:
        return
    epochs = table["epoch"].to_numpy()
    for name, key, logy in (
        ("loss", "loss", True),
        ("accuracy", "acc", False),
        ("jumpstart_loss", "jumpstart_loss", True),
    ):
        curves = {
            stage: table[f"{stage}/{key}"].to_numpy() for stage in ("train", "val") if f"{stage}/{key}" in table.columns
        }
        save_figure(
            plot_curves(epochs, curves, logy=logy, title=name.replace("_", " ")),
            folder / f"{name}.png",
        )
    stage = "val" if "val/unit_dead_ratio" in table.columns else "train"
    dead, linear, nonlinear = (
        table[f"{stage}/unit_{status}_ratio"].to_numpy() for status in ("dead", "linear", "nonlinear")
    )
    figure = plot_status_shares(epochs, dead, linear, nonlinear, title=f"Units over training ({stage})")
    save_figure(figure, folder / "unit_shares.png")


def draw_units(history: StatusHistory, margin: float, folder: Path) -> None:
    """The life of every unit over the epochs that were drawn, and how far each reaches in the latest of them.

    Args:
        history: What the run remembers.
        margin: That of the loss.
        folder: Where the pictures go.
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
