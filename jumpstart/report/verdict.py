"""The verdict on a run: one headline, the findings behind it, and advice."""

from __future__ import annotations

from dataclasses import dataclass

from jumpstart.palette import LABELS
from jumpstart.report.advice import advise_run
from jumpstart.report.findings import Finding, Health, Tone, find_all
from jumpstart.report.record import RunRecord
from jumpstart.status.codes import Status
from jumpstart.words import are, counted, percent


@dataclass(frozen=True)
class Verdict:
    """A judgment of a run in words.

    Attributes:
        headline: One sentence.
        tone: How good or bad the run is as a whole.
        findings: The findings, in reading order.
        advice: What to do next, at least one sentence.
    """

    headline: str
    tone: Tone
    findings: tuple[Finding, ...]
    advice: tuple[str, ...]


def judge(run: RunRecord) -> Verdict:
    """The verdict on a run.

    Args:
        run: The content of the run directory.
    """
    health, findings = find_all(run)
    headline, tone = _headline(run, health)
    return Verdict(headline, tone, findings, tuple(advise_run(run, health)))


def _headline(run: RunRecord, health: Health) -> tuple[str, Tone]:
    units = _state(run, health)
    if run.failure:
        return f"The run ended early{f'; {units}' if units else ''}.", Tone.BAD
    if health.works is False:
        return f"Training does not work{f': {units}' if units and health.is_poor else ''}.", Tone.BAD
    if health.works and units:
        flawless = not health.dead and not health.linear and not health.blocked
        return f"Training works, {'and' if flawless else 'but'} {units}.", Tone.GOOD if flawless else Tone.WARN
    if health.works:
        return "Training works.", Tone.GOOD
    text = units[:1].upper() + units[1:] if units else "There is no verdict yet"
    return f"{text}.", Tone.BAD if health.is_poor else Tone.INFO


def _state(run: RunRecord, health: Health) -> str:
    """The status of the units as a clause; empty if it is not recorded."""
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
