"""Conversion of tensors, lists and other array-like values to NumPy arrays."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
"""An array whose type of numbers is unknown or has not been checked yet."""


def to_array(values: object) -> Array:
    """Convert a tensor on any device, or anything else that NumPy accepts, to an array.

    Args:
        values: A tensor (with or without a graph), an array, a number, or nested sequences of numbers.

    Returns:
        An array of the same shape. The array shares the memory of ``values`` where that is possible.

    Example:
        >>> import torch
        >>> to_array(torch.ones(2, requires_grad=True))
        array([1., 1.], dtype=float32)
    """
    detach = getattr(values, "detach", None)
    return np.asarray(values if detach is None else detach().cpu())
