"""Preactivation capture: which tensors of a model are read, and the hooks that read them."""

from jumpstart.capture.targets import CaptureLike, is_activation, register_activation, registered_activations
from jumpstart.choices import Capture

__all__ = ["Capture", "CaptureLike", "is_activation", "register_activation", "registered_activations"]
