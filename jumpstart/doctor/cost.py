"""What a training step costs with the Jumpstart loss and without."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from jumpstart.doctor.load import Patient
from jumpstart.jumpstart import JumpstartRegularization

_SECONDS = 20.0


_ROUNDS = 7


def cost_of_step(model: nn.Module, patient: Patient, x: Tensor) -> dict[str, Any]:
    """Forward and backward with and without the loss, in turn, so that both see the same machine.

    The times are those of the round with the median ratio: they belong together.
    """

    def plain() -> None:
        _backward(model, _scalar(model(x)))

    def with_loss(jumpstart: JumpstartRegularization) -> Callable[[], None]:
        return lambda: _backward(model, _scalar(model(x)) + 0.01 * jumpstart.loss)

    begin = time.perf_counter()
    pairs: list[tuple[float, float]] = []
    for turn in range(_ROUNDS + 1):
        before = _seconds(plain, x)
        with JumpstartRegularization(model, **patient.capture) as jumpstart:
            after = _seconds(with_loss(jumpstart), x)
        if turn:  # the first round pays for what torch prepares
            pairs.append((before, after))
        if len(pairs) >= 3 and time.perf_counter() - begin > _SECONDS:
            break
    pairs.sort(key=lambda pair: pair[1] / pair[0])
    before, after = pairs[(len(pairs) - 1) // 2]
    return {
        "plain_ms": 1000 * before,
        "jumpstart_ms": 1000 * after,
        "ratio": after / before,
        "lowest_ratio": pairs[0][1] / pairs[0][0],
        "highest_ratio": pairs[-1][1] / pairs[-1][0],
        "rounds": len(pairs),
        "threads": torch.get_num_threads(),
        "device": str(x.device),
    }


def _seconds(step: Callable[[], None], x: Tensor) -> float:
    step()  # freshly attached hooks find out what feeds what, and both begin with warm caches
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


def _scalar(output: Any) -> Tensor:
    """A loss of all the tensors that a model gives."""
    if isinstance(output, Tensor):
        return output.float().mean() if output.is_floating_point() else output.new_zeros((), dtype=torch.float32)
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return torch.stack([torch.zeros(()), *(_scalar(part).cpu() for part in parts)]).sum()
