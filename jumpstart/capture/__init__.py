"""Preactivation capture: which tensors of a model are preactivations, and the hooks that read them.

The names below are for users. The modules are for the rest of ``jumpstart``: ``targets`` selects modules, ``hooks`` has
the hooks, ``unit_dims`` finds the dimension of the units, ``recorder`` keeps a forward pass for a regularizer and
``passive`` for a monitor.
"""

from jumpstart.capture.targets import CaptureLike, is_activation, register_activation, registered_activations
from jumpstart.choices import Capture

__all__ = ["Capture", "CaptureLike", "is_activation", "register_activation", "registered_activations"]
