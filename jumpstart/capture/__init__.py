"""Preactivation capture: which tensors of a model are read, and the hooks that read them."""

from jumpstart.capture.targets import Capture, CaptureLike, is_activation, register_activation

__all__ = ["Capture", "CaptureLike", "is_activation", "register_activation"]
