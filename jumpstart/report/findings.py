"""Findings about a run in words: how it ended, whether training works, which units and points died, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from jumpstart.choices import DEAD_NETWORK_SHARE
from jumpstart.files.checksums import change_of
from jumpstart.history import StatusHistory
from jumpstart.palette import LABELS
from jumpstart.report.record import RunRecord
from jumpstart.status.codes import Status
from jumpstart.words import are, counted, layer_words, listed, percent

Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

_SKIPS = " Skip connections may carry some of that gradient past these layers."


class Tone(StrEnum):
    """How good or bad a finding is."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """One or two sentences about a run.

    Attributes:
        tone: How good or bad they are.
        text: The sentences.
    """

    tone: Tone
    text: str


@dataclass(frozen=True)
class Health:
    """The shares behind the words, at the end of a run; None where a share is not recorded.

    Attributes:
        works: Whether the best accuracy is better than chance.
        dead: Share of dead units.
        linear: Share of linear units.
        blocked: Share of points that are dead in at least one layer.
    """

    works: bool | None
    dead: float | None
    linear: float | None
    blocked: float | None

    @property
    def is_poor(self) -> bool:
        """Whether dead units, linear units or blocked points are more than ``DEAD_NETWORK_SHARE``."""
        return any((share or 0.0) > DEAD_NETWORK_SHARE for share in (self.dead, self.linear, self.blocked))


@dataclass(frozen=True)
class _Onset:
    """The units whose last unbroken stretch of a status begins in the same epoch."""

    epoch: int
    units: Indices


def find_all(run: RunRecord) -> tuple[Health, tuple[Finding, ...]]:
    """All findings about a run, in reading order, and the shares behind them.

    Args:
        run: The content of the run directory.
    """
    works, training = _about_training(run)
    findings = [*_about_ending(run), *_about_changes(run), training]
    if run.history is not None:
        findings += [_about_units(run.history, Status.DEAD), _about_units(run.history, Status.LINEAR)]
        findings += [_about_points(run.history, run.description.has_skips), *_about_gaps(run.history)]
    else:
        findings += _about_shares(run)
    return Health(works, *_shares(run)), tuple(findings)


# Training ---------------------------------------------------------------------------------------


def chance(run: RunRecord) -> tuple[float, int] | None:
    """The accuracy of always predicting the most common class of the validation part, and the size of that part.

    Without a validation part, it is the same of the test part.

    Args:
        run: The content of the run directory.

    Returns:
        The accuracy and the number of points, or None if the class counts are not recorded.
    """
    counts = _class_counts(run.data.get("parts"))
    if not counts and run.history is not None and run.history.labels is not None:
        counts = np.unique(run.history.labels, return_counts=True)[1].tolist()
    return (max(counts) / sum(counts), sum(counts)) if sum(counts) else None


def _class_counts(parts: object) -> list[int]:
    part = parts.get("val", parts.get("test")) if isinstance(parts, dict) else None
    counts = part.get("class_counts") if isinstance(part, dict) else None
    try:
        return [int(count) for count in counts] if isinstance(counts, list) else []
    except (TypeError, ValueError):
        return []


def _about_ending(run: RunRecord) -> list[Finding]:
    if run.failure:
        return [Finding(Tone.BAD, f"The run ended early, after {counted(run.epochs, 'epoch')}. {run.failure}")]
    if run.summary:
        return []
    planned = run.description.epochs
    recorded = f"{run.epochs:,} of {counted(planned, 'epoch')}" if planned else counted(run.epochs, "epoch")
    text = f"The run has no result: it is still training or was stopped. Recorded so far: {recorded}."
    return [Finding(Tone.WARN, text)]


def _about_changes(run: RunRecord) -> list[Finding]:
    return [Finding(Tone.WARN, f"{change_of(name)}: the content of the file may be wrong.") for name in run.changed]


def _accuracy(run: RunRecord) -> tuple[str, tuple[int, float] | None]:
    """The accuracy that says whether training works: in words, and its epoch and value.

    It is the best of the validation part. Of a test part that takes the place of the validation part, it is that of the
    kept weights, or the latest, because no epoch may be chosen by the test part.
    """
    name = run.stage("acc")
    epochs, values = run.series(name)
    if run.held_out == "validation" or not name.startswith("val") or not len(values):
        return f"The best {'validation' if name.startswith('val') else 'training'} accuracy", run.best(name)
    epoch, accuracy = run.summary.get("best_epoch"), run.summary.get("test/acc")
    if isinstance(epoch, int) and isinstance(accuracy, float):
        return "The test accuracy of the kept weights", (epoch, accuracy)
    return "The latest test accuracy", (int(epochs[-1]), float(values[-1]))


def _about_training(run: RunRecord) -> tuple[bool | None, Finding]:
    words, kept = _accuracy(run)
    if kept is None:
        return None, Finding(Tone.INFO, "No accuracy is recorded, so whether training works is unknown.")
    epoch, accuracy = kept
    best = f"{words} is {percent(accuracy)} (epoch {epoch:,})"
    baseline = chance(run)
    if baseline is None:
        return None, Finding(Tone.INFO, f"{best}. The accuracy of chance is not recorded.")
    share, points = baseline
    # Random guesses are within two standard deviations of chance 95 times in 100.
    works = bool(accuracy > share + 2 * math.sqrt(max(share * (1 - share), 0.0) / points))
    always = f"always predicting the most common class gives {percent(share)}"
    if works:
        return True, Finding(Tone.GOOD, f"{best}; {always}.")
    word = "no" if accuracy <= share else "not clearly"
    return False, Finding(Tone.BAD, f"{best}, {word} better than chance: {always}.")


# Units ------------------------------------------------------------------------------------------


def since(marked: Bools) -> Indices:
    """For every column, the row in which its last unbroken stretch of True begins.

    Args:
        marked: (E, U), one row per epoch.

    Returns:
        (U,) row numbers; E for a column that ends with False.

    Example:
        >>> since(np.array([[1, 1, 0], [0, 1, 0], [1, 1, 1], [1, 1, 0]], dtype=bool)).tolist()
        [2, 0, 4]
    """
    broken = ~marked[::-1]
    unbroken = np.where(broken.any(axis=0), broken.argmax(axis=0), len(marked))
    return np.asarray(len(marked) - unbroken, dtype=np.intp)


def layer_of_unit(history: StatusHistory) -> Indices:
    """(U,) the index of the layer of every unit, from 0."""
    return np.repeat(np.arange(len(history.units)), history.units)


def _about_units(history: StatusHistory, code: Status) -> Finding:
    marked = history.unit_status == code
    total, now = marked.shape[1], int(marked[-1].sum())
    recovered = _about_recovered(marked, LABELS[code])
    if not now:
        return Finding(Tone.GOOD, f"No unit is {LABELS[code]} at the end.{recovered}")
    tone = Tone.BAD if now / total > DEAD_NETWORK_SHARE else Tone.WARN
    return Finding(tone, f"{_onset_words(history, marked, LABELS[code])}{recovered}")


def _about_recovered(marked: Bools, word: str) -> str:
    recovered = int((marked.any(axis=0) & ~marked[-1]).sum())
    return f" {counted(recovered, 'unit')} {are(recovered, 'was', 'were')} {word} earlier." if recovered else ""


def _onset_words(history: StatusHistory, marked: Bools, word: str) -> str:
    """How many units have a status at the end, since when, and in which layers."""
    begins = since(marked)
    onsets = [_Onset(epoch, np.flatnonzero(begins == row)) for row, epoch in enumerate(history.epochs)]
    onsets = [onset for onset in onsets if len(onset.units)]
    now, layer = sum(len(onset.units) for onset in onsets), layer_of_unit(history)
    units = f"{now:,} of {counted(marked.shape[1], 'unit')}"
    if len(onsets) == 1:
        where = _layers(layer, onsets[0].units)
        return f"{units} {are(now, 'has', 'have')} been {word} since epoch {onsets[0].epoch:,} ({where})."
    largest = sorted(len(onset.units) for onset in onsets)[-2:]
    if len(onsets) > 3 and 2 * sum(largest) < now:
        middle = history.epochs[int(np.median(begins[marked[-1]]))]
        return (
            f"{units} are {word} ({_layers(layer, np.flatnonzero(marked[-1]))}): half of them since epoch {middle:,} "
            f"or earlier, the first since epoch {onsets[0].epoch:,}, the last since epoch {onsets[-1].epoch:,}."
        )
    return f"{units} are {word}: {listed(_group_words(onsets, layer))}."


def _group_words(onsets: list[_Onset], layer: Indices) -> list[str]:
    """The two largest groups of units, or three if that is all, and the rest as one group."""
    shown = 3 if len(onsets) == 3 else 2
    epochs = {onset.epoch for onset in sorted(onsets, key=lambda onset: -len(onset.units))[:shown]}
    texts = [
        f"{len(onset.units):,} since epoch {onset.epoch:,} ({_layers(layer, onset.units)})"
        for onset in onsets
        if onset.epoch in epochs
    ]
    rest = [onset for onset in onsets if onset.epoch not in epochs]
    if rest:
        units = np.concatenate([onset.units for onset in rest])
        several = f"epochs {rest[0].epoch:,} to {rest[-1].epoch:,}"
        when = several if len(rest) > 1 else f"epoch {rest[0].epoch:,}"
        texts.append(f"{len(units):,} since {when} ({_layers(layer, units)})")
    return texts


def _layers(layer: Indices, units: Indices) -> str:
    return layer_words(layer[units].tolist())


# Points -----------------------------------------------------------------------------------------


def _about_points(history: StatusHistory, has_skips: bool) -> Finding:
    dead = history.point_status == Status.DEAD
    _, points, layers = dead.shape
    if not points:
        return Finding(Tone.INFO, "No point is recorded.")
    # A point that is dead in a layer sends no gradient to that layer or to any layer before it.
    cut = np.flip(np.logical_or.accumulate(np.flip(dead, axis=2), axis=2), axis=2)
    counts = cut[-1].sum(axis=0)
    blocked = int(counts[0])
    recorded = f"the {counted(points, 'recorded point')}"
    if not blocked:
        return Finding(Tone.GOOD, f"Each of {recorded} sends a gradient through all {counted(layers, 'layer')}.")
    where = layer_words(np.flatnonzero(dead[-1].any(axis=0)).tolist())
    began = history.epochs[int(since(cut[:, :, 0].sum(axis=1, keepdims=True) >= blocked)[0])]
    if blocked == points:
        reached = f"{layer_words(range(int((counts == points).sum())))} from any of {recorded}"
    else:
        reached = f"layer 1 from {blocked:,} of {recorded}"
    text = f"Since epoch {began:,}, no gradient reaches {reached}, which {are(blocked)} dead in {where}."
    tone = Tone.BAD if blocked > DEAD_NETWORK_SHARE * points else Tone.WARN
    return Finding(tone, text + _SKIPS * has_skips)


def _about_gaps(history: StatusHistory) -> list[Finding]:
    """How exact the epochs in the other findings are."""
    gaps = np.diff(history.epochs)
    if not len(gaps) or gaps.max() == 1:
        return []
    text = (
        f"The status was recorded every {int(np.median(gaps)):,} epochs, so a unit may have died up to "
        f"{counted(int(gaps.max()) - 1, 'epoch')} before the epoch given here."
    )
    return [Finding(Tone.INFO, text)]


# Shares alone -----------------------------------------------------------------------------------


def _shares(run: RunRecord) -> tuple[float | None, float | None, float | None]:
    if run.history is not None:
        status, points = run.history.unit_status[-1], run.history.point_status[-1]
        blocked = float((points == Status.DEAD).any(axis=1).mean()) if len(points) else None
        return float((status == Status.DEAD).mean()), float((status == Status.LINEAR).mean()), blocked
    names = ("unit_dead_ratio", "unit_linear_ratio", "point_dead_ratio")
    dead, linear, blocked = (run.last(run.stage(name)) for name in names)
    return dead, linear, blocked


def _about_shares(run: RunRecord) -> list[Finding]:
    """Findings from the metrics of a run without a history: how many units, but not which ones."""
    findings = []
    for code, name in ((Status.DEAD, "unit_dead_ratio"), (Status.LINEAR, "unit_linear_ratio")):
        epochs, values = run.series(run.stage(name))
        if not len(values):
            continue
        if values[-1] == 0:
            findings.append(Finding(Tone.GOOD, f"No unit is {LABELS[code]} at the end."))
            continue
        first = int(epochs[int(since((values >= values[-1])[:, None])[0])])
        text = (
            f"{percent(values[-1])} of the units are {LABELS[code]}; the share has been at least this high since "
            f"epoch {first:,}."
        )
        findings.append(Finding(Tone.BAD if values[-1] > DEAD_NETWORK_SHARE else Tone.WARN, text))
    blocked = run.last(run.stage("point_dead_ratio"))
    if blocked is None:
        return findings
    if not blocked:
        return [*findings, Finding(Tone.GOOD, "No point is dead in any layer.")]
    text = (
        f"{percent(blocked)} of the points are dead in at least one layer, so no gradient from them reaches the input."
    )
    tone = Tone.BAD if blocked > DEAD_NETWORK_SHARE else Tone.WARN
    return [*findings, Finding(tone, text + _SKIPS * run.description.has_skips)]
