"""The exact status of units and points over a whole epoch, computed from the records of each batch.

Memory is O(units): the status of a unit needs its running maximum and minimum, that of a point its own batch. A bounded
number of small batches is kept and reduced together, which is several times as fast as one at a time.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from jumpstart.choices import MARGIN
from jumpstart.extrema.record import Extrema
from jumpstart.status.codes import Status, status_of
from jumpstart.status.counts import COUNTS, count_points, status_at
from jumpstart.status.sample import PointSample

WAITING = 64 * 1024
"""Pairs of a point and a layer that are kept before the batches are reduced."""
LEAST = 2048
"""Pairs added to the size of every batch, so that the number of kept batches is bounded too."""

Grouping: TypeAlias = tuple[tuple[tuple[str, ...], tuple[int, ...], int, int], ...]
"""Names, order, units and positions of each record: batches that agree in all of them can be reduced together."""


class MetricGroup(Metric, abc.ABC):
    """Several metrics that are computed together, from one state that is read from the device in one transfer.

    A subclass defines :meth:`read_numbers`.
    """

    @abc.abstractmethod
    def read_numbers(self) -> dict[str, float]:
        """Every metric by name, of this process alone unless the state is synchronized."""

    def compute(self) -> dict[str, Tensor]:
        """Every metric by name, as a scalar tensor in float64."""
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in self.read_numbers().items()}

    def numbers(self) -> dict[str, float]:
        """The metrics of :meth:`compute` as Python numbers, with one transfer from the device instead of one each."""
        with self.sync_context(should_sync=self._to_sync, should_unsync=self._should_unsync):
            return self.read_numbers()


class NetworkStatus(MetricGroup):
    r"""Shares of dead, linear and non-linear units and points, and their mean penalties, over an epoch.

    The status of a unit follows from its extrema over *all* the points since the last reset: dead if its maximum is at
    most 0, linear if its minimum is above 0, else non-linear. A point has one status per layer, and is *dead in the
    network* at a layer if it is dead there or at any later layer: no gradient reaches that layer from the point.

    Args:
        margin: Margin of the penalties, in the units of the preactivations.
        sample: A sample of the points, which draws from all batches and keeps the status of a few points.
        **kwargs: Options of :class:`torchmetrics.Metric`.

    Shape:
        - ``update``: the records of one forward pass (:attr:`JumpstartRegularization.extrema`).
        - ``compute``: a dictionary of scalars; :meth:`read_numbers` lists their names.

    Raises:
        ValueError: If a batch has other layers than the batches before it, or layers of unequal numbers of samples.

    Example:
        >>> from jumpstart import JumpstartRegularization
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU())
        >>> status = NetworkStatus()
        >>> with JumpstartRegularization(model) as jumpstart:
        ...     for batch in torch.randn(100, 2).split(32):
        ...         _ = model(batch)
        ...         status.update(jumpstart.extrema)
        >>> shares = status.compute()
        >>> float(shares["unit_dead_ratio"] + shares["unit_linear_ratio"] + shares["unit_nonlinear_ratio"])
        1.0
    """

    full_state_update = False
    reach: Tensor
    counts: Tensor

    def __init__(self, margin: float = MARGIN, sample: PointSample | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.margin, self.sample = margin, sample
        self.layout: list[tuple[str, int]] = []  # name and units of every layer, in call order
        self._queue = _Queue()
        self.add_state("reach", torch.empty(2, 0), dist_reduce_fx="max")
        self.add_state("counts", torch.zeros(len(COUNTS), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, records: Sequence[Extrema]) -> None:
        """Count one batch.

        Args:
            records: The records of one forward pass.
        """
        self.add(records)

    def add(self, records: Sequence[Extrema]) -> None:
        """:meth:`update` without torchmetrics' bookkeeping, which takes as long as a batch of a small network."""
        queue = self._queue
        grouping = tuple([(r.names, r.order, r.unit.shape[2], r.point.shape[2] // r.samples) for r in records])
        if grouping != queue.grouping:
            self.reduce_pending()
            self._set_layout(queue.plan(grouping, records))
        queue.put(records)
        if queue.free_pairs <= 0:
            self.reduce_pending()

    def _set_layout(self, plan: _Plan) -> None:
        if plan.layout == self.layout:
            return
        if self.layout:
            changed = sorted({name for name, _ in set(self.layout) ^ set(plan.layout)}) or ["their order"]
            self._queue.grouping = ()
            raise ValueError(
                f"the captured layers changed within an epoch: {', '.join(changed[:4])}. Use one NetworkStatus for "
                "each set of layers, or reset() in between."
            )
        self.layout = plan.layout
        with torch.inference_mode(False):  # the next batch may run outside of that mode
            self.reach = plan.like.new_full((2, sum(units for _, units in plan.layout)), -torch.inf)

    def reduce_pending(self) -> None:
        """Reduce the batches in the queue. Everything that reads the counts must call this first."""
        records = self._queue.drain()
        if not records:
            return
        self._computed = None
        self._update_count = max(self._update_count, 1)
        units = torch.cat([record.unit.flatten(1) for record in records], 1)
        order = self._queue.plans[self._queue.grouping].units
        torch.maximum(self.reach, units if order is None else units[:, order], out=self.reach)
        points = points_by_layer(records)
        self.counts += count_points(points, self.margin)
        if self.sample is not None:
            self.sample.draw(points.shape[2], lambda chosen: status_at(points, chosen), points.device)

    def read_numbers(self) -> dict[str, float]:
        """All metrics, by name.

        Returns:
            ``unit_dead_ratio``, ``unit_linear_ratio``, ``unit_nonlinear_ratio``: shares of all units of all layers.
            ``point_dead_ratio``: share of points dead in at least one layer; ``point_linear_ratio`` and
            ``point_nonlinear_ratio``: linear, or non-linear, in every layer. ``deadness``, ``linearity``,
            ``nonlinearity``: shares of (point, layer) pairs. ``point_efficiency``: share of pairs that are not dead in
            the network. ``unit_loss``, ``point_loss``, and both with ``positive_`` or ``negative_`` before them: mean
            penalties.

        Raises:
            RuntimeError: Before any update.
        """
        self._require_update()
        status = status_of(self.reach[0], -self.reach[1], check=False)
        hinges = torch.relu(self.margin - self.reach).sum(1, dtype=torch.float64)
        by_status = torch.stack([(status == code).sum() for code in (Status.DEAD, Status.LINEAR)])
        dead_units, linear_units, positive_units, negative_units, *counts = torch.cat(
            [by_status.double(), hinges, self.counts]
        ).tolist()
        units, count = status.numel(), dict(zip(COUNTS, counts, strict=True))
        pairs, points = count["pairs"], count["points"]
        return {
            "unit_dead_ratio": dead_units / units,
            "unit_linear_ratio": linear_units / units,
            "unit_nonlinear_ratio": (units - dead_units - linear_units) / units,
            "point_dead_ratio": count["points_dead"] / points,
            "point_linear_ratio": count["points_linear"] / points,
            "point_nonlinear_ratio": count["points_nonlinear"] / points,
            "deadness": count["dead_pairs"] / pairs,
            "linearity": count["linear_pairs"] / pairs,
            "nonlinearity": (pairs - count["dead_pairs"] - count["linear_pairs"]) / pairs,
            "point_efficiency": count["efficient_pairs"] / pairs,
            "unit_loss": (positive_units + negative_units) / units,
            "positive_unit_loss": positive_units / units,
            "negative_unit_loss": negative_units / units,
            "point_loss": (count["positive_loss"] + count["negative_loss"]) / pairs,
            "positive_point_loss": count["positive_loss"] / pairs,
            "negative_point_loss": count["negative_loss"] / pairs,
        }

    def _require_update(self) -> None:
        self.reduce_pending()
        if self.reach.numel() == 0:
            raise RuntimeError("there is no status yet: update() it with the records of a forward pass first.")

    @property
    def unit_status(self) -> dict[str, Tensor]:
        """The status of every unit so far, by layer in call order: (units,) codes of :class:`Status`.

        As for :meth:`compute`, all processes of a distributed run must read it together.

        Raises:
            RuntimeError: Before any update.
        """
        reach = self._reach()
        return self._by_layer(status_of(reach[0], -reach[1], check=False))

    @property
    def unit_max(self) -> dict[str, Tensor]:
        """The largest preactivation of every unit so far, by layer in call order: (units,)."""
        return self._by_layer(self._reach()[0])

    @property
    def unit_min(self) -> dict[str, Tensor]:
        """The smallest preactivation of every unit so far, by layer in call order: (units,)."""
        return self._by_layer(-self._reach()[1])

    def _reach(self) -> Tensor:
        self._require_update()
        with self.sync_context(should_sync=self._to_sync, should_unsync=self._should_unsync):
            return self.reach.clone()

    def _by_layer(self, values: Tensor) -> dict[str, Tensor]:
        parts = values.split([units for _, units in self.layout])
        return {name: part for (name, _), part in zip(self.layout, parts, strict=True)}

    def reset(self) -> None:
        """Start a new epoch."""
        super().reset()
        self.layout, self._queue = [], _Queue()
        if self.sample is not None:
            self.sample.reset()

    # torchmetrics reads the states in these methods, so the queue is reduced first.

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Add up the counts of all processes."""
        self.reduce_pending()
        super().sync(*args, **kwargs)

    def _copy_state_dict(self) -> dict[str, Any]:
        self.reduce_pending()
        return super()._copy_state_dict()

    def _apply(self, *args: Any, **kwargs: Any) -> nn.Module:
        self.reduce_pending()
        return super()._apply(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        self.reduce_pending()
        return super().__getstate__()


class _Plan:
    """The order of calls and units in the records of one grouping. Batches of other sizes may have another grouping.

    Attributes:
        like: A tensor of the dtype and device of the reaches.
        layout: Name and units of every layer, in call order.
        units: Positions that sort the concatenated units by call; None if they are sorted.
    """

    def __init__(self, records: Sequence[Extrema]) -> None:
        calls = [
            (position, name, record.unit.shape[2])
            for record in records
            for position, name in zip(record.order, record.names, strict=True)
        ]
        self.like = records[0].unit.detach()
        order = sorted(range(len(calls)), key=calls.__getitem__)
        self.layout = [calls[place][1:] for place in order]
        self.units: Tensor | None = None
        if order != list(range(len(calls))):
            sizes = [size for *_, size in calls]
            parts = torch.arange(sum(sizes), device=self.like.device).split(sizes)
            self.units = torch.cat([parts[place] for place in order])


class _Queue:
    """Batches of one grouping that are kept, up to a bound, to be reduced together at a fraction of the cost."""

    def __init__(self) -> None:
        self.grouping: Grouping = ()
        self.plans: dict[Grouping, _Plan] = {}
        self.batches: list[list[Extrema]] = []
        self.free_pairs = WAITING

    def plan(self, grouping: Grouping, records: Sequence[Extrema]) -> _Plan:
        """The plan of a grouping, which becomes the grouping of the queue."""
        self.grouping = grouping
        if grouping not in self.plans:
            self.plans[grouping] = _Plan(records)
        return self.plans[grouping]

    def put(self, records: Sequence[Extrema]) -> None:
        """Append a batch."""
        samples = records[0].samples
        if len(records) > 1 and any(record.samples != samples for record in records):
            sizes = ", ".join(f"{record.names[0]}: {record.samples}" for record in records[:4])
            raise ValueError(
                f"layers have unequal numbers of samples ({sizes}), so a point has no status in each of them. Capture "
                "layers whose dimension 0 is the batch: capture=[module names]."
            )
        self.batches.append([record.detach() for record in records])
        self.free_pairs -= sum([len(record.names) for record in records]) * samples + LEAST

    def drain(self) -> list[Extrema]:
        """Remove all batches and return their records, as if they had been one batch."""
        batches, self.batches, self.free_pairs = self.batches, [], WAITING
        if len(batches) < 2:
            return batches[0] if batches else []
        return [
            Extrema(
                parts[0].names,
                parts[0].order,
                torch.stack([part.unit for part in parts]).amax(0),
                torch.cat([part.point for part in parts], 2),
                sum(part.samples for part in parts),
            )
            for parts in zip(*batches, strict=True)
        ]


def point_status(records: Sequence[Extrema]) -> Tensor:
    """The status of every point of one batch in every layer.

    Args:
        records: The records of one forward pass.

    Returns:
        (N, L) codes of :class:`Status`, int8, layers in call order.

    Example:
        >>> from jumpstart.extrema import extrema_of
        >>> point_status([extrema_of([torch.tensor([[1.0, -1.0], [2.0, 3.0], [-1.0, -2.0]])], ["layer"])])
        tensor([[2],
                [1],
                [0]], dtype=torch.int8)
    """
    reach = points_by_layer(records)
    return status_of(reach[0], -reach[1], check=False).T


def layer_names(records: Sequence[Extrema]) -> list[str]:
    """The names of the layers in call order."""
    pairs = [pair for record in records for pair in zip(record.order, record.names, strict=True)]
    return [name for _, name in sorted(pairs)]


def points_by_layer(records: Sequence[Extrema]) -> Tensor:
    """The reach of every sample in every layer, in call order: (2, L, N), without a graph."""
    parts = [
        point if point.shape[2] == record.samples else point.view(*point.shape[:2], record.samples, -1).amax(3)
        for record in records
        for point in (record.point.detach(),)
    ]
    if len(parts) == 1:
        return parts[0]
    reach = torch.cat(parts, 1)
    order = [position for record in records for position in record.order]
    if order != sorted(order):
        reach = reach[:, torch.tensor(order, device=reach.device).argsort()]
    return reach
