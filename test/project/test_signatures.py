"""Every option is in the signature, so that editors, LightningCLI and readers find it; equal options agree."""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil
import typing
from collections.abc import Callable
from typing import Any

import pytest
from torchmetrics import Metric

import jumpstart
from jumpstart import JumpstartRegularization
from jumpstart.callbacks import Jumpstart, NetworkStatusPlot
from jumpstart.metrics import NetworkStatus
from jumpstart.monitor import StatusMonitor
from jumpstart.penalty import Penalty
from jumpstart.status.sample import PointSample

FAMILY = (JumpstartRegularization, Jumpstart, StatusMonitor, NetworkStatusPlot, NetworkStatus, Penalty, PointSample)
OWN_DEFAULTS = {("StatusMonitor", "margin")}
"""Options whose default depends on the model."""
CHANGED: dict[str, Any] = {
    "capture": ["1"], "skip_last": False, "terms": "unit", "aggregate": "norm", "margin": 0.5,
    "negative_margin": 0.25, "positive_weight": 0.5, "negative_weight": 2.0, "ties": "average", "unit_dim": 1,
    "batch_first": True, "point": "location", "sync": True, "process_group": None,
}  # fmt: skip


def options_of(kind: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {
        name: parameter
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }


def public_callables() -> list[tuple[str, Any]]:
    modules = [
        importlib.import_module(info.name)
        for info in pkgutil.walk_packages(jumpstart.__path__, "jumpstart.")
        if not info.name.rpartition(".")[2].startswith("_")
    ]
    return [
        (f"{module.__name__}.{name}", member)
        for module in modules
        for name, member in vars(module).items()
        if getattr(member, "__module__", None) == module.__name__ and not name.startswith("_") and callable(member)
    ]


def test_no_option_is_hidden_in_a_dictionary() -> None:
    """Metrics are left out, whose further options are those of torchmetrics, and protocols, which nobody makes."""
    hidden = []
    for name, member in public_callables():
        if getattr(member, "_is_protocol", False) or (isinstance(member, type) and issubclass(member, Metric)):
            continue
        try:
            kinds = {parameter.kind for parameter in inspect.signature(member).parameters.values()}
        except ValueError:  # a built-in signature
            continue
        if inspect.Parameter.VAR_KEYWORD in kinds:
            hidden.append(name)
    assert hidden == []


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(FAMILY, 2)))
def test_options_of_one_name_have_one_type_and_default(one: type, other: type) -> None:
    first, second = options_of(one), options_of(other)
    for name in first.keys() & second.keys():
        if {(one.__name__, name), (other.__name__, name)}.isdisjoint(OWN_DEFAULTS):
            assert first[name].default == second[name].default, name
            assert first[name].annotation == second[name].annotation, name


@pytest.mark.parametrize("kind", FAMILY)
def test_every_type_can_be_read_at_run_time(kind: type) -> None:
    assert options_of(kind).keys() <= typing.get_type_hints(kind.__init__).keys()  # type: ignore[misc]


def test_the_callback_has_and_hands_on_every_option_of_the_regularizer() -> None:
    options = options_of(JumpstartRegularization).keys()
    assert options == options_of(Jumpstart).keys() - {"lambda_", "module"} == CHANGED.keys()
    defaults = {name: parameter.default for name, parameter in options_of(JumpstartRegularization).items()}
    assert Jumpstart()._attach.keywords == defaults
    assert Jumpstart(**CHANGED)._attach.keywords == CHANGED
    assert repr(Jumpstart()) == "Jumpstart(lambda_=0.01)"
    assert repr(Jumpstart(0.1, module="a", ties="average")) == "Jumpstart(lambda_=0.1, module='a', ties='average')"
