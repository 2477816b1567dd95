"""The time of a training step with the Jumpstart loss and without."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from jumpstart.doctor.budget import Budget, seconds_of
from jumpstart.doctor.examination import Cost, TooSlow
from jumpstart.doctor.load import LoadedModel
from jumpstart.jumpstart import JumpstartRegularization

_ROUNDS = 7
"""Rounds that count. One more comes before them, in which torch allocates and compiles what it needs."""
_FEWEST_ROUNDS = 3
"""Rounds that count for which the number of samples is chosen."""
_PASSES = 3.5
"""The time of a step in forward passes, roughly: a backward pass takes two, and the loss takes some."""
_SHORT = 0.05
"""Seconds below which a step is run twice, and the second one is timed."""


def samples_of_step(samples: int, pass_seconds: float, budget: Budget) -> int | TooSlow:
    """The number of samples with which a few rounds fit into the time.

    Args:
        samples: Samples in the batch.
        pass_seconds: Seconds of a forward pass on the batch.
        budget: The time.

    Returns:
        The number, at most ``samples``, or else an estimate for the smallest step, if not even two rounds of it fit.

    Example:
        >>> samples_of_step(64, 0.01, Budget(20.0)), samples_of_step(64, 160.0, Budget(20.0)).samples
        (64, 2)
    """
    round_seconds = 2 * _PASSES * max(pass_seconds, 1e-9) / samples  # of one sample
    count = min(max(int(budget.left / ((1 + _FEWEST_ROUNDS) * round_seconds)), 2), samples)
    if 2 * round_seconds * count > budget.left:
        return TooSlow(seconds=round_seconds * count, samples=count)
    return count


def seconds_of_rounds(pass_seconds: float) -> float:
    """Seconds of all rounds, estimated from those of a forward pass."""
    return 2 * _PASSES * pass_seconds * (1 + _ROUNDS)


def cost_of_step(loaded: LoadedModel, x: Tensor, budget: Budget) -> Cost:
    """Time forward and backward passes with and without the loss, in turn, so that both run under the same load.

    The two times are those of the round with the median ratio, so that they belong together.

    Args:
        loaded: The model and its capture options.
        x: The samples of a step.
        budget: The time. At least two rounds run, of which the second counts.
    """
    pairs: list[tuple[float, float]] = []
    for turn in range(_ROUNDS + 1):
        before = budget.left
        pair = _round(loaded, x)
        if turn:
            pairs.append(pair)
        if pairs and budget.left < before - budget.left:  # another round would not fit
            break
    pairs.sort(key=lambda pair: pair[1] / pair[0])
    plain, jumpstart = pairs[(len(pairs) - 1) // 2]
    return Cost(
        plain_ms=1000 * plain,
        jumpstart_ms=1000 * jumpstart,
        ratio=jumpstart / plain,
        lowest_ratio=pairs[0][1] / pairs[0][0],
        highest_ratio=pairs[-1][1] / pairs[-1][0],
        rounds=len(pairs),
        samples=len(x),
        threads=torch.get_num_threads(),
        device=str(x.device),
    )


def _round(loaded: LoadedModel, x: Tensor) -> tuple[float, float]:
    """Seconds of a step without the loss, and of one with it."""
    model = loaded.model
    plain = _seconds(lambda: _backward(model, _scalar(model(x))), x)
    with JumpstartRegularization(model, **loaded.capture) as jumpstart, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*may be time-major")  # the examination says so already
        return plain, _seconds(lambda: _backward(model, _scalar(model(x)) + 0.01 * _loss(jumpstart)), x)


def _loss(jumpstart: JumpstartRegularization) -> Tensor:
    """The loss, or 0 after a pass that skips every captured layer, as one with LayerDrop may."""
    try:
        return jumpstart.loss
    except RuntimeError:
        return torch.zeros(())


def _seconds(step: Callable[[], None], x: Tensor) -> float:
    seconds = seconds_of(step, x)
    # Fresh hooks learn the unit dimensions in the first pass, and a short step needs warm caches.
    return seconds_of(step, x) if seconds < _SHORT else seconds


def _backward(model: nn.Module, loss: Tensor) -> None:
    for parameter in model.parameters():
        parameter.grad = None
    if loss.requires_grad:
        loss.backward()


def _scalar(output: object) -> Tensor:
    """A loss of all the tensors in the output of a model."""
    if isinstance(output, Tensor):
        return output.float().mean() if output.is_floating_point() else output.new_zeros((), dtype=torch.float32)
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return torch.stack([torch.zeros(()), *(_scalar(part).cpu() for part in parts)]).sum()
