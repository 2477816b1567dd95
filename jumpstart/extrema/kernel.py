"""The compiled kernel ``kernel.c``, which is built when the project is installed on a machine with a C compiler.

The kernel replaces the PyTorch code of :mod:`jumpstart.extrema` in the usual case: dense float32 or float64 tensors on
a CPU, points are samples, ties go to the first entry. The kernel reads each tensor once. All other cases, and machines
without a compiler, use the PyTorch code. The results are the same; :func:`description` says which of the two is used.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

import torch
from torch import Tensor

from jumpstart.choices import Margins, PointMode, Ties
from jumpstart.extrema.rule import Rule


class _Functions(Protocol):
    """The functions of the compiled module. Arguments are sizes and addresses, in the order of ``kernel.c``."""

    def reduce(self, *arguments: object) -> None: ...

    def spread(self, *arguments: object) -> None: ...


_kernel: _Functions | None
try:
    _kernel = cast("_Functions", importlib.import_module("jumpstart.extrema._kernel"))
except ImportError:
    _kernel = None

_off = os.environ.get("JUMPSTART_KERNEL", "") == "0"

Places: TypeAlias = tuple[Tensor, Tensor]
"""Flat [N][C][S] positions of the extrema of units (2, L, C) and of points (2, L, N), int32; -1 where the reach is at
least the margin of its side."""
Weights: TypeAlias = tuple[float, float, float, float]
"""Weights of the hinges: unit positive, unit negative, point positive, point negative."""
NO_WEIGHTS: Weights = (0.0, 0.0, 0.0, 0.0)

_MOST = 2**31
"""Entries of a tensor from which positions no longer fit into 32 bits."""
_MOST_THREADS = 2
"""Number of threads of torch up to which the kernel, on its one thread, reduces a large tensor faster than torch."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The memory layout of a dense tensor with N samples, C units and S positions.

    Attributes:
        samples: N, the number of samples.
        units: C, the number of units.
        places: S, the number of positions of one sample and unit.
        units_last: Whether the order is [N][S][C] instead of [N][C][S].
        double: Whether the dtype is float64 instead of float32.
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
    """One line that says whether the kernel or the PyTorch code is used, and why.

    Example:
        >>> description().split(":")[0] in ("compiled kernel", "pure PyTorch")
        True
    """
    if _kernel is None:
        return "pure PyTorch: the compiled kernel was not built (pip install -e . builds it where a C compiler is)"
    return "pure PyTorch: the compiled kernel is switched off" if _off else "compiled kernel: on for tensors on the CPU"


@contextmanager
def disabled() -> Iterator[None]:
    """Use the PyTorch code inside the block, for comparisons.

    ``JUMPSTART_KERNEL=0`` in the environment does the same for the whole process.
    """
    global _off
    before, _off = _off, True
    try:
        yield
    finally:
        _off = before


def layout_of(z: Tensor, unit_dim: int, rule: Rule) -> Layout | None:
    """The layout of a tensor if the kernel can read it under this rule, else None."""
    if _kernel is None or _off or rule.ties is not Ties.SINGLE or rule.point is not PointMode.SAMPLE:
        return None
    shape, count = z.shape, z.numel()
    if z.device.type != "cpu" or z.dtype not in (torch.float32, torch.float64) or not 0 < count < _MOST:
        return None
    if type(z) is not Tensor:  # a subclass may store its entries elsewhere
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
    """Whether one thread of the kernel is faster on a large tensor than all threads of torch."""
    return torch.get_num_threads() <= _MOST_THREADS


def reduce(
    tensors: Sequence[Tensor], layout: Layout, margins: Margins, weights: Weights, *, locate: bool
) -> tuple[Tensor, Tensor, Tensor, Places | None]:
    """The reach of every unit and point of L tensors of one layout, their penalty, and the places of the extrema.

    Args:
        tensors: L tensors.
        layout: The layout of all of them.
        margins: Margins of the positive and of the negative hinges. A slice that reaches the margin of a side has no
            penalty and no place on that side.
        weights: Weights of the hinges.
        locate: Whether to return the places.

    Returns:
        Unit reach (2, L, C), point reach (2, L, N), the weighted sum of their hinges (), and the places, if wanted.
    """
    assert _kernel is not None
    calls, z = len(tensors), tensors[0]
    unit, point = z.new_empty(2, calls, layout.units), z.new_empty(2, calls, layout.samples)
    penalty, at, where = z.new_empty(()), None, (0, 0)
    if locate:
        at = unit.new_empty(unit.shape, dtype=torch.int32), unit.new_empty(point.shape, dtype=torch.int32)
        where = at[0].data_ptr(), at[1].data_ptr()
    _kernel.reduce(
        [tensor.data_ptr() for tensor in tensors],
        layout.samples, layout.units, layout.places, layout.units_last, layout.double, margins, weights,
        unit.data_ptr(), point.data_ptr(), penalty.data_ptr(), *where,
    )  # fmt: skip
    return unit, point, penalty, at


def spread(
    tensors: Sequence[Tensor],
    layout: Layout,
    at: Places,
    reach_grads: Sequence[Tensor | None],
    penalty_grad: Tensor | None,
    weights: Weights,
) -> None:
    """Add gradients, in place, to the entries that attain a reach.

    Args:
        tensors: L tensors of the layout, to which the gradients are added.
        layout: The layout of all of them.
        at: The places that :func:`reduce` returned.
        reach_grads: The gradients of the unit reach (2, L, C) and of the point reach (2, L, N); L may be left out if it
            is 1.
        penalty_grad: The gradient of the penalty, a scalar.
        weights: Weights of the hinges.
    """
    assert _kernel is not None
    # Bound to a name until the call returns, because an address keeps no tensor alive.
    grads = [None if grad is None else grad.contiguous() for grad in (*reach_grads, penalty_grad)]
    addresses = [0 if grad is None else grad.data_ptr() for grad in grads]
    _kernel.spread(
        [tensor.data_ptr() for tensor in tensors],
        layout.samples, layout.units, layout.places, layout.units_last, layout.double,
        at[0].data_ptr(), at[1].data_ptr(), *addresses, weights,
    )  # fmt: skip
