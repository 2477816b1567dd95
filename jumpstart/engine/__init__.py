"""The compiled engine, which trains one whole rectangular network per call.

:class:`Member` is one network in training. ``docs/engine.md`` describes the design.
"""

from jumpstart.engine.build import Build, best_build, builds
from jumpstart.engine.layout import ACTIVATIONS, METRICS, Outcome
from jumpstart.engine.member import Member
from jumpstart.engine.options import Data, LossOptions, NetworkOptions, TrainingOptions

__all__ = [
    "ACTIVATIONS",
    "METRICS",
    "Build",
    "Data",
    "LossOptions",
    "Member",
    "NetworkOptions",
    "Outcome",
    "TrainingOptions",
    "best_build",
    "builds",
]
