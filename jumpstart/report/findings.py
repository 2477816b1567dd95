"""What a report says of a run: findings with their tone, and the verdict that they make."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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


SICK = 0.2
"""The share of dead units above which the paper's own tables count a network as dead."""


def is_sick(health: Health) -> bool:
    """Whether more than :data:`SICK` of the units or layers are dead, linear or without a gradient."""
    return any((share or 0.0) > SICK for share in (health.dead, health.linear, health.blocked))
