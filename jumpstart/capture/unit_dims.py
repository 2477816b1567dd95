"""Which dimension of a tensor holds its units, as far as the type of a module tells."""

from __future__ import annotations

from torch import nn

from jumpstart.capture.targets import CONVOLUTIONS, is_activation

_LAST: tuple[type[nn.Module], ...] = (
    nn.Linear, nn.Bilinear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.RNNBase, nn.MultiheadAttention,
)  # fmt: skip


_BATCH_NORMS: tuple[type[nn.Module], ...] = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
    nn.GroupNorm,
)  # fmt: skip


FEEDERS: dict[type[nn.Module], int] = dict.fromkeys(_LAST, -1) | dict.fromkeys((*CONVOLUTIONS, *_BATCH_NORMS), 1)
"""Modules that tell where the units of their output are: Linear puts them last, Conv and BatchNorm second."""


_KEEPERS = ("dropout", "padding", "pooling", "upsampling", "pixelshuffle", "channelshuffle")
"""Files of ``torch.nn.modules`` whose modules leave the units where they are."""


_KEEPING: tuple[type[nn.Module], ...] = (
    nn.Identity, nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d, nn.LocalResponseNorm, nn.CrossMapLRN2d,
)  # fmt: skip


def feeder_dim(module: nn.Module) -> int | None:
    """Where a module that feeds activations puts the units of its output, if that is known."""
    return next((dim for kind, dim in FEEDERS.items() if isinstance(module, kind)), None)


def hides_units(module: nn.Module) -> bool:
    """Whether nothing is known of where a module leaves the units: one without parts that is none of the usual ones."""
    file = type(module).__module__.removeprefix("torch.nn.modules.")
    known = feeder_dim(module) is not None or is_activation(module) or isinstance(module, _KEEPING) or file in _KEEPERS
    return not known and next(module.children(), None) is None
