"""Two processes: each has the loss of its part of the batch, or with ``sync=True`` that of the whole batch."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.distributed as dist
from support.processes import in_ranks
from support.references import Options, assert_same_grads, reference_loss_and_grads
from support.zoo import dense, make
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from jumpstart import Aggregate, JumpstartRegularization
from jumpstart.extrema import extrema_of
from jumpstart.extrema.distributed import whole_batch
from jumpstart.extrema.record import count_slices

LAMBDA = 0.5
KINDS = ("dense", "conv2d-inplace", "conv2d-channels-last", "residual", "shared", "tokens", "zeros", "large-batch")
LAST = {"tokens": 2}

Step = tuple[float, list[Tensor | None]]


def first_of(output: Any) -> Tensor:
    """The tensor in an output."""
    return output if isinstance(output, Tensor) else output[0]


def share(x: Tensor, ratio: float) -> Tensor:
    """This rank's part of a batch."""
    cut = max(1, int(len(x) * ratio))
    return x[cut:] if dist.get_rank() else x[:cut]


def backward(output: Tensor, jumpstart: Tensor, weight: float = 1.0) -> None:
    """The backward pass of a step, with a task loss whose mean over the ranks is that of the whole batch."""
    (output.square().flatten(1).sum(1).mean() * weight + LAMBDA * jumpstart).backward()


@functools.cache
def alone(name: str, dtype: torch.dtype, **options: Any) -> Step:
    """Loss and gradients of one process with the whole batch."""
    model, x = make(name)
    model, x = model.to(dtype), x.to(dtype)
    with JumpstartRegularization(model, **options) as jumpstart:
        backward(model(x), jumpstart.loss)
        return jumpstart.loss.item(), [parameter.grad for parameter in model.parameters()]


def together(name: str, dtype: torch.dtype, ratio: float, **options: Any) -> Step:
    """Loss and gradients of this rank in a step of DistributedDataParallel."""
    model, x = make(name)
    model, x = model.to(dtype), x.to(dtype)
    mine = share(x, ratio)
    with JumpstartRegularization(model, **options) as jumpstart:
        parallel = DistributedDataParallel(model)  # takes its hooks along when it goes
        output = parallel(mine)
        backward(output, jumpstart.loss, len(mine) * dist.get_world_size() / len(x))
        assert sum({record.samples for record in jumpstart.extrema}) == len(mine), "the records are this rank's own"
        return jumpstart.loss.item(), [parameter.grad for parameter in model.parameters()]


# The whole batch ----------------------------------------------------------------------------------


# In float32, sums over the 2100 rows of the large batch are not exact to 1e-6, on one rank or on two.
CASES = [
    *itertools.product(KINDS, [torch.float64], Aggregate, [0.5, 0.3]),
    *itertools.product(("dense", "conv2d-inplace", "residual", "zeros"), [torch.float32], Aggregate, [0.5, 0.3]),
]


def whole_batch_steps() -> list[Step]:
    return [together(name, dtype, ratio, sync=True, aggregate=aggregate) for name, dtype, aggregate, ratio in CASES]


def test_two_ranks_with_half_the_batch_are_one_with_all_of_it() -> None:
    for rank in in_ranks(whole_batch_steps):
        for (name, dtype, aggregate, _), (loss, grads) in zip(CASES, rank, strict=True):
            expected, expected_grads = alone(name, dtype, aggregate=aggregate)
            assert loss == pytest.approx(expected, rel=1e-6), (name, dtype, aggregate)
            assert_same_grads(grads, expected_grads, rtol=1e-6)


OPTIONS: list[dict[str, Any]] = [
    {"margin": 0.3, "negative_margin": 0.8},
    {"terms": "unit"},
    {"terms": "point_negative", "aggregate": "norm"},
    {"positive_weight": 0.5, "negative_weight": 2.0},
    {"point": "location"},
    {"point": "location", "aggregate": "mean"},
    {"capture": "weights"},
]


def whole_batch_options() -> list[Step]:
    return [together("conv2d", torch.float64, 0.3, sync=True, **options) for options in OPTIONS]


def test_every_option_of_the_loss_covers_the_whole_batch() -> None:
    for rank in in_ranks(whole_batch_options):
        for options, (loss, grads) in zip(OPTIONS, rank, strict=True):
            expected, expected_grads = alone("conv2d", torch.float64, **options)
            assert loss == pytest.approx(expected, rel=1e-6), options
            assert_same_grads(grads, expected_grads)


# With both sides, what one value pays for being the largest and the smallest cancels.
POSITIVE = ("unit_positive", "point_positive")


def repeated(rows: int) -> tuple[nn.Module, Tensor]:
    model, x = make("dense")
    return model, x[:1].expand(rows, -1).clone()


def ties_across_ranks() -> list[list[Tensor | None]]:
    found = []
    for ties in ("single", "average"):
        model, x = repeated(6)
        mine = share(x, 0.5)
        with JumpstartRegularization(model, sync=True, ties=ties, terms=POSITIVE) as jumpstart:
            parallel = DistributedDataParallel(model)
            (parallel(mine).sum() * 0 + jumpstart.loss).backward()
        found.append([parameter.grad for parameter in model.parameters()])
    return found


def test_an_extremum_that_several_ranks_attain_has_one_owner() -> None:
    model, x = repeated(6)
    _, expected = reference_loss_and_grads(model, x, Options(terms=POSITIVE))
    for rank in in_ranks(ties_across_ranks):
        for grads in rank:  # all rows are equal: whoever gets the gradient, the weights see the same
            assert_same_grads(grads, expected[:-1])


def reads_and_contexts() -> dict[str, Any]:
    found: dict[str, Any] = {}
    model, x = make("dense")
    mine = share(x, 0.5)
    with JumpstartRegularization(model, sync=True) as jumpstart:
        model(mine)
        first = jumpstart.loss
        if dist.get_rank() == 0:  # the second time nothing is sent
            assert jumpstart.loss is first
        for name, context in (("no_grad", torch.no_grad()), ("inference", torch.inference_mode())):
            with context:
                model(mine)
                found[name] = jumpstart.loss.item()
                found[f"{name} graph"] = jumpstart.loss.requires_grad
        with torch.no_grad():
            model.eval()(mine)
        found["eval"] = jumpstart.loss.item()
    model.float()
    with JumpstartRegularization(model, sync=True) as jumpstart, torch.autocast("cpu", dtype=torch.bfloat16):
        model(mine.float())
        found["autocast"] = jumpstart.loss.dtype
    return found


def test_the_whole_batch_without_gradients_and_under_autocast() -> None:
    expected = reference_loss_and_grads(*make("dense"))[0]
    for found in in_ranks(reads_and_contexts):
        for name in ("no_grad", "inference", "eval"):
            assert found[name] == pytest.approx(expected, rel=1e-6)
        assert not found["no_grad graph"]
        assert not found["inference graph"]
        assert found["autocast"] == torch.float32


def refusals() -> list[str]:
    messages = []
    rank = dist.get_rank()
    other = dense(3 if rank else 4)
    with JumpstartRegularization(other, sync=True) as jumpstart:
        other(torch.randn(5, 3))
        with pytest.raises(RuntimeError, match="same layers") as caught:
            _ = jumpstart.loss
        messages.append(str(caught.value))
    model, x = make("dense")
    parameters = dict(model.named_parameters())
    with JumpstartRegularization(model, sync=True) as jumpstart:

        def loss(parameters: dict[str, Tensor]) -> Tensor:
            torch.func.functional_call(model, parameters, (x,))
            return jumpstart.loss

        with pytest.raises(RuntimeError, match=r"torch\.func") as caught:
            torch.func.grad(loss)(parameters)
        messages.append(str(caught.value))
    groups = [dist.new_group([0]), dist.new_group([1])]
    with JumpstartRegularization(model, sync=True, process_group=groups[0]) as jumpstart:
        model(x[rank:])
        if rank == 0:
            messages.append(f"{jumpstart.loss.item():.9f}")
        else:
            with pytest.raises(RuntimeError, match="not in process_group") as caught:
                _ = jumpstart.loss
            messages.append(str(caught.value))
    return messages


def test_ranks_that_ran_different_layers_are_refused_in_every_rank() -> None:
    one, two = in_ranks(refusals)
    assert "0: 4 layer calls, 16 units, float32; 1: 3 layer calls, 12 units, float32" in one[0]
    assert "0: 4 layer calls, 16 units, float32; 1: 3 layer calls, 12 units, float32" in two[0]
    # A group of one process: its own batch.
    assert float(one[2]) == pytest.approx(reference_loss_and_grads(*make("dense"))[0])


def two_of_three() -> tuple[float, list[object]]:
    """The loss of the group of the last two ranks, and the form of its record; nothing in the first rank."""
    model, x = make("dense")
    group, rank = dist.new_group([1, 2]), dist.get_rank()
    if rank == 0:
        return 0.0, []
    with JumpstartRegularization(model, sync=True, process_group=group) as jumpstart:
        model(x[:2] if rank == 1 else x[2:])
        (record,) = whole_batch(jumpstart.extrema, group)
        return jumpstart.loss.item(), [record.order, record.unit.shape, record.point.shape, record.samples]


def test_a_group_of_some_ranks_has_the_loss_of_their_batch() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        units, points = count_slices(jumpstart.extrema)
        expected = jumpstart.loss.item()
    for loss, form in in_ranks(two_of_three, count=3)[1:]:
        assert loss == pytest.approx(expected)
        assert form == [(0,), (2, 1, units), (2, 1, points), points]


def test_without_a_process_group_sync_changes_nothing() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model, sync=True) as jumpstart:
        assert "sync=True" in repr(jumpstart)
        model(x)
        jumpstart.loss.backward()
        loss = jumpstart.loss.item()
    expected, grads = reference_loss_and_grads(model, x)
    assert loss == pytest.approx(expected)
    assert_same_grads([parameter.grad for parameter in model.parameters()], grads[:-1])
    with pytest.raises(ValueError, match=r"sync is False\. Use sync=True"):
        JumpstartRegularization(model, process_group=object())


def alone_in_a_group() -> float:
    model, x = make("dense")
    with JumpstartRegularization(model, sync=True) as jumpstart, unreachable():
        model(x)
        return float(jumpstart.loss)


@contextmanager
def unreachable() -> Iterator[None]:
    """No message can be sent."""
    own, dist.all_gather = dist.all_gather, None  # type: ignore[assignment]
    try:
        yield
    finally:
        dist.all_gather = own


def test_a_process_that_is_alone_in_its_group_sends_nothing() -> None:
    expected, _ = reference_loss_and_grads(*make("dense"))
    assert in_ranks(alone_in_a_group, count=1) == [pytest.approx(expected)]


def dtypes() -> list[tuple[torch.dtype, torch.dtype]]:
    found = []
    for kinds in ((torch.float32, torch.float32), (torch.float64, torch.float32), (torch.bfloat16, torch.float32)):
        torch.manual_seed(dist.get_rank())
        records = [extrema_of([torch.randn(3, 2).to(kind)], [str(i)], [i]) for i, kind in enumerate(kinds)]
        (record,) = whole_batch(records)
        found.append((record.unit.dtype, record.point.dtype))
    return found


def test_layers_of_several_dtypes_are_compared_in_the_widest_one() -> None:
    expected = [(kind, kind) for kind in (torch.float32, torch.float64, torch.float32)]
    assert in_ranks(dtypes) == [expected, expected]


def refused(*by_rank: list[tuple[str, int]]) -> bool:
    """Whether layers of these names and numbers of units are refused, which have as many units in total."""
    calls = by_rank[dist.get_rank()]
    records = [extrema_of([torch.randn(3, units)], [name], [i]) for i, (name, units) in enumerate(calls)]
    try:
        whole_batch(records)
    except RuntimeError as error:
        return "same layers" in str(error)
    return False


def refusals_of_order_and_names() -> list[bool]:
    one = [("a", 4), ("b", 8)]
    return [refused(one, other) for other in (one, [("a", 8), ("b", 4)], [("a", 4), ("c", 8)], [("b", 4), ("a", 8)])]


def test_the_order_of_units_and_the_names_of_layers_must_agree() -> None:
    assert in_ranks(refusals_of_order_and_names) == [[False, True, True, True]] * 2


def unused_gradients() -> list[tuple[bool, bool]]:
    found = []
    for used in (0, 1):
        z = torch.randn(3, 2, requires_grad=True)
        record = extrema_of([z], ["a"])
        (whole,) = whole_batch([record])
        grads = torch.autograd.grad(
            (whole.unit, whole.point)[used].sum(), [record.unit, record.point], allow_unused=True
        )
        found.append((grads[0] is None, grads[1] is None))
    return found


def test_extrema_without_a_gradient_get_none() -> None:
    assert in_ranks(unused_gradients) == [[(False, True), (True, False)]] * 2


# Without sync: the part of each rank --------------------------------------------------------------------------------


def own_parts() -> list[Step]:
    return [together(name, torch.float64, 0.5) for name in KINDS]


def test_the_gradient_of_data_parallel_training_is_the_mean_of_the_ranks() -> None:
    ranks = in_ranks(own_parts)
    for i, name in enumerate(KINDS):
        model, x = make(name)
        cut = len(x) // 2
        total = [torch.zeros_like(parameter) for parameter in model.parameters()]
        for rank, part in enumerate((x[:cut], x[cut:])):
            expected, grads = reference_loss_and_grads(model, part, unit_dim=LAST.get(name, 1))
            assert ranks[rank][i][0] == pytest.approx(expected, rel=1e-6)
            model.zero_grad()
            (model(part).square().flatten(1).sum(1).mean() * len(part) * 2 / len(x)).backward()
            for sum_, parameter, grad in zip(total, model.parameters(), grads[:-1], strict=True):
                sum_ += (parameter.grad + LAMBDA * (0 if grad is None else grad)) / 2
        for rank in range(2):
            assert_same_grads(ranks[rank][i][1], total)


# Sharded ------------------------------------------------------------------------------------------


SHARDED = [(name, sync) for name in ("dense", "conv2d-inplace", "residual", "transformer") for sync in (False, True)]


def sharded_steps() -> list[Step]:
    mesh = init_device_mesh("cpu", (2,))
    found = []
    for name, sync in SHARDED:
        model, x = make(name)
        jumpstart = JumpstartRegularization(model, sync=sync)
        for child in list(model.layers if name == "transformer" else model.children()):
            if list(child.parameters()):
                fully_shard(child, mesh=mesh)
        fully_shard(model, mesh=mesh)
        mine = share(x[: len(x) // 2 * 2], 0.5)
        for _ in range(2):  # the second step runs on resharded weights
            model.zero_grad()
            backward(model(mine), jumpstart.loss)
        grads = [parameter.grad.full_tensor() for parameter in model.parameters()]
        found.append((jumpstart.loss.item(), grads))
        jumpstart.remove()
    return found


def test_fully_sharded_training_has_the_gradient_of_data_parallel_training() -> None:
    ranks = in_ranks(sharded_steps)
    for i, (name, sync) in enumerate(SHARDED):
        model, x = make(name)
        x = x[: len(x) // 2 * 2]
        parts = [x] if sync else list(x.chunk(2))
        losses, total = [], [torch.zeros_like(parameter) for parameter in model.parameters()]
        for part in parts:
            model.zero_grad()
            with JumpstartRegularization(model) as jumpstart:
                backward(model(part), jumpstart.loss)
                losses.append(jumpstart.loss.item())
            for sum_, parameter in zip(total, model.parameters(), strict=True):
                sum_ += parameter.grad / len(parts)
        for rank in range(2):
            loss, grads = ranks[rank][i]
            assert loss == pytest.approx(losses[0 if sync else rank], rel=1e-6)
            assert_same_grads(grads, total)


# Gradient accumulation in one process -----------------------------------------


@contextmanager
def accumulated(x: Tensor, parts: int, **options: Any) -> Iterator[Step]:
    model, _ = make("dense")
    with JumpstartRegularization(model, **options) as jumpstart:
        total = 0.0
        for part in x.chunk(parts):
            model(part)
            (jumpstart.loss / parts).backward()
            total += jumpstart.loss.item() / parts
        yield total, [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def test_accumulated_gradients_are_those_of_the_mean_over_micro_batches() -> None:
    model, _ = make("dense")
    x = torch.randn(12, 3, dtype=torch.float64)
    with accumulated(x, 3) as (loss, grads):
        references = [reference_loss_and_grads(model, part) for part in x.chunk(3)]
        assert loss == pytest.approx(sum(value for value, _ in references) / 3)
        expected = [sum(parts) / 3 for parts in zip(*(grads[:-3] for _, grads in references), strict=True)]
        assert_same_grads(grads, expected)


def test_micro_batches_are_exact_for_points_and_ask_more_of_units() -> None:
    model, _ = make("dense")
    x = torch.randn(12, 3, dtype=torch.float64)
    points, units = (
        Options(terms=("point_positive", "point_negative")),
        Options(terms=("unit_positive", "unit_negative")),
    )
    with accumulated(x, 3, terms="point") as (loss, grads):
        expected, expected_grads = reference_loss_and_grads(model, x, points)
        assert loss == pytest.approx(expected)
        assert_same_grads(grads, expected_grads[:-3])
    with accumulated(x, 3, terms="unit") as (loss, _):
        assert loss > reference_loss_and_grads(model, x, units)[0]


def test_recording_several_calls_gives_the_mean_over_micro_batches_in_one_loss() -> None:
    model, _ = make("dense")
    x = torch.randn(12, 3, dtype=torch.float64)
    with accumulated(x, 3) as (loss, grads), JumpstartRegularization(model) as jumpstart:
        with jumpstart.recording():
            for part in x.chunk(3):
                model(part)
        assert jumpstart.loss.item() == pytest.approx(loss)
        jumpstart.loss.backward()
        assert_same_grads([p.grad for p in model.parameters() if p.grad is not None], grads)


# The helper itself --------------------------------------------------------------------------------


def fails(rank: int) -> None:
    if dist.get_rank() == rank:
        raise ValueError("on purpose")
    dist.barrier()


def sleeps() -> None:
    time.sleep(60)


def test_a_rank_that_fails_or_hangs_is_reported() -> None:
    with pytest.raises(AssertionError, match=r"(?s)rank 1 failed.*ValueError: on purpose"):
        in_ranks(fails, 1)
    with pytest.raises(AssertionError, match=r"ranks \[0, 1\] were not done after 3 seconds"):
        in_ranks(sleeps, timeout=3)
    assert in_ranks(dist.get_rank, count=1) == [0]
