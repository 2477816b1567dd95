"""Extrema of units and points: one record per layer call, with gradients."""

from jumpstart.extrema.record import Extrema
from jumpstart.extrema.reduction import extrema_of, tap

__all__ = ["Extrema", "extrema_of", "tap"]
