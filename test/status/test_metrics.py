"""The status over an epoch equals a reference that stores every preactivation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from support.references import preactivations
from support.status_reference import mixed, reference
from support.zoo import dense, make
from torch import nn

from jumpstart import JumpstartRegularization, Status
from jumpstart.extrema import reduction as extrema
from jumpstart.extrema.record import Extrema
from jumpstart.metrics import LEAST, WAITING, NetworkStatus, layer_names, point_status
from jumpstart.status.codes import status_of
from jumpstart.status.counts import COUNTS


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("small", [10**9, 0])
@pytest.mark.parametrize("margins", [(1.0, None), (0.2, 0.9)])
def test_an_epoch_equals_the_reference(
    seed: int, small: int, margins: tuple[float, float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jumpstart.capture.recorder.SMALL", small)
    model = mixed(seed)
    x = 2 * torch.randn(50, 3).double()
    batches = x.split([7, 20, 1, 22])
    metric = NetworkStatus(*margins)
    kept = []
    with JumpstartRegularization(model) as jumpstart:
        for epoch in range(2):  # the second epoch must not remember the first
            metric.reset()
            for batch in batches:
                model(batch * (1 if epoch else 100))
                metric.update(jumpstart.extrema)
        found = metric.compute()
        units = metric.unit_status
    for batch in batches:
        kept.append([z.detach().numpy() for z in preactivations(model, batch)[2]])
    expected = reference(kept, *margins)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, abs=1e-12), name
    assert {len(set(codes.tolist())) for codes in units.values()} != {1}
    assert {name: len(codes) for name, codes in units.items()} == {"1": 6, "3": 4, "5": 6, "7": 2}


@pytest.mark.parametrize("point", ["sample", "location"])
def test_images_are_judged_by_sample_whatever_the_point_mode(point: str) -> None:
    model, x = make("conv2d")
    metric = NetworkStatus()
    with JumpstartRegularization(model, point=point) as jumpstart:
        for batch in x.split([1, 3]):
            model(batch)
            metric.update(jumpstart.extrema)
    kept = [[z.detach().numpy() for z in preactivations(model, batch)[2]] for batch in x.split([1, 3])]
    for name, value in reference(kept).items():
        assert metric.compute()[name].item() == pytest.approx(value, abs=1e-12), name


def test_points_have_one_status_per_layer_in_call_order() -> None:
    model = mixed(0)
    x = torch.randn(9, 3).double()
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        status = point_status(jumpstart.extrema)
        assert layer_names(jumpstart.extrema) == ["1", "3", "5", "7"]
    for layer, z in enumerate(preactivations(model, x)[2]):
        for n, row in enumerate(z):
            expected = Status.DEAD if row.max() <= 0 else Status.LINEAR if row.min() > 0 else Status.NONLINEAR
            assert status[n, layer] == expected


def test_memory_does_not_grow_with_the_points() -> None:
    model = dense()
    metric = NetworkStatus()

    def size() -> int:
        tensors = [*vars(metric).values(), *metric.metric_state.values()]
        return sum(tensor.numel() for tensor in tensors if isinstance(tensor, torch.Tensor))

    with JumpstartRegularization(model) as jumpstart:
        sizes = []
        for _ in range(30):
            model(torch.randn(100, 3))
            metric.update(jumpstart.extrema)
            sizes.append(size())
    assert len(set(sizes)) == 1


def test_the_extrema_of_no_units_have_the_form_of_those_of_some() -> None:
    empty, metric = NetworkStatus(), NetworkStatus()
    metric.update([RECORD])
    assert empty.reach.dtype == metric.reach.dtype == torch.float64
    assert (*empty.reach.shape, *metric.reach.shape) == (2, 0, 2, 4)


def test_few_batches_wait_however_small_they_are() -> None:
    metric = NetworkStatus()
    for _ in range(2 * WAITING // LEAST):
        metric.update([RECORD])
        assert len(metric._queue.batches) <= WAITING // LEAST
    large = extrema.extrema_of([torch.zeros(WAITING // 2, 1)], ["b"])
    metric.reset()
    for _ in range(5):
        metric.update([large])
        assert len(metric._queue.batches) <= 1


def test_sizes_of_images_may_differ_between_batches() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).double()
    batches = [torch.randn(3, 1, size, size).double() for size in (5, 7, 5)]
    metric, kept = NetworkStatus(), []
    with JumpstartRegularization(model, point="location") as jumpstart:
        for batch in batches:
            model(batch)
            metric.update(jumpstart.extrema)
            kept.append(preactivations(model, batch)[2][0].detach())
    reach = torch.stack([torch.cat([side(z.flatten(1), 1) for z in kept]) for side in (torch.amax, torch.amin)])
    expected = status_of(reach[0], reach[1])
    numbers = metric.numbers()
    assert numbers["deadness"] == (expected == Status.DEAD).double().mean()
    assert numbers["linearity"] == (expected == Status.LINEAR).double().mean()
    assert numbers["positive_point_loss"] == pytest.approx(float((1 - reach[0]).relu().mean()))


def test_a_diverged_network_is_dead() -> None:
    metric = NetworkStatus()
    metric.add([extrema.extrema_of([torch.full((2, 4), torch.nan)], ["a"])])
    metric.add([RECORD])
    assert metric.update_count == 2
    assert metric.numbers()["unit_dead_ratio"] == metric.numbers()["deadness"] == 1


def test_no_graph_is_kept() -> None:
    model = dense()
    metric = NetworkStatus()
    with JumpstartRegularization(model) as jumpstart:
        model(torch.randn(10, 3))
        metric.update(jumpstart.extrema)
    assert not metric.reach.requires_grad


def test_changed_layers_and_misuse_are_refused() -> None:
    metric = NetworkStatus()
    with pytest.raises(RuntimeError, match="update"):
        _ = metric.unit_status
    one, two = (extrema.extrema_of([torch.randn(4, width)], [name]) for width, name in ((3, "a"), (5, "b")))
    metric.update([one])
    for _ in range(2):
        with pytest.raises(ValueError, match="changed within an epoch: a, b"):
            metric.update([two])
    with pytest.raises(ValueError, match="changed within an epoch: a"):
        metric.update([extrema.extrema_of([torch.randn(4, 5)], ["a"])])
    odd = extrema.extrema_of([torch.randn(2, 3)], ["c"], [1])
    with pytest.raises(ValueError, match="unequal numbers of samples"):
        NetworkStatus().update([one, odd])


RECORD = extrema.extrema_of([torch.zeros(3, 4)], ["a"])


@pytest.mark.parametrize(
    "records",
    [[], torch.zeros(3, 4), [torch.zeros(3, 4)], None, [RECORD, torch.zeros(3, 4)], [torch.zeros(3, 4), RECORD]],
)
def test_what_are_no_records_is_refused(records: Any) -> None:
    with pytest.raises(TypeError, match="records must be those of a forward pass"):
        point_status(records)
    with pytest.raises(TypeError, match=r"records must be those of a forward pass, status\.update\("):
        NetworkStatus().update(records)


@pytest.mark.parametrize("linear", [0, 1, 5, 8])
def test_points_that_are_linear_in_every_layer_equal_the_reference(linear: int) -> None:
    torch.manual_seed(linear)
    metric = NetworkStatus()
    layers = [torch.randn(8, units).double() for units in (3, 5)]
    for z in layers:
        z[:linear] = z[:linear].abs() + 0.1
        z[linear:, 0] = -1.0
    for part in (slice(0, 3), slice(3, 8)):
        metric.update([extrema.extrema_of([z[part]], [name]) for name, z in zip("ab", layers, strict=True)])
    found, expected = metric.compute(), reference([[z.numpy() for z in layers]])
    assert found["point_linear_ratio"].item() == linear / 8
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, abs=1e-12)
    assert metric.counts[COUNTS.index("points")].item() == 8


def test_what_is_added_after_a_result_is_in_the_next_one() -> None:
    low, high = (extrema.extrema_of([torch.full((2, 4), value)], ["a"]) for value in (-1.0, 1.0))
    metric = NetworkStatus()
    metric.add([low])
    assert metric.compute()["deadness"].item() == 1
    metric.add([high])
    assert metric.compute()["deadness"].item() == 0.5


@pytest.mark.parametrize("places", [((0, 2), (1,)), ((1, 2), (0,)), ((2, 0), (1,)), ((2,), (1,), (0,)), ((0, 1, 2),)])
@pytest.mark.parametrize("seed", range(3))
def test_records_in_any_order_give_points_their_status_in_call_order(
    places: tuple[tuple[int, ...], ...], seed: int
) -> None:
    torch.manual_seed(seed)
    layers = [torch.randn(40, 2).double() + shift for shift in (0.0, 1.0, -0.5)]
    records = [extrema.extrema_of([layers[i] for i in own], [str(i) for i in own], list(own)) for own in places]
    expected = torch.stack([status_of(z.amax(1), z.amin(1)) for z in layers], 1)
    assert all(len(set(codes.tolist())) == 3 for codes in expected.T)
    assert layer_names(records) == ["0", "1", "2"]
    assert point_status(records).tolist() == expected.tolist()
    metric = NetworkStatus()
    metric.update(records)
    units = {str(i): (z.amax(0).tolist(), z.amin(0).tolist()) for i, z in enumerate(layers)}
    assert {name: (metric.unit_max[name].tolist(), metric.unit_min[name].tolist()) for name in "012"} == units
    assert list(metric.unit_status) == ["0", "1", "2"]
    found = {name: value.item() for name, value in metric.compute().items()}
    assert found == pytest.approx(reference([[z.numpy() for z in layers]]), abs=1e-12)


def test_a_message_names_at_most_four_layers() -> None:
    def records(names: str, samples: Sequence[int]) -> list[Extrema]:
        pairs = zip(names, samples, strict=True)
        return [extrema.extrema_of([torch.randn(n, 2)], [name], [place]) for place, (name, n) in enumerate(pairs)]

    metric = NetworkStatus()
    metric.update(records("abcdef", [3] * 6))
    with pytest.raises(ValueError, match=r"changed within an epoch: a, b, c, d\. Use one"):
        metric.update(records("f", [3]))
    with pytest.raises(ValueError, match=r"of samples \(a: 3, b: 4, c: 5, d: 6\), so"):
        NetworkStatus().update(records("abcde", [3, 4, 5, 6, 7]))
