"""The monitor equals a reference that stores every preactivation, on any model, and leaves no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.processes import in_ranks
from support.references import preactivations
from support.status_reference import mixed, reference
from support.zoo import ZOO, dense, every_architecture, make
from torch import Tensor, nn

from jumpstart import JumpstartRegularization
from jumpstart.monitor import StatusMonitor

both = pytest.mark.parametrize("beside", [True, False], ids=["beside the loss", "alone"])


def codes(z: np.ndarray) -> list[int]:
    """The status of every row of (slices, entries), in a loop."""
    return [0 if max(row) <= 0 else 1 if min(row) > 0 else 2 for row in z]


def kept(model: nn.Module, batches: tuple[Tensor, ...]) -> list[list[np.ndarray]]:
    return [[z.detach().numpy() for z in preactivations(model, batch)[2]] for batch in batches]


def assert_equal(monitor: StatusMonitor, batches: list[list[np.ndarray]]) -> None:
    """Compare every metric and every table with the reference from all preactivations of the epoch."""
    expected = reference(batches)
    found = monitor.compute()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, abs=1e-12), name
    layers = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    chosen = np.sort(np.random.default_rng(3).random(len(layers[0])).argsort()[:9])
    assert monitor.points == len(layers[0])
    assert monitor.point_index.tolist() == chosen.tolist()
    tables = [monitor.unit_status, monitor.unit_max, monitor.unit_min, monitor.point_status]
    assert all(list(table) == monitor.layers for table in tables)
    for z, name in zip(layers, monitor.layers, strict=True):
        by_unit = np.moveaxis(z, 1, 0).reshape(z.shape[1], -1)
        assert monitor.unit_status[name].tolist() == codes(by_unit)
        assert monitor.unit_max[name].tolist() == by_unit.max(1).tolist()
        assert monitor.unit_min[name].tolist() == by_unit.min(1).tolist()
        assert monitor.point_status[name].tolist() == codes(z.reshape(len(z), -1)[chosen])


@both
@pytest.mark.parametrize("sizes", [[50], [7, 20, 1, 22], [1] * 20 + [30]])
@pytest.mark.parametrize("waiting", [1, 300, 10**9])
@pytest.mark.parametrize("small", [0, 10**9, 40])
def test_an_epoch_equals_the_reference(
    sizes: list[int], waiting: int, small: int, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jumpstart.capture.recorder.SMALL", small)  # 40: small batches wait, large ones don't
    monkeypatch.setattr("jumpstart.metrics.WAITING", waiting)
    monkeypatch.setattr("jumpstart.metrics.LEAST", 0)
    model = mixed(1)
    batches = (2 * torch.randn(50, 3).double()).split(sizes)
    jumpstart = JumpstartRegularization(model) if beside else None
    with StatusMonitor(model, num_points=9, seed=3) as monitor:
        for _ in range(2):
            monitor.reset()
            for batch in batches:
                model(batch)
                if jumpstart is not None:
                    jumpstart.loss.backward()
        assert_equal(monitor, kept(model, batches))
    assert jumpstart is not None or not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


NOT_BY_UNIT = {"tokens", "transformer", "views"}


@every_architecture
@both
def test_monitoring_does_not_change_any_model_of_the_zoo(name: str, beside: bool) -> None:
    model, x = make(name)
    other, _ = make(name)
    jumpstart = [JumpstartRegularization(each) for each in (model, other)] if beside else []

    def grads(network: nn.Module, attached: list[JumpstartRegularization]) -> Any:
        torch.manual_seed(0)
        output = network(x.clone())
        outputs = list(output.values()) if isinstance(output, dict) else [output]
        outputs = [part for each in outputs for part in (each if isinstance(each, tuple) else [each])]
        total = sum(part.sum() for part in outputs) + sum(each.loss for each in attached)
        total.backward()
        return outputs, [parameter.grad for parameter in network.parameters()]

    before = torch.get_rng_state()
    with StatusMonitor(model, num_points=9, seed=3) as monitor:
        assert torch.equal(torch.get_rng_state(), before)
        found: Any = grads(model, jumpstart[:1])
        expected = grads(other, jumpstart[1:])
        for ones, others in zip(found, expected, strict=True):
            for one, another in zip(ones, others, strict=True):
                assert (one is None and another is None) or torch.equal(one, another)
        if name not in NOT_BY_UNIT:
            assert_equal(monitor, kept(make(name)[0], (x,)))
        else:
            assert 0 <= monitor.compute()["deadness"] <= 1


def held(monitor: StatusMonitor) -> int:
    """Bytes of all tensors and arrays that a monitor refers to."""
    seen: set[int] = set()
    heap: list[Any] = [vars(monitor)]
    total = 0
    while heap:
        item = heap.pop()
        if id(item) in seen or (isinstance(item, nn.Module) and not hasattr(item, "reach")):
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            total += item.untyped_storage().nbytes()
        elif isinstance(item, np.ndarray):
            total += item.nbytes
        elif isinstance(item, dict):
            heap += item.values()
        elif isinstance(item, list | tuple | set):
            heap += item
        elif hasattr(item, "__slots__"):
            heap += [getattr(item, slot, None) for slot in item.__slots__]
        elif hasattr(item, "__dict__") and type(item).__module__.startswith("jumpstart"):
            heap.append(vars(item))
    return total


@both
def test_memory_does_not_grow_with_the_points(beside: bool) -> None:
    model = dense(20, 8)
    jumpstart = JumpstartRegularization(model) if beside else None
    sizes, largest = [], []
    for points in (1_000, 100_000):
        with StatusMonitor(model) as monitor, torch.no_grad():
            most = 0
            for batch in torch.randn(points, 3).split(500):
                model(batch)
                most = max(most, held(monitor))
            monitor.compute()
            model(batch)  # both hold the same last pass
            monitor.compute()
            sizes.append(held(monitor))
            largest.append(most)
    assert sizes[0] == sizes[1]
    # The queue is bounded too: pairs of two reaches of four bytes, and as much again for a batch and the sample.
    assert max(largest) < 4 * 8 * 64 * 1024
    assert jumpstart is None or jumpstart.loss > 0


def test_the_sampled_points_depend_on_the_seed_alone() -> None:
    model = dense()
    index = []
    for seed, size in ((0, 13), (0, 100), (1, 100)):
        with StatusMonitor(model, num_points=20, seed=seed) as monitor:
            for batch in torch.randn(100, 3).split(size):
                model(batch)
            index.append(monitor.point_index.tolist())
    assert index[0] == index[1] != index[2]
    assert len(set(index[2])) == 20


def test_classes_belong_to_the_sampled_points() -> None:
    model = dense()
    x, classes = torch.randn(100, 3), torch.randint(5, (100,))
    with StatusMonitor(model, num_points=20) as monitor:
        for _ in range(2):
            for batch, labels in zip(x.split(13), classes.split(13), strict=True):
                model(batch)
                monitor.label(labels)
            assert monitor.point_labels is not None
            assert monitor.point_labels.equal(classes[monitor.point_index])
            model(x)
            assert monitor.point_labels is None
            monitor.reset()


def test_no_graph_is_made_or_kept() -> None:
    for name in ("dense", "conv2d-inplace", "resnet18"):
        model, x = make(name)
        with StatusMonitor(model) as monitor:
            output = model(x)
            records = monitor._live().read(lambda *_: None)
            assert not any(record.unit.requires_grad or record.point.requires_grad for record in records)
            assert output.requires_grad


def watch_in_two(x: Tensor) -> list[dict[str, Any]]:
    model, rank = mixed(1), torch.distributed.get_rank()
    found: list[Any] = []
    for jumpstart in (JumpstartRegularization(model), None):
        with StatusMonitor(model, num_points=9, seed=3) as monitor:
            for batch in x[rank::2].split([7, 10, 8] if rank else [20, 1, 4]):
                model(batch)
            found.append(
                {
                    "figures": monitor.compute(),
                    "index": monitor.point_index,
                    "points": monitor.point_status,
                    "status": monitor.unit_status,
                    "max": monitor.unit_max,
                    "min": monitor.unit_min,
                    "own": monitor.points,
                }
            )
        if jumpstart is not None:
            jumpstart.remove()
    return found


def test_two_processes_give_the_status_of_one_process_with_all_points() -> None:
    x = 2 * torch.randn(50, 3).double()
    ranks = in_ranks(watch_in_two, x)
    model = mixed(1)
    with StatusMonitor(model, num_points=9, seed=3) as monitor:
        model(x)
    expected = reference(kept(model, (x,)))
    for rank in ranks:
        for found in rank:
            assert found["own"] == 25
            for name, value in expected.items():
                assert found["figures"][name].item() == pytest.approx(value, abs=1e-12), name
            assert found["index"].equal(monitor.point_index)
            for key, table in (
                ("points", monitor.point_status),
                ("status", monitor.unit_status),
                ("max", monitor.unit_max),
                ("min", monitor.unit_min),
            ):
                assert found[key].keys() == table.keys()
                assert all(found[key][name].equal(values) for name, values in table.items())


def watch_in_one_of_two(x: Tensor) -> list[Any]:
    model = mixed(1)
    with StatusMonitor(model, num_points=9, seed=3) as monitor:
        with pytest.raises(RuntimeError):
            monitor.numbers()
        if torch.distributed.get_rank() == 1:
            model(x)
            monitor.label(torch.arange(len(x)))
        return [monitor.numbers(), monitor.point_status, monitor.unit_max, monitor.point_labels]


def test_a_process_without_points_reads_the_status_of_the_others() -> None:
    x = 2 * torch.randn(30, 3).double()
    one, other = in_ranks(watch_in_one_of_two, x)
    model = mixed(1)
    assert one[0] == other[0] == pytest.approx(reference(kept(model, (x,))))
    for part in (1, 2):
        assert list(one[part]) == list(other[part]) == ["1", "3", "5", "7"]
        assert all(values.equal(other[part][name]) for name, values in one[part].items())
    assert one[3].equal(other[3])
    assert len(one[3]) == 9


def test_the_models_named_in_this_file_are_in_the_zoo() -> None:
    assert ZOO.keys() >= NOT_BY_UNIT
