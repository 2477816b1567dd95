"""Copies and pickles of a model have none of Jumpstart's hooks, and all others."""

from __future__ import annotations

import copy
import copyreg
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.optim.swa_utils import AveragedModel

from jumpstart import JumpstartRegularization
from jumpstart.capture.copies import Hook
from jumpstart.extrema.torch_internals import HOOK_TABLES
from jumpstart.monitor import StatusMonitor


class CopiesItself(nn.Sequential):
    """A model with a ``__deepcopy__`` of its own, which copies everything."""

    def __deepcopy__(self, memo: dict[int, object]) -> CopiesItself:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin


def layers() -> list[nn.Module]:
    return [nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)]


MODELS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: nn.Sequential(*layers()),
    "copies itself": lambda: CopiesItself(*layers()),
    "fx": lambda: fx.symbolic_trace(nn.Sequential(*layers())),
    "parametrized": lambda: nn.Sequential(weight_norm(nn.Linear(4, 4)), nn.ReLU()),
    "transformer": lambda: nn.TransformerEncoderLayer(4, 2, 8, activation=nn.ReLU(), batch_first=True).eval(),
}


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    assert b"jumpstart" not in file.getvalue()
    file.seek(0)
    loaded: nn.Module = torch.load(file, weights_only=False)
    return loaded


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "deepcopy of a copy": lambda model: copy.deepcopy(copy.deepcopy(model)),
    "AveragedModel": lambda model: AveragedModel(model).module,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "pickle, oldest": lambda model: pickle.loads(pickle.dumps(model, 0)),
    "torch.save": saved,
}


def entries(model: nn.Module) -> int:
    """Everything in the tables of hooks of a model."""
    return sum(len(getattr(module, name)) for module in model.modules() for name in HOOK_TABLES)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
@pytest.mark.parametrize("stage", ["attached", "run", "monitored", "both"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_copy_has_no_hook(kind: str, stage: str) -> None:
    model, x = MODELS[kind](), torch.randn(3, 4)
    x = x.unsqueeze(1) if kind == "transformer" else x
    attached: list[Any] = []
    if stage != "monitored":
        attached.append(JumpstartRegularization(model))
    if stage in ("monitored", "both"):
        attached.append(StatusMonitor(model))
    if stage != "attached":
        model(x)
    for name, make in COPIES.items():
        if kind == "parametrized" and not name.startswith(("deepcopy", "Averaged")):
            continue  # torch refuses to pickle it
        before = entries(model)
        twin = make(model)
        assert entries(twin) == 0, name
        assert entries(model) == before
        assert torch.allclose(twin(x), model(x), atol=1e-6)
        if kind in ("plain", "copies itself"):
            torch.jit.script(twin)
    for each in reversed(attached):
        each.remove()
    assert entries(model) == 0


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_a_shallow_copy_has_no_hook_and_shares_none_with_the_model() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 4), relu)
    with JumpstartRegularization(model) as jumpstart:
        assert entries(nn.Sequential(copy.copy(relu))) == 0
        whole = copy.copy(model)
        assert not whole._forward_hooks
        assert not whole._forward_pre_hooks
        model(torch.randn(3, 4))
        assert jumpstart.loss > 0
    torch.jit.script(model)


def double(module: nn.Module, args: object, output: Tensor) -> Tensor:
    return 2 * output


@pytest.mark.parametrize("copied", COPIES)
def test_hooks_of_the_user_are_copied(copied: str) -> None:
    model, x = nn.Sequential(*layers()), torch.randn(3, 4)
    model[1].register_forward_hook(double)
    with JumpstartRegularization(model):
        model[1].register_forward_hook(double, always_call=True)
        twin = COPIES[copied](model)
        assert entries(twin) == 3
        assert twin(x).equal(model(x))


def test_the_registry_of_reducers_is_as_before_after_removal() -> None:
    class Own(nn.ReLU):
        pass

    def rebuild() -> Own:
        return Own()

    copyreg.pickle(Own, lambda module: (rebuild, (), module.__dict__))
    before = dict(copyreg.dispatch_table)
    model = nn.Sequential(nn.Linear(4, 4), Own())
    first, second = JumpstartRegularization(model), StatusMonitor(model)
    twin = copy.deepcopy(model)  # by the user's reducer, and without hooks
    assert isinstance(twin[1], Own)
    assert entries(twin) == 0
    first.remove()
    assert entries(copy.deepcopy(model)) == 0
    second.remove()
    assert dict(copyreg.dispatch_table) == before
    del copyreg.dispatch_table[Own]


def test_a_hook_alone_is_pickled_without_what_it_belongs_to() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with JumpstartRegularization(model) as jumpstart:
        hooks = [hook for module in model.modules() for hook in module._forward_pre_hooks.values()]
        copies = pickle.loads(pickle.dumps(hooks))
        assert len(copies) == len(hooks) == 2
        assert all(type(hook) is Hook and hook.owner is None for hook in copies)
        model[0].register_forward_pre_hook(copies[0])
        model(torch.randn(3, 4))
        assert jumpstart.layers == ["1"]
