"""An examination of any model: what Jumpstart captures in it, dead units and points, the cost of a step, and advice.

``python -m jumpstart doctor torchvision.models:resnet50`` prints it. Needs torch alone.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from jumpstart.capture.hooks import attached
from jumpstart.capture.passive import PassiveRecorder
from jumpstart.doctor.advice import advise
from jumpstart.doctor.batch import check_inputs, guessed_batch, random_batch
from jumpstart.doctor.cost import cost_of_step
from jumpstart.doctor.examination import Batch, CheckpointedModule, Examination, FunctionCall
from jumpstart.doctor.load import DoctorError, LoadedModel, one_line
from jumpstart.doctor.observe import Observed, observe
from jumpstart.doctor.readings import read_status
from jumpstart.undisturbed import restored

__all__ = ["DoctorError", "examine"]


def examine(
    model: nn.Module | LoadedModel,
    *,
    data: Tensor | None = None,
    source: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    batch_size: int = 64,
    seed: int = 0,
    cost: bool = True,
) -> Examination:
    """Run a model on one batch, and report the status of its units and points.

    Weights, buffers, gradients, modes, hooks and random generators are restored afterwards.

    Args:
        model: The model, alone or with its name and options.
        data: A batch, with the samples first; None: random numbers.
        source: The origin of the batch, for the result; None: ``given``, or ``random`` without a batch.
        input_shape: Shape of one sample of random data; None: guessed from the first layer.
        batch_size: Samples of random data, at least 1.
        seed: Seed of random data.
        cost: Whether to time steps with and without Jumpstart.

    Returns:
        The result; ``to_dict()`` turns it into plain values.

    Raises:
        DoctorError: If the model can't be run on such data, or has a regularizer already.

    Example:
        >>> result = examine(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)), cost=False)
        >>> [(layer.name, layer.units) for layer in result.captured]
        [('1', 4)]
    """
    loaded = model if isinstance(model, LoadedModel) else LoadedModel(model, type(model).__name__)
    compiled = tuple(name for name, part in loaded.model.named_modules() if _is_compiled(part))
    body = getattr(loaded.model, "_orig_mod", loaded.model)
    loaded = dataclasses.replace(loaded, model=body)
    _check(body, batch_size)
    # Compiled code would not call the hooks.
    with restored(body), torch.compiler.set_stance("force_eager"):
        x = _random_data(loaded, input_shape, batch_size, seed) if data is None else data
        observed = _observe(body, x)
        readings = read_status(loaded, x, observed)
        timed = cost and readings.captured and not any(observed.checkpointed.values())
        result = Examination(
            model=loaded.name,
            kind=type(body).__name__,
            parameters=sum(parameter.numel() for parameter in body.parameters()),
            mode="training" if body.training else "evaluation",
            data=Batch(source or ("random" if data is None else "given"), tuple(x.shape), seed),
            compiled=compiled,
            functional=_functional(observed),
            checkpointed=tuple(CheckpointedModule(*item) for item in observed.checkpointed.items()),
            **{item.name: getattr(readings, item.name) for item in dataclasses.fields(readings)},
            cost=cost_of_step(loaded, x) if timed else None,
        )
    return dataclasses.replace(result, advice=tuple(advise(result, body)))


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def _check(model: nn.Module, batch_size: int) -> None:
    """Refuse a model that can't be examined."""
    if batch_size < 1:
        raise DoctorError(f"batch_size must be >= 1, got {batch_size}.")
    other = attached(model)
    if other is not None:
        kind = "StatusMonitor" if isinstance(other, PassiveRecorder) else "JumpstartRegularization"
        raise DoctorError(f"the model has a {kind} already: detach it first with its remove().")
    check_inputs(model)


def _random_data(loaded: LoadedModel, shape: tuple[int, ...] | None, batch_size: int, seed: int) -> Tensor:
    sample_shape = shape or loaded.input_shape
    if sample_shape is not None:
        return random_batch(loaded.model, sample_shape, batch_size, seed)
    return guessed_batch(loaded.model, batch_size, seed)


def _observe(model: nn.Module, x: Tensor) -> Observed:
    try:
        return observe(model, lambda: model(x))
    except Exception as error:  # a model may raise anything
        raise DoctorError(f"the model can't be run on a batch of shape {tuple(x.shape)}: {one_line(error)}") from error


def _functional(observed: Observed) -> tuple[FunctionCall, ...]:
    return tuple(
        FunctionCall(module, function, calls, in_place=(module, function) in observed.in_place)
        for (module, function), calls in observed.functional.items()
    )
