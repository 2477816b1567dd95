"""The time of a training step with the Jumpstart loss and without."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from jumpstart.doctor.examination import Cost
from jumpstart.doctor.load import LoadedModel
from jumpstart.jumpstart import JumpstartRegularization

_SECONDS = 20.0
"""Seconds after which no further round begins."""
_ROUNDS = 7
"""Rounds that count. One more comes before them, in which torch allocates and compiles what it needs."""


def cost_of_step(loaded: LoadedModel, x: Tensor) -> Cost:
    """Time forward and backward passes with and without the loss, in turn, so that both run under the same load.

    The two times are those of the round with the median ratio, so that they belong together.

    Args:
        loaded: The model and its capture options.
        x: The batch.
    """
    begin = time.perf_counter()
    pairs: list[tuple[float, float]] = []
    for turn in range(_ROUNDS + 1):
        pair = _round(loaded, x)
        if turn:
            pairs.append(pair)
        if len(pairs) >= 3 and time.perf_counter() - begin > _SECONDS:
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
    step()  # fresh hooks learn the unit dimensions in the first pass, and both kinds of steps begin with warm caches
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    begin = time.perf_counter()
    step()
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - begin


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
