"""Advice at the end of a report."""

from __future__ import annotations

import shlex
from pathlib import Path

from jumpstart.report.findings import SICK, Health, is_sick
from jumpstart.report.record import RunRecord
from jumpstart.words import percent


def advise_run(run: RunRecord, health: Health) -> list[str]:
    """Sentences that say what to try next, the most useful first; empty if nothing is wrong."""
    advice = []
    resume = f"python {_script(run)} --resume={shlex.quote(str(run.path))}"
    if run.config and (run.failure or not run.summary):
        advice.append(f"Continue from its last checkpoint: {resume}")
    if health.works is False and not is_sick(health) and health.dead is not None:
        advice.append("Units and points are alive, so the reason is elsewhere: try another lr, and look at the data.")
    elif health.works and max(health.dead or 0.0, health.linear or 0.0) <= SICK < (health.blocked or 0.0):
        advice.append(
            f"Earlier layers learn no more from the points that die{', but by the skip connections' * run.has_skips}."
            f" If the accuracy is good enough, leave it so. {_more_jumpstart(run)}"
        )
    elif is_sick(health):
        advice.append(_more_jumpstart(run))
    elif health.dead:
        advice.append(f"The dead units are width that is paid for and not used. {_more_jumpstart(run)}")
    advice += _about_accuracy(run, resume) if health.works else []
    if run.history is None and run.config.get("plot_status") is False:
        advice.append("Run with --plot_status=True to see every unit and point in this report.")
    return advice or ["Nothing needs to be done."]


def _more_jumpstart(run: RunRecord) -> str:
    weight = run.config.get("lambda_")
    if not isinstance(weight, int | float):
        return "Add the Jumpstart loss with a weight of 0.01, or a larger one than now."
    if not weight:
        return "Turn Jumpstart on: run it again with --lambda_=0.01."
    return f"Raise lambda_ from {weight:g}, for instance to {10 * weight:g}; if units die early, lower lr as well."


def _about_accuracy(run: RunRecord, resume: str) -> list[str]:
    epochs, values = run.series("val/acc")
    _, seen = run.series("train/acc")
    if not len(values) or not len(seen):
        return []
    if seen[-1] - values[-1] > 0.1:
        return [
            f"Training accuracy ({percent(seen[-1])}) is far above that of validation ({percent(values[-1])}): the "
            "network learns its data by heart. More data or weight_decay help; Jumpstart does not."
        ]
    late = epochs[int(values.argmax())] >= 0.95 * epochs[-1] and len(values) > 20
    if late and values.max() < 0.999 and run.summary:
        return [f"It was still getting better at the end. Train on: {resume} --epochs={2 * run.epochs}"]
    return []


def _script(run: RunRecord) -> str:
    try:
        first = shlex.split(str(run.environment.get("command", "")))[0]
    except (IndexError, ValueError):
        first = ""
    return Path(first).name if first.endswith(".py") else "run_rectangular_sweep.py"
