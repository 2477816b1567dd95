"""The record of one layer call or more: extrema of its units and points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from jumpstart.choices import Margins


@dataclass(frozen=True, slots=True, eq=False)
class Extrema:
    r"""How far units and points reach on both sides of zero, for L layer calls of one shape.

    The *reach* of a slice is :math:`(\max z, -\min z)`: where each is at least the margin of its side, the penalty is
    zero.

    Attributes:
        names: L names, ``"layer"`` or ``"layer#2"`` for the second call of one module.
        order: L positions in the order of the calls of the whole forward pass.
        unit: (2, L, C), the reach of every unit. Float32, or float64 for float64 preactivations.
        point: (2, L, P), the reach of every point.
        samples: N, the number of samples.
        penalty: The weighted sum of the hinges of these slices, a scalar, where weights were given; else None.

    Example:
        >>> import torch
        >>> from jumpstart.extrema import extrema_of
        >>> z = torch.tensor([[1.0, -2.0], [3.0, -4.0]])
        >>> record = extrema_of([z], ["layer"])
        >>> record.unit_max, record.unit_min
        (tensor([[ 3., -2.]]), tensor([[ 1., -4.]]))
        >>> record.point_max, record.point_min
        (tensor([[1., 3.]]), tensor([[-2., -4.]]))
    """

    names: tuple[str, ...]
    order: tuple[int, ...]
    unit: Tensor
    point: Tensor
    samples: int
    penalty: Tensor | None = None

    @property
    def unit_max(self) -> Tensor:
        """(L, C) maxima of the units."""
        return self.unit[0]

    @property
    def unit_min(self) -> Tensor:
        """(L, C) minima of the units."""
        return -self.unit[1]

    @property
    def point_max(self) -> Tensor:
        """(L, P) maxima of the points."""
        return self.point[0]

    @property
    def point_min(self) -> Tensor:
        """(L, P) minima of the points."""
        return -self.point[1]

    def named(self, name: str) -> Extrema:
        """The record of one call under another name."""
        return self if name == self.names[0] else replace(self, names=(name,))

    def detach(self) -> Extrema:
        """The same record without a graph and without its penalty."""
        return replace(self, unit=self.unit.detach(), point=self.point.detach(), penalty=None)


def margin_of(reach: Tensor, margins: Margins) -> float | Tensor:
    """What a reach is compared with: the margin, if both sides have the same one, else a tensor of both.

    Args:
        reach: (2, ...), the positive side first.
        margins: Margins of the positive and of the negative side.

    Returns:
        A number, or (2, 1, ...) with as many dimensions as the reach.

    Example:
        >>> import torch
        >>> torch.relu(margin_of(torch.zeros(2, 3), (1.0, 0.5)) - torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))
        tensor([[0.0000, 1.0000, 0.0000],
                [0.5000, 0.5000, 0.0000]])
    """
    positive, negative = margins
    if positive == negative:
        return positive
    # Filled on the device: a copy from the host would wait for it.
    both = reach.new_full((2, *[1] * (reach.dim() - 1)), positive)
    both[1].fill_(negative)
    return both


def count_slices(records: Sequence[Extrema]) -> tuple[int, int]:
    """The numbers of units and of points in all records."""
    return sum(record.unit.numel() for record in records) // 2, sum(record.point.numel() for record in records) // 2
