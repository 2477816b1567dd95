"""Extrema of units and points: one record per layer call, with gradients.

The names below are for users. The modules are for the rest of ``jumpstart``: ``rule`` and ``record`` define input and
output, ``reduction`` has the autograd functions, ``routing`` and ``kernel`` compute them in PyTorch and in C,
``traceable`` replaces them in transforms, ``distributed`` combines processes, ``torch_internals`` wraps private parts
of torch.
"""

from jumpstart.extrema.record import Extrema
from jumpstart.extrema.reduction import extrema_of, tap

__all__ = ["Extrema", "extrema_of", "tap"]
