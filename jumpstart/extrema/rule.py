"""How extrema are taken: ties, points, margin."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from jumpstart.choices import PointMode, Ties


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
