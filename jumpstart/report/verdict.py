"""The verdict on a run, in words: does training work, which units are dead since when, and what to do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from jumpstart.history import StatusHistory
from jumpstart.palette import LABELS
from jumpstart.report.advice import advise_run
from jumpstart.report.findings import SICK, Finding, Health, Tone, Verdict, is_sick
from jumpstart.report.record import RunRecord
from jumpstart.status.codes import Status
from jumpstart.words import are, counted, layer_words, listed, percent

Bools = npt.NDArray[np.bool_]


_BY_SKIPS = " The skip connections may carry some of it past these layers."


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
    return Verdict(headline, tone, tuple(findings), tuple(advise_run(run, health)))


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


def layer_of_unit(history: StatusHistory) -> npt.NDArray[np.intp]:
    """(U,) the number of its layer for every unit, from 0."""
    return np.repeat(np.arange(len(history.units)), history.units)


# Findings ---------------------------------------------------------------------------------------


def _ending(run: RunRecord) -> list[Finding]:
    if run.failure:
        return [Finding(Tone.BAD, f"The run ended early, after {counted(run.epochs, 'epoch')}. {run.failure}")]
    if not run.summary:
        planned = run.config.get("epochs")
        of = f", of {planned:,}" if isinstance(planned, int) else ""
        on = counted(run.epochs, "epoch")
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
        f" {counted(recovered, 'unit')} {are(recovered, 'was', 'were')} {word} at some time before."
        if recovered
        else ""
    )
    if not now:
        return Finding(Tone.GOOD, f"No unit is {word} at the end.{again}")
    begins, layer = since(marked), layer_of_unit(history)
    groups = [(epoch, np.flatnonzero(begins == row)) for row, epoch in enumerate(history.epochs)]
    groups = [(epoch, units) for epoch, units in groups if len(units)]
    subject = f"{now:,} of {counted(total, 'unit')} {are(now)} {word}"
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
        text = f"{subject}: {listed(texts)}."
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
    drawn = f"the {counted(points, 'point')} drawn"
    if not blocked:
        return Finding(Tone.GOOD, f"Each of {drawn} sends a gradient through all {counted(layers, 'layer')}.")
    where = layer_words(np.flatnonzero(dead[-1].any(axis=0)).tolist())
    began = history.epochs[int(since(cut[:, :, 0].sum(axis=1, keepdims=True) >= blocked)[0])]
    if blocked == points:
        reached = f"{layer_words(range(int((counts == points).sum())))} from any of {drawn}"
    else:
        reached = f"layer 1 from {blocked:,} of {drawn}"
    text = f"No gradient reaches {reached} since epoch {began:,}: {are(blocked, 'it dies', 'they die')} in {where}."
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
    sick = is_sick(health)
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
            return f"{round(share * total):,} of {counted(total, 'unit')} {are(round(share * total))} {LABELS[code]}"
        if share:
            return f"{percent(share)} of the units are {LABELS[code]}"
    if health.blocked:
        return f"{percent(health.blocked)} of the points are dead in some layer"
    return "every unit is alive and non-linear"


def _layers(layer: npt.NDArray[np.intp], units: npt.NDArray[np.intp]) -> str:
    return layer_words(layer[units].tolist())
