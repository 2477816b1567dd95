"""The verdict on a run, in words: does training work, which units are dead since when, and what to do."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jumpstart.canvas import LABELS, number, percent
from jumpstart.history import StatusHistory
from jumpstart.report_run import RunRecord
from jumpstart.status import Status

Bools = npt.NDArray[np.bool_]

SICK = 0.2
"""The share of dead units above which the paper's own tables count a network as dead."""

_BY_SKIPS = " The skip connections may carry some of it past these layers."


class Tone(StrEnum):
    """How good or bad a finding is."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """One sentence or two, and how bad they are."""

    tone: Tone
    text: str


@dataclass(frozen=True)
class Verdict:
    """What is to be said about a run.

    Attributes:
        headline: One sentence.
        tone: Of the whole.
        findings: What was found, in the order of reading.
        advice: What to do next, at least one sentence.
    """

    headline: str
    tone: Tone
    findings: tuple[Finding, ...]
    advice: tuple[str, ...]


@dataclass(frozen=True)
class Health:
    """The figures behind the words; None where nothing is known.

    Attributes:
        works: Whether the best accuracy is better than chance.
        dead: Share of dead units at the end.
        linear: Share of linear units at the end.
        blocked: Share of points that are dead in some layer at the end.
    """

    works: bool | None
    dead: float | None
    linear: float | None
    blocked: float | None


def judge(run: RunRecord) -> Verdict:
    """The verdict on a run.

    Args:
        run: As far as it is on record.
    """
    works, training = _training(run)
    health = Health(works, *_shares(run))
    findings = [*_ending(run), training]
    history = run.history
    if history is not None:
        findings += [_units(history, Status.DEAD), _units(history, Status.LINEAR)]
        findings += [_points(history, run.has_skips)]
        findings += _drawn(history)
    else:
        findings += _from_metrics(run)
    headline, tone = _headline(run, health)
    return Verdict(headline, tone, tuple(findings), tuple(_advice(run, health)))


def chance(run: RunRecord) -> tuple[float, int] | None:
    """The accuracy of always naming the most common class of the validation part, and its number of points."""
    data = run.summary.get("data")
    parts: Any = data.get("parts") if isinstance(data, dict) else None
    try:
        counts = [int(count) for count in parts["val"]["class_counts"]]
    except (KeyError, TypeError, ValueError):
        counts = []
    if not counts and run.history is not None and run.history.labels is not None:
        counts = np.unique(run.history.labels, return_counts=True)[1].tolist()
    return (max(counts) / sum(counts), sum(counts)) if sum(counts) else None


def since(marked: Bools) -> npt.NDArray[np.intp]:
    """For every column, the row in which its last unbroken stretch of True begins; the number of rows if it ends False.

    Args:
        marked: (E, U), one row an epoch.

    Example:
        >>> since(np.array([[1, 1, 0], [0, 1, 0], [1, 1, 1], [1, 1, 0]], dtype=bool)).tolist()
        [2, 0, 4]
    """
    broken = ~marked[::-1]
    unbroken = np.where(broken.any(axis=0), broken.argmax(axis=0), len(marked))
    return np.asarray(len(marked) - unbroken, dtype=np.intp)


def layer_words(layers: Iterable[int]) -> str:
    """Layers by their numbers from 1, such as ``layers 3-5 and 9``.

    Args:
        layers: Numbers from 0, in any order.

    Example:
        >>> layer_words([2, 4, 3, 8])
        'layers 3-5 and 9'
    """
    numbers = sorted({layer + 1 for layer in layers})
    runs: list[list[int]] = []
    for found in numbers:
        if runs and found == runs[-1][-1] + 1:
            runs[-1].append(found)
        else:
            runs.append([found])
    if len(runs) > 4:
        return f"{len(numbers)} layers between {numbers[0]} and {numbers[-1]}"
    texts = [str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}" for group in runs]
    return f"layer{'s' * (len(numbers) != 1)} {_listed(texts)}"


def layer_of_unit(history: StatusHistory) -> npt.NDArray[np.intp]:
    """(U,) the number of its layer for every unit, from 0."""
    return np.repeat(np.arange(len(history.units)), history.units)


# Findings ---------------------------------------------------------------------------------------


def _ending(run: RunRecord) -> list[Finding]:
    if run.failure:
        return [Finding(Tone.BAD, f"The run ended early, after {number(run.epochs, 'epoch')}. {run.failure}")]
    if not run.summary:
        planned = run.config.get("epochs")
        of = f", of {planned:,}" if isinstance(planned, int) else ""
        on = number(run.epochs, "epoch")
        text = f"The run has no result: it is still going, or was stopped. On record: {on}{of}."
        return [Finding(Tone.WARN, text)]
    return []


def _training(run: RunRecord) -> tuple[bool | None, Finding]:
    name = run.stage("acc")
    epochs, values = run.series(name)
    part = "validation" if name.startswith("val") else "training"
    at = run.best(name)
    if at is None:
        return None, Finding(Tone.INFO, "No accuracy is on record, so whether training works can't be told.")
    best = f"The best {part} accuracy is {percent(values[at])} (epoch {int(epochs[at]):,})"
    guess = chance(run)
    if guess is None:
        return None, Finding(Tone.INFO, f"{best}. What chance alone would give is not on record.")
    share, points = guess
    # Two standard deviations of a guess: less is luck.
    works = bool(values[at] > share + 2 * math.sqrt(max(share * (1 - share), 0.0) / points))
    always = f"always naming the most common class gives {percent(share)}"
    if works:
        return True, Finding(Tone.GOOD, f"{best}; {always}.")
    word = "no" if values[at] <= share else "not clearly"
    return False, Finding(Tone.BAD, f"{best}, {word} better than chance: {always}.")


def _units(history: StatusHistory, code: Status) -> Finding:
    marked = history.unit_status == code
    total, now = marked.shape[1], int(marked[-1].sum())
    word = LABELS[code]
    recovered = int((marked.any(axis=0) & ~marked[-1]).sum())
    again = (
        f" {number(recovered, 'unit')} {_are(recovered, 'was', 'were')} {word} at some time before."
        if recovered
        else ""
    )
    if not now:
        return Finding(Tone.GOOD, f"No unit is {word} at the end.{again}")
    begins, layer = since(marked), layer_of_unit(history)
    groups = [(epoch, np.flatnonzero(begins == row)) for row, epoch in enumerate(history.epochs)]
    groups = [(epoch, units) for epoch, units in groups if len(units)]
    subject = f"{now:,} of {number(total, 'unit')} {_are(now)} {word}"
    largest = sorted(len(units) for _, units in groups)[-2:]
    if len(groups) == 1:
        epoch, units = groups[0]
        text = f"{subject} since epoch {epoch:,}, {_layers(layer, units)}."
    elif len(groups) > 3 and 2 * sum(largest) < now:
        middle = history.epochs[int(np.median(begins[marked[-1]]))]
        text = (
            f"{subject}, {_layers(layer, np.flatnonzero(marked[-1]))}: half of them since epoch {middle:,} or before, "
            f"the first since epoch {groups[0][0]:,}, the last since epoch {groups[-1][0]:,}."
        )
    else:
        kept = sorted(sorted(groups, key=lambda group: -len(group[1]))[: 3 if len(groups) == 3 else 2])
        rest = [group for group in groups if group[0] not in [epoch for epoch, _ in kept]]
        texts = [f"{len(units):,} since epoch {epoch:,} ({_layers(layer, units)})" for epoch, units in kept]
        if rest:
            others = np.concatenate([units for _, units in rest])
            when = f"epochs {rest[0][0]:,} to {rest[-1][0]:,}" if len(rest) > 1 else f"epoch {rest[0][0]:,}"
            texts.append(f"{len(others):,} since {when} ({_layers(layer, others)})")
        text = f"{subject}: {_listed(texts)}."
    share = now / total
    return Finding(Tone.BAD if share > SICK else Tone.WARN, text + again)


def _points(history: StatusHistory, skips: bool) -> Finding:
    dead = history.point_status == Status.DEAD
    _, points, layers = dead.shape
    if not points:
        return Finding(Tone.INFO, "No point was drawn.")
    # A point that is dead in a layer sends no gradient to that layer or any before it.
    cut = np.flip(np.logical_or.accumulate(np.flip(dead, axis=2), axis=2), axis=2)
    counts = cut[-1].sum(axis=0)
    blocked = int(counts[0])
    drawn = f"the {number(points, 'point')} drawn"
    if not blocked:
        return Finding(Tone.GOOD, f"Each of {drawn} sends a gradient through all {number(layers, 'layer')}.")
    where = layer_words(np.flatnonzero(dead[-1].any(axis=0)).tolist())
    began = history.epochs[int(since(cut[:, :, 0].sum(axis=1, keepdims=True) >= blocked)[0])]
    if blocked == points:
        reached = f"{layer_words(range(int((counts == points).sum())))} from any of {drawn}"
    else:
        reached = f"layer 1 from {blocked:,} of {drawn}"
    text = f"No gradient reaches {reached} since epoch {began:,}: {_are(blocked, 'it dies', 'they die')} in {where}."
    text += _BY_SKIPS if skips else ""
    return Finding(Tone.BAD if blocked > SICK * points else Tone.WARN, text)


def _drawn(history: StatusHistory) -> list[Finding]:
    gaps = np.diff(history.epochs)
    if not len(gaps) or gaps.max() == 1:
        return []
    text = (
        f"The status was drawn every {int(np.median(gaps)):,} epochs: what is dead since one of them died in it or in "
        "the epochs just before."
    )
    return [Finding(Tone.INFO, text)]


def _from_metrics(run: RunRecord) -> list[Finding]:
    """Shares alone: which units they are is not on record."""
    found = []
    for code, name in ((Status.DEAD, "unit_dead_ratio"), (Status.LINEAR, "unit_linear_ratio")):
        epochs, values = run.series(run.stage(name))
        if not len(values):
            continue
        if values[-1] == 0:
            found.append(Finding(Tone.GOOD, f"No unit is {LABELS[code]} at the end."))
            continue
        first = int(epochs[int(since((values >= values[-1])[:, None])[0])])
        text = f"{percent(values[-1])} of the units are {LABELS[code]}, as many or more since epoch {first:,}."
        found.append(Finding(Tone.BAD if values[-1] > SICK else Tone.WARN, text))
    blocked = run.last(run.stage("point_dead_ratio"))
    if blocked is not None:
        text = f"{percent(blocked)} of the points are dead in some layer: from them no gradient reaches the input."
        text += _BY_SKIPS if run.has_skips else ""
        tone = Tone.GOOD if not blocked else Tone.BAD if blocked > SICK else Tone.WARN
        found.append(Finding(tone, text if blocked else "No point is dead in any layer."))
    return found


def _shares(run: RunRecord) -> tuple[float | None, float | None, float | None]:
    if run.history is not None:
        status, points = run.history.unit_status[-1], run.history.point_status[-1]
        blocked = float((points == Status.DEAD).any(axis=1).mean()) if len(points) else None
        return float((status == Status.DEAD).mean()), float((status == Status.LINEAR).mean()), blocked
    names = ("unit_dead_ratio", "unit_linear_ratio", "point_dead_ratio")
    dead, linear, blocked = (run.last(run.stage(name)) for name in names)
    return dead, linear, blocked


# The whole --------------------------------------------------------------------------------------


def _headline(run: RunRecord, health: Health) -> tuple[str, Tone]:
    units = _state(run, health)
    sick = _sick(health)
    if run.failure:
        return f"The run ended early{f'; {units}' if units else ''}.", Tone.BAD
    if health.works is False:
        return f"Training does not work{f': {units}' if units and sick else ''}.", Tone.BAD
    if health.works and units:
        whole = not health.dead and not health.linear and not health.blocked
        return f"Training works, {'and' if whole else 'but'} {units}.", Tone.GOOD if whole else Tone.WARN
    if health.works:
        return "Training works.", Tone.GOOD
    text = units[:1].upper() + units[1:] if units else "Nothing can be told yet"
    return f"{text}.", Tone.BAD if sick else Tone.INFO


def _state(run: RunRecord, health: Health) -> str:
    """The units in half a sentence."""
    if health.dead is None:
        return ""
    total = sum(run.history.units) if run.history is not None else 0
    for share, code in ((health.dead, Status.DEAD), (health.linear or 0.0, Status.LINEAR)):
        if share and total:
            return f"{round(share * total):,} of {number(total, 'unit')} {_are(round(share * total))} {LABELS[code]}"
        if share:
            return f"{percent(share)} of the units are {LABELS[code]}"
    if health.blocked:
        return f"{percent(health.blocked)} of the points are dead in some layer"
    return "every unit is alive and non-linear"


def _sick(health: Health) -> bool:
    return any((share or 0.0) > SICK for share in (health.dead, health.linear, health.blocked))


def _advice(run: RunRecord, health: Health) -> list[str]:
    advice = []
    resume = f"python {_script(run)} --resume={shlex.quote(str(run.path))}"
    if run.config and (run.failure or not run.summary):
        advice.append(f"Continue from its last checkpoint: {resume}")
    if health.works is False and not _sick(health) and health.dead is not None:
        advice.append("Units and points are alive, so the reason is elsewhere: try another lr, and look at the data.")
    elif health.works and max(health.dead or 0.0, health.linear or 0.0) <= SICK < (health.blocked or 0.0):
        advice.append(
            f"Earlier layers learn no more from the points that die{', but by the skip connections' * run.has_skips}."
            f" If the accuracy is good enough, leave it so. {_more_jumpstart(run)}"
        )
    elif _sick(health):
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


def _layers(layer: npt.NDArray[np.intp], units: npt.NDArray[np.intp]) -> str:
    return layer_words(layer[units].tolist())


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _are(count: int, one: str = "is", more: str = "are") -> str:
    return one if count == 1 else more
