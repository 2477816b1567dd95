"""Rectangular networks: many hidden layers, all of one width.

They are the thin, deep networks of the experiments: fully connected for vectors, convolutions for images. This module
has no part in training; it needs torch and the registry of activations alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from jumpstart.choices import check_flag, choose
from model.activations import ActivationClass, activation_gain, resolve_activation
from model.checks import check_count, check_dropout, check_number
from model.choices import Head, Layer, RectangularInit, SkipKind


class RectangularNetwork(nn.Module):
    """A classifier with ``depth`` hidden layers of ``width`` units each and a linear output layer.

    A hidden layer is: weights, batch normalization (optional), the sum with a skip connection (optional), activation,
    dropout (optional), 2x2 max pooling (optional). With ``skip_kind="published"``, the activation comes before the sum.
    Every activation is a separate module, ``layers.<i>.activation``,
    and those of torch never work in place, so a hook on the module receives the preactivation.

    **Skip connections.** With ``skip_connections=k``, and hidden layers counted from 1, the layers 1 + k, 1 + 2k, ...
    add the output of the layer k before them to their preactivation, or with ``skip_kind="published"`` to the output of
    their activation, whatever the activation is. No skip connection bypasses the first layer, because only that layer
    changes the number of channels; so every skip is the identity. If a bypassed layer pools the image, the skip
    connection pools it too.

    **Containers.** ``layers[i]`` groups the modules of a hidden layer. The network calls these modules one by one,
    which in a thin network is faster than to call the container; so a hook on ``layers[i]`` itself never fires. Attach
    hooks to what it contains, such as ``layers[i].activation``.

    Args:
        input_shape: Shape of one sample, without the batch: ``(features,)``, or ``(channels, height, width)``. Dense
            layers flatten images.
        num_classes: Number of outputs.
        depth: Number of hidden layers; the output layer is not counted.
        width: Units (dense) or channels (conv) of every hidden layer.
        activation: A name or a class that :func:`model.activations.resolve_activation` accepts.
        use_batchnorm: Normalize before the activation. Layers keep their bias, so that networks with and without
            normalization differ by the normalization alone.
        dropout: Share of the activations dropped in training, in [0, 1).
        skip_connections: Number of layers that one skip connection spans, below ``depth``; ``None`` for none.
        skip_kind: Where a skip connection is added: ``"preactivation"``, before the activation, or ``"published"``,
            after it, as in the code that was published with the papers. Jumpstart then reads preactivations that do not
            include the skip connection.
        init: Initial weights of all layers with weights, the output layer included: a :class:`RectangularInit` or its
            value. Batch normalization keeps its own.
        init_value: The weight of ``constant``.
        init_noise: Standard deviation of the noise of ``identity``.
        layer: ``"dense"`` or ``"conv"``.
        kernel_size: Height and width of the convolution kernels; odd or even, the image keeps its size.
        pool_at: Hidden layers, counted from 1, that are followed by 2x2 max pooling. Conv only.
        head: What the output layer reads of the last image: all of it (``"flatten"``), or the mean of each channel
            (``"global"``). Conv only.

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
        activation: str | ActivationClass = "relu",
        use_batchnorm: bool = False,
        dropout: float = 0.0,
        skip_connections: int | None = None,
        skip_kind: SkipKind | str = SkipKind.PREACTIVATION,
        init: RectangularInit | str = RectangularInit.TORCH,
        init_value: float = 0.01,
        init_noise: float = 0.01,
        layer: Layer | str = Layer.DENSE,
        kernel_size: int = 3,
        pool_at: Sequence[int] = (),
        head: Head | str = Head.FLATTEN,
    ) -> None:
        super().__init__()
        check_count("num_classes", num_classes)
        check_count("depth", depth)
        check_count("width", width)
        check_count("kernel_size", kernel_size)
        check_number("init_value", init_value)
        check_number("init_noise", init_noise)
        if init_noise < 0:
            raise ValueError(f"init_noise must be >= 0, got {init_noise}.")
        check_dropout(dropout)
        check_flag("use_batchnorm", use_batchnorm)
        skip_kind = choose(SkipKind, skip_kind, "skip_kind")
        _check_skips(skip_connections, skip_kind, depth)
        layer, head = choose(Layer, layer, "layer"), choose(Head, head, "head")
        init = choose(RectangularInit, init, "init")
        shape = _checked_shape(input_shape, layer)
        pools = _checked_pools(pool_at, depth, shape, layer)
        dense = layer is Layer.DENSE
        if dense and head is not Head.FLATTEN:
            raise ValueError(f"head={head.value!r} needs layer='conv': dense layers have no image left.")
        build = resolve_activation(activation)

        self.depth, self.width = depth, width
        self.skip_connections, self.skip_kind = skip_connections, skip_kind
        self.stem: nn.Module = nn.Flatten() if dense and len(shape) > 1 else nn.Identity()
        self.layers = nn.ModuleList()
        channels = math.prod(shape) if dense else shape[0]
        for number in range(1, depth + 1):
            parts = _weights(channels, width, None if dense else kernel_size)
            norm = (nn.BatchNorm1d if dense else nn.BatchNorm2d)(width) if use_batchnorm else None
            _add_rest(parts, norm, build(), dropout=dropout, pool=number in pools)
            self.layers.append(parts)
            channels = width
        self.head = nn.Identity() if dense else _image_head(head)
        if not dense and head is Head.FLATTEN:
            channels *= math.prod(size // 2 ** len(pools) for size in shape[1:])
        self.output = nn.Linear(channels, num_classes)
        _initialize(self, init, build, init_noise if init is RectangularInit.IDENTITY else init_value)

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

    def extra_repr(self) -> str:
        """The skip connections, for ``repr``; empty without any."""
        if self.skip_connections is None:
            return ""
        return f"skip_connections={self.skip_connections}, skip_kind={self.skip_kind.value!r}"

    def _forward_with_skips(self, x: Tensor, layers: Iterable[nn.Sequential], span: int) -> Tensor:
        before = self.skip_kind is SkipKind.PREACTIVATION
        carried: Tensor | None = None
        for index, parts in enumerate(layers):
            joins = index % span == 0
            for name, module in parts.named_children():
                added = carried if name == "activation" and joins else None
                if added is not None and before:
                    x = x + added
                x = module(x)
                if added is not None and not before:
                    x = x + added
                if name == "pool" and carried is not None and not joins:
                    carried = module(carried)
            if joins:
                carried = x
        return x


def _weights(channels: int, width: int, kernel_size: int | None) -> nn.Sequential:
    """The weights of a hidden layer: a linear layer, or a convolution that keeps the size of the image.

    Args:
        channels: Units or channels of the input.
        width: Units or channels of the output.
        kernel_size: Height and width of the kernels; None for a linear layer.
    """
    parts = nn.Sequential()
    if kernel_size is None:
        parts.add_module("linear", nn.Linear(channels, width))
        return parts
    before = (kernel_size - 1) // 2
    after = kernel_size - 1 - before
    # An even kernel needs unequal padding, which a convolution does only as padding="same", with a warning.
    if before != after:
        parts.add_module("pad", nn.ZeroPad2d((before, after, before, after)))
    padding = before if before == after else 0
    parts.add_module("conv", nn.Conv2d(channels, width, kernel_size, padding=padding))
    return parts


def _add_rest(
    parts: nn.Sequential, norm: nn.Module | None, activation: nn.Module, *, dropout: float, pool: bool
) -> None:
    """Add the modules of a hidden layer that follow its weights."""
    if norm is not None:
        parts.add_module("norm", norm)
    parts.add_module("activation", activation)
    if dropout > 0.0:
        parts.add_module("dropout", nn.Dropout(dropout))
    if pool:
        parts.add_module("pool", nn.MaxPool2d(2))


def _image_head(head: Head) -> nn.Module:
    """The module between the last image and the output layer."""
    if head is Head.FLATTEN:
        return nn.Flatten()
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _initialize(net: RectangularNetwork, init: RectangularInit, activation: ActivationClass, value: float) -> None:
    """Set the weights of every layer that has weights, and its bias to zero; ``torch`` changes nothing.

    Args:
        net: The network.
        init: The kind of initial weights.
        activation: Its gain scales the weights of ``kaiming``.
        value: The weight of ``constant``, or the noise of ``identity``.
    """
    if init is RectangularInit.TORCH:
        return
    fill = _filler(init, activation, value)
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if init is RectangularInit.IDENTITY:
        for parts in net.layers[1:]:
            for module in parts.children():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    _near_identity(module.weight, value)


def _filler(init: RectangularInit, activation: ActivationClass, value: float) -> Callable[[Tensor], Tensor]:
    """The function that sets one weight."""
    if init in (RectangularInit.GLOROT, RectangularInit.IDENTITY):
        return nn.init.xavier_uniform_
    if init is not RectangularInit.KAIMING:
        return partial(nn.init.constant_, val=value if init is RectangularInit.CONSTANT else 0.0)
    gain = activation_gain(activation)
    return lambda weight: nn.init.normal_(weight, std=gain / math.sqrt(weight[0].numel()))


@torch.no_grad()
def _near_identity(weight: Tensor, noise: float) -> None:
    """The layer that passes its input on, plus noise; the weight has as many outputs as inputs."""
    if weight.dim() == 2:
        nn.init.eye_(weight)
    else:
        center = (weight.shape[-1] - 1) // 2  # as the layer is padded; dirac_ has that of an even kernel one further
        weight.zero_()
        weight[:, :, center, center].fill_diagonal_(1.0)
    weight.add_(torch.randn_like(weight), alpha=noise)


def _check_skips(span: int | None, kind: SkipKind, depth: int) -> None:
    if span is None:
        if kind is not SkipKind.PREACTIVATION:
            raise ValueError(f"skip_kind={kind.value!r} needs skip_connections, got None.")
        return
    check_count("skip_connections", span)
    if span >= depth:
        raise ValueError(
            f"skip_connections must be below depth ({depth}), because no skip connection bypasses the first layer, "
            f"got {span}. Use None for no skip connections."
        )


def _checked_shape(input_shape: Sequence[int], layer: Layer) -> tuple[int, ...]:
    if isinstance(input_shape, str) or not isinstance(input_shape, Sequence):
        raise TypeError(f"input_shape must be a tuple of sizes such as (2,), got {input_shape!r}.")
    shape = tuple(input_shape)
    if not shape:
        raise ValueError("input_shape must have at least one size, got ().")
    for size in shape:
        check_count("every size in input_shape", size)
    if layer is Layer.CONV and len(shape) != 3:
        raise ValueError(
            f"layer='conv' needs input_shape=(channels, height, width), got {shape}. "
            "Use layer='dense' for anything but images."
        )
    return shape


def _checked_pools(pool_at: Sequence[int], depth: int, shape: tuple[int, ...], layer: Layer) -> frozenset[int]:
    if isinstance(pool_at, str) or not isinstance(pool_at, Sequence):
        raise TypeError(f"pool_at must be a tuple of layer numbers such as (2, 4), got {pool_at!r}.")
    numbers = tuple(pool_at)
    if numbers and layer is Layer.DENSE:
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
