"""Jumpstart Regularization: a loss that keeps every unit and every data point of a network on both sides of zero.

>>> import torch
>>> from jumpstart import JumpstartRegularization
>>> model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
>>> jumpstart = JumpstartRegularization(model)
>>> x, y = torch.randn(16, 2), torch.randint(2, (16,))
>>> loss = torch.nn.functional.cross_entropy(model(x), y) + 0.01 * jumpstart.loss
>>> loss.backward()

The names of this module need torch alone. Other modules need extras, which ``pip install '.[all]'`` installs in a
clone: ``jumpstart.metrics`` and ``jumpstart.monitor`` need ``lightning``, ``jumpstart.plotting`` needs ``plots``,
``jumpstart.callbacks`` needs both of them, ``jumpstart.report`` needs ``report``, and ``jumpstart.table`` needs
``tables``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jumpstart.capture import Capture, register_activation
    from jumpstart.choices import Aggregate, PointMode, Terms, Ties
    from jumpstart.extrema import Extrema
    from jumpstart.jumpstart import JumpstartRegularization
    from jumpstart.penalty import Penalty
    from jumpstart.status import Status, status_of

__version__ = "0.1.0"

# Each module is imported when one of its names is first used, so that `python -m jumpstart report` and the command
# lines, which read the options alone, start without the two seconds that torch takes to import.
_MODULES = {
    "jumpstart.capture": ("Capture", "register_activation"),
    "jumpstart.choices": ("Aggregate", "PointMode", "Terms", "Ties"),
    "jumpstart.extrema": ("Extrema",),
    "jumpstart.jumpstart": ("JumpstartRegularization",),
    "jumpstart.penalty": ("Penalty",),
    "jumpstart.status": ("Status", "status_of"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Aggregate",
    "Capture",
    "Extrema",
    "JumpstartRegularization",
    "Penalty",
    "PointMode",
    "Status",
    "Terms",
    "Ties",
    "register_activation",
    "status_of",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
