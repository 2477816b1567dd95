"""X."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class Ties(StrEnum):
    """Who receives the gradient when several entries attain an extremum."""

    SINGLE = "single"
    """The first of them."""
    AVERAGE = "average"
    """All of them, in equal shares."""
    RANDOM = "random"
    """One of them, drawn anew every time from torch's global generator."""


class PointMode(StrEnum):
    """What counts as one point of a tensor that has positions in space or time."""

    SAMPLE = "sample"
    """The sample, with all its positions."""
    LOCATION = "location"
    """Every position of every sample."""


class NextOp(Enum):
    """What the operation after a tap does with the tensor that it gets."""

    READS = "reads"
    """It never writes into it: a view will do."""
    WRITES = "writes"
    """It works in place: it must get the tensor itself."""
    UNKNOWN = "unknown"
    """Either: it gets a copy."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How extrema are taken: everything that the reduction must know beyond the tensor.

    Attributes:
        ties: Who receives the gradient of a tied extremum.
        point: What a point is.
        margin: Slices that reach at least this far on a side get no gradient from that side.
    """

    ties: Ties = Ties.SINGLE
    point: PointMode = PointMode.SAMPLE
    margin: float = 1.0
