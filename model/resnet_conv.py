"""ResNets of convolutions, for images."""

from __future__ import annotations

import contextlib
import io
import logging
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Unpack

from torch import Tensor, hub, nn

from model.checks import check_count
from model.choices import Stem
from model.resnet import Layers, ResNet, ResNetOptions, check_depth

logger = logging.getLogger(__name__)

__all__ = ["CONVOLUTIONS", "pretrained_state", "resnet_conv"]


def _convolution(inputs: int, outputs: int, kernel_size: int, stride: int, groups: int, bias: bool) -> nn.Module:
    return nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=bias)


def _exit() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


CONVOLUTIONS = Layers(
    weighted=_convolution,
    norm=nn.BatchNorm2d,
    strides=(1, 2, 2, 2),
    entry=nn.Identity,
    stems={
        Stem.STANDARD: (7, 2, partial(nn.MaxPool2d, kernel_size=3, stride=2, padding=1)),
        Stem.SMALL: (3, 1, nn.Identity),
    },
    exit=_exit,
    has_groups=True,
)


def resnet_conv(depth: int, num_classes: int = 1000, in_channels: int = 3, **options: Unpack[ResNetOptions]) -> ResNet:
    """A ResNet of convolutions; with the default options it equals torchvision's, also in the names of its weights.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: Number of outputs.
        in_channels: Channels of the images.
        **options: Keyword arguments of :class:`ResNet`. ``stem="small"`` is a 3x3 layer without stride and pooling, for
            images of 8 to 32 pixels. The ``"standard"`` stem, 7x7 with stride 2 and pooling, would reduce these images
            to 2 to 8 pixels.

    Shape:
        - Input: (N, ``in_channels``, height, width).
        - Output: (N, ``num_classes``), logits.

    Raises:
        ValueError: If an argument is out of range or unknown.
        TypeError: If an argument is of the wrong type.

    Example:
        >>> import torch
        >>> plain = resnet_conv(18, 10, 1, stem="small", use_batchnorm=False, use_skip_connections=False)
        >>> plain(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    check_count("in_channels", in_channels)
    return ResNet(CONVOLUTIONS, depth, in_channels, num_classes, **options)


def pretrained_state(depth: int) -> dict[str, Tensor]:
    """Torchvision's weights for ImageNet, for :func:`model.resnet.load_matching`. They are downloaded once.

    Args:
        depth: 18, 34, 50, 101 or 152.

    Raises:
        ValueError: If there is no such network.
        TypeError: If ``depth`` is no integer.
        OSError: If the file does not exist and can't be downloaded, or is damaged. The message says where to put it.
    """
    from torchvision.models import get_model_weights

    check_depth(depth)
    weights = get_model_weights(f"resnet{depth}").DEFAULT
    place = Path(hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if not place.exists():
        logger.info("Downloading %s to %s.", weights.url, place)
    try:
        # torch prints the address that it downloads from, also with progress=False.
        with contextlib.redirect_stdout(io.StringIO()):
            state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise OSError(
            f"the weights of resnet{depth} must be at {place} or be downloaded, got: {' '.join(str(error).split())}. "
            f"Download {weights.url} elsewhere and put it there ($TORCH_HOME/hub/checkpoints/)."
        ) from None
    return state


resnet18_conv: Callable[..., ResNet] = partial(resnet_conv, 18)
resnet34_conv: Callable[..., ResNet] = partial(resnet_conv, 34)
resnet50_conv: Callable[..., ResNet] = partial(resnet_conv, 50)
resnet101_conv: Callable[..., ResNet] = partial(resnet_conv, 101)
resnet152_conv: Callable[..., ResNet] = partial(resnet_conv, 152)

resnext50_32x4d_conv: Callable[..., ResNet] = partial(resnet_conv, 50, groups=32, width_per_group=4)
resnext101_32x8d_conv: Callable[..., ResNet] = partial(resnet_conv, 101, groups=32, width_per_group=8)
resnext101_64x4d_conv: Callable[..., ResNet] = partial(resnet_conv, 101, groups=64, width_per_group=4)
wide_resnet50_2_conv: Callable[..., ResNet] = partial(resnet_conv, 50, width_per_group=128)
wide_resnet101_2_conv: Callable[..., ResNet] = partial(resnet_conv, 101, width_per_group=128)
