"""Options by name: one enum per option, one way to refuse a wrong one."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TypeVar

E = TypeVar("E", bound=Enum)


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


class After(Enum):
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


def choose(kind: type[E], value: E | str, name: str) -> E:
    """A member of ``kind``, given as such or by its value.

    Args:
        kind: The enum of the option.
        value: A member, or its value as a string.
        name: The parameter, for the message.

    Raises:
        ValueError: If there is no such member; the nearest one is suggested.
    """
    if isinstance(value, kind):
        return value
    known = [str(member.value) for member in kind]
    if isinstance(value, str) and value in known:
        return kind(value)
    raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.{nearest(value, known)}")


def is_finite(value: object) -> bool:
    """Whether a value is a finite number; what is no number, such as a text or None, is not."""
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):  # of None, arrays, huge integers, tensors
        return False


def nearest(value: object, known: Iterable[str]) -> str:
    """A sentence that suggests the nearest of ``known``, or nothing.

    Example:
        >>> nearest("blanced", ["balanced", "mean"])
        " Did you mean 'balanced'?"
    """
    close = difflib.get_close_matches(str(value).strip().lower(), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
