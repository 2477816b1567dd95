"""Reductions and routing in PyTorch equal NumPy, for rows whose length is no multiple of a vector register."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jumpstart.choices import Ties
from jumpstart.extrema import extrema_of, kernel, tap
from jumpstart.extrema.routing import LANES, LONG, extreme_over, route
from jumpstart.extrema.rule import Rule

LENGTHS = [1, LANES - 1, LANES, LANES + 1, 85, 3 * LANES, LONG - 1, LONG, LONG + 1]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dim", [1, 2, -1])
@pytest.mark.parametrize("extreme", [torch.amax, torch.amin])
@pytest.mark.parametrize("into", [False, True])
def test_extreme_over_equals_the_reductions_of_torch(extreme: object, dim: int, length: int, into: bool) -> None:
    layers = LANES + 3 if length <= 3 * LANES else 2
    z = torch.randn(layers, LANES + 3, length, generator=torch.Generator().manual_seed(length))
    assert callable(extreme)
    for place in (None, 0, length // 2, length - 1):
        if place is not None:
            z = z.clone()
            z[1, 2, place] = float("nan")
        expected = extreme(z, dim)
        out = torch.empty_like(expected) if into else None
        found = extreme_over(extreme, z, dim, out)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
        assert out is None or out is found


@pytest.mark.parametrize("ties", [Ties.SINGLE, Ties.AVERAGE])
@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("length", [3, LANES + 1, 85])
@pytest.mark.parametrize("levels", [1, 2, 1000], ids=["collapsed", "many ties", "few ties"])
def test_gradients_are_added_where_extrema_are_attained(levels: int, length: int, dim: int, ties: Ties) -> None:
    random = np.random.default_rng(levels * length)
    z = random.integers(levels, size=(2, 5, length)) - levels // 2 + 0.5
    weight = random.normal(size=(2, 2, length if dim == 1 else 5))
    expected = np.zeros_like(z)
    for side, sign in enumerate((1, -1)):
        for layer in range(2):
            for k in range(weight.shape[2]):
                row = (layer, slice(None), k) if dim == 1 else (layer, k)
                attained = sign * z[row] == (sign * z[row]).max()
                share = attained / attained.sum() if ties is Ties.AVERAGE else np.eye(len(attained))[attained.argmax()]
                expected[row] += sign * weight[side, layer, k] * share
    tensor = torch.from_numpy(z)
    reach = torch.stack([tensor.amax(dim), -tensor.amin(dim)])
    grad = torch.zeros_like(tensor)
    route(grad, tensor, reach, torch.from_numpy(weight), dim, ties)
    np.testing.assert_allclose(grad.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dim", [1, 2])
def test_with_random_ties_one_entry_gets_the_whole_gradient(dim: int) -> None:
    z = torch.zeros(1, 4, 4)
    chosen = set()
    for seed in range(30):
        torch.manual_seed(seed)
        grad = torch.zeros_like(z)
        route(grad, z, torch.zeros(2, 1, 4), torch.tensor([1.0, 0.0]).view(2, 1, 1).expand(2, 1, 4), dim, Ties.RANDOM)
        assert grad.sum(dim).eq(1).all()
        assert grad.count_nonzero() == 4
        chosen.add(int(grad[0].argmax(dim - 1)[0]))
    assert chosen == {0, 1, 2, 3}


@pytest.mark.parametrize("kind", ["unit", "point"])
def test_long_rows_may_have_a_gradient_of_units_or_of_points_alone(kind: str) -> None:
    tensors = [torch.randn(LONG + 3, 2, requires_grad=True) for _ in range(2)]
    with kernel.disabled():
        getattr(extrema_of(tensors, ["a", "b"]), kind).sum().backward()
    dim = 0 if kind == "unit" else 1
    for z in tensors:
        attained = [torch.zeros_like(z).scatter(dim, each(dim, True), 1.0) for each in (z.argmax, z.argmin)]
        assert torch.equal(z.grad, attained[0] - attained[1])


def test_tied_entries_of_a_long_row_share_its_gradient() -> None:
    z = torch.zeros(LONG + 3, 1)
    z[[5, 700]], z[LONG:] = 1.0, -1.0
    z.requires_grad_()
    extrema_of([z], ["a"], rule=Rule(ties=Ties.AVERAGE)).unit.sum().backward()
    expected = torch.zeros_like(z)
    expected[[5, 700]], expected[LONG:] = 1 / 2, -1 / 3
    torch.testing.assert_close(z.grad, expected)


def test_tied_entries_of_a_large_tensor_share_its_gradient() -> None:
    z = torch.tensor([[0.5, 0.5], [0.5, -0.5], [0.25, -0.5]], requires_grad=True)
    _, record = tap(z, "a", rule=Rule(ties=Ties.AVERAGE))
    (gradient,) = torch.autograd.grad(record.unit_max.sum() + 10 * record.unit_min.sum(), z, retain_graph=True)
    torch.testing.assert_close(gradient, torch.tensor([[0.5, 1.0], [0.5, 5.0], [10.0, 5.0]]))
    (gradient,) = torch.autograd.grad(record.point_max.sum(), z)
    torch.testing.assert_close(gradient, torch.tensor([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]]))


@pytest.mark.parametrize("rows", [3, LONG + 3])
def test_nan_in_a_unit_leaves_the_gradients_of_other_units_as_they_are(rows: int) -> None:
    z = torch.randn(rows, 2)
    z[1, 0] = torch.nan
    z.requires_grad_()
    with kernel.disabled():
        extrema_of([z], ["a"]).unit[:, :, 1].sum().backward()
        extrema_of([z], ["a"]).unit.sum().backward()
    expected = torch.zeros(rows)
    expected[z[:, 1].argmax()], expected[z[:, 1].argmin()] = 2.0, -2.0
    assert torch.equal(z.grad[:, 1], expected)
