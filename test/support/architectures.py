"""Architectures of torchvision and timm: what Jumpstart reads in each, against a recording without its hooks.

``PYTHONPATH=.:test python test/support/architectures.py`` writes ``docs/models.md``.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import itertools
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from support import status_reference
from support.plain_loss import plain_loss
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from jumpstart import JumpstartRegularization, register_activation
from jumpstart.capture import targets
from jumpstart.capture.targets import is_activation
from jumpstart.extrema.record import Extrema
from jumpstart.monitor import StatusMonitor

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"
LARGEST = {"torchvision": 150_000_000, "timm": 50_000_000}
"""Parameters up to which an architecture is tried."""
COUNT = 100
"""Architectures of timm that are tried."""
SIDES = (32, 64, 96, 112, 128, 160, 192, 224, 240, 256, 288, 299, 320, 384, 448, 512)
BATCH = 2
WEIGHT = 0.01
"""Of the Jumpstart loss."""


def timm() -> Any:
    """The library timm, which not every environment has."""
    return importlib.import_module("timm")


@functools.cache
def own_activations() -> tuple[type[nn.Module], ...]:
    """The activation classes of timm, which are no classes of torch.nn."""
    files = [importlib.import_module(f"timm.layers.{name}") for name in ("activations", "activations_me")]
    classes = [part for file in files for part in vars(file).values() if isinstance(part, type)]
    return tuple(part for part in classes if issubclass(part, nn.Module) and part is not nn.Module)


@contextlib.contextmanager
def registered(library: str) -> Iterator[None]:
    """Own activation classes of a library are registered inside."""
    before = dict(targets._registered)
    for kind in own_activations() if library == "timm" else ():
        register_activation(kind)
    try:
        yield
    finally:
        targets._registered.clear()
        targets._registered.update(before)


def build(library: str, name: str) -> nn.Module:
    """An architecture with random weights: the same ones in each call. Nothing is downloaded."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if library == "timm":
            model: nn.Module = timm().create_model(name, pretrained=False)
        else:
            model = torchvision.models.get_model(name, weights=None)
    return model


def parameters(library: str, name: str) -> int:
    """The number of parameters, from a model without memory."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(library, name).parameters())


@functools.cache
def torchvision_names() -> list[str]:
    """Every classification architecture of torchvision."""
    return list(torchvision.models.list_models(module=torchvision.models))


def timm_names() -> list[str]:
    """The smallest architecture of each module of timm, then the second smallest of each, up to :data:`COUNT` names.

    Takes minutes, because it builds every architecture, without memory.
    """
    modules: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for name in timm().list_models():
        size = parameters("timm", name)
        if size <= LARGEST["timm"]:
            modules[timm_module(name)].append((size, name))
    ranked = [(rank, *entry) for entries in modules.values() for rank, entry in enumerate(sorted(entries))]
    return sorted(name for _, _, name in sorted(ranked)[:COUNT])


def timm_module(name: str) -> str:
    """The module of timm that defines an architecture."""
    module: str = timm().model_entrypoint(name).__module__.rpartition(".")[2]
    return module


def side(model: nn.Module) -> int:
    """The smallest height and width of images that an architecture accepts for training, of :data:`SIDES`."""
    for size in SIDES:
        with contextlib.suppress(Exception), torch.no_grad():
            model.train()(torch.randn(BATCH, 3, size, size))
            return size
    raise ValueError(f"{type(model).__name__} accepts no image of {SIDES}.")


# The recording without hooks -------------------------------------------------------------------


@contextlib.contextmanager
def recorded(model: nn.Module) -> Iterator[list[tuple[str, Tensor]]]:
    """The preactivations of all activations, in call order: the ``forward`` of each module is replaced."""
    log: list[tuple[str, Tensor]] = []
    chosen = [(name, module) for name, module in model.named_modules() if is_activation(module)]
    for name, module in chosen:
        vars(module)["forward"] = _recording(name, module.forward, log)
    try:
        yield log
    finally:
        for _, module in chosen:
            del vars(module)["forward"]


def _recording(name: str, forward: Callable[..., Tensor], log: list[tuple[str, Tensor]]) -> Callable[..., Tensor]:
    def run(z: Tensor, *args: object, **kwargs: object) -> Tensor:
        log.append((name, z.clone()))
        return forward(z, *args, **kwargs)

    return run


_FIRST = ("Convolution", "BatchNorm", "GroupNorm")
_LAST = ("Addmm", "Mm", "Linear", "LayerNorm")


def unit_dim_by_graph(z: Tensor) -> int | None:
    """The dimension of the units, from the operations that computed a tensor; None if they do not tell."""
    dim = _unit_dim(z.grad_fn)
    return 1 if z.dim() == 2 else dim


def _unit_dim(node: Any) -> int | None:
    if node is None or not node._input_metadata:
        return None
    name, shape = type(node).__name__, tuple(node._input_metadata[0].shape)
    if any(word in name for word in _FIRST):
        return 1
    if any(word in name for word in _LAST):
        return len(shape) - 1
    dims = [(dim, tuple(parent._input_metadata[0].shape)) for parent, _ in node.next_functions
            if (dim := _unit_dim(parent)) is not None]  # fmt: skip
    if not dims:
        return None
    dim, before = dims[0]
    if name.startswith("Permute"):
        return [axis % len(shape) for axis in node._saved_dims].index(dim)
    if name.startswith("Transpose"):
        pair = [axis % 2**64 - 2**64 if axis >= 2**63 else axis for axis in (node._saved_dim0, node._saved_dim1)]
        one, other = (axis % len(shape) for axis in pair)
        return {one: other, other: one}.get(dim, dim)
    if len(before) == len(shape) and before[dim] == shape[dim]:
        return dim
    if dim == len(before) - 1 and before[-1] == shape[-1]:
        return len(shape) - 1
    return 1 if dim == 1 and before[:2] == shape[:2] else None


# One architecture ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A line of the page.

    Attributes:
        name: The architecture.
        parameters: Its parameters, in millions.
        side: Height and width of the images.
        calls: Preactivations that are read in a forward pass.
        loss: ``equal``, or why the architecture is refused.
        status: The same for the status by a monitor.
    """

    name: str
    parameters: float
    side: int
    calls: int
    loss: str
    status: str

    def line(self) -> str:
        """The row as a line of Markdown."""
        return (
            f"| {self.name} | {self.parameters:.1f} | {self.side} | {self.calls or '-'} | {self.loss} | {self.status} |"
        )


@dataclass
class Pass:
    """What one forward and backward pass gave."""

    outputs: list[Tensor]
    grads: list[Tensor | None]
    buffers: list[Tensor]


def run(model: nn.Module, x: Tensor, extra: Callable[[], Tensor] | None = None) -> Pass:
    """A forward and a backward pass from fixed seeds; ``extra`` is added to the loss."""
    torch.manual_seed(1)
    model.zero_grad()
    outputs = leaves(model(x))
    loss = sum(((output - 1).square().mean() for output in outputs), torch.zeros(()))
    (loss if extra is None else loss + WEIGHT * extra()).backward()
    grads = [None if parameter.grad is None else parameter.grad.clone() for parameter in model.parameters()]
    return Pass([y.detach().clone() for y in outputs], grads, [buffer.clone() for buffer in model.buffers()])


def leaves(output: object) -> list[Tensor]:
    """The tensors of floating point in the output of a model."""
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def same_bits(one: list[Tensor], other: list[Tensor]) -> bool:
    """Whether two lists of tensors are the same, bit for bit (NaN counts as NaN)."""
    return len(one) == len(other) and all(
        torch.equal(a.nan_to_num(7.25), b.nan_to_num(7.25)) if a.is_floating_point() else torch.equal(a, b)
        for a, b in zip(one, other, strict=True)
    )


class Different(AssertionError):
    """What Jumpstart computes differs from what it should."""


def expect(holds: bool, what: str) -> None:
    """Raise if something does not hold."""
    if not holds:
        raise Different(what)


def examine(library: str, name: str) -> Row:
    """Try one architecture: in evaluation, and in training with its backward pass, with a regularizer or a monitor.

    Raises:
        Different: If outputs, extrema, loss, gradients or status differ from those of the bare model.
    """
    model = build(library, name)
    start = copy.deepcopy(model.state_dict())
    size = side(model)
    count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    x = torch.randn(BATCH, 3, size, size, generator=torch.Generator().manual_seed(2))
    model.load_state_dict(start)
    with registered(library):
        try:
            compare_in_evaluation(model.eval(), x)
            calls, status = compare_in_training(model.train(), x, start)
        except (ValueError, TypeError, RuntimeError) as error:
            return Row(name, count, size, 0, *[refusal(model, x, error)] * 2)
    return Row(name, count, size, calls, "equal", "equal" if status else "refused: unequal samples")


def refusal(model: nn.Module, x: Tensor, error: Exception) -> str:
    """Why an architecture is refused, and the option that captures it, which is tried; raise if there is none."""
    if not str(error).startswith("nothing to capture"):
        raise error
    expect("capture='weights'" in str(error), "the remedy")
    with torch.no_grad():
        bare = leaves(model.eval()(x))
        with JumpstartRegularization(model, capture="weights") as jumpstart:
            expect(same_bits(bare, leaves(model(x))), "outputs with capture='weights'")
            expect(bool(jumpstart.loss.isfinite()), "the loss with capture='weights'")
    return "refused: its activations are functions"


def compare_in_evaluation(model: nn.Module, x: Tensor) -> None:
    """Compare the outputs of a model in evaluation."""
    with torch.no_grad():
        bare = leaves(model(x))
        with JumpstartRegularization(model) as jumpstart:
            expect(same_bits(bare, leaves(model(x))), "outputs in evaluation with the regularizer")
            expect(bool(jumpstart.loss >= 0), "the loss in evaluation")
        with StatusMonitor(model):
            expect(same_bits(bare, leaves(model(x))), "outputs in evaluation with a monitor")


def compare_in_training(model: nn.Module, x: Tensor, start: Mapping[str, Any]) -> tuple[int, bool]:
    """Compare passes in training; the number of preactivations that were read, and whether a monitor has a status."""
    bare = run(model, x)
    model.load_state_dict(start)
    with JumpstartRegularization(model) as jumpstart:
        ours = run(model, x, lambda: jumpstart.loss)
        loss, records, names = jumpstart.loss.detach(), jumpstart.extrema, jumpstart.layers
    expect(same_bits(bare.outputs, ours.outputs), "outputs with the regularizer")
    expect(same_bits(bare.buffers, ours.buffers), "buffers with the regularizer")
    model.load_state_dict(start)
    slow_loss: list[Tensor] = []
    with recorded(model) as log:

        def reference() -> Tensor:
            slow_loss.append(plain_loss_of([z for _, z in log], units_of(log, records)))
            return slow_loss[0]

        slow = run(model, x, reference)
    expect([name.partition("#")[0] for name in names] == [name for name, _ in log], "the names of the layers")
    dims = units_of(log, records)
    by_graph = [unit_dim_by_graph(z) for _, z in log]
    wrong = [log[i][0] for i, dim in enumerate(by_graph) if dim is not None and dim != dims[i]]
    expect(not wrong, f"the dimension of the units of {wrong[:3]}")
    turned = [z.detach().movedim(dim, 1) for (_, z), dim in zip(log, dims, strict=True)]
    compare_extrema(records, turned)
    expect(torch.allclose(loss, slow_loss[0], rtol=1e-5, atol=0), f"the loss: {loss} and {slow_loss[0]}")
    compare_gradients(ours.grads, slow.grads)
    model.load_state_dict(start)
    return len(log), compare_with_monitor(model, x, bare, turned)


def compare_extrema(records: list[Extrema], turned: list[Tensor]) -> None:
    """The extrema of all units and points are those of the preactivations, bit for bit."""
    for record in records:
        for row, position in enumerate(record.order):
            z = turned[position]
            for found, slices in (
                (record.unit[:, row], z.transpose(0, 1).flatten(1)),
                (record.point[:, row], z.flatten(1)),
            ):
                expect(same_bits([found], [torch.stack([slices.amax(1), -slices.amin(1)])]), "the extrema")


def units_of(log: list[tuple[str, Tensor]], records: list[Extrema]) -> list[int]:
    """The dimension of the units of each preactivation, found by the number of units in the records."""
    dims = {}
    for record in records:
        for position in record.order:
            z = log[position][1]
            graph = unit_dim_by_graph(z)
            fits = [dim for dim in range(1, z.dim()) if z.shape[dim] == record.unit.shape[2]]
            expect(bool(fits), f"the number of units of {log[position][0]}")
            dims[position] = graph if graph in fits else fits[0]
    expect(sorted(dims) == list(range(len(log))), "the number of preactivations")
    return [dims[position] for position in range(len(log))]


def plain_loss_of(tensors: list[Tensor], dims: list[int]) -> Tensor:
    """The loss by the pseudocode, of tensors with their units in different dimensions."""
    return plain_loss([z.movedim(dim, 1) for z, dim in zip(tensors, dims, strict=True)])


def compare_gradients(ours: list[Tensor | None], slow: list[Tensor | None]) -> None:
    """The gradients are equal, to the rounding errors of the largest one: that of a bias before a norm is 0."""
    largest = max([grad.abs().max().item() for grad in slow if grad is not None and grad.isfinite().all()], default=0.0)
    for one, other in zip(ours, slow, strict=True):
        expect((one is None) == (other is None), "which parameters have a gradient")
        if one is not None and other is not None and other.isfinite().all():
            scale = other.abs().max().item()
            expect((one - other).abs().max().item() <= 1e-3 * scale + 1e-5 * largest, "a gradient")


def compare_with_monitor(model: nn.Module, x: Tensor, bare: Pass, turned: list[Tensor]) -> bool:
    """Compare a pass with a monitor: everything is the same, and the status is that of the preactivations.

    Returns:
        Whether the monitor has a status. It refuses layers of unequal numbers of samples.
    """
    with StatusMonitor(model) as monitor:
        ours = run(model, x)
        points, failure = monitor.points, monitor.failure
        numbers = {} if failure else monitor.numbers()
    expect(same_bits(bare.outputs, ours.outputs), "outputs with a monitor")
    expect(same_bits(bare.buffers, ours.buffers), "buffers with a monitor")
    for one, other in zip(bare.grads, ours.grads, strict=True):
        expect((one is None) == (other is None), "which parameters have a gradient with a monitor")
        expect(one is None or other is None or same_bits([one], [other]), "gradients with a monitor")
    if failure is not None:
        expect("unequal numbers of samples" in str(failure) and "Capture layers" in str(failure), str(failure))
        expect(len({len(z) for z in turned}) > 1, "a status without need")
        return False
    expect(points == BATCH, "the number of points")
    for key, value in status_reference.reference([[z.numpy() for z in turned]]).items():
        expect(abs(numbers[key] - value) <= 1e-4 * max(1.0, abs(value)), f"the metric {key}")
    return True


# The page --------------------------------------------------------------------------------------

_RULE = "|---|---|---|---|---|---|\n"
"""The line of the page above the lines of a library."""


def rows_of_page() -> dict[str, dict[str, str]]:
    """The lines of the page by library and architecture."""
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {
        part.partition("\n")[0]: {
            line.split(" | ")[0].removeprefix("| "): line
            for line in part.splitlines()
            if line.startswith("| ") and not line.startswith("| architecture")
        }
        for part in parts
    }


def write_page() -> None:
    """Try all architectures, and replace the lines of the page, torchvision's first."""
    small = [name for name in torchvision_names() if parameters("torchvision", name) <= LARGEST["torchvision"]]
    text = PAGE.read_text(encoding="utf-8")
    for library, names in (("torchvision", small), ("timm", timm_names())):
        before, rule, after = text.partition(f"\n## {library}\n")[2].partition(_RULE)
        lines = "".join(f"{examine(library, name).line()}\n" for name in names)
        rest = "".join(itertools.dropwhile(lambda line: line.startswith("| "), after.splitlines(keepends=True)))
        text = text.partition(f"\n## {library}\n")[0] + f"\n## {library}\n{before}{rule}{lines}{rest}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_page()
