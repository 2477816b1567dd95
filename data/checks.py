"""Checks of arguments, each with its error: integers, shares, flags, seeds."""

from __future__ import annotations

import math

import numpy as np


def is_integer(value: object) -> bool:
    """Whether a value is a Python or NumPy integer; True and False are not."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether a value is an int, a float or a NumPy float; True and False are not."""
    return isinstance(value, (int, float, np.floating)) and not isinstance(value, bool)


def check_integer(name: str, value: int, least: int) -> None:
    """Refuse anything but an integer of at least ``least``.

    Raises:
        ValueError: With the name of the parameter, its value and its lower bound.

    Example:
        >>> check_integer("channels", 0, 1)
        Traceback (most recent call last):
        ValueError: channels must be an integer >= 1, got 0.
    """
    if not is_integer(value) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}.")


def check_share(name: str, value: float) -> None:
    """Refuse anything but a number between 0 and 1, exclusive.

    Raises:
        ValueError: With the name of the parameter and its value.

    Example:
        >>> check_share("val_size", 1.5)
        Traceback (most recent call last):
        ValueError: val_size must be a share between 0 and 1, exclusive, got 1.5.
    """
    if not is_number(value) or not 0 < value < 1:
        raise ValueError(f"{name} must be a share between 0 and 1, exclusive, got {value!r}.")


def check_noise(noise: float) -> None:
    """Refuse anything but a finite number of at least 0.

    Raises:
        ValueError: With the value.
    """
    if not is_number(noise) or not 0 <= noise < math.inf:
        raise ValueError(f"noise must be a number >= 0, got {noise!r}.")


def check_seed(seed: int, name: str = "seed") -> None:
    """Refuse a seed outside the range that NumPy's and scikit-learn's generators accept.

    Raises:
        ValueError: With the value and the range.
    """
    if not is_integer(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"{name} must be an integer in 0..2**32 - 1, got {seed!r}.")


def check_batch_size(batch_size: int | None) -> None:
    """Refuse a batch size that is neither ``None`` nor a positive integer.

    Raises:
        ValueError: With the value and the meaning of ``None``.
    """
    if batch_size is not None and (not is_integer(batch_size) or batch_size < 1):
        raise ValueError(f"batch_size must be an integer >= 1, or None for one batch of all rows, got {batch_size!r}.")
