"""The three cases of the status, their edges, and slices without a status."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from jumpstart.status.codes import Status, dead_and_linear, status_of, status_of_arrays


@pytest.mark.parametrize(
    ("maximum", "minimum", "expected"),
    [
        (-1.0, -2.0, Status.DEAD),
        (0.0, -1.0, Status.DEAD),
        (0.0, 0.0, Status.DEAD),
        (-0.0, -0.0, Status.DEAD),
        (1.0, 0.5, Status.LINEAR),
        (1e-38, 1e-38, Status.LINEAR),
        (1.0, 0.0, Status.NONLINEAR),
        (1.0, -1.0, Status.NONLINEAR),
        (math.inf, -math.inf, Status.NONLINEAR),
        (math.inf, math.inf, Status.LINEAR),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_three_cases(maximum: float, minimum: float, expected: Status, dtype: torch.dtype) -> None:
    high, low = (torch.tensor(value, dtype=dtype) for value in (maximum, minimum))
    for check in (True, False):
        status = status_of(high, low, check=check)
        assert status.dtype == torch.int8
        assert status.shape == ()
        assert Status(int(status)) is expected


@pytest.mark.parametrize("shape", [(0,), (7,), (2, 0, 3), (4, 5, 6)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, *shape)
    high, low = torch.maximum(a, b), torch.minimum(a, b)
    status = status_of(high, low)
    assert status.shape == shape
    for code, h, low_ in zip(status.flatten(), high.flatten(), low.flatten(), strict=True):
        expected = Status.DEAD if h <= 0 else Status.LINEAR if low_ > 0 else Status.NONLINEAR
        assert Status(int(code)) is expected


def test_the_codes_are_those_of_the_documents() -> None:
    assert [(s.name, int(s)) for s in Status] == [("DEAD", 0), ("LINEAR", 1), ("NONLINEAR", 2)]


def test_slices_without_a_status_are_refused() -> None:
    nan, inf = math.nan, math.inf
    for high, low in ([nan, 1.0], [nan, nan]), ([1.0, -inf], [0.0, inf]), ([1.0], [nan]):
        with pytest.raises(ValueError, match=rf"maximum must be >= minimum.* of {len(high)}"):
            status_of(torch.tensor(high), torch.tensor(low))
    with pytest.raises(ValueError, match=r"one shape, got \(2,\) and \(3,\)"):
        status_of(torch.zeros(2), torch.zeros(3))
    diverged = torch.tensor([nan])
    assert status_of(diverged, diverged, check=False).tolist() == [Status.DEAD]


EDGES = (math.nan, -math.inf, -1.0, -1e-45, -0.0, 0.0, 1e-45, 1e-38, 1.0, math.inf)


def test_all_definitions_of_the_status_agree() -> None:
    edges = [(high, low) for high, low in itertools.product(EDGES, EDGES) if not high < low]
    a, b = torch.randn(2, 1000)
    high = torch.cat([torch.tensor([pair[0] for pair in edges]), torch.maximum(a, b)])
    low = torch.cat([torch.tensor([pair[1] for pair in edges]), torch.minimum(a, b)])
    status = status_of(high, low, check=False)
    assert set(status.tolist()) == {0, 1, 2}
    assert status_of_arrays(high.numpy(), low.numpy()).tolist() == status.tolist()
    # The extrema of a slice with NaN are both NaN.
    high, low = (torch.where(high.isnan() | low.isnan(), math.nan, side) for side in (high, low))
    status, reach = status_of(high, low, check=False), torch.stack([high, -low])
    for dead, linear in (dead_and_linear(reach), dead_and_linear(reach.numpy())):
        assert dead.tolist() == (status == Status.DEAD).tolist()
        assert linear.tolist() == (status == Status.LINEAR).tolist()
