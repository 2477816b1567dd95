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
    IDENTITY = "identity"
    """The identity plus noise in every hidden layer but the first; Xavier uniform in the first and the output layer."""


class SkipKind(StrEnum):
    """Where a skip connection of a rectangular network is added."""

    PREACTIVATION = "preactivation"
    """Before the activation: the preactivation includes the skip connection."""
    PUBLISHED = "published"
    """After the activation, as in the published code: the preactivation does not include the skip connection."""


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

BOTTLENECK_FROM = 50
"""From this depth on, a block is a bottleneck: three layers, of which the last is four times as wide."""


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
    MUON = "muon"
    """Muon for all weights but those of the first and of the last layer, AdamW for the rest."""


class Scheduler(StrEnum):
    """How the learning rate changes from epoch to epoch."""

    NONE = "none"
    """Constant."""
    MULTISTEP = "multistep"
    """Multiplied by a factor at given epochs."""
    LINEAR = "linear"
    """Down along a line, from the first epoch to the last."""
    COSINE = "cosine"
    """Down along half a cosine, from the first epoch to the last."""
    COSINE_RESTARTS = "cosine_restarts"
    """Down along half a cosine in each cycle."""
    CYCLIC = "cyclic"
    """A triangle in each cycle: linearly up, then linearly down."""
    PLATEAU = "plateau"
    """Multiplied by a factor whenever the validation loss has stopped falling."""


class CycleMode(StrEnum):
    """Height of the triangles of the cyclic schedule, with the names of torch's ``CyclicLR``."""

    TRIANGULAR = "triangular"
    """The same in every cycle."""
    TRIANGULAR2 = "triangular2"
    """Halved from cycle to cycle."""
    EXP_RANGE = "exp_range"
    """Multiplied by a factor from epoch to epoch."""


class Monitor(StrEnum):
    """The metric that early stopping watches."""

    VAL_LOSS = "val/loss"
    """Task loss on the validation part: lower is better."""
    VAL_ACC = "val/acc"
    """Accuracy on the validation part: higher is better."""


class EngineChoice(StrEnum):
    """What trains a rectangular network."""

    AUTO = "auto"
    """The compiled engine where it covers the run, else Lightning."""
    COMPILED = "compiled"
    """The compiled engine, which trains a whole network in one call."""
    LIGHTNING = "lightning"
    """PyTorch Lightning."""


class LambdaSchedule(StrEnum):
    """How the weight of the Jumpstart loss changes from epoch to epoch."""

    CONSTANT = "constant"
    """Not at all."""
    COSINE = "cosine"
    """Down along half a cosine."""
    COSINE_RESTARTS = "cosine_restarts"
    """Down along half a cosine in each cycle; the cycles are those of the learning rate."""
    LINEAR = "linear"
    """Down along a line."""


class BestBy(StrEnum):
    """The part of the data whose accuracy, and of equal accuracies whose loss, decides which epoch is the best."""

    VAL = "val"
    TRAIN = "train"


class Scaling(StrEnum):
    """How the numbers of a table are scaled, by the training part."""

    STANDARD = "standard"
    """Shifted by the mean, and divided by the standard deviation."""
    RANGE = "range"
    """Divided by the difference of the largest and the smallest value, as in the 2022 paper."""
