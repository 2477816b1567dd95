"""Rectangular networks: many hidden layers, all of one width.

They are the thin, deep networks of the experiments: dense layers for vectors, convolutions for
images. This file holds networks only; it needs torch alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal, cast, get_args

from torch import Tensor, nn

from model.activations import activation_gain, resolve_activation
from model.checks import check_choice, check_count, check_dropout, check_flag, check_number

Init = Literal["torch", "kaiming", "glorot", "zero", "constant"]
Layer = Literal["dense", "conv"]
Head = Literal["flatten", "global"]


class RectangularNetwork(nn.Module):
    """A classifier with ``depth`` hidden layers of ``width`` units each and a linear output layer.

    A hidden layer is: weights, batch normalization (optional), the sum with a skip connection
    (optional), activation, dropout (optional), 2x2 max pooling (optional). Every activation is a
    module of its own, ``layers.<i>.activation``, that never works in place: a hook on it sees the
    preactivation.

    **Skip connections.** With ``skip_connections=k``, and hidden layers counted from 1, the layers
    1 + k, 1 + 2k, ... add the output of the layer k before them to their preactivation, whatever
    the activation is. The first layer is never skipped: it alone changes the number of channels, so
    every skip is the identity. Where a layer in between pools the image, what is carried past it is
    pooled alike.

    **Containers.** ``layers[i]`` groups the modules of a hidden layer. They are called one by one,
    which spares a thin network the calls of the containers, so a hook on ``layers[i]`` itself never
    fires: set it on what is inside, such as ``layers[i].activation``.

    Args:
        input_shape: Shape of one sample, without the batch: ``(features,)``, or
            ``(channels, height, width)``. Dense layers flatten images.
        num_classes: Number of outputs.
        depth: Number of hidden layers; the output layer is not counted.
        width: Units (dense) or channels (conv) of every hidden layer.
        activation: A name from :func:`activation_names`.
        use_batchnorm: Normalize before the activation. Layers keep their bias, so that networks
            with and without normalization differ by the normalization alone.
        dropout: Share of the activations dropped in training, in [0, 1).
        skip_connections: Layers that one skip connection spans, below ``depth``; ``None`` for none.
        init: Start of all weighted layers, the output layer included; normalization keeps its own.
            ``torch``: the layers' default. ``kaiming``: normal, scaled by the fan in and
            :func:`activation_gain`. ``glorot``: Xavier uniform. ``zero``: everything zero.
            ``constant``: ``init_value`` in every weight. The last four start with zero biases.
        init_value: The weight of ``constant``.
        layer: ``dense`` or ``conv``.
        kernel_size: Side of the convolutions; odd or even, the image keeps its size.
        pool_at: Hidden layers (counted from 1) followed by 2x2 max pooling. Conv only.
        head: What the output layer sees of the last image: all of it (``flatten``), or the mean of
            each channel (``global``). Conv only.

    Shape:
        - Input: (N, ``*input_shape``).
        - Output: (N, ``num_classes``), logits.

    Raises:
        ValueError: If an argument is out of range, unknown, or meant for the other kind of layer.
        TypeError: If an argument is of the wrong type.

    Example:
        >>> import torch
        >>> net = RectangularNetwork((2,), 2, depth=50, width=4)
        >>> net(torch.zeros(8, 2)).shape
        torch.Size([8, 2])
        >>> net.layers[0]
        Sequential(
          (linear): Linear(in_features=2, out_features=4, bias=True)
          (activation): ReLU()
        )
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        *,
        depth: int = 50,
        width: int = 4,
        activation: str = "relu",
        use_batchnorm: bool = False,
        dropout: float = 0.0,
        skip_connections: int | None = None,
        init: Init = "torch",
        init_value: float = 0.01,
        layer: Layer = "dense",
        kernel_size: int = 3,
        pool_at: Sequence[int] = (),
        head: Head = "flatten",
    ) -> None:
        super().__init__()
        shape = _checked_shape(input_shape, layer)
        check_count("num_classes", num_classes)
        check_count("depth", depth)
        check_count("width", width)
        check_count("kernel_size", kernel_size)
        check_choice("init", init, get_args(Init))
        check_choice("head", head, get_args(Head))
        check_dropout(dropout)
        check_flag("use_batchnorm", use_batchnorm)
        check_number("init_value", init_value)
        if skip_connections is not None:
            check_count("skip_connections", skip_connections)
            if skip_connections >= depth:
                raise ValueError(
                    f"skip_connections must be below depth ({depth}), because the first layer is "
                    f"never skipped, got {skip_connections}. Use None for no skip connections."
                )
        pools = _checked_pools(pool_at, depth, shape, layer)
        if layer == "dense" and head != "flatten":
            raise ValueError(f"head={head!r} needs layer='conv': dense layers have no image left.")

        build = resolve_activation(activation)
        self.depth, self.width, self.skip_connections = depth, width, skip_connections

        dense = layer == "dense"
        channels = math.prod(shape) if dense else shape[0]
        self.stem: nn.Module = nn.Flatten() if dense and len(shape) > 1 else nn.Identity()
        self.layers = nn.ModuleList()
        for number in range(1, depth + 1):
            parts = nn.Sequential()
            if dense:
                parts.add_module("linear", nn.Linear(channels, width))
            else:
                _add_convolution(parts, channels, width, kernel_size)
            if use_batchnorm:
                norm = nn.BatchNorm1d if dense else nn.BatchNorm2d
                parts.add_module("norm", norm(width))
            parts.add_module("activation", build())
            if dropout > 0.0:
                parts.add_module("dropout", nn.Dropout(dropout))
            if number in pools:
                parts.add_module("pool", nn.MaxPool2d(2))
            self.layers.append(parts)
            channels = width
        self.head = _head(dense, head)
        if not dense and head == "flatten":
            channels *= math.prod(size // 2 ** len(pools) for size in shape[1:])
        self.output = nn.Linear(channels, num_classes)
        _initialize(self, init, build, init_value)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of the inputs (N, ``*input_shape``)."""
        x = self.stem(x)
        layers = cast("Iterable[nn.Sequential]", self.layers)
        if self.skip_connections is None:
            for parts in layers:
                for module in parts:
                    x = module(x)
        else:
            x = self._forward_with_skips(x, layers, self.skip_connections)
        return cast("Tensor", self.output(self.head(x)))

    @staticmethod
    def _forward_with_skips(x: Tensor, layers: Iterable[nn.Sequential], span: int) -> Tensor:
        carried: Tensor | None = None
        for index, parts in enumerate(layers):
            joins = index % span == 0
            for name, module in parts.named_children():
                if name == "activation" and joins and carried is not None:
                    x = x + carried
                x = module(x)
                if name == "pool" and carried is not None and not joins:
                    carried = module(carried)
            if joins:
                carried = x
        return x


def _add_convolution(parts: nn.Sequential, channels: int, width: int, kernel_size: int) -> None:
    """Add a convolution that keeps the size of the image."""
    before = (kernel_size - 1) // 2
    after = kernel_size - 1 - before
    # A convolution pads both sides alike, and warns where padding="same" cannot.
    if before != after:
        parts.add_module("pad", nn.ZeroPad2d((before, after, before, after)))
    padding = before if before == after else 0
    parts.add_module("conv", nn.Conv2d(channels, width, kernel_size, padding=padding))


def _head(dense: bool, head: Head) -> nn.Module:
    if dense:
        return nn.Identity()
    if head == "flatten":
        return nn.Flatten()
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _initialize(net: nn.Module, init: Init, activation: type[nn.Module], value: float) -> None:
    if init == "torch":
        return
    fill: Callable[[Tensor], Tensor]
    if init == "kaiming":
        gain = activation_gain(activation)

        def fill(weight: Tensor) -> Tensor:
            return nn.init.normal_(weight, std=gain / math.sqrt(weight[0].numel()))

    elif init == "glorot":
        fill = nn.init.xavier_uniform_
    else:
        fill = partial(nn.init.constant_, val=value if init == "constant" else 0.0)
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _checked_shape(input_shape: Sequence[int], layer: str) -> tuple[int, ...]:
    check_choice("layer", layer, get_args(Layer))
    if isinstance(input_shape, str) or not isinstance(input_shape, Sequence):
        raise TypeError(f"input_shape must be a tuple of sizes such as (2,), got {input_shape!r}.")
    shape = tuple(input_shape)
    if not shape:
        raise ValueError("input_shape must have at least one size, got ().")
    for size in shape:
        check_count("every size in input_shape", size)
    if layer == "conv" and len(shape) != 3:
        raise ValueError(
            f"layer='conv' needs input_shape=(channels, height, width), got {shape}. "
            "Use layer='dense' for anything but images."
        )
    return shape


def _checked_pools(pool_at: Sequence[int], depth: int, shape: tuple[int, ...], layer: str) -> frozenset[int]:
    if isinstance(pool_at, str) or not isinstance(pool_at, Sequence):
        raise TypeError(f"pool_at must be a tuple of layer numbers such as (2, 4), got {pool_at!r}.")
    numbers = tuple(pool_at)
    if numbers and layer == "dense":
        raise ValueError(f"pool_at={numbers} needs layer='conv': dense layers have no image.")
    for number in numbers:
        check_count("every number in pool_at", number)
        if number > depth:
            raise ValueError(f"pool_at must name hidden layers from 1 to {depth}, got {number}.")
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"pool_at must name every layer once, got {numbers}.")
    if numbers and min(shape[1:]) < 2 ** len(numbers):
        raise ValueError(
            f"pool_at must leave at least one pixel of an image of {shape[1]}x{shape[2]}, got "
            f"{len(numbers)} poolings: use at most {int(math.log2(min(shape[1:])))}."
        )
    return frozenset(numbers)
