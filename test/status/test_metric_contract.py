"""Every metric keeps the contract of torchmetrics, against a reference that keeps every batch."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from support.processes import in_ranks
from support.references import preactivations
from support.status_reference import mixed, reference
from torch import nn
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection
from torchmetrics.wrappers import MetricTracker, Running

from jumpstart import JumpstartRegularization
from jumpstart.choices import Margins
from jumpstart.extrema.record import Extrema
from jumpstart.metrics import NetworkStatus
from jumpstart.status.metric_group import MetricGroup
from jumpstart.status.sample import PointSample
from model.meters import ClassificationMetrics

Numbers = dict[str, float]
SIZES = (7, 1, 20, 3, 11)


class Case(NamedTuple):
    """A metric, five batches of unequal sizes, and what the metric of some of them must be."""

    make: Callable[..., MetricGroup]
    batches: list[tuple[Any, ...]]
    expected: Callable[[Sequence[int]], Numbers]


def status_case(model: nn.Module, x: torch.Tensor, margins: Margins, **options: Any) -> Case:
    batches, kept = [], []
    for part in x.split(SIZES):
        with JumpstartRegularization(model, **options) as jumpstart, torch.no_grad():
            model(part)
            batches.append((jumpstart.extrema,))
        kept.append([z.detach().numpy() for z in preactivations(model, part)[2]])
    make = functools.partial(NetworkStatus, *margins)
    return Case(make, batches, lambda chosen: reference([kept[i] for i in chosen], *margins))


def images() -> nn.Module:
    """Layers with 16 and 4 positions per sample."""
    torch.manual_seed(1)
    layers = [nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers).double()


def classification_case(*, parts: bool) -> Case:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(sum(SIZES), 3, generator=generator).split(SIZES)
    labels = torch.randint(3, (sum(SIZES),), generator=generator).split(SIZES)
    batches = [
        (z, y, F.cross_entropy(z, y), z.square().mean(), *([(z.abs().mean(), -z.mean())] if parts else []))
        for z, y in zip(logits, labels, strict=True)
    ]

    def expected(chosen: Sequence[int]) -> Numbers:
        z, y = (torch.cat([kind[i] for i in chosen]) for kind in (logits, labels))
        numbers = {"acc": (z.argmax(1) == y).double().mean(), "loss": F.cross_entropy(z, y)}
        numbers["jumpstart_loss"] = np.mean([logits[i].square().mean().item() for i in chosen])
        if parts:
            numbers["jumpstart_unit_loss"] = np.mean([logits[i].abs().mean().item() for i in chosen])
            numbers["jumpstart_point_loss"] = np.mean([-logits[i].mean().item() for i in chosen])
        return {name: float(value) for name, value in numbers.items()}

    return Case(ClassificationMetrics, batches, expected)


@functools.cache
def case_of(name: str) -> Case:
    torch.manual_seed(3)
    rows, pixels = 2 * torch.randn(sum(SIZES), 3).double(), torch.randn(sum(SIZES), 2, 4, 4).double()
    cases = {
        "units of two widths": lambda: status_case(mixed(0), rows, (1.0, 1.0)),
        "another margin": lambda: status_case(mixed(0), rows, (1.0, 0.3)),
        "float32": lambda: status_case(mixed(1).float(), rows.float(), (1.0, 0.5)),
        "positions": lambda: status_case(images(), pixels, (1.0, 1.0), point="location"),
        "classification": lambda: classification_case(parts=False),
        "classification with parts": lambda: classification_case(parts=True),
    }
    return cases[name]()


NAMES = (
    "units of two widths", "another margin", "float32", "positions", "classification", "classification with parts",
)  # fmt: skip
every_case = pytest.mark.parametrize("name", NAMES)


def assert_is(found: dict[str, torch.Tensor] | Numbers, expected: Numbers) -> None:
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, abs=1e-6)


def test_every_metric_of_the_project_is_a_case() -> None:
    made = {type(case_of(name).make()) for name in NAMES}
    kinds = [MetricGroup]
    for kind in kinds:
        kinds += [sub for sub in kind.__subclasses__() if not sub.__module__.startswith("test")]
    assert set(kinds[1:]) == made


def loaded(case: Case, metric: Metric) -> Metric:
    """Another metric with the states of this one, by way of a checkpoint."""
    metric.persistent(True)
    other = case.make()
    other.update(*case.batches[0])
    other.compute()  # which must be forgotten
    other.load_state_dict(copy.deepcopy(metric.state_dict()))
    return other


@every_case
@pytest.mark.parametrize("seed", range(6))
def test_any_sequence_of_calls_equals_the_reference(name: str, seed: int) -> None:
    case, random = case_of(name), np.random.default_rng(seed)
    metric: Any = case.make()
    seen: list[int] = []
    for _ in range(25):
        batch, act = int(random.integers(len(SIZES))), random.integers(12)
        if act < 4:
            metric.update(*case.batches[batch])
            seen.append(batch)
        elif act == 4:
            assert_is(metric(*case.batches[batch]), case.expected([batch]))
            seen.append(batch)
        elif act == 5:
            other = case.make()
            other.update(*case.batches[batch])
            assert not seen or metric.compute()  # which must be forgotten
            metric.merge_state(other if random.random() < 0.5 else other.metric_state)
            seen.append(batch)
            assert_is(metric.compute(), case.expected(seen))
        elif act == 6:
            metric.merge_state(case.make())
        elif act == 7:
            before, metric = metric, (metric.clone, lambda m=metric: pickle.loads(pickle.dumps(m)))[batch % 2]()
            before.update(*case.batches[batch])  # which the copy must not see
        elif act == 8:
            metric = loaded(case, metric)
            if seen:
                assert_is(metric.compute(), case.expected(seen))
        elif act == 9 and random.random() < 0.3:
            metric.reset()
            seen.clear()
        elif act == 10:
            metric = (metric.half, metric.double, functools.partial(metric.to, torch.float16))[batch % 3]()
            metric.set_dtype(torch.bfloat16)
        elif seen:
            assert_is(metric.compute() if batch % 2 else metric.numbers(), case.expected(seen))
    metric.update(*case.batches[0])
    assert_is(metric.compute(), case.expected([*seen, 0]))
    assert {value.dtype for value in metric.compute().values()} == {torch.float64}


@every_case
def test_no_value_before_an_update(name: str) -> None:
    metric = case_of(name).make()
    with pytest.warns(UserWarning, match="before"), pytest.raises(RuntimeError, match=r"there is no .* yet: update"):
        metric.compute()


@every_case
def test_states_are_exact_wherever_inference_mode_begins_and_ends(name: str) -> None:
    case = case_of(name)
    metric: Any = case.make()
    with torch.inference_mode():
        metric.update(*case.batches[0])
        metric.reset()
    metric.update(*case.batches[1])
    with torch.inference_mode():
        metric(*case.batches[2])
        metric.update(*case.batches[3])
    metric.update(*case.batches[4])
    assert_is(metric.clone().compute(), case.expected([1, 2, 3, 4]))


@every_case
def test_a_collection_shares_states_of_equal_metrics_alone(name: str) -> None:
    case = case_of(name)
    members: dict[str, Any] = {"one": case.make(), "two": case.make()}
    if name == "units of two widths":
        members |= {"near": NetworkStatus(1.0 + 1e-9), "other": NetworkStatus(1.0, 0.3)}
        members |= {f"sampled{i}": NetworkStatus(sample=PointSample(5)) for i in range(2)}
    collection = MetricCollection(members)
    for epoch in range(2):
        chosen = [0, 2, 3, 4][epoch:]
        for batch in chosen:
            collection.update(*case.batches[batch])
        collection(*case.batches[1])
        found = collection.compute()
        for key in members:
            expected = case_of("another margin").expected if key == "other" else case.expected
            own = {k.removeprefix(f"{key}_"): v for k, v in found.items() if k.startswith(f"{key}_")}
            assert_is(own, expected([*chosen, 1]))
        collection.reset()
    assert len(collection.compute_groups) == len(members) - 1
    for key in members.keys() & {"sampled0", "sampled1"}:
        members[key].update(*case.batches[2])
        assert members[key].sample.seen == SIZES[2]


@every_case
def test_a_running_window_and_a_tracker(name: str) -> None:
    case = case_of(name)
    running, tracker = Running(case.make(), window=2), MetricTracker(case.make(), maximize=True)
    for batch in range(len(SIZES)):
        (running.update if batch % 2 else running)(*case.batches[batch])
        assert_is(running.compute(), case.expected([i for i in (batch - 1, batch) if i >= 0]))
        tracker.increment()
        tracker.update(*case.batches[batch])
    for key, values in tracker.compute_all().items():
        assert values.tolist() == pytest.approx([case.expected([i])[key] for i in range(len(SIZES))], abs=1e-6)


def test_a_metric_with_a_sample_draws_every_point_once() -> None:
    case = case_of("units of two widths")
    by_update, by_forward = (NetworkStatus(sample=PointSample(12, seed=4)) for _ in range(2))
    for batch in case.batches:
        by_update.update(*batch)
        by_forward(*batch)
    copied = by_forward.clone()
    by_update.compute()
    for metric in (by_forward, copied):
        assert metric.sample is not None
        assert by_update.sample is not None
        assert metric.sample.seen == sum(SIZES)
        assert torch.equal(metric.sample.rows, by_update.sample.rows)
    assert id(copied.sample) != id(by_forward.sample)
    with pytest.raises(ValueError, match="sample must be None where metrics are merged"):
        NetworkStatus().merge_state(by_update)


@every_case
@pytest.mark.parametrize("sync", [True, False])
def test_numbers_are_those_of_all_processes_unless_the_metric_is_not_synchronized(name: str, sync: bool) -> None:
    case, groups = case_of(name), set()

    def gather(state: torch.Tensor, group: object) -> list[torch.Tensor]:
        groups.add(group)
        return [state, state]

    options = {"distributed_available_fn": lambda: True, "dist_sync_fn": gather, "process_group": "mine"}
    metric = case.make(**options, sync_on_compute=sync)
    metric.update(*case.batches[0])
    assert_is(metric.numbers(), case.expected([0, 0]))
    assert groups == ({"mine"} if sync else set())


@every_case
def test_a_part_of_the_states_is_loaded_too(name: str) -> None:
    case = case_of(name)
    metric, other, fresh = (case.make() for _ in range(3))
    for each, batch in ((metric, 0), (other, 2)):
        each.update(*case.batches[batch])
        each.persistent(True)
    before = metric.numbers()
    metric.compute()
    part = next(key for key, state in other.state_dict().items() if not torch.equal(state, metric.state_dict()[key]))
    metric.load_state_dict({part: other.state_dict()[part]}, strict=False)
    assert {key: float(value) for key, value in metric.compute().items()} == metric.numbers() != before
    fresh.persistent(True)
    fresh.load_state_dict(other.state_dict())
    assert fresh.update_count == 1


def test_states_of_other_options_or_layers_are_refused() -> None:
    case, other = case_of("units of two widths"), case_of("another margin")
    metric, shallow = case.make(), case.make()
    metric.update(*case.batches[0])
    shallow.update(*case_of("positions").batches[0])
    wrong = other.make()
    wrong.update(*other.batches[0])
    with pytest.raises(ValueError, match=r"got NetworkStatus\(margin=1\): .*\(margin=1, negative_margin=0\.3\) reads"):
        metric.merge_state(wrong)
    with pytest.raises(ValueError, match="margin and negative_margin must be those of the states"):
        case.make().merge_state(wrong.metric_state)
    with pytest.raises(ValueError, match="margin and negative_margin must be those of the states"):
        loaded(case, wrong)
    with pytest.raises(ValueError, match="metrics of other layers can't be merged: 1, 3, 4, 5"):
        metric.merge_state(shallow)
    with pytest.raises(ValueError, match="reach"):
        metric.merge_state({"counts": metric.counts, "layers": metric.layers})
    for margin in (0, -1.0, float("nan"), "1"):
        with pytest.raises(ValueError, match=r"margin must be a finite number > 0, got"):
            NetworkStatus(margin)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"negative_margin must be a finite number > 0, got"):
            NetworkStatus(1.0, margin)  # type: ignore[arg-type]
    assert_is(metric.compute(), case.expected([0]))


def test_a_refused_batch_leaves_no_trace() -> None:
    case = case_of("units of two widths")
    (records,) = case.batches[0]
    odd = [*case.batches[1][0][:1], *records[1:]]
    metric = NetworkStatus()
    with pytest.raises(ValueError, match="unequal numbers of samples"):
        metric.update(odd)
    assert metric.layout == []
    with pytest.raises(RuntimeError, match="there is no status yet"):
        _ = metric.unit_status
    metric.update(records)
    for _ in range(2):
        with pytest.raises(
            RuntimeError, match=r"records are on meta.* on cpu\. Move the metric first: status\.to\('meta'\)"
        ):
            metric.update([on_meta(record) for record in reversed(records)])
    assert_is(metric.compute(), case.expected([0]))


def on_meta(record: Extrema) -> Extrema:
    return replace(record, unit=record.unit.to("meta"), point=record.point.to("meta"))


# Two processes ---------------------------------------------------------------------------------------------------

SHARES = {"unequal": ([0, 2, 3], [1, 4]), "one empty": ([], [0, 1, 2]), "other empty": ([2, 3, 4], [])}


def in_a_rank() -> None:
    rank = torch.distributed.get_rank()
    for name in NAMES:
        case = case_of(name)
        for shares in SHARES.values():
            metric: Any = case.make()
            for batch in shares[rank]:
                metric.update(*case.batches[batch])
            everything, mine = case.expected(shares[0] + shares[1]), shares[rank]
            assert_is(metric.numbers(), everything)
            assert_is(metric.compute(), everything)
            if isinstance(metric, NetworkStatus):
                assert [len(units) for units in metric.unit_status.values()] == [n for _, n in whole(case).layout]
            alone: Any = case.make(sync_on_compute=False)
            alone.merge_state(metric)
            if mine:
                assert_is(alone.compute(), case.expected(mine))
            metric.reset()
            with pytest.raises(RuntimeError, match="there is no"):
                metric.numbers()
            metric.update(*case.batches[rank])
            assert_is(metric.numbers(), case.expected([0, 1]))
        on_step = case.make(dist_sync_on_step=True)
        assert_is(on_step(*case.batches[rank]), case.expected([0, 1]))
        running = Running(case.make(), window=3)
        for batch in (rank, rank + 2):
            running.update(*case.batches[batch])
        assert_is(running.compute(), case.expected([0, 1, 2, 3]))
    differ = NetworkStatus()
    differ.update(*case_of(("units of two widths", "positions")[rank]).batches[0])
    with pytest.raises(ValueError, match="metrics of other layers can't be merged"):
        differ.numbers()
    differ.reset()
    differ.update(*case_of("positions").batches[rank])
    assert_is(differ.numbers(), case_of("positions").expected([0, 1]))


def whole(case: Case) -> NetworkStatus:
    metric = case.make()
    metric.update(*case.batches[0])
    assert isinstance(metric, NetworkStatus)
    return metric


def test_two_processes_of_which_one_may_be_empty() -> None:
    in_ranks(in_a_rank)
