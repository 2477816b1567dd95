"""Options by name: one enum per option, one way to refuse a wrong one."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from enum import Enum
from typing import TypeVar

E = TypeVar("E", bound=Enum)


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
