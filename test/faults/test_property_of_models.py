"""Any tree of modules: each activation is read once a call, in the order of the calls, and nothing else is."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.plain_loss import plain_loss
from support.properties import tried
from torch import Tensor, nn

from jumpstart import JumpstartRegularization
from jumpstart.capture.targets import is_activation
from jumpstart.monitor import StatusMonitor

WIDTH = 4


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.inner(x)
        return y


class Listed(nn.Module):
    def __init__(self, parts: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x


class Backwards(nn.Module):
    """Calls its parts against the order of registration."""

    def __init__(self, parts: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({f"part_{i}": part for i, part in enumerate(parts)})

    def forward(self, x: Tensor) -> Tensor:
        for part in reversed(list(self.parts.values())):
            x = part(x)
        return x


class Repeated(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(self.inner(x))
        return y


SHARED = "shared"
LEAVES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "lazy": lambda: nn.LazyLinear(WIDTH),
    "norm": lambda: nn.LayerNorm(WIDTH),
    "relu": nn.ReLU,
    "relu in place": lambda: nn.ReLU(inplace=True),
    "elu": nn.ELU,
    "hardtanh in place": lambda: nn.Hardtanh(inplace=True),
    "prelu": nn.PReLU,
    "softmax": lambda: nn.Softmax(-1),
    "identity": nn.Identity,
}
TREES = st.recursive(
    st.sampled_from([*LEAVES, SHARED]),
    lambda inner: st.tuples(
        st.sampled_from(["sequential", "listed", "backwards", "residual", "repeated"]),
        st.lists(inner, min_size=1, max_size=4),
    ),
    max_leaves=12,
)


def build(tree: object, shared: list[nn.Module]) -> nn.Module:
    """The module that a tree describes; all its leaves of the name ``shared`` are one module."""
    if isinstance(tree, str):
        return shared[0] if tree == SHARED else LEAVES[tree]()
    assert isinstance(tree, tuple)
    kind, parts = tree[0], [build(part, shared) for part in tree[1]]
    if kind == "sequential":
        return nn.Sequential(*parts)
    if kind in ("listed", "backwards"):
        return (Listed if kind == "listed" else Backwards)(parts)
    return (Residual if kind == "residual" else Repeated)(nn.Sequential(*parts))


@contextlib.contextmanager
def recorded(model: nn.Module) -> Iterator[list[tuple[str, Tensor]]]:
    """Names and inputs of all calls of activations, without hooks."""
    log: list[tuple[str, Tensor]] = []
    for name, module in model.named_modules():
        if is_activation(module):
            vars(module)["forward"] = _recording(name, module.forward, log)
    yield log


def _recording(name: str, forward: Callable[[Tensor], Tensor], log: list[tuple[str, Tensor]]) -> Callable[..., Tensor]:
    def run(z: Tensor) -> Tensor:
        log.append((name, z.clone()))
        return forward(z)

    return run


@given(tree=TREES, seed=st.integers(0, 3), samples=st.integers(1, 3), shared=st.sampled_from([nn.SiLU, nn.ReLU]))
@tried(15)
def test_property_each_call_of_an_activation_is_read_once_in_order(
    tree: object, seed: int, samples: int, shared: type[nn.Module]
) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), build(tree, [shared()])).double()
    x = torch.randn(samples, WIDTH, dtype=torch.float64)
    if not any(map(is_activation, model.modules())):
        for attach in (JumpstartRegularization, StatusMonitor):
            with pytest.raises(ValueError, match="nothing to capture"):
                attach(model)
        return
    with JumpstartRegularization(model) as jumpstart, StatusMonitor(model) as monitor:
        output = model(x)  # lazy modules get their weights
        loss, layers = jumpstart.loss, jumpstart.layers
        assert monitor.layers == layers
    bare = copy.deepcopy(model)
    with recorded(bare) as log:
        assert torch.equal(bare(x), output)
    assert [name.partition("#")[0] for name in layers] == [name for name, _ in log]
    assert len(set(layers)) == len(layers)
    expected = plain_loss([z for _, z in log])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    try:
        expected.backward()
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        return  # the model overwrites what its own backward pass needs
    loss.backward()
    for one, other in zip(model.parameters(), bare.parameters(), strict=True):
        if one.grad is None or other.grad is None:
            assert one.grad is None or not one.grad.any()
            assert other.grad is None or not other.grad.any()
        elif tied(log):  # the gradient goes to one of the entries
            continue
        else:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-9)


def tied(log: list[tuple[str, Tensor]]) -> bool:
    """Whether a preactivation has a value twice, which can be its extremum."""
    return any(z.unique().numel() < z.numel() for _, z in log)
