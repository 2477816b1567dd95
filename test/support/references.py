"""The slow reference: the loss and its gradient in NumPy, slice by slice, without hooks of Jumpstart."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from support.zoo import make
from torch import Tensor, nn

from jumpstart.capture.targets import is_activation

SIDES = ("positive", "negative")
LossAndGrads = tuple[float, list[Tensor | None]]


class Recorded(nn.Module):
    """An activation that stores a copy of each of its inputs."""

    def __init__(self, activation: nn.Module, log: list[Tensor]) -> None:
        super().__init__()
        self.activation, self.log = activation, log

    def forward(self, z: Tensor) -> Tensor:
        self.log.append(z.clone())
        return self.activation(z)


def preactivations(
    model: nn.Module, x: Tensor, run: Callable[[nn.Module, Tensor], object] | None = None
) -> tuple[nn.Module, object, list[Tensor]]:
    """A copy of the model, its output, and the inputs of all its activations in call order."""
    model = copy.deepcopy(model)
    log: list[Tensor] = []
    wrapped: dict[int, Recorded] = {}
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if is_activation(child):
                wrapped.setdefault(id(child), Recorded(child, log))
                setattr(module, name, wrapped[id(child)])
    output = model(x) if run is None else run(model, x)
    return model, output, log


@dataclass
class Options:
    """The options of the regularizer that the reference has."""

    margin: float = 1.0
    negative_margin: float | None = None
    positive_weight: float = 1.0
    negative_weight: float = 1.0
    aggregate: str = "balanced"
    terms: Iterable[str] = ("unit_positive", "unit_negative", "point_positive", "point_negative")
    ties: str = "single"
    point: str = "sample"


def reference(tensors: list[Tensor], options: Options, unit_dim: int = 1) -> tuple[float, list[np.ndarray]]:
    """The loss of preactivations and its gradient with respect to each of them."""
    arrays = [np.ascontiguousarray(np.moveaxis(z.detach().double().numpy(), unit_dim, 1)) for z in tensors]
    slices: dict[str, list[tuple[float, list[tuple[int, int, float]]]]] = {"unit": [], "point": []}
    for layer, z in enumerate(arrays):
        for kind in slices:
            if not any(term.startswith(kind) for term in options.terms):
                continue
            for members in _members(z.shape, kind, options.point):
                hinges = [_hinge(z, layer, members, kind, side, options) for side in SIDES]
                if options.aggregate != "sum_of_squared_hinges":
                    hinges = [(sum(loss for loss, _ in hinges), hinges[0][1] + hinges[1][1])]
                slices[kind] += hinges
    grads = [np.zeros_like(z) for z in arrays]
    units, points = slices["unit"], slices["point"]
    everything = units + points
    losses = np.array([loss for loss, _ in everything])
    if options.aggregate == "balanced":
        loss = sum(np.mean([value for value, _ in part]) for part in (units, points) if part)
        factors = [1 / len(units)] * len(units) + [1 / len(points)] * len(points) if units and points else None
        factors = factors or [1 / len(everything)] * len(everything)
    elif options.aggregate == "mean":
        loss, factors = losses.mean(), [1 / len(losses)] * len(losses)
    elif options.aggregate == "norm":
        loss = np.sqrt((losses**2).sum())
        factors = list(losses / loss) if loss else [0.0] * len(losses)
    else:
        loss, factors = (losses**2).sum(), list(2 * losses)
    for (_, entries), factor in zip(everything, factors, strict=True):
        for layer, index, share in entries:
            grads[layer].flat[index] += factor * share
    return float(loss), [np.moveaxis(grad, 1, unit_dim) for grad in grads]


def _members(shape: tuple[int, ...], kind: str, point: str) -> list[np.ndarray]:
    """The flat indices of every slice, in the order in which ties are broken."""
    index = np.arange(np.prod(shape)).reshape(shape)
    if kind == "unit":
        return [index[:, unit].ravel() for unit in range(shape[1])]
    if point == "sample":
        return [index[sample].ravel() for sample in range(shape[0])]
    return list(np.moveaxis(index, 1, -1).reshape(-1, shape[1]))


def _hinge(
    z: np.ndarray, layer: int, members: np.ndarray, kind: str, side: str, options: Options
) -> tuple[float, list[tuple[int, int, float]]]:
    """The weighted hinge of a slice on one side, and the slope of each entry that attains the extremum."""
    values, sign = z.ravel()[members], 1 if side == "positive" else -1
    weight, margin = {
        "positive": (options.positive_weight, options.margin),
        "negative": (options.negative_weight, options.negative_margin or options.margin),
    }[side]
    extremum = (sign * values).max()
    if f"{kind}_{side}" not in options.terms or margin - extremum <= 0:
        return 0.0, []
    tied = members[sign * values == extremum]
    tied = tied if options.ties == "average" else tied[:1]
    return weight * (margin - extremum), [(layer, i, -sign * weight / len(tied)) for i in tied]


def reference_loss_and_grads(
    model: nn.Module, x: Tensor, options: Options | None = None, unit_dim: int = 1
) -> LossAndGrads:
    """The loss of a model and its gradient with respect to all its parameters and its input."""
    x = x.detach().requires_grad_()
    model, _, tensors = preactivations(model, x)
    loss, grads = reference(tensors, options or Options(), unit_dim)
    inner = sum((z * torch.from_numpy(grad.copy())).sum() for z, grad in zip(tensors, grads, strict=True))
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return loss, list(torch.autograd.grad(inner, [*wanted, x], allow_unused=True))


@functools.cache
def zoo_reference(name: str, unit_dim: int = 1, options: tuple[tuple[str, Any], ...] = ()) -> LossAndGrads:
    """The loss of a model of the zoo and its gradient, computed once for all tests; ``options`` are pairs."""
    return reference_loss_and_grads(*make(name), Options(**dict(options)), unit_dim)


def assert_same_grads(found: Iterable[Tensor | None], expected: Iterable[Tensor | None], rtol: float = 1e-6) -> None:
    """Equal to ``rtol`` of the largest entry (and 1e-12, where terms cancel); None counts as zero."""
    for one, other in zip(found, expected, strict=True):
        if one is None and other is None:
            continue
        one = torch.zeros_like(other) if one is None else one
        other = torch.zeros_like(one) if other is None else other
        scale = other.abs().max().item()
        difference = (one - other).abs().max().item()
        assert difference <= rtol * scale + 1e-12, f"gradients differ by {difference:.2e}, the largest is {scale:.2e}"
