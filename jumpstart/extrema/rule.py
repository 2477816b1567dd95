"""How extrema are taken: ties, points, margins."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from jumpstart.choices import MARGIN, Margins, PointMode, Ties


class NextOp(Enum):
    """What the operation after a preactivation does with the tensor, which decides whether a copy is needed."""

    READS = "reads"
    """It never writes into the tensor: a view is enough."""
    WRITES = "writes"
    """It writes into the tensor, which must be the one of the network."""
    UNKNOWN = "unknown"
    """It may write into the tensor: it gets a copy."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Everything that the reduction of a tensor to its extrema depends on, apart from the tensor.

    Attributes:
        ties: Which entries receive the gradient of a tied extremum.
        point: What counts as one point.
        margins: Slices that reach at least this far on the positive (or the negative) side get no gradient from it.
    """

    ties: Ties = Ties.SINGLE
    point: PointMode = PointMode.SAMPLE
    margins: Margins = (MARGIN, MARGIN)
