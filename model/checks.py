"""Argument checks that all networks share: each raises an error that names the argument and the value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import cast

from jumpstart.choices import did_you_mean


def check_integer(name: str, value: object) -> int:
    """The value, if it is an integer.

    Raises:
        TypeError: If the value is no integer; True and False are no integers.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    return cast("int", value)


def check_count(name: str, value: object) -> None:
    """Refuse anything but an integer of at least 1.

    Raises:
        TypeError: If the value is no integer.
        ValueError: If it is less than 1.
    """
    if check_integer(name, value) < 1:
        raise ValueError(f"{name} must be >= 1, got {value}.")


def check_number(name: str, value: object) -> float:
    """The value, if it is a finite number.

    Raises:
        TypeError: If the value is no number; True and False are no numbers.
        ValueError: If the value is infinite or NaN.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
    return cast("float", value)


def check_dropout(value: object) -> None:
    """Refuse anything but a share in [0, 1).

    Raises:
        TypeError: If the value is no number.
        ValueError: If it is out of range.
    """
    if not 0.0 <= check_number("dropout", value) < 1.0:
        raise ValueError(f"dropout must be in [0, 1), got {value}.")


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        ValueError: With all the choices and the nearest of them.

    Example:
        >>> check_choice("stem", "smal", ("standard", "small"))
        Traceback (most recent call last):
        ValueError: stem must be one of standard, small, got 'smal'. Did you mean 'small'?
    """
    known = [str(choice) for choice in choices]
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.{did_you_mean(value, known)}")
