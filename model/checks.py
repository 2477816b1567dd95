"""Checks of arguments that all networks share, each with its error."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real


def check_whole(name: str, value: object) -> None:
    """Refuse anything but a whole number."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, got {value!r}.")


def check_count(name: str, value: object) -> None:
    """Refuse anything but a whole number of at least 1."""
    check_whole(name, value)
    if value < 1:  # type: ignore[operator]
        raise ValueError(f"{name} must be >= 1, got {value}.")


def check_number(name: str, value: object) -> None:
    """Refuse anything but a finite number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")


def check_flag(name: str, value: object) -> None:
    """Refuse anything but True and False: the text "False" would count as true.

    Example:
        >>> check_flag("use_batchnorm", "False")
        Traceback (most recent call last):
        TypeError: use_batchnorm must be True or False, got 'False'.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}.")


def check_dropout(value: object) -> None:
    """Refuse anything but a share in [0, 1)."""
    check_number("dropout", value)
    if not 0.0 <= value < 1.0:  # type: ignore[operator]
        raise ValueError(f"dropout must be in [0, 1), got {value}.")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Refuse what is not among the choices; the error names the nearest.

    Example:
        >>> check_choice("head", "glbal", ("flatten", "global"))
        Traceback (most recent call last):
        ValueError: head must be one of flatten, global, got 'glbal'. Nearest: global.
    """
    if value not in choices:
        raise ValueError(unknown(name, value, map(str, choices), str(value)))


def unknown(name: str, value: object, choices: Iterable[str], key: str) -> str:
    """The message for a value that is no choice: the choices, and the one most like ``key``."""
    words = list(choices)
    nearest = difflib.get_close_matches(key, words, n=1, cutoff=0.0)
    return f"{name} must be one of {', '.join(words)}, got {value!r}. Nearest: {nearest[0]}."
