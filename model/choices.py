"""Options of networks and their training: one enum per option, shared by networks, experiments and configs.

Imports no torch, so that command lines can read the options before torch is loaded. The options of the loss are in
``jumpstart.choices``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Layer(StrEnum):
    """What the weighted layers of a network are."""

    DENSE = "dense"
    """Fully connected layers, for vectors."""
    CONV = "conv"
    """Convolutions, for images."""


class RectangularInit(StrEnum):
    """Initial weights of a rectangular network, the output layer included. All but ``torch`` set biases to zero."""

    TORCH = "torch"
    """As torch initializes each layer."""
    KAIMING = "kaiming"
    """Normal, scaled by the fan in and the gain of the activation."""
    GLOROT = "glorot"
    """Xavier uniform."""
    ZERO = "zero"
    """Zero."""
    CONSTANT = "constant"
    """The same value in every weight."""


class Head(StrEnum):
    """What the output layer of a rectangular network of convolutions reads."""

    FLATTEN = "flatten"
    """Every pixel of every channel of the last hidden layer."""
    GLOBAL = "global"
    """The mean of each channel."""


BLOCKS: Mapping[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Depth of a ResNet -> number of residual blocks in each of its four stages."""

DEPTHS = tuple(BLOCKS)
"""Depths of the ResNets: layers with weights, those of the skip connections not counted."""


class Stem(StrEnum):
    """The first layer of a ResNet of convolutions."""

    STANDARD = "standard"
    """7x7 with stride 2, then max pooling with stride 2."""
    SMALL = "small"
    """3x3 without stride and pooling, for small images."""


class ResnetInit(StrEnum):
    """Initial weights of a ResNet; :mod:`model.resnet_init` describes them."""

    HE = "he"
    TORCHVISION = "torchvision"
    TORCH = "torch"
    LOOKS_LINEAR = "looks_linear"


class Optimizer(StrEnum):
    """The optimizer of a run."""

    ADAM = "adam"
    ADAMW = "adamw"
    SGD = "sgd"


class Scheduler(StrEnum):
    """How the learning rate changes from epoch to epoch."""

    NONE = "none"
    """Constant."""
    MULTISTEP = "multistep"
    """Multiplied by a factor at given epochs."""
    COSINE = "cosine"
    """Half a cosine, from the first epoch to the last."""
    COSINE_RESTARTS = "cosine_restarts"
    """Half a cosine in each cycle."""
    CYCLIC = "cyclic"
    """A triangle in each cycle: linearly up, then linearly down."""
    PLATEAU = "plateau"
    """Multiplied by a factor whenever the validation loss has stopped falling."""


class LambdaSchedule(StrEnum):
    """How the weight of the Jumpstart loss changes from epoch to epoch."""

    CONSTANT = "constant"
    """Not at all."""
    COSINE = "cosine"
    """Down along half a cosine."""
    LINEAR = "linear"
    """Down along a line."""
