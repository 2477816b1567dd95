"""Advice at the end of a report. Commands and options come from the description that the program wrote."""

from __future__ import annotations

from jumpstart.choices import DEAD_NETWORK_SHARE
from jumpstart.report.findings import Health
from jumpstart.report.record import RunRecord
from jumpstart.words import percent

_OVERFITTING = 0.1
"""Training accuracy minus validation accuracy from which a network overfits."""


def advise_run(run: RunRecord, health: Health) -> list[str]:
    """Sentences about what to do next, the most useful first; at least one.

    Args:
        run: The content of the run directory.
        health: The shares behind the findings.
    """
    advice = _about_interruption(run) + _about_health(run, health)
    advice += _about_accuracy(run) if health.works else []
    if run.history is None and run.description.records_status is False:
        option = run.description.remedies.record_status
        train = f"Train with {option}" if option else "Record the status of units and points while training"
        advice.append(f"{train} to see every unit and point in this report.")
    return advice or ["Nothing needs to be done."]


def _about_interruption(run: RunRecord) -> list[str]:
    resume = run.description.remedies.command("resume", run.path)
    if not resume or (run.summary and not run.failure):
        return []
    return [f"Continue the run from its last checkpoint: {resume}"]


def _about_health(run: RunRecord, health: Health) -> list[str]:
    if health.works is False and not health.is_poor and health.dead is not None:
        return ["Units and points are alive, so the cause lies elsewhere: try another learning rate, check the data."]
    units = max(health.dead or 0.0, health.linear or 0.0)
    if health.works and units <= DEAD_NETWORK_SHARE < (health.blocked or 0.0):
        return [
            "Earlier layers no longer learn from the dead points"
            f"{', except through the skip connections' * run.description.has_skips}. If the accuracy is good enough, "
            f"change nothing. {_more_jumpstart(run)}"
        ]
    if health.is_poor:
        return [_more_jumpstart(run)]
    if health.dead:
        return [f"The dead units cost time and memory and contribute nothing. {_more_jumpstart(run)}"]
    return []


def _more_jumpstart(run: RunRecord) -> str:
    weight, remedies = run.description.weight, run.description.remedies
    if weight is None:
        return "Add the Jumpstart loss with a weight of 0.01, or raise its present weight."
    if not weight:
        option = remedies.command("weight", run.path, weight="0.01")
        return f"Turn Jumpstart on: train again with {option or 'a weight of 0.01'}."
    option = remedies.command("weight", run.path, weight=f"{10 * weight:g}")
    return (
        f"Raise the weight of the Jumpstart loss from {weight:g}, for instance to {10 * weight:g}"
        f"{f' ({option})' if option else ''}; if units die early, lower the learning rate as well."
    )


def _about_accuracy(run: RunRecord) -> list[str]:
    epochs, validation = run.series("val/acc")
    _, training = run.series("train/acc")
    if not len(validation) or not len(training):
        return []
    if training[-1] - validation[-1] > _OVERFITTING:
        return [
            f"Training accuracy ({percent(training[-1])}) is far above {run.held_out} accuracy "
            f"({percent(validation[-1])}): the network overfits. More data or weight decay help; Jumpstart does not."
        ]
    late = epochs[int(validation.argmax())] >= 0.95 * epochs[-1] and len(validation) > 20
    if late and validation.max() < 0.999 and run.summary and run.held_out == "validation":
        extend = run.description.remedies.command("extend", run.path, epochs=2 * run.epochs)
        longer = f"Train for longer: {extend}" if extend else f"Train for longer, such as {2 * run.epochs:,} epochs."
        return [f"Validation accuracy was still rising at the end. {longer}"]
    return []
