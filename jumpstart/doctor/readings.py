"""The status of the units and points that Jumpstart captures in one forward pass."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from jumpstart.capture.sample_dims import time_major
from jumpstart.capture.targets import Target, find_targets
from jumpstart.doctor.examination import FirstDeath, Layer, NoGradient, Total
from jumpstart.doctor.load import LoadedModel
from jumpstart.doctor.observe import Observed
from jumpstart.extrema import Extrema
from jumpstart.extrema.rule import NextOp
from jumpstart.jumpstart import JumpstartRegularization
from jumpstart.status.codes import Status, status_of


@dataclass(frozen=True)
class Readings:
    """The captured layers of a model, with the meanings of :class:`~jumpstart.doctor.examination.Examination`."""

    nothing: str | None = None
    captured: tuple[Layer, ...] = ()
    shared: dict[str, int] = field(default_factory=dict)
    in_place: tuple[str, ...] = ()
    not_called: tuple[str, ...] = ()
    total: Total | None = None
    first_death: FirstDeath | None = None
    doubts: tuple[str, ...] = ()
    time_major: tuple[str, ...] = ()
    no_gradient: dict[str, NoGradient] = field(default_factory=dict)


def read_status(loaded: LoadedModel, x: Tensor, observed: Observed) -> Readings:
    """Run a model with a regularizer attached, and read the status of every captured call.

    Args:
        loaded: The model and its capture options.
        x: The batch.
        observed: What a forward pass on this batch has shown.
    """
    model = loaded.model
    try:
        targets = {target.name: target for target in find_targets(model, loaded.capture.get("capture", "activations"))}
        extrema, doubts = _extrema(loaded, x, reentrant=any(observed.checkpointed.values()))
    except Exception as error:  # the model has run before, so the error is one of reading
        return Readings(nothing=" ".join(str(error).split()))
    layers: dict[int, Layer] = {}
    dead_points: list[Tensor] = []
    for record in extrema:
        unit = status_of(record.unit_max, record.unit_min, check=False)
        point = status_of(record.point_max, record.point_min, check=False)
        for row, (position, name) in enumerate(zip(record.order, record.names, strict=True)):
            target = targets[name.partition("#")[0]]
            ends = record.unit_min[row].min(), record.unit_max[row].max()
            shape = observed.shapes.get(target.name, ())
            layers[position] = _layer(name, target, shape, unit[row], point[row], ends)
            dead_points.append(point[row] == Status.DEAD)
    captured = tuple(layers[position] for position in sorted(layers))
    first = next((layer for layer in captured if layer.dead_points > 0), None)
    return Readings(
        captured=captured,
        shared={name: observed.calls[name] for name in targets if observed.calls[name] > 1},
        in_place=tuple(name for name, target in targets.items() if target.after is NextOp.WRITES),
        not_called=tuple(name for name in targets if not observed.calls[name]),
        total=Total(
            units=sum(layer.units for layer in captured),
            dead_units=sum(layer.dead_units for layer in captured),
            linear_units=sum(layer.linear_units for layer in captured),
            dead_points=_dead_somewhere(dead_points),
        ),
        first_death=FirstDeath(first.name, first.dead_points) if first else None,
        doubts=doubts,
        time_major=_time_major(model),
        no_gradient=_without_gradient(targets.values(), observed),
    )


def _without_gradient(targets: Iterable[Target], observed: Observed) -> dict[str, NoGradient]:
    """The layers whose preactivation has no gradient, with the reason; none of those in a reentrant checkpoint."""
    found = {}
    for target in targets:
        name = target.name
        reached = observed.with_gradient["input" if target.reads_input else "output"]
        if observed.calls[name] and name not in reached and not observed.checkpointed.get(name, False):
            found[name] = NoGradient.OFF if name in observed.gradients_off else NoGradient.CONSTANT
    return found


def _extrema(loaded: LoadedModel, x: Tensor, *, reentrant: bool) -> tuple[Sequence[Extrema], tuple[str, ...]]:
    """The records of one pass, and warnings. Reentrant checkpoints are refused under gradients, so run without."""
    with JumpstartRegularization(loaded.model, **loaded.capture) as jumpstart:
        with torch.set_grad_enabled(not reentrant), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "None of the inputs have requires_grad")
            loaded.model(x)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            return jumpstart.extrema, tuple(str(warning.message) for warning in caught)


def _time_major(model: nn.Module) -> tuple[str, ...]:
    """The outermost modules with ``batch_first=False``."""
    if time_major(model):
        return ("the model",)
    found: list[str] = []
    for name, module in model.named_modules():
        if time_major(module) and not any(name.startswith(f"{outer}.") for outer in found):
            found.append(name)
    return tuple(found)


def _layer(
    name: str, target: Target, shape: tuple[int, ...], unit: Tensor, point: Tensor, ends: tuple[Tensor, Tensor]
) -> Layer:
    return Layer(
        name=name,
        type=type(target.module).__name__,
        shape=shape,
        units=unit.numel(),
        dead_units=int((unit == Status.DEAD).sum()),
        linear_units=int((unit == Status.LINEAR).sum()),
        dead_points=float((point == Status.DEAD).double().mean()),
        minimum=_finite(ends[0]),
        maximum=_finite(ends[1]),
    )


def _dead_somewhere(dead_points: list[Tensor]) -> float:
    """The share of points that are dead in at least one layer."""
    if len({len(dead) for dead in dead_points}) != 1:  # layers have unequal numbers of samples
        return max(float(dead.double().mean()) for dead in dead_points)
    return float(torch.stack(dead_points).any(0).double().mean())


def _finite(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
