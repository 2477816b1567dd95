"""An examination of any model: what Jumpstart captures in it, dead units and points, the cost of a step, and advice.

``python -m jumpstart doctor torchvision.models:resnet50`` prints it. Needs torch alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jumpstart.capture.hooks import attached
from jumpstart.capture.passive import PassiveRecorder
from jumpstart.capture.undisturbed import restored
from jumpstart.doctor.advice import advise
from jumpstart.doctor.batch import check_inputs, guess_shape, random_batch
from jumpstart.doctor.budget import MOST_SAMPLES, SECONDS, Budget, samples_that_fit, seconds_of
from jumpstart.doctor.cost import cost_of_step, samples_of_step, seconds_of_rounds
from jumpstart.doctor.examination import Batch, CheckpointedModule, Examination, FunctionCall, TooSlow
from jumpstart.doctor.load import DoctorError, LoadedModel, one_line
from jumpstart.doctor.observe import Observed, observe
from jumpstart.doctor.readings import read_status
from jumpstart.words import in_seconds

__all__ = ["DoctorError", "examine"]

_PROBE = 2
"""Samples of the first pass. Batch normalization in training mode needs two."""
_LONG = 1.0
"""Seconds from which a step of the examination is announced."""


def examine(
    model: nn.Module | LoadedModel,
    *,
    data: Tensor | None = None,
    source: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    cost: bool = True,
    seconds: float = SECONDS,
) -> Examination:
    """Run a model on one batch, and report the status of its units and points.

    Weights, buffers, gradients, modes, hooks and random generators are restored afterwards.

    Args:
        model: The model, alone or with its name and options.
        data: A batch, with the samples first; None: random numbers.
        source: The origin of the batch, for the result; None: ``given``, or ``random`` without a batch.
        input_shape: Shape of one sample of random data; None: guessed from the first layer.
        batch_size: Samples of random data, at least 1; None: 64, or fewer if ``seconds`` are too short for them.
        seed: Seed of random data.
        cost: Whether to time steps with and without Jumpstart.
        seconds: Time of the examination, above 0. The cost is timed on as many samples as fit.

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
    origin = source or ("random" if data is None else "given")
    plan = Plan(origin, input_shape, batch_size, seed, Budget(seconds))
    seen = examine_status(loaded, data, plan)
    return seen.result if not cost else add_cost(seen)


@dataclass(frozen=True)
class Plan:
    """How to examine a model.

    Attributes:
        source: The origin of the batch.
        input_shape: Shape of one sample of random data; None: guessed.
        batch_size: Samples in the batch; None: as many as fit, and all of a batch that is given.
        seed: Seed of random data.
        budget: The time.
        announce: Takes a line about what runs now, if that takes more than a second.
    """

    source: str
    input_shape: tuple[int, ...] | None
    batch_size: int | None
    seed: int
    budget: Budget
    announce: Callable[[str], object] = lambda line: None


@dataclass(frozen=True)
class StatusSeen:
    """The first part of an examination.

    Attributes:
        result: The result without the cost.
        loaded: The model that was examined.
        data: The batch.
        pass_seconds: Seconds of a forward pass on the batch.
        plan: How the model is examined.
        timeable: Whether steps of the model can be timed.
    """

    result: Examination
    loaded: LoadedModel
    data: Tensor
    pass_seconds: float
    plan: Plan
    timeable: bool


def examine_status(loaded: LoadedModel, data: Tensor | None, plan: Plan) -> StatusSeen:
    """The result without the cost of a step: what Jumpstart captures, and the status on one batch.

    Args:
        loaded: The model.
        data: A batch; None: random numbers.
        plan: How to examine the model.

    Raises:
        DoctorError: If the model can't be run on such data, or has a regularizer already.
    """
    compiled = tuple(name for name, part in loaded.model.named_modules() if _is_compiled(part))
    body = getattr(loaded.model, "_orig_mod", loaded.model)
    loaded = dataclasses.replace(loaded, model=body)
    _check(body, plan.batch_size)
    with _runnable(body):
        x = _random_data(loaded, plan) if data is None else data
        pass_seconds, observed = _observe(body, x)
        readings = read_status(loaded, x, observed)
        result = Examination(
            model=loaded.name,
            kind=type(body).__name__,
            parameters=sum(parameter.numel() for parameter in body.parameters()),
            mode="training" if body.training else "evaluation",
            data=Batch(plan.source, tuple(x.shape), plan.seed),
            compiled=compiled,
            functional=_functional(observed),
            checkpointed=tuple(CheckpointedModule(*item) for item in observed.checkpointed.items()),
            **{item.name: getattr(readings, item.name) for item in dataclasses.fields(readings)},
        )
    result = dataclasses.replace(result, advice=tuple(advise(result, body)))
    timeable = bool(readings.captured) and not any(observed.checkpointed.values())
    return StatusSeen(result, loaded, x, pass_seconds, plan, timeable)


def add_cost(seen: StatusSeen) -> Examination:
    """The whole result, with the cost of a step if it can be timed.

    Args:
        seen: The first part of the examination.
    """
    if not seen.timeable:
        return seen.result
    plan, x = seen.plan, seen.data
    samples = samples_of_step(len(x), seen.pass_seconds, plan.budget)
    if isinstance(samples, TooSlow):
        result = dataclasses.replace(seen.result, too_slow=samples)
    else:
        if seconds_of_rounds(seen.pass_seconds) > _LONG:
            plan.announce(f"timing steps with and without Jumpstart, {in_seconds(plan.budget.left)} at most")
        with _runnable(seen.loaded.model):
            cost = cost_of_step(seen.loaded, x if samples == len(x) else x[:samples], plan.budget)
        result = dataclasses.replace(seen.result, cost=cost)
    return dataclasses.replace(result, advice=tuple(advise(result, seen.loaded.model)))


def first_samples(loaded: LoadedModel, data: Tensor, plan: Plan) -> Tensor:
    """The beginning of a batch, as long as the time allows.

    Args:
        loaded: The model.
        data: The batch.
        plan: How to examine the model.

    Raises:
        DoctorError: If the model can't be run on such data.
    """
    with _runnable(loaded.model):
        return data[: _fitting(loaded.model, data[:_PROBE], len(data), plan)]


@contextmanager
def _runnable(model: nn.Module) -> Iterator[None]:
    """Restore the model at the end. It runs uncompiled, because compiled code would not call the hooks."""
    with restored(model), torch.compiler.set_stance("force_eager"), torch.enable_grad():
        yield


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def _check(model: nn.Module, batch_size: int | None) -> None:
    """Refuse a model that can't be examined."""
    if batch_size is not None and batch_size < 1:
        raise DoctorError(f"batch_size must be >= 1, got {batch_size}.")
    other = attached(model)
    if other is not None:
        kind = "StatusMonitor" if isinstance(other, PassiveRecorder) else "JumpstartRegularization"
        raise DoctorError(f"the model has a {kind} already: detach it first with its remove().")
    check_inputs(model)


def _random_data(loaded: LoadedModel, plan: Plan) -> Tensor:
    model, seed = loaded.model, plan.seed
    shape = plan.input_shape or loaded.input_shape or guess_shape(model, seed)
    count = plan.batch_size
    if count is None:
        count = _fitting(model, random_batch(model, shape, _PROBE, seed), MOST_SAMPLES, plan)
    return random_batch(model, shape, count, seed)


def _fitting(model: nn.Module, probe: Tensor, most: int, plan: Plan) -> int:
    """The number of samples for which the time allows the passes that read the status."""
    count, seconds = samples_that_fit(lambda: _run(model, probe), len(probe), most, plan.budget)
    if seconds > _LONG:
        plan.announce(f"running the model on {count} of {most} samples, about {in_seconds(seconds)} a pass")
    return count


def _run(model: nn.Module, x: Tensor) -> object:
    try:
        return model(x)
    except Exception as error:  # a model may raise anything
        raise DoctorError(f"the model can't be run on a batch of shape {tuple(x.shape)}: {one_line(error)}") from error


def _observe(model: nn.Module, x: Tensor) -> tuple[float, Observed]:
    """The seconds of a pass, and its observations."""
    seen: list[Observed] = []
    seconds = seconds_of(lambda: seen.append(observe(model, lambda: _run(model, x))), x)
    return seconds, seen[0]


def _functional(observed: Observed) -> tuple[FunctionCall, ...]:
    return tuple(
        FunctionCall(*pair, calls, in_place=pair in observed.in_place, before=tuple(observed.before[pair]))
        for pair, calls in observed.functional.items()
    )
