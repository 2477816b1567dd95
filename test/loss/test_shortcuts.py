"""The shorter of two ways to one result is taken wherever it can be. No time is measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.calls import Calls
from torch import Tensor

from jumpstart.choices import PointMode, Ties
from jumpstart.extrema import extrema_of, kernel, reduction, routing, tap
from jumpstart.extrema.record import count_slices
from jumpstart.extrema.routing import LANES, LONG, WINDOW, extreme_over
from jumpstart.extrema.rule import Rule
from jumpstart.extrema.torch_internals import sole_holder

WEIGHTS = (0.5, 0.5, 0.25, 0.125)
needs_kernel = pytest.mark.skipif(not kernel.available(), reason=f"no kernel here; {kernel.description()}")


def leaves(count: int = 3, shape: tuple[int, ...] = (7, 4), dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Random tensors in which every unit and every point is short of a margin of 1."""
    torch.manual_seed(1)
    return [(torch.rand(shape, dtype=dtype) - 0.5).requires_grad_() for _ in range(count)]


def names(tensors: list[Tensor]) -> list[str]:
    return [str(i) for i in range(len(tensors))]


def slow_penalty(z: Tensor, weights: tuple[float, ...] = WEIGHTS) -> Tensor:
    hinges = [torch.relu(1 - reach).sum() for reach in (z.amax(0), -z.amin(0), z.amax(1), -z.amin(1))]
    return sum((hinge * weight for hinge, weight in zip(hinges, weights, strict=True)), torch.zeros(()))


# The kernel ----------------------------------------------------------------------------------------------------------


@needs_kernel
def test_the_kernel_reads_tensors_of_one_layout_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, kernel, "reduce")
    images = [torch.randn(2, 3, 4, 5) for _ in range(3)]
    last = [z.contiguous(memory_format=torch.channels_last) for z in images]
    parameter = torch.nn.Parameter(images[2])
    for tensors, count in (
        (leaves(), 1),
        (images, 1),
        (last, 1),
        ([images[0], last[1]], 0),
        ([last[0], images[1]], 0),
        ([images[0], parameter], 0),
        ([last[0], torch.nn.Parameter(last[1])], 0),
    ):
        extrema_of(tensors, names(tensors))
        assert calls.take() == count


@needs_kernel
def test_without_weights_the_kernel_adds_no_hinge() -> None:
    z = torch.zeros(3, 2)
    layout = kernel.layout_of(z, 1, Rule())
    assert layout is not None
    for weights, expected in ((kernel.NO_WEIGHTS, 0), ((1.0, 0.0, 0.0, 0.0), 2), ((0.0, 0.0, 0.0, 1.0), 3)):
        assert kernel.reduce([z], layout, (1.0, 1.0), weights, locate=False)[2].item() == expected


@needs_kernel
def test_places_are_found_only_for_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, function = Calls(monkeypatch, kernel, "reduce"), Calls(monkeypatch, reduction._Reduce, "apply")
    tensors = leaves()
    for grad, weights in ((True, None), (True, WEIGHTS), (False, None)):
        with torch.set_grad_enabled(grad):
            extrema_of(tensors, names(tensors), weights=weights)
        assert [options["locate"] for options in calls.options] == [grad]
        assert (calls.take(), function.take()) == (1, grad)
    extrema_of([z.detach() for z in tensors], names(tensors), weights=WEIGHTS)
    assert [options["locate"] for options in calls.options] == [False]
    with torch.no_grad():
        for z in (tensors[0], tensors[0].detach()):
            calls.take()
            tap(z, "0")
            assert [options["locate"] for options in calls.options] == [False]


@needs_kernel
def test_a_tensor_of_one_entry_has_a_layout_and_one_of_2_to_the_31_has_none(tmp_path: Path) -> None:
    """Places are 32-bit numbers. The large tensors are sparse files, of which no byte is read."""
    assert kernel.layout_of(torch.zeros(1, 1), 1, Rule()) is not None
    for size, fits in ((2**31 - 1, True), (2**31, False)):
        z = torch.from_file(str(tmp_path / str(size)), shared=True, size=size).view(1, size)
        assert (kernel.layout_of(z, 1, Rule()) is not None) == fits
        del z
        (tmp_path / str(size)).unlink()


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_large_tensors_are_for_the_kernel_if_torch_has_at_most_two_threads(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert kernel.quick_for_large() is (threads <= 2)
    if kernel.available():
        calls = Calls(monkeypatch, kernel, "reduce")
        tap(leaves()[0], "0")
        assert calls.take() == (threads <= 2)


def test_the_description_says_why_there_is_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    with kernel.disabled():
        assert kernel._kernel is None or kernel.description() == "pure PyTorch: the compiled kernel is switched off"
    monkeypatch.setattr(kernel, "_kernel", None)
    assert kernel.description().startswith("pure PyTorch: the compiled kernel was not built (pip install")


# Gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("weights", [WEIGHTS, (0.5, 0.25, 0.5, 0.5), (0.0, 0.0, 1.0, 0.0)])
def test_a_penalty_and_extrema_may_be_differentiated_together(path: str, weights: Any, graph: bool) -> None:
    tensors = leaves(dtype=torch.float64)
    record = extrema_of(tensors, names(tensors), weights=weights)
    factors = torch.linspace(-1, 1, record.unit.numel()).double().view_as(record.unit)
    assert record.penalty is not None
    loss = record.penalty + (record.unit * factors).sum() + record.point.sum()
    grads = torch.autograd.grad(loss, tensors, create_graph=graph)
    slow = torch.zeros(())
    for i, z in enumerate(tensors):
        reach = torch.stack([z.amax(0), -z.amin(0)])
        slow = slow + slow_penalty(z, weights) + (reach * factors[:, i]).sum() + z.amax(1).sum() - z.amin(1).sum()
    for grad, expected in zip(grads, torch.autograd.grad(slow, tensors), strict=True):
        torch.testing.assert_close(grad, expected)


@needs_kernel
def test_a_gradient_that_is_not_wanted_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else autograd would fill it with zeros, which would then be added."""
    calls = Calls(monkeypatch, kernel, "spread")
    tensors = leaves()
    record = extrema_of(tensors, names(tensors), weights=WEIGHTS)
    assert record.penalty is not None
    record.penalty.backward()
    assert calls.arguments[0][3] == (None, None) or calls.arguments[0][3] == [None, None]
    z = torch.randn(9, 5, requires_grad=True)
    for wanted in (0, 1):
        calls.take()
        out, record = tap(z * 1, "0")
        (out.sum() + (record.unit, record.point)[wanted].sum()).backward()
        assert [reach is None for reach in calls.arguments[0][3]] == [wanted == 1, wanted == 0]


def test_a_tap_whose_output_is_not_used_starts_from_zeros(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = Calls(monkeypatch, torch, "zeros")
    (z,) = leaves(1)
    _, record = tap(z, "0")
    record.unit_max.sum().backward()
    assert zeros.take() == 1
    assert z.grad is not None
    assert z.grad.sum() == record.unit_max.numel()


def assert_same_gradient(z: Tensor, loss_of: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The gradient of ``z`` is that of plain autograd."""
    slow = z.detach().requires_grad_()
    (loss_of(slow * 1, slow) + slow.amax(0).sum()).backward()
    torch.testing.assert_close(z.grad, slow.grad)


HOLDERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "nothing": lambda out, z: (out * 2).sum(),
    "the other term of a sum": lambda out, z: (out + z).square().sum(),
    "a view": lambda out, z: (out.view(-1) * 2).sum(),
    "an expanded number": lambda out, z: out.sum(),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_gradient_is_copied_only_if_something_else_holds_it(
    path: str, monkeypatch: pytest.MonkeyPatch, holder: str
) -> None:
    sole_holder.cache_clear()  # what a first step finds out
    loss_of, (z,) = HOLDERS[holder], leaves(1)
    out, record = tap(z * 1, "0")
    loss = loss_of(out, z) + record.unit_max.sum()
    copies = Calls(monkeypatch, Tensor, "clone")
    loss.backward()
    assert copies.take() == (holder != "nothing")
    assert_same_gradient(z, loss_of)


KEEPS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda grad: grad,
    "detached": lambda grad: grad.detach(),
    "array": lambda grad: grad.numpy(),
    "capsule": lambda grad: torch.utils.dlpack.to_dlpack(grad),
    "view": lambda grad: grad[1:3],
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("keeps", ["retain_grad", *KEEPS])
def test_a_gradient_that_the_user_keeps_stays_as_it_was(path: str, keeps: str, holder: str) -> None:
    loss_of, (z,) = HOLDERS[holder], leaves(1)
    kept: list[Any] = []
    out, record = tap(z * 1, "0")
    if keeps == "retain_grad":
        out.retain_grad()
    else:
        out.register_hook(lambda grad: kept.append(KEEPS[keeps](grad)))
    (loss_of(out, z) + record.unit_max.sum()).backward()
    assert_same_gradient(z, loss_of)
    alone = out.detach().requires_grad_()
    loss_of(alone, z.detach()).backward()
    assert alone.grad is not None
    found = torch.from_dlpack(kept[0]) if keeps == "capsule" else out.grad if keeps == "retain_grad" else kept[0]
    expected = alone.grad[1:3] if keeps == "view" else alone.grad
    torch.testing.assert_close(torch.as_tensor(found), expected, rtol=0, atol=0)


def test_a_gradient_that_the_user_gives_stays_as_it_was(path: str) -> None:
    (z,) = leaves(1)
    given = torch.ones_like(z)
    out, record = tap(z * 1, "0")
    torch.autograd.backward([out, record.unit], [given, torch.ones_like(record.unit)])
    assert (given == 1).all()
    out, record = tap(z * 1, "0")
    torch.autograd.grad([out, record.unit], [z], [given, torch.ones_like(record.unit)])
    assert (given == 1).all()
    rows = torch.stack([given, given])
    out, record = tap(z * 1, "0")
    torch.autograd.grad([out], [z], [given.expand_as(z)], retain_graph=True)
    torch.autograd.grad([out], [z], [rows[0]])
    assert (rows == 1).all()


# PyTorch -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, LANES - 1, LANES, LANES + 1, 2 * LANES, 2 * LANES + 5, LONG - 1, LONG, LONG + 1])
@pytest.mark.parametrize("dim", [1, 2])
def test_rows_are_cut_if_their_length_is_no_multiple_of_a_vector_register(dim: int, length: int) -> None:
    sizes = []

    def extreme(z: Tensor, dim: int, /, *, out: Tensor | None = None) -> Tensor:
        sizes.append(z.shape[-1])
        return torch.amax(z, dim, out=out)

    extreme_over(extreme, torch.randn(2, 3, length), dim)
    whole = length - length % LANES
    assert sizes == ([whole, LANES] if length < LONG and 0 < whole < length else [length])


@pytest.mark.parametrize(("places", "windows"), [(LONG - 1, 0), (LONG, 1), (LONG + WINDOW // 2, 1)])
def test_long_rows_are_reduced_by_windows(monkeypatch: pytest.MonkeyPatch, places: int, windows: int) -> None:
    reduced, routed = Calls(monkeypatch, reduction, "window_extrema"), Calls(monkeypatch, reduction, "route_to_first")
    with kernel.disabled():
        record = extrema_of([torch.randn(places, 2, requires_grad=True)], ["0"])
        record.unit.sum().backward()
    assert (reduced.take(), routed.take()) == (windows, windows)


@pytest.mark.parametrize("ties", list(Ties))
@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("tied", [False, True])
def test_ties_are_looked_for_only_where_there_are_some(
    monkeypatch: pytest.MonkeyPatch, tied: bool, dim: int, ties: Ties
) -> None:
    first, chosen = Calls(monkeypatch, routing, "_first"), Calls(monkeypatch, routing, "random_one")
    z = torch.zeros(2, 3, 4) if tied else torch.randperm(24).view(2, 3, 4).float()
    reach = torch.stack([z.amax(dim), -z.amin(dim)])
    routing.route(torch.zeros_like(z), z, reach, torch.ones_like(reach), dim, ties)
    assert first.take() == (ties is Ties.SINGLE and (tied or dim == 2))
    assert chosen.take() == (ties is Ties.RANDOM)


def test_a_mask_of_hinges_is_made_of_floats() -> None:
    """On a CPU, it takes a tenth of the time of a mask of booleans."""
    for dtype in (torch.float32, torch.float64):
        reach = torch.randn(2, 3, 4, dtype=dtype)
        for margins in ((1.0, 1.0), (1.0, 0.1)):
            short = reduction._short(reach, margins)
            assert short.dtype == dtype
            assert torch.equal(short[0] > 0, reach[0] < margins[0])
            assert torch.equal(short[1] > 0, reach[1] < margins[1])


def test_a_hinge_without_weight_is_not_computed(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    margins = Calls(monkeypatch, routing, "margin_of")
    reaches = torch.zeros(2, 1, 3), torch.zeros(2, 1, 4)
    for weights, count in (((0.0,) * 4, 0), ((0.0, 1.0, 0.0, 0.0), 1), (WEIGHTS, 2)):
        routing.penalty_of(reaches, weights, (1.0, 1.0))
        assert margins.take() == count


# Records -------------------------------------------------------------------------------------------------------------


def test_a_detached_record_holds_no_graph(path: str) -> None:
    tensors = leaves()
    record = extrema_of(tensors, names(tensors), weights=WEIGHTS)
    assert record.unit.requires_grad
    assert record.point.requires_grad
    detached = record.detach()
    assert not detached.unit.requires_grad
    assert not detached.point.requires_grad
    assert detached.penalty is None


def test_units_and_points_are_counted_in_whole_numbers() -> None:
    images = extrema_of([torch.randn(5, 3, 2, 2)] * 2, ["a", "b"], rule=Rule(point=PointMode.LOCATION))
    counts = count_slices([extrema_of([torch.randn(5, 4)], ["c"]), images])
    assert counts == (10, 45)
    assert [type(count) for count in counts] == [int, int]
