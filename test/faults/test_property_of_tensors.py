"""Any tensor: loss and status are those of the slow reference, or it is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import status_reference
from support.plain_loss import plain_loss
from support.properties import tried
from torch import Tensor, nn

from jumpstart import JumpstartRegularization
from jumpstart.monitor import StatusMonitor

FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 5e-324, 1e-40, -1e-45, 3e38, -1e308, 7e4]),
    st.floats(-3, 3, width=16),
    st.floats(),
)
FINITE = st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-40, 3e30]), st.floats(-3, 3, width=16))
DTYPES = st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16])


@st.composite
def tensors(draw: st.DrawFn, values: st.SearchStrategy[float] = FLOATS, least: int = 0) -> Tensor:
    """A tensor of 1 to 5 dimensions, of any floating type and layout."""
    sizes = draw(st.lists(st.integers(least, 4), min_size=2 if least else 1, max_size=5))
    count = math.prod(sizes)
    numbers = draw(st.lists(values, min_size=count, max_size=count))
    z = torch.tensor(numbers, dtype=torch.float64).reshape(sizes).to(draw(DTYPES))
    layout = draw(st.sampled_from(["contiguous", "permuted", "strided", "expanded", "channels last"]))
    if layout == "permuted":
        order = draw(st.permutations(range(len(sizes))))
        z = z.permute(order).contiguous().permute([order.index(dim) for dim in range(len(sizes))])
    elif layout == "strided":
        z = torch.stack([z, z + 1], dim=-1)[..., 0]
    elif layout == "expanded" and sizes[0]:
        z = z[:1].expand(sizes)
    elif layout == "channels last" and len(sizes) == 4:
        z = z.contiguous(memory_format=torch.channels_last)
    return z


def refused(z: Tensor) -> str | None:
    """The message with which a tensor must be refused; None if it must not."""
    if z.dim() < 2:
        return "Run the model on a batch"
    return None if z.numel() else "is empty"


@given(z=tensors(), inplace=st.booleans(), layers=st.integers(1, 3))
@tried(15)
def test_property_the_loss_of_any_tensor_is_that_of_the_pseudocode(z: Tensor, inplace: bool, layers: int) -> None:
    model = nn.Sequential(*[nn.LeakyReLU(0.5) for _ in range(layers - 1)], nn.ReLU(inplace))
    with JumpstartRegularization(model, unit_dim=1) as jumpstart:
        x = z.clone().requires_grad_()
        output = model(x * 1)
        values = [z]
        for _ in range(layers - 1):
            values.append(nn.functional.leaky_relu(values[-1], 0.5))
        assert torch.equal(output.nan_to_num(7.0), values[-1].relu().nan_to_num(7.0))
        message = refused(z)
        if message is not None:
            with pytest.raises(ValueError, match=message):
                _ = jumpstart.loss
            return
        jumpstart.loss.backward()
        loss = jumpstart.loss.detach()
    slow = z.clone().requires_grad_()
    values = [slow * 1]
    for _ in range(layers - 1):
        values.append(nn.functional.leaky_relu(values[-1], 0.5))
    expected = plain_loss(values)
    expected.backward()
    assert loss.dtype == expected.dtype
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=1e-6, equal_nan=True)
    if z.isfinite().all():
        assert x.grad is not None
        assert slow.grad is not None
        # Ties: the gradient goes to one entry, which may be another one; the sum over all entries is the same.
        torch.testing.assert_close(
            x.grad.double().sum(), slow.grad.double().sum(), rtol=1e-2, atol=2e-2, equal_nan=True
        )


@given(batches=st.lists(tensors(FINITE, least=1), min_size=1, max_size=3), sides=st.integers(1, 3))
@tried(8)
def test_property_the_status_of_any_batches_is_that_of_all_their_points(batches: list[Tensor], sides: int) -> None:
    shape = batches[0].shape
    batches = [z.to(batches[0].dtype) for z in batches if z.shape[1:] == shape[1:]]
    model = nn.Sequential(*[nn.Tanh() for _ in range(sides)])
    layers: list[list[np.ndarray]] = []
    with StatusMonitor(model, unit_dim=1) as monitor:
        for z in batches:
            model(z)
            values = [z]
            for _ in range(sides - 1):
                values.append(values[-1].tanh())
            layers.append([value.double().numpy() for value in values])
        numbers = monitor.numbers()
        assert monitor.points == sum(map(len, batches))
    for name, value in status_reference.reference(layers).items():
        assert numbers[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
