"""The compiled kernel, where there is one: ``kernel.c`` beside this file, built when the project is installed.

It does what :mod:`jumpstart.extrema` does in PyTorch, in one read, for the usual case: dense float32 or float64 tensors
on a CPU, points are samples, ties go to the first. Everything else, and every machine without a compiler, takes the
PyTorch path. The results are the same; :func:`description` says which one runs.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from jumpstart.choices import PointMode, Ties
from jumpstart.extrema.rule import Rule

try:
    _kernel: Any = importlib.import_module("jumpstart.extrema._kernel")
except ImportError:
    _kernel = None

_off = os.environ.get("JUMPSTART_KERNEL", "") == "0"

Places: TypeAlias = tuple[Tensor, Tensor]
Weights: TypeAlias = tuple[float, float, float, float]
NO_WEIGHTS: Weights = (0.0, 0.0, 0.0, 0.0)

_MOST = 2**31
"""Positions are 32-bit numbers."""
_MOST_THREADS = 2
"""The kernel reads a large tensor on one thread: with more of them, torch's two reads on all are as quick."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the numbers of a dense tensor lie in memory: N samples, C units, S places.

    Attributes:
        samples: N.
        units: C.
        places: S, of one sample and unit.
        units_last: [N][S][C] instead of [N][C][S].
        double: Float64.
    """

    samples: int
    units: int
    places: int
    units_last: bool
    double: bool


def available() -> bool:
    """Whether the kernel was built and is not switched off."""
    return _kernel is not None and not _off


def description() -> str:
    """One line that says which path runs.

    Example:
        >>> description().split(":")[0] in ("compiled kernel", "pure PyTorch")
        True
    """
    if _kernel is None:
        return "pure PyTorch: the compiled kernel was not built (pip install -e . builds it where a C compiler is)"
    return "pure PyTorch: the compiled kernel is switched off" if _off else "compiled kernel: on for tensors on the CPU"


@contextmanager
def disabled() -> Iterator[None]:
    """Without the kernel inside, for comparisons. ``JUMPSTART_KERNEL=0`` in the environment does the same for good."""
    global _off
    before, _off = _off, True
    try:
        yield
    finally:
        _off = before


def layout_of(z: Tensor, unit_dim: int, rule: Rule) -> Layout | None:
    """The layout of a tensor that the kernel can read, else None."""
    if _kernel is None or _off or rule.ties is not Ties.SINGLE or rule.point is not PointMode.SAMPLE:
        return None
    shape, count = z.shape, z.numel()
    if z.device.type != "cpu" or z.dtype not in (torch.float32, torch.float64) or not 0 < count < _MOST:
        return None
    if type(z) is not Tensor:  # a subclass may keep its numbers elsewhere
        return None
    dims = len(shape)
    samples, units = shape[0], shape[unit_dim]
    places = count // (samples * units)
    if z.is_contiguous():
        units_last = places == 1 or unit_dim == dims - 1
        if not units_last and unit_dim != 1:
            return None
    elif unit_dim == 1 and dims in (4, 5):
        if not z.is_contiguous(memory_format=torch.channels_last if dims == 4 else torch.channels_last_3d):
            return None
        units_last = True
    else:
        return None
    return Layout(samples, units, places, units_last, z.dtype == torch.float64)


def quick_for_large() -> bool:
    """Whether one thread of the kernel beats all of torch's on a large tensor."""
    return torch.get_num_threads() <= _MOST_THREADS


def reduce(
    tensors: Sequence[Tensor], layout: Layout, margin: float, weights: Weights, *, locate: bool
) -> tuple[Tensor, Tensor, Tensor, Places | None]:
    """The reach of every unit and point of L tensors of one layout, what they pay, and where they are attained.

    Args:
        tensors: L tensors.
        layout: That of all of them.
        margin: Of the hinges. What reaches it pays nothing and is not located.
        weights: Of the hinges.
        locate: Whether the places are wanted.

    Returns:
        Unit reach (2, L, C), point reach (2, L, N), the weighted sum of their hinges (), and for units and points the
        flat [N][C][S] positions, int32, -1 for what reaches the margin.
    """
    calls, z = len(tensors), tensors[0]
    unit, point = z.new_empty(2, calls, layout.units), z.new_empty(2, calls, layout.samples)
    paid, at, where = z.new_empty(()), None, (0, 0)
    if locate:
        at = torch.empty(unit.shape, dtype=torch.int32), torch.empty(point.shape, dtype=torch.int32)
        where = at[0].data_ptr(), at[1].data_ptr()
    _kernel.reduce(
        [tensor.data_ptr() for tensor in tensors],
        layout.samples, layout.units, layout.places, layout.units_last, layout.double, margin, weights,
        unit.data_ptr(), point.data_ptr(), paid.data_ptr(), *where,
    )  # fmt: skip
    return unit, point, paid, at


def spread(
    tensors: Sequence[Tensor],
    layout: Layout,
    at: Places,
    reach_grads: Sequence[Tensor | None],
    paid_grad: Tensor | None,
    weights: Weights,
) -> None:
    """Add gradients to the entries that attain a reach, in place.

    Args:
        tensors: L tensors of the layout, which take the gradients.
        layout: Theirs.
        at: What ``reduce`` found.
        reach_grads: Those of the unit reach and of the point reach.
        paid_grad: That of the sum of the hinges, a scalar.
        weights: Of the hinges.
    """
    # Named here, since an address alone keeps nothing alive.
    grads = [None if grad is None else grad.contiguous() for grad in (*reach_grads, paid_grad)]
    addresses = [0 if grad is None else grad.data_ptr() for grad in grads]
    _kernel.spread(
        [tensor.data_ptr() for tensor in tensors],
        layout.samples, layout.units, layout.places, layout.units_last, layout.double,
        at[0].data_ptr(), at[1].data_ptr(), *addresses, weights,
    )  # fmt: skip
