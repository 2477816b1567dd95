"""The penalty of a forward pass, a pure function of its records: terms, margins, weights, aggregate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from jumpstart.choices import MARGIN, Aggregate, Terms, check_margins, choose, is_finite, margin_arguments
from jumpstart.extrema.record import Extrema, count_slices, margin_of
from jumpstart.extrema.reduction import Weights


class Penalty:
    r"""How far units and points are from using both sides of their activation.

    With :math:`z` the preactivations of a slice and :math:`m_+, m_-` the margins, the penalty of the slice is

    .. math::
        \ell = w_+ [m_+ - \max z]_+ + w_- [m_- + \min z]_+ .

    A *unit* slice is one channel over batch and space; a *point* slice is one sample over channels and space.

    Args:
        terms: The hinges that enter the sum.
        aggregate: How the penalties of all slices become one number.
        margin: :math:`m_+ > 0`, in the units of the preactivations, which are not normalized.
        negative_margin: :math:`m_- > 0`; None for that of ``margin``.
        positive_weight: :math:`w_+ \ge 0`.
        negative_weight: :math:`w_- \ge 0`. The paper's own code used 0.5 for both.

    Shape:
        - Input: records of any number of layer calls; the number of units may differ between layers.
        - Output: scalar, differentiable in every preactivation that attains an extremum.

    Raises:
        ValueError: If ``terms`` is empty, a margin is not positive, or a weight is negative or not finite.

    Source:
        Riera, Puertas, Pujol, *Unit-Centric Regularization for Efficient Deep Neural Networks*, IEEE Access 2025.

    Example:
        >>> from jumpstart.extrema import extrema_of
        >>> record = extrema_of([torch.tensor([[2.0, 0.5], [-3.0, 0.5]])], ["layer"])
        >>> Penalty()([record])  # units: 0 and 0.5 + 1.5, points: 1.5 and 0.5
        tensor(2.)
    """

    def __init__(
        self,
        terms: Terms | str | Iterable[str] = Terms.ALL,
        aggregate: Aggregate | str = Aggregate.BALANCED,
        margin: float = MARGIN,
        negative_margin: float | None = None,
        positive_weight: float = 1.0,
        negative_weight: float = 1.0,
    ) -> None:
        self.terms = Terms.parse(terms)
        self.aggregate = choose(Aggregate, aggregate, "aggregate")
        for name, weight in (
            ("positive_weight", positive_weight),
            ("negative_weight", negative_weight),
        ):
            if not (is_finite(weight) and weight >= 0):
                raise ValueError(f"{name} must be a finite number >= 0, got {weight!r}. The published value is 1.")
        self.margins = check_margins(margin, negative_margin)
        self.positive_weight, self.negative_weight = positive_weight, negative_weight
        self._unit_weights = self._weights(Terms.UNIT_POSITIVE, Terms.UNIT_NEGATIVE)
        self._point_weights = self._weights(Terms.POINT_POSITIVE, Terms.POINT_NEGATIVE)
        if not (any(self._unit_weights) or any(self._point_weights)):
            raise ValueError(
                "every hinge in terms has weight 0, so the loss would always be 0. Give positive_weight or "
                "negative_weight a value above 0, or more terms."
            )

    def _weights(self, positive: Terms, negative: Terms) -> tuple[float, float]:
        return (
            self.positive_weight if positive in self.terms else 0.0,
            self.negative_weight if negative in self.terms else 0.0,
        )

    def weigh(self, units: int, points: int) -> Weights | None:
        """The weight of each hinge, if the loss is linear in the hinges (a mean or a sum of means); else None.

        Args:
            units: Slices of units in all records.
            points: Slices of points in all records.

        Returns:
            The weights of the hinges of units and of points, each positive and negative.
        """
        if self.aggregate not in (Aggregate.BALANCED, Aggregate.MEAN):
            return None
        # A weight of 0 leaves the slices in the mean, as any other weight does. Terms leave them out.
        counts = [units * bool(self.terms & Terms.UNIT), points * bool(self.terms & Terms.POINT)]
        if self.aggregate is Aggregate.MEAN:
            counts = [sum(counts)] * 2
        unit_count, point_count = max(counts[0], 1), max(counts[1], 1)
        (unit_positive, unit_negative), (point_positive, point_negative) = self._unit_weights, self._point_weights
        return (
            unit_positive / unit_count,
            unit_negative / unit_count,
            point_positive / point_count,
            point_negative / point_count,
        )

    def __call__(self, records: Sequence[Extrema]) -> Tensor:
        """The penalty of one forward pass: a scalar of the records' dtype."""
        weights = self.weigh(*count_slices(records))
        return self._nonlinear(records) if weights is None else self._linear(records, weights)

    def parts(self, records: Sequence[Extrema], loss: Tensor) -> tuple[Tensor, Tensor]:
        """The parts of the units and of the points in the penalty of one forward pass, without a graph.

        The parts add up to the penalty; with ``aggregate="norm"``, their squares add up to its square.

        Args:
            records: The records of the pass.
            loss: Their penalty, from which the part of the points follows where the parts add up.

        Example:
            >>> from jumpstart.extrema import extrema_of
            >>> records = [extrema_of([torch.tensor([[2.0, 0.5], [-3.0, 0.5]])], ["layer"])]
            >>> penalty = Penalty()
            >>> penalty.parts(records, penalty(records))
            (tensor(1.), tensor(1.))
        """
        loss = loss.detach()
        if not any(self._unit_weights):
            return torch.zeros_like(loss), loss
        if not any(self._point_weights):
            return loss, torch.zeros_like(loss)
        units, weights = [record.unit.detach() for record in records], self.weigh(*count_slices(records))
        if weights is not None:
            unit = self._hinges(units, weights[:2])
            return unit, (loss - unit).clamp(min=0)
        points = [record.point.detach() for record in records]
        return (
            self._length(self._slices(units, self._unit_weights)),
            self._length(self._slices(points, self._point_weights)),
        )

    def _linear(self, records: Sequence[Extrema], weights: Weights) -> Tensor:
        """The weighted sum of all hinges. Some records already hold the sum of their own hinges."""
        rest = [record for record in records if record.penalty is None]
        parts = [record.penalty for record in records if record.penalty is not None]
        for pair, reaches in (
            (weights[:2], [record.unit for record in rest]),
            (weights[2:], [record.point for record in rest]),
        ):
            if reaches and any(pair):
                parts.append(self._hinges(reaches, pair))
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum()

    def _hinges(self, reaches: Sequence[Tensor], pair: tuple[float, float]) -> Tensor:
        """The sum of all hinges, each with its weight."""
        reach = torch.cat([reach.flatten(1) for reach in reaches], 1)
        return torch.dot(torch.relu(margin_of(reach, self.margins) - reach).sum(1), reach.new_tensor(pair))

    def _nonlinear(self, records: Sequence[Extrema]) -> Tensor:
        """The norm or the sum of squares of the penalties of all slices, or of all hinges."""
        units = self._slices([record.unit for record in records], self._unit_weights)
        return self._length(units + self._slices([record.point for record in records], self._point_weights))

    def _slices(self, reaches: Sequence[Tensor], pair: tuple[float, float]) -> list[Tensor]:
        """The penalties of all slices, or all hinges one by one; none if the hinges have no weight."""
        if not any(pair):
            return []
        hinges = [
            torch.relu(margin_of(reach, self.margins) - reach) * reach.new_tensor(pair).view(2, 1, 1)
            for reach in reaches
        ]
        one_by_one = self.aggregate is Aggregate.SUM_OF_SQUARED_HINGES
        return [(hinge if one_by_one else hinge.sum(0)).flatten() for hinge in hinges]

    def _length(self, losses: list[Tensor]) -> Tensor:
        vector = torch.cat(losses)
        return torch.linalg.vector_norm(vector) if self.aggregate is Aggregate.NORM else vector.square().sum()

    def __repr__(self) -> str:
        return f"Penalty(terms={self.terms}, aggregate={self.aggregate.value}, {margin_arguments(self.margins)})"
