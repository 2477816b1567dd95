"""Batches wait in a bounded queue and are reduced together; what is known is not computed again."""

from __future__ import annotations

import pytest
import torch
from support.calls import Calls

from jumpstart import metrics
from jumpstart.extrema import Extrema, extrema_of
from jumpstart.metrics import NetworkStatus, point_status
from jumpstart.status import Status
from jumpstart.status.sample import PointSample

LAYERS, WAITING, LEAST = 3, 100, 10


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "WAITING", WAITING)
    monkeypatch.setattr(metrics, "LEAST", LEAST)


def batch(samples: int, layers: int = LAYERS) -> list[Extrema]:
    """The records of a batch, in two groups of layers of which the first one was called last."""
    names = [str(layer) for layer in range(layers)]
    groups = [(names[-1:], [layers - 1], 4), (names[:-1], list(range(layers - 1)), 2)]
    return [
        extrema_of([torch.randn(samples, units) for _ in group], group, order)
        for group, order, units in groups
        if group
    ]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ((10, 10, 3), [0, 0, 0]),  # 40 + 40 + 19 of 100 pairs
        ((10, 10, 4), [0, 0, 1]),  # 102
        ((30,), [1]),  # 100 of 100 pairs
        ((29, 29, 29), [0, 1, 0]),  # 97 pairs; after a reduction, the queue is as empty as at first
        ((1,) * 9, [0] * 7 + [1, 0]),  # 13 pairs each
        ((200, 1), [1, 0]),
    ],
)
def test_batches_are_reduced_when_a_number_of_pairs_wait(
    monkeypatch: pytest.MonkeyPatch, samples: tuple[int, ...], expected: list[int]
) -> None:
    reductions, status = Calls(monkeypatch, metrics, "count_points"), NetworkStatus()
    found = []
    for size in samples:
        status.update(batch(size))
        found.append(reductions.take())
    assert found == expected


def test_a_queue_that_is_dropped_is_not_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    reductions, status = Calls(monkeypatch, metrics, "count_points"), NetworkStatus()
    status.update(batch(5))
    status.reset()
    assert reductions.take() == 0
    status.update(batch(6))
    assert status.compute()
    assert reductions.take() == 1
    assert sum(map(len, status.unit_status.values())) == 8


def test_a_state_that_is_replaced_has_nothing_of_the_batches_that_waited() -> None:
    status, other = NetworkStatus(), NetworkStatus()
    status.update(batch(5))
    other.update(batch(6))
    expected = other.compute()
    for name, state in other.metric_state.items():
        setattr(status, name, state)
    found = status.compute()
    assert {name: value.item() for name, value in found.items()} == {
        name: value.item() for name, value in expected.items()
    }


def test_batches_that_waited_before_a_forward_are_sampled() -> None:
    sample = PointSample(50)
    status = NetworkStatus(sample=sample)
    status.update(batch(5))
    status(batch(6))
    status.update(batch(7))
    assert status.compute()
    assert len(sample.rows) == 5 + 6 + 7


def test_forward_counts_a_batch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    status, updates = NetworkStatus(), Calls(monkeypatch, NetworkStatus, "_put")
    for _ in range(3):
        status(batch(5))
    assert updates.take() == 3


def test_the_layout_is_encoded_once_for_all_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    status, encodings, plans = (
        NetworkStatus(),
        Calls(monkeypatch, metrics, "_encoded"),
        Calls(monkeypatch, metrics, "_Plan"),
    )
    for epoch in range(3):
        for size in (4, 4, 7):
            status.update(batch(size))
        assert status.compute()
        assert list(status.unit_status) == ["0", "1", "2"]
        assert encodings.take() == (epoch == 0)
        assert plans.take() == 1  # the sizes of the batches do not matter
        status.reset()
    status.update(batch(4, layers=2))
    assert list(status.unit_status) == ["0", "1"]
    assert encodings.take() == 1


def test_layouts_that_take_turns_are_planned_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two orders of records have the same layers."""
    status, plans, seen = NetworkStatus(), Calls(monkeypatch, metrics, "_Plan"), []
    for turn in range(6):
        records = batch(4)
        seen.append(records[1].unit[:, 0])
        status.update(records[:: 1 if turn % 2 else -1])
    expected = torch.stack(seen).amax(0)[0]
    torch.testing.assert_close(status.unit_max["0"].float(), expected)
    assert plans.take() == 2


def test_layers_are_in_the_order_of_their_calls() -> None:
    records = batch(9)
    expected = torch.cat([records[1].point, records[0].point], 1)
    alive, linear = expected[0] > 0, -expected[1] > 0
    found = point_status(records)
    assert torch.equal(found == Status.DEAD, ~alive.T)
    assert torch.equal(found == Status.LINEAR, (alive & linear).T)
    assert torch.equal(point_status(records[::-1]), found)


def test_points_of_several_positions_are_alive_where_one_is() -> None:
    z = torch.tensor([[[-1.0, 2.0]], [[-1.0, -2.0]]])  # 2 samples, 1 unit, 2 positions
    by_location = Extrema(("0",), (0,), torch.tensor([[[2.0]], [[2.0]]]), torch.stack([z, -z]).view(2, 1, 4), 2)
    assert point_status([by_location]).tolist() == [[Status.NONLINEAR], [Status.DEAD]]


def test_what_is_not_a_number_counts_as_dead() -> None:
    records = [extrema_of([torch.tensor([[1.0, -2.0], [torch.nan, 3.0]])], ["0"])]
    status = NetworkStatus()
    status.update(records)
    assert status.unit_status["0"].tolist() == [Status.DEAD, Status.NONLINEAR]
    assert status.compute()["unit_dead_ratio"] == 0.5
    assert point_status(records)[1].tolist() == [Status.DEAD]


def test_some_layers_that_changed_are_named() -> None:
    status = NetworkStatus()
    status.update(batch(3, layers=1))
    with pytest.raises(ValueError, match=r"changed within an epoch: 0, 1, 2, 3\. Use one"):
        status.update(batch(3, layers=9))


def test_batches_of_unequal_samples_name_some_layers() -> None:
    records = [extrema_of([torch.randn(rows, 2)], [str(rows)], [rows]) for rows in range(1, 10)]
    with pytest.raises(ValueError, match=r"samples \(1: 1, 2: 2, 3: 3, 4: 4\), so"):
        NetworkStatus().update(records)
