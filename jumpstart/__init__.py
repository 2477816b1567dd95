"""Jumpstart Regularization: keep every unit and every data point of a deep network alive.

>>> import torch
>>> from jumpstart import JumpstartRegularization
>>> model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
>>> jumpstart = JumpstartRegularization(model)
>>> x, y = torch.randn(16, 2), torch.randint(2, (16,))
>>> loss = torch.nn.functional.cross_entropy(model(x), y) + 0.01 * jumpstart.loss
>>> loss.backward()

Importing this needs torch alone. ``jumpstart.metrics`` needs the extra ``lightning``, ``jumpstart.plotting`` needs
``plots``, ``jumpstart.callbacks`` both of them, ``jumpstart.report`` needs ``report``, and ``jumpstart.table`` needs
``tables``.
"""

from jumpstart.capture.targets import Capture, register_activation
from jumpstart.extrema.record import Extrema
from jumpstart.extrema.rule import PointMode, Ties
from jumpstart.jumpstart import JumpstartRegularization
from jumpstart.penalty import Aggregate, Penalty, Terms
from jumpstart.status.codes import Status, status_of

__version__ = "0.1.0"

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
