"""The status of a unit or a point, dead, linear or non-linear, from its extrema."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, overload

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Status(IntEnum):
    """What an activation such as ReLU does with a slice of preactivations.

    The slice of a unit is all the points of an epoch; that of a point is all the units of a layer.
    """

    DEAD = 0
    """No entry is positive: the output is zero, and so is the gradient."""
    LINEAR = 1
    """Every entry is positive: the output equals the input."""
    NONLINEAR = 2
    """Both sides of the activation are used."""


def status_of(maximum: Tensor, minimum: Tensor, *, check: bool = True) -> Tensor:
    """The status of every slice: dead if max <= 0, linear if min > 0, else non-linear.

    Args:
        maximum: The largest preactivation of every slice, over all the points of the epoch.
        minimum: The smallest, of the same shape.
        check: Refuse NaN and slices without a point (maximum below minimum). The check waits for the device; without
            it NaN counts as dead, because a network that has diverged learns nothing.

    Returns:
        Codes of :class:`Status`, int8, of the shape of the arguments.

    Raises:
        ValueError: If the shapes differ or, with ``check``, if a status is undefined.

    Example:
        >>> status_of(torch.tensor([-1.0, 2.0, 2.0]), torch.tensor([-3.0, 1.0, -1.0]))
        tensor([0, 1, 2], dtype=torch.int8)
    """
    if maximum.shape != minimum.shape:
        raise ValueError(
            f"maximum and minimum must have one shape, got {tuple(maximum.shape)} and {tuple(minimum.shape)}."
        )
    if check:
        undefined = int((~(minimum <= maximum)).sum())
        if undefined:
            raise ValueError(
                f"maximum must be >= minimum, found {undefined} of {maximum.numel()} slices where "
                "it is not: NaN (the network has diverged) or no point so far."
            )
    alive = (maximum > 0).to(torch.int8)
    return alive * (int(Status.NONLINEAR) - (minimum > 0).to(torch.int8))


def status_of_arrays(maximum: npt.NDArray[np.floating], minimum: npt.NDArray[np.floating]) -> npt.NDArray[np.int8]:
    """:func:`status_of` without its check, for NumPy arrays: NaN counts as dead.

    Args:
        maximum: The largest preactivation of every slice.
        minimum: The smallest, of the same shape.

    Returns:
        Codes of :class:`Status`, int8, of the shape of the arguments.

    Example:
        >>> import numpy as np
        >>> status_of_arrays(np.array([-1.0, 2.0, 2.0]), np.array([-3.0, 1.0, -1.0])).tolist()
        [0, 1, 2]
    """
    alive: npt.NDArray[np.int8] = (maximum > 0).astype("int8")
    linear: npt.NDArray[np.int8] = (minimum > 0).astype("int8")
    return alive * (int(Status.NONLINEAR) - linear)


@overload
def dead_and_linear(reach: Tensor) -> tuple[Tensor, Tensor]: ...
@overload
def dead_and_linear(reach: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]: ...
def dead_and_linear(reach: Tensor | npt.NDArray[np.floating]) -> tuple[object, object]:
    r"""The masks of dead and of linear slices, for counts: :func:`status_of` without a table of codes.

    Args:
        reach: (2, ...) :math:`(\max z, -\min z)` of every slice, a tensor or a NumPy array. A slice with NaN, which is
            dead, has NaN on both sides.

    Returns:
        Two Boolean masks of shape (...).

    Example:
        >>> dead_and_linear(torch.tensor([[-1.0, 2.0, 2.0], [3.0, -1.0, 1.0]]))
        (tensor([ True, False, False]), tensor([False,  True, False]))
    """
    return ~(reach[0] > 0), reach[1] < 0
