"""Gradients of gradients: through the task alone, and through the Jumpstart loss."""

from __future__ import annotations

import copy

import pytest
import torch
from support.plain_loss import plain_loss
from support.references import preactivations
from torch import Tensor, nn
from torch.nn import functional as F

from jumpstart import JumpstartRegularization
from jumpstart.choices import Ties


def model_of(name: str) -> tuple[nn.Module, Tensor]:
    """Smooth networks, so that second derivatives are not all 0."""
    if name == "conv":
        layers: list[nn.Module] = [nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 4, 3), nn.SiLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(144, 2)), torch.randn(5, 2, 8, 8)
    if name == "channels last":
        model, x = model_of("conv")
        return model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    if name == "tokens":
        return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 2)), torch.randn(
            4, 5, 3
        )
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2)), torch.randn(9, 3)


def penalized(loss: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """The gradient of the squared norm of the gradient of a loss."""
    grads = torch.autograd.grad(loss, parameters, create_graph=True)
    return list(torch.autograd.grad(sum(grad.square().sum() for grad in grads), parameters))


@pytest.mark.parametrize("name", ["dense", "conv", "channels last", "tokens"])
@pytest.mark.parametrize("ties", list(Ties))
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_gradient_penalty_has_the_gradient_of_plain_autograd(weight: float, ties: Ties, name: str, path: str) -> None:
    model, x = model_of(name)
    twin, output, tensors = preactivations(copy.deepcopy(model), x)
    assert isinstance(output, Tensor)
    expected = F.cosine_similarity(output.flatten(1), torch.ones(1, output[0].numel())).sum()
    if weight:
        expected = expected + weight * plain_loss(tensors, 2 if name == "tokens" else 1, 1.0, 0.4)
    with JumpstartRegularization(model, ties=ties, negative_margin=0.4) as jumpstart:
        output = model(x)
        loss = F.cosine_similarity(output.flatten(1), torch.ones(1, output[0].numel())).sum()
        if weight:
            loss = loss + weight * jumpstart.loss
        found = penalized(loss, list(model.parameters()))
    for ours, theirs in zip(found, penalized(expected, list(twin.parameters())), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_extrema_can_be_differentiated_twice(path: str) -> None:
    model, x = model_of("conv")
    twin, _, tensors = preactivations(copy.deepcopy(model), x)
    with JumpstartRegularization(model, aggregate="sum_of_squares", terms="unit_positive", margin=100.0) as jumpstart:
        model(x)
        found = penalized(jumpstart.loss, list(model.parameters())[:4])
    expected = sum((100 - z.amax((0, 2, 3))).square().sum() for z in tensors)
    assert isinstance(expected, Tensor)
    for ours, theirs in zip(found, penalized(expected, list(twin.parameters())[:4]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
