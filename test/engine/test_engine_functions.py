"""Activations, their derivatives, and the order of the rows, computed by the engine alone."""

from __future__ import annotations

import math

import pytest
import torch
from support.engine import BUILDS, every_build
from torch import Tensor

from data.batches import TensorBatches
from jumpstart.engine.build import Build, best_build
from jumpstart.engine.layout import ACTIVATIONS
from model.activations import resolve_activation
from model.compiled import order_of_epoch

EPSILON = 2.0**-23
EDGES = [0.0, 1e-30, 1e-7, 1e-3, 0.5, 1.0, 4.0, 5.6568, 10.0, 20.0, 86.9, 87.1, 88.0, 89.0, 104.0, 1e4, 1e30]


def grid() -> Tensor:
    """Numbers of both signs: a dense grid from -20 to 20, every magnitude from 1e-30, and the edges of the formulas."""
    numbers = torch.cat([torch.linspace(0, 20, 20_001), torch.logspace(-30, 4, 4001), torch.tensor(EDGES)])
    both = torch.cat([numbers, -numbers])
    return torch.cat([both, torch.zeros(-len(both) % 16)])


def computed(build: Build, name: str, z: Tensor) -> tuple[Tensor, Tensor]:
    """The values and the derivatives of an activation."""
    assert len(z) % 16 == 0
    aligned = z.clone()
    h, slope = torch.full_like(z, -7.0), torch.full_like(z, -7.0)
    kind = ACTIVATIONS.index(name)
    build.functions.functions(kind, aligned.data_ptr(), h.data_ptr(), slope.data_ptr(), len(z))
    return h, slope


def derived(name: str, z: Tensor) -> tuple[Tensor, Tensor]:
    """The same by torch, in the precision of the numbers."""
    z = z.clone().requires_grad_()
    h = resolve_activation(name)()(z)
    (slope,) = torch.autograd.grad(h.sum(), z)
    return h.detach(), slope


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_and_its_derivative_are_those_of_float64(build: Build, name: str) -> None:
    z = grid()
    found, single, true = computed(build, name, z), derived(name, z), derived(name, z.double())
    # Near an output of 0, the error of gelu and silu is relative to the input, in torch's float32 too.
    scale = torch.maximum(true[0].abs(), z.double().abs()).clamp_min(1e-36)
    for got, of_torch, exact, size in zip(found, single, true, (scale, 1.0), strict=True):
        worst, worst_of_torch = (float(((value - exact).abs() / size).max()) for value in (got, of_torch))
        assert worst <= max(2 * worst_of_torch, 3 * EPSILON)


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_small_side_keeps_its_relative_exactness(build: Build, name: str) -> None:
    z = -torch.linspace(1e-3, 8, 16_000) if name in ("sigmoid", "softplus") else torch.logspace(-20, -2, 16_000)
    h, true_h = computed(build, name, z)[0], derived(name, z.double())[0]
    assert float(((h - true_h) / true_h).abs().max()) < 4 * EPSILON


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_is_not_a_number_stays(build: Build, name: str) -> None:
    bits = torch.tensor([0x7FC00000, 0x7FC00001, 0x7F800001, 0x7FFFFFFF], dtype=torch.int32)
    z = torch.cat([bits.view(torch.float32), -bits.view(torch.float32)]).repeat(2)
    assert z.isnan().all()
    assert computed(build, name, z)[0].isnan().all()


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_infinity_gives_the_limit_of_the_function(build: Build, name: str) -> None:
    # torch's own vectors of some processors make NaN of infinity in GELU
    high = {"tanh": 1.0, "sigmoid": 1.0}.get(name, math.inf)
    assert computed(build, name, torch.full((16,), math.inf))[0].tolist() == [high] * 16
    low = {"relu": 0.0, "leakyrelu": -math.inf, "elu": -1.0, "tanh": -1.0, "sigmoid": 0.0, "softplus": 0.0}
    if name in low:  # GELU and SiLU multiply infinity by 0 there
        assert computed(build, name, torch.full((16,), -math.inf))[0].tolist() == [low[name]] * 16
    else:
        assert name in ("gelu", "silu")


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("name", ["sigmoid", "softplus"])
def test_a_power_of_e_is_zero_below_that_of_minus_87(build: Build, name: str) -> None:
    h, _ = computed(build, name, torch.tensor([-86.99, -87.0, -87.01, -87.05]).repeat(4))
    assert [value > 0 for value in h[:4].tolist()] == [True, True, False, False]


# The order of the rows ---------------------------------------------------------------------------


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("rows", [2, 3, 17, 623, 624, 700, 1300])
def test_the_order_of_the_rows_is_that_of_the_batches(build: Build, rows: int) -> None:
    numbers = torch.arange(rows)
    for seed in (0, 1, 42, 2**31, 2**32 - 1, 2**32, 2**63 + 12345, 2**64 - 1):
        for epoch in (0, 1, 7, 3999, 2**31 - 1):
            batches = TensorBatches(numbers, numbers, rows - 1, shuffle=True, seed=seed)
            batches.set_epoch(epoch)
            wanted = torch.cat([y for _, y in batches])
            assert torch.equal(order_of_epoch(build, seed, epoch, rows), wanted), (seed, epoch)


# The choice of a build ---------------------------------------------------------------------------


def test_the_environment_chooses_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUMPSTART_ENGINE", raising=False)
    assert best_build() == (BUILDS[0] if BUILDS else None)
    for build in BUILDS:
        monkeypatch.setenv("JUMPSTART_ENGINE", build.name)
        assert best_build() == build
    monkeypatch.setenv("JUMPSTART_ENGINE", "0")
    assert best_build() is None


def test_every_build_but_the_plain_one_needs_its_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    from jumpstart.engine.build import builds

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert {build.name for build in builds()} <= {"plain"}
