"""Counts of one batch, on the CPU and on a device, equal a loop over points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from jumpstart.status.codes import Status
from jumpstart.status.counts import COUNTS, _on_cpu, _on_device, count_points, status_at

MARGINS = (0.7, 0.4)


def one_by_one(reach: np.ndarray) -> list[float]:
    largest, smallest = reach[0], -reach[1]
    layers, points = largest.shape
    found = dict.fromkeys(COUNTS, 0.0)
    found["points"], found["pairs"] = points, layers * points
    for n in range(points):
        dead = [not largest[layer, n] > 0 for layer in range(layers)]
        linear = [bool(smallest[layer, n] > 0) for layer in range(layers)]
        found["dead_pairs"] += sum(dead)
        found["linear_pairs"] += sum(linear)
        found["efficient_pairs"] += sum(not any(dead[layer:]) for layer in range(layers))
        found["points_dead"] += any(dead)
        found["points_linear"] += all(linear)
        found["points_nonlinear"] += not any(dead) and not any(linear)
        found["positive_loss"] += sum(max(MARGINS[0] - float(value), 0.0) for value in largest[:, n])
        found["negative_loss"] += sum(max(MARGINS[1] + float(value), 0.0) for value in smallest[:, n])
    return [found[name] for name in COUNTS]


@pytest.mark.parametrize("count", [_on_cpu, _on_device])
@pytest.mark.parametrize("shift", [-1.0, 0.0, 1.0, 3.0, -9.0, 9.0])
@pytest.mark.parametrize("shape", [(1, 1), (4, 9), (9, 4)])
def test_counts_equal_those_of_a_loop_over_points(
    count: Callable[..., Any], shift: float, shape: tuple[int, int]
) -> None:
    z = torch.randn(5, *shape).double() + shift
    z[0, 0, 0] = 0.0  # zero is neither positive nor negative
    reach = torch.stack([z.amax(0), -z.amin(0)])
    if shape == (9, 4):
        reach[:, 2, 1] = torch.nan
        found = count(reach, MARGINS)[:-2].tolist()
        assert found == one_by_one(reach.numpy())[:-2]  # NaN is dead
        return
    before = reach.clone()
    assert count(reach, MARGINS).tolist() == pytest.approx(one_by_one(reach.numpy()), abs=1e-12)
    assert reach.equal(before)


@pytest.mark.parametrize("count", [_on_cpu, _on_device])
def test_sums_of_float32_penalties_are_float64(count: Callable[..., Any]) -> None:
    reach = torch.zeros(2, 1, 33)
    reach[:, 0, 0] = 1 - 2.0**24
    assert count(reach, (1.0, 1.0)).tolist()[-2:] == [2**24 + 32] * 2


def test_counts_and_penalties_stay_on_their_device() -> None:
    counts = count_points(torch.zeros(2, 3, 4, device="meta"), MARGINS)
    assert (counts.device.type, counts.dtype, len(counts)) == ("meta", torch.float64, len(COUNTS))


def test_as_many_layers_as_16_bits_cannot_count_are_counted() -> None:
    layers = 2**16
    reach = torch.ones(2, layers, 2)
    reach[0, layers - 1, 1] = -1.0
    assert dict(zip(COUNTS, count_points(reach, MARGINS).tolist(), strict=True))["efficient_pairs"] == layers


def test_the_status_of_some_points() -> None:
    reach = torch.tensor([[[1.0, 1.0, -1.0]], [[1.0, -0.5, 2.0]]])
    every = [Status.NONLINEAR, Status.LINEAR, Status.DEAD]
    assert status_at(reach, torch.arange(3)).flatten().tolist() == every
    assert status_at(reach, torch.tensor([2, 0])).tolist() == [[every[2]], [every[0]]]
    assert status_at(torch.full((2, 1, 1), torch.nan), torch.tensor([0])).tolist() == [[Status.DEAD]]
