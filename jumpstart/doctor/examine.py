"""A check-up of any model: what Jumpstart reads in it and what not, who is dead, what a step costs, what to do.

``python -m jumpstart doctor torchvision.models:resnet50`` prints it. Needs torch alone.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from jumpstart.capture.hooks import attached
from jumpstart.capture.passive import PassiveRecorder
from jumpstart.capture.targets import find_targets
from jumpstart.doctor.advice import advise
from jumpstart.doctor.batch import candidate_shapes, check_inputs, random_batch
from jumpstart.doctor.cost import cost_of_step
from jumpstart.doctor.load import DoctorError, Patient, dataset_batch, one_line
from jumpstart.doctor.observe import Observed, observe
from jumpstart.extrema.rule import NextOp
from jumpstart.jumpstart import JumpstartRegularization
from jumpstart.status.codes import Status, status_of
from jumpstart.undisturbed import restored

__all__ = ["DoctorError", "examine"]


def examine(
    model: nn.Module | Patient,
    *,
    data: str | Tensor = "random",
    input_shape: tuple[int, ...] | None = None,
    batch_size: int = 64,
    seed: int = 0,
    cost: bool = True,
) -> dict[str, Any]:
    """Run a model on one batch, and tell all about its preactivations.

    Weights, buffers, gradients, modes, hooks and random generators are as before afterwards.

    Args:
        model: The model, or what :func:`~jumpstart.doctor.load.load_patient` found.
        data: ``"random"``, the name of a data set of this project, or a batch.
        input_shape: Of one sample of random data; by default guessed.
        batch_size: Samples.
        seed: Of the data.
        cost: Time steps with and without Jumpstart.

    Returns:
        Plain values, as JSON has them. ``captured`` has one entry per layer call; ``functional`` what no hook can
        reach; ``advice`` what to do.

    Raises:
        DoctorError: If the model can't be run on such data, or has a regularizer already.

    Example:
        >>> found = examine(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)), cost=False)
        >>> [(layer["name"], layer["units"]) for layer in found["captured"]]
        [('1', 4)]
    """
    patient = model if isinstance(model, Patient) else Patient(model, type(model).__name__)
    compiled = [name for name, part in patient.model.named_modules() if _compiled(part)]
    body = getattr(patient.model, "_orig_mod", patient.model)
    if batch_size < 1:
        raise DoctorError(f"batch_size must be >= 1, got {batch_size}.")
    other = attached(body)
    if other is not None:
        kind = "StatusMonitor" if isinstance(other, PassiveRecorder) else "JumpstartRegularization"
        raise DoctorError(f"the model has a {kind} already: take it off first with its remove().")
    check_inputs(body)
    with restored(body), _eager():
        x = _batch(body, patient, data, input_shape, batch_size, seed)
        observed = _try(body, x)
        found: dict[str, Any] = {
            "model": patient.name,
            "kind": type(body).__name__,
            "parameters": sum(parameter.numel() for parameter in body.parameters()),
            "mode": "training" if body.training else "evaluation",
            "data": {
                "source": data if isinstance(data, str) else "given",
                "shape": list(x.shape),
                "seed": seed,
            },
            "compiled": compiled,
            "functional": [
                {"module": where, "function": name, "calls": calls, "in_place": (where, name) in observed.in_place}
                for (where, name), calls in observed.functional.items()
            ],
            "checkpointed": [
                {"module": name, "reentrant": reentrant} for name, reentrant in observed.checkpointed.items()
            ],
        }
        found |= _status(body, patient, x, observed)
        reentrant = any(observed.checkpointed.values())
        found["cost"] = cost_of_step(body, patient, x) if cost and found["captured"] and not reentrant else None
    found["advice"] = advise(found, body)
    return found


def _compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


@contextmanager
def _eager() -> Iterator[None]:
    """Nothing is compiled inside: hooks are looked at, not traced."""
    with torch.compiler.set_stance("force_eager"):
        yield


# Data -------------------------------------------------------------------------------------------


def _batch(
    model: nn.Module, patient: Patient, data: str | Tensor, shape: tuple[int, ...] | None, batch_size: int, seed: int
) -> Tensor:
    if isinstance(data, Tensor):
        return data
    if data != "random":
        return dataset_batch(data, model, batch_size, seed)
    known = shape or patient.input_shape
    if known is not None:
        return random_batch(model, known, batch_size, seed)
    candidates = candidate_shapes(model)
    reason = ""
    for guess in candidates:
        x = random_batch(model, guess, 2, seed)
        try:
            model(x)
        except Exception as error:  # whatever a model raises at a wrong shape
            reason = one_line(error)
            continue
        return random_batch(model, guess, batch_size, seed)
    tried = " and ".join(map(_by_commas, candidates)) or "none, as no layer tells it"
    last = f", the last one ended in {reason}. If that is no mistake in the model itself, give" if reason else ". Give"
    raise DoctorError(
        f"the shape of a sample can't be guessed: tried {tried}{last} the shape: --input-shape 3,224,224, or "
        "--data NAME."
    )


def _try(model: nn.Module, x: Tensor) -> Observed:
    try:
        return observe(model, lambda: model(x))
    except Exception as error:  # the model's own words
        raise DoctorError(f"the model can't be run on a batch of shape {tuple(x.shape)}: {one_line(error)}") from error


# Status -----------------------------------------------------------------------------------------


def _status(model: nn.Module, patient: Patient, x: Tensor, observed: Observed) -> dict[str, Any]:
    empty: dict[str, Any] = {
        "captured": [], "shared": {}, "in_place": [], "not_called": [], "total": None, "first_death": None,
    }  # fmt: skip
    try:
        targets = {target.name: target for target in find_targets(model, patient.capture.get("capture", "activations"))}
    except ValueError as error:
        return {**empty, "nothing": str(error)}
    reentrant = any(observed.checkpointed.values())
    with JumpstartRegularization(model, **patient.capture) as jumpstart:
        try:
            with torch.set_grad_enabled(not reentrant), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "None of the inputs have requires_grad")
                model(x)
            records = jumpstart.extrema
        except (RuntimeError, ValueError, TypeError) as error:
            return {**empty, "nothing": " ".join(str(error).split())}
    layers: dict[int, dict[str, Any]] = {}
    points = []
    for record in records:
        unit = status_of(record.unit_max, record.unit_min, check=False)
        point = status_of(record.point_max, record.point_min, check=False)
        for index, (position, name) in enumerate(zip(record.order, record.names, strict=True)):
            target = targets[name.partition("#")[0]]
            units = unit[index].numel()
            layers[position] = {
                "name": name,
                "type": type(target.module).__name__,
                "shape": list(observed.shapes.get(target.name, ())),
                "units": units,
                "dead_units": int((unit[index] == Status.DEAD).sum()),
                "linear_units": int((unit[index] == Status.LINEAR).sum()),
                "dead_points": float((point[index] == Status.DEAD).double().mean()),
                "minimum": _finite(record.unit_min[index].min()),
                "maximum": _finite(record.unit_max[index].max()),
            }
            points.append((position, point[index] == Status.DEAD))
    ordered = [layers[position] for position in sorted(layers)]
    total = sum(layer["units"] for layer in ordered)
    first = next((layer for layer in ordered if layer["dead_points"] > 0), None)
    return {
        "nothing": None,
        "captured": ordered,
        "shared": {name: observed.calls[name] for name in targets if observed.calls[name] > 1},
        "in_place": [name for name, target in targets.items() if target.after is NextOp.WRITES],
        "not_called": [name for name in targets if not observed.calls[name]],
        "total": {
            "units": total,
            "dead_units": sum(layer["dead_units"] for layer in ordered),
            "linear_units": sum(layer["linear_units"] for layer in ordered),
            "dead_points": _dead_somewhere(points),
        },
        "first_death": first and {"layer": first["name"], "dead_points": first["dead_points"]},
    }


def _dead_somewhere(points: list[tuple[int, Tensor]]) -> float:
    """Share of points that are dead in at least one layer."""
    sizes = {len(dead) for _, dead in points}
    if len(sizes) != 1:  # a model that changes the number of samples on its way
        return max(float(dead.double().mean()) for _, dead in points)
    return float(torch.stack([dead for _, dead in points]).any(0).double().mean())


def _finite(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


# Cost -------------------------------------------------------------------------------------------


def _by_commas(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))
