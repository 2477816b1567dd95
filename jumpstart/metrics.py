"""The exact status of units and points over a whole epoch, computed from the records of each batch.

Memory is O(units): the status of a unit needs its running maximum and minimum, and the status of a point needs its own
batch alone. A bounded number of small batches is kept and reduced together, which is several times as fast as reducing
one batch at a time.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, overload

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from jumpstart.choices import MARGIN, Margins, check_margins, margin_arguments
from jumpstart.extrema.record import Extrema, margin_of
from jumpstart.extrema.torch_internals import check_values
from jumpstart.status.codes import Status, status_of
from jumpstart.status.counts import COUNTS, count_points, status_at
from jumpstart.status.metric_group import MetricGroup
from jumpstart.status.sample import PointSample

WAITING = 64 * 1024
"""Pairs of a point and a layer that are kept before the batches are reduced."""
LEAST = 2048
"""Pairs added to the size of every batch, so that the number of kept batches is bounded too."""

Grouping: TypeAlias = tuple[tuple[tuple[str, ...], tuple[int, ...], int, int], ...]
"""Names, order, units and positions of each record: batches that agree in all of them can be reduced together."""
Layout: TypeAlias = list[tuple[str, int]]
"""Name and units of every layer, in call order."""


class _State:
    """A state of :class:`NetworkStatus`: reading or replacing it first reduces the batches in the queue.

    So whoever reads the states, torchmetrics and its wrappers included, finds every batch in them.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, metric: None, owner: type) -> _State: ...
    @overload
    def __get__(self, metric: NetworkStatus, owner: type) -> Tensor: ...
    def __get__(self, metric: NetworkStatus | None, owner: type) -> Tensor | _State:
        if metric is None:
            return self
        metric.reduce_pending()
        state: Tensor = metric.__dict__[self.name]
        return state

    def __set__(self, metric: NetworkStatus, value: Tensor) -> None:
        metric.reduce_pending()
        metric._queue.grouping = ()  # the layers may be other ones now
        metric.__dict__[self.name] = value


class NetworkStatus(MetricGroup):
    r"""Shares of dead, linear and non-linear units and points, and their mean penalties, over an epoch.

    The status of a unit follows from its extrema over *all* the points since the last reset: dead if its maximum is at
    most 0, linear if its minimum is above 0, else non-linear. A point has one status per layer, and is *dead in the
    network* at a layer if it is dead there or at any later layer: no gradient reaches that layer from the point.

    Args:
        margin: Margin of the positive penalties, in the units of the preactivations.
        negative_margin: Margin of the negative penalties; None: that of ``margin``.
        sample: A sample of the points, which draws from all batches and keeps the status of a few points. The sample
            is not a state: ``state_dict`` does not contain it, and ``merge_state`` refuses a metric with a sample.
        **kwargs: Options of :class:`torchmetrics.Metric`.

    Shape:
        - ``update``: the records of one forward pass (:attr:`JumpstartRegularization.extrema`).
        - ``compute``: a dictionary of scalars; :meth:`read_numbers` lists their names.

    Raises:
        TypeError: If ``update`` gets anything but the records of a forward pass.
        ValueError: If a margin is wrong; if a batch has other layers than the batches before it, or layers with
            unequal numbers of samples; or if states with other margins or layers are merged or loaded.
        RuntimeError: If the records are on another device than the metric.

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

    reach, counts, layers = _State(), _State(), _State()

    def __init__(
        self, margin: float = MARGIN, negative_margin: float | None = None, sample: PointSample | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.margins, self._sample = check_margins(margin, negative_margin), sample
        self._queue = _Queue()
        empty = _encoded(self.margins, [])
        self._named: tuple[Layout, Tensor] = [], empty  # the layout that was read or written last, and its state
        self.add_state("reach", torch.empty(2, 0, dtype=torch.float64), dist_reduce_fx="max")
        self.add_state("counts", torch.zeros(len(COUNTS), dtype=torch.float64), dist_reduce_fx="sum")
        # The options and the layers are a state too: what is merged, loaded or shared is then never of other ones.
        self.add_state("layers", empty)
        if sample is not None:  # NaN equals nothing, so a collection never has another metric draw for this one
            self.add_state("unshared", torch.tensor(torch.nan), dist_reduce_fx="max")

    def update(self, records: Sequence[Extrema]) -> None:
        """Count one batch.

        Args:
            records: The records of one forward pass.
        """
        self._put(records)

    def add(self, records: Sequence[Extrema]) -> None:
        """:meth:`update` without torchmetrics' bookkeeping, which takes as long as a batch of a small network."""
        self.__dict__["_computed"] = None
        self.__dict__["_update_count"] += 1
        self._put(records)

    def forward(self, records: Sequence[Extrema]) -> dict[str, Tensor]:
        """Count one batch.

        Args:
            records: The records of one forward pass.

        Returns:
            The metrics of this batch alone.
        """
        self.reduce_pending()
        sample, self._sample = self._sample, None  # torchmetrics resets the metric, but the sample must go on
        try:
            metrics: dict[str, Tensor] = super().forward(records)
        finally:
            self._sample = sample
        self._draw(points_by_layer(records))
        return metrics

    def _put(self, records: Sequence[Extrema]) -> None:
        queue = self._queue
        queue.check(records)
        grouping = tuple([(r.names, r.order, r.unit.shape[2], r.point.shape[2] // r.samples) for r in records])
        if grouping != queue.grouping:
            self.reduce_pending()
            self._set_layout(queue.plan(grouping, records), records[0].unit.device)
        queue.put(records)
        if queue.free_pairs <= 0:
            self.reduce_pending()

    def _set_layout(self, plan: _Plan, device: torch.device) -> None:
        if device != self.counts.device:
            self._queue.grouping = ()
            raise RuntimeError(
                f"the records are on {device}, but this NetworkStatus is on {self.counts.device}. Move the metric "
                f"first: status.to({str(device)!r})."
            )
        if self.reach.numel():
            if plan.layout != self.layout:
                self._queue.grouping = ()
                raise ValueError(
                    f"the captured layers changed within an epoch: {_changes(plan.layout, self.layout)}. Use one "
                    "NetworkStatus for each set of layers, or reset() in between."
                )
            return
        if plan.layout != self._named[0] or self._named[1].device != device:
            self._named = plan.layout, _encoded(self.margins, plan.layout).to(device)
        reach = self.counts.new_full((2, sum(units for _, units in plan.layout)), -torch.inf)
        self.__dict__.update(layers=self._named[1], reach=reach)

    @property
    def sample(self) -> PointSample | None:
        """The sample of the points of all batches, or None without one."""
        self.reduce_pending()
        return self._sample

    @property
    def layout(self) -> Layout:
        """Name and units of every layer, in call order; none before the first batch."""
        layers = self.layers
        if layers is not self._named[1]:
            self._named = self._decoded(layers), layers
        return self._named[0]

    def _decoded(self, layers: Tensor) -> Layout:
        """The layout in a state, which must be of the margins of this metric."""
        (positive, negative), layout = json.loads(bytes(layers.tolist()))
        if (positive, negative) != self.margins:
            mine, theirs = (f"NetworkStatus({margin_arguments(pair)})" for pair in (self.margins, (positive, negative)))
            raise ValueError(
                f"margin and negative_margin must be those of the states to read, got {mine}: {theirs} reads them."
            )
        return [(name, units) for name, units in layout]

    def reduce_pending(self) -> None:
        """Reduce the batches in the queue, as every reading of a state does."""
        records = self._queue.drain()
        if not records:
            return
        units = torch.cat([record.unit.flatten(1) for record in records], 1)
        order = self._queue.plans[self._queue.grouping].units
        points = points_by_layer(records)
        # Never in place: other metrics, copies and wrappers may hold the states.
        reach = torch.maximum(self.reach, units if order is None else units[:, order])
        self.__dict__.update(reach=reach, counts=self.counts + count_points(points, self.margins))
        self._draw(points)

    def _draw(self, points: Tensor) -> None:
        if self._sample is not None:
            self._sample.draw(points.shape[2], lambda chosen: status_at(points, chosen), points.device)

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
        reach = self._updated_reach()
        status = status_of(reach[0], -reach[1], check=False)
        hinges = torch.relu(margin_of(reach, self.margins) - reach).sum(1)
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

    def _updated_reach(self) -> Tensor:
        reach = self.reach
        if not reach.numel():
            raise RuntimeError("there is no status yet: update() it with the records of a forward pass first.")
        return reach

    @property
    def unit_status(self) -> dict[str, Tensor]:
        """The status of every unit so far, by layer in call order: (units,) codes of :class:`Status`.

        As for :meth:`compute`, all processes of a distributed run must read it together.

        Raises:
            RuntimeError: Before any update.
        """
        return self._by_layer(lambda reach: status_of(reach[0], -reach[1], check=False))

    @property
    def unit_max(self) -> dict[str, Tensor]:
        """The largest preactivation of every unit so far, by layer in call order: (units,), float64."""
        return self._by_layer(lambda reach: reach[0])

    @property
    def unit_min(self) -> dict[str, Tensor]:
        """The smallest preactivation of every unit so far, by layer in call order: (units,), float64."""
        return self._by_layer(lambda reach: -reach[1])

    def _by_layer(self, values: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        with self._all_processes():
            reach, layout = self._updated_reach(), self.layout
        parts = values(reach).split([units for _, units in layout])
        return {name: part for (name, _), part in zip(layout, parts, strict=True)}

    def reset(self) -> None:
        """Start a new epoch."""
        self._queue = _Queue()
        super().reset()
        if self._sample is not None:
            self._sample.reset()

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the batches of another metric, or those behind its states, to the batches of this one.

        Args:
            incoming_state: The other metric, or its ``metric_state``.

        Raises:
            ValueError: If the other has other margins or layers, or one of the two has a sample of the points.
        """
        if self._sample is not None or getattr(incoming_state, "sample", None) is not None:
            raise ValueError(
                "sample must be None where metrics are merged, because samples can't be. Use NetworkStatus()."
            )
        super().merge_state(incoming_state)

    def _reduce_states(self, incoming_state: Mapping[str, Tensor]) -> None:
        if incoming_state.keys() < self._defaults.keys():
            super()._reduce_states(dict(incoming_state))  # which names the one that is missing
        self._note_states()
        mine = {name: getattr(self, name) for name in self._defaults}
        for name, state in self._merged(dict(incoming_state), mine).items():
            setattr(self, name, state.to(self.device))

    def _sync_dist(
        self, dist_sync_fn: Callable[..., list[Tensor]] = gather_all_tensors, process_group: object = None
    ) -> None:
        """Replace the states by those of all processes, of which some may not have counted a batch."""
        group = process_group or self.process_group
        gathered = {name: dist_sync_fn(getattr(self, name), group=group) for name in self._defaults}
        ranks = [dict(zip(gathered, states, strict=True)) for states in zip(*gathered.values(), strict=True)]
        for name, state in functools.reduce(self._merged, ranks).items():
            setattr(self, name, state)

    def _merged(self, one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
        """The states of two sets of batches, each of which may be empty."""
        layout, other_layout = self._decoded(one["layers"]), self._decoded(other["layers"])
        if not layout or not other_layout:
            return one if layout else other
        if layout != other_layout:
            raise ValueError(
                f"metrics of other layers can't be merged: {_changes(layout, other_layout)}. Use one NetworkStatus for "
                "each set of layers."
            )
        sums = {"counts": one["counts"] + other["counts"], "reach": torch.maximum(one["reach"], other["reach"])}
        return one | sums

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        if f"{prefix}layers" in state_dict:
            self._decoded(state_dict[f"{prefix}layers"])  # refuses the states of other margins
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any) -> nn.Module:
        self.reduce_pending()
        self._queue = _Queue()  # which holds positions on the device of before
        return super()._apply(fn, *args)

    def __getstate__(self) -> dict[str, Any]:
        self.reduce_pending()
        return super().__getstate__() | {"_queue": _Queue()}


def _encoded(margins: Margins, layout: Layout) -> Tensor:
    """Margins and layout as bytes, uint8."""
    return torch.frombuffer(bytearray(json.dumps([margins, layout]).encode()), dtype=torch.uint8)


def _changes(one: Layout, other: Layout) -> str:
    """The names of layers that differ between two layouts."""
    changed = sorted({name for name, _ in set(one) ^ set(other)}) or ["their order"]
    return ", ".join(changed[:4])


class _Plan:
    """The order of calls and units in the records of one grouping. Batches of other sizes may have another grouping.

    Attributes:
        layout: Name and units of every layer, in call order.
        units: Positions that sort the concatenated units by call; None if they are sorted.
    """

    def __init__(self, records: Sequence[Extrema]) -> None:
        calls = [
            (position, name, record.unit.shape[2])
            for record in records
            for position, name in zip(record.order, record.names, strict=True)
        ]
        order = sorted(range(len(calls)), key=calls.__getitem__)
        self.layout = [calls[place][1:] for place in order]
        self.units: Tensor | None = None
        if order != list(range(len(calls))):
            sizes = [size for *_, size in calls]
            parts = torch.arange(sum(sizes), device=records[0].unit.device).split(sizes)
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

    @staticmethod
    def check(records: Sequence[Extrema]) -> None:
        """Refuse what are no records of a pass, and layers of unequal numbers of samples."""
        of_a_pass = isinstance(records, list | tuple) and bool(records)
        if not of_a_pass or any(not isinstance(record, Extrema) for record in records):
            raise TypeError(
                "records must be those of a forward pass, status.update(jumpstart.extrema), got "
                f"{type(records).__name__}: {records!r:.60}."
            )
        samples = records[0].samples
        check_values(records[0].unit)
        if any(record.samples != samples for record in records):
            sizes = ", ".join(f"{record.names[0]}: {record.samples}" for record in records[:4])
            raise ValueError(
                f"layers have unequal numbers of samples ({sizes}), so a point has no status in each of them. Capture "
                "layers whose dimension 0 is the batch: capture=[module names]."
            )

    def put(self, records: Sequence[Extrema]) -> None:
        """Append a batch."""
        self.batches.append([record.detach() for record in records])
        self.free_pairs -= sum([len(record.names) for record in records]) * records[0].samples + LEAST

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
    _Queue.check(records)
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
