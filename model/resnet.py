"""The ResNet, for any kind of layer; ``resnet_conv.py`` and ``resnet_dense.py`` build it from their kinds of layers.

With batch normalization and skip connections, it is the network of the literature, and its weights have the names of
torchvision's. Without them, it is a plain chain of the same layers. This module does not train; it needs torch and the
registry of activations alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypedDict, cast

from torch import Tensor, nn

from jumpstart.choices import check_flag, choose
from model.activations import ActivationClass, resolve_activation
from model.checks import check_choice, check_count, check_dropout, check_integer, check_number
from model.choices import BLOCKS, BOTTLENECK_FROM, DEPTHS, ResnetInit, Stem
from model.resnet_init import initialize

NormLayer = Callable[[int], nn.Module]
"""A class of normalizations, or a function that makes one, from the number of units."""


@dataclass(frozen=True)
class Layers:
    """The kinds of modules that a ResNet is built from.

    Attributes:
        weighted: ``(inputs, outputs, kernel_size, stride, groups, bias)`` -> a layer with weights that, with stride 1,
            keeps the size of an image.
        norm: ``(units)`` -> batch normalization.
        strides: Stride of the first block of each stage.
        entry: ``(inputs)`` -> the module before the first layer.
        stems: Kernel size and stride of the first layer, and the pooling after it, for each stem.
        exit: The module that turns the last activations into one vector per sample.
        has_groups: Whether the units of a layer can be divided into groups.
    """

    weighted: Callable[[int, int, int, int, int, bool], nn.Module]
    norm: Callable[[int], nn.Module]
    strides: tuple[int, int, int, int]
    entry: Callable[[int], nn.Module]
    stems: Mapping[Stem, tuple[int, int, Callable[[], nn.Module]]]
    exit: Callable[[], nn.Module]
    has_groups: bool


@dataclass(frozen=True)
class Design:
    """Everything that all blocks of a network have in common.

    Attributes:
        layers: The kinds of modules.
        activation: ``()`` -> an activation.
        norm_layer: ``(units)`` -> a normalization; None for none.
        use_bias: Whether layers with weights have biases.
        use_skip_connections: Whether a skip connection bypasses each block.
        groups: Groups of the 3x3 layer of a bottleneck.
        width_per_group: Units of a group, in a stage of 64 units.
    """

    layers: Layers
    activation: Callable[[], nn.Module]
    norm_layer: NormLayer | None
    use_bias: bool
    use_skip_connections: bool
    groups: int
    width_per_group: int

    def weighted(self, inputs: int, outputs: int, kernel_size: int, stride: int, groups: int = 1) -> nn.Module:
        """A layer with weights."""
        return self.layers.weighted(inputs, outputs, kernel_size, stride, groups, self.use_bias)

    def norm(self, units: int) -> nn.Module:
        """The normalization of a layer, or nothing."""
        return nn.Identity() if self.norm_layer is None else self.norm_layer(units)

    def inner_width(self, width: int) -> int:
        """Units of the first two layers of a bottleneck, in a stage of ``width`` units."""
        return int(width * (self.width_per_group / 64)) * self.groups


class ResNetOptions(TypedDict, total=False):
    """The keyword arguments of :class:`ResNet`, for the factories that pass them on."""

    use_batchnorm: bool
    use_skip_connections: bool
    width_multiplier: float
    groups: int
    width_per_group: int
    use_bias: bool | None
    activation: str | ActivationClass
    norm_layer: NormLayer | None
    dropout: float
    stem: Stem | str
    init: ResnetInit | str


class Block(nn.Module):
    """A residual block: two or three layers and the skip connection that bypasses them.

    A layer is: weights (``conv1``), batch normalization (``bn1``), activation (``activation1``). The skip connection is
    added before the last activation, so a hook on that activation receives the sum, its preactivation. If the number of
    units or pixels changes, the skip connection has its own weights, ``downsample``.

    Args:
        design: The kinds of modules.
        inputs: Units of the input.
        widths: Units of each layer.
        kernels: Kernel size of each layer.
        strided: Number, from 1, of the layer that has the stride and the groups.
        stride: The stride.
        groups: Groups of that layer.

    Shape:
        - Input: (N, ``inputs``, ...).
        - Output: (N, ``widths[-1]``, ...).
    """

    def __init__(
        self,
        design: Design,
        inputs: int,
        *,
        widths: tuple[int, ...],
        kernels: tuple[int, ...],
        strided: int,
        stride: int,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.length = len(widths)
        self.use_skip_connections = design.use_skip_connections
        units = inputs
        for number, (width, kernel) in enumerate(zip(widths, kernels, strict=True), 1):
            special = (stride, groups) if number == strided else (1, 1)
            self.add_module(f"conv{number}", design.weighted(units, width, kernel, *special))
            self.add_module(f"bn{number}", design.norm(width))
            self.add_module(f"activation{number}", design.activation())
            units = width
        self.downsample: nn.Module = nn.Identity()
        if design.use_skip_connections and (stride != 1 or inputs != units):
            parts = [design.weighted(inputs, units, 1, stride), design.norm(units)]
            self.downsample = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """The output of the last activation."""
        carried = x
        for number in range(1, self.length + 1):
            x = self._modules[f"conv{number}"](x)  # type: ignore[misc]
            x = self._modules[f"bn{number}"](x)  # type: ignore[misc]
            if self.use_skip_connections and number == self.length:
                x = x + self.downsample(carried)
            x = self._modules[f"activation{number}"](x)  # type: ignore[misc]
        return x


class ResNet(nn.Module):
    """A residual network, or the plain chain of its layers.

    Every activation is a separate module, and those of torch never work in place, so a hook on the module receives the
    preactivation. Without skip connections, there are no ``downsample`` weights.

    Args:
        layers: The kinds of modules.
        depth: 18, 34, 50, 101 or 152: layers with weights, those of the skip connections not counted.
        inputs: Channels of the images, or features of the vectors.
        num_classes: Number of outputs.
        use_batchnorm: Normalize before each activation.
        use_skip_connections: Add the input of each block to its last preactivation.
        width_multiplier: Stage i, from 0, has ``64 * width_multiplier ** i`` units; 2 is the standard network.
        groups: Groups of the 3x3 convolution of each bottleneck, of 50 layers and more; above 1, the network is a
            ResNeXt.
        width_per_group: Units of each of these groups in a stage of 64 units, and in proportion in other stages; with
            one group, 128 makes a wide ResNet.
        use_bias: Whether layers have biases; None: only without normalization, which would cancel biases. The output
            layer always has biases.
        activation: A name or a class that :func:`model.activations.resolve_activation` accepts.
        norm_layer: A class of normalizations to use instead of batch normalization, or a function from the number of
            units to a module, such as ``partial(nn.GroupNorm, 8)``.
        dropout: Share of the last activations dropped in training, before the output layer.
        stem: One of ``layers.stems``.
        init: Initial weights: see :mod:`model.resnet_init`.

    Shape:
        - Input: (N, ``inputs``, ...).
        - Output: (N, ``num_classes``), logits.

    Raises:
        ValueError: If an argument is out of range or unknown.
        TypeError: If an argument is of the wrong type.

    Source:
        *Deep Residual Learning for Image Recognition* (He et al., 2015), with the stride of a bottleneck in its 3x3
        layer, as in torchvision; *Aggregated Residual Transformations for Deep Neural Networks* (Xie et al., 2017) for
        the groups; *Wide Residual Networks* (Zagoruyko and Komodakis, 2016).

    Example:
        >>> import torch
        >>> from model.resnet_conv import resnet18_conv
        >>> resnet18_conv(num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        layers: Layers,
        depth: int,
        inputs: int,
        num_classes: int,
        *,
        use_batchnorm: bool = True,
        use_skip_connections: bool = True,
        width_multiplier: float = 2.0,
        groups: int = 1,
        width_per_group: int = 64,
        use_bias: bool | None = None,
        activation: str | ActivationClass = "relu",
        norm_layer: NormLayer | None = None,
        dropout: float = 0.0,
        stem: Stem | str = Stem.STANDARD,
        init: ResnetInit | str = ResnetInit.HE,
    ) -> None:
        super().__init__()
        check_depth(depth)
        check_count("inputs", inputs)
        check_count("num_classes", num_classes)
        check_flag("use_batchnorm", use_batchnorm)
        check_flag("use_skip_connections", use_skip_connections)
        _check_width_multiplier(width_multiplier)
        check_dropout(dropout)
        check_choice("stem", stem, layers.stems)
        init = choose(ResnetInit, init, "init")
        check_groups(groups, width_per_group, depth=depth, init=init, has_groups=layers.has_groups)
        norm = _normalization(layers, norm_layer, use_batchnorm=use_batchnorm)
        if use_bias is not None:
            check_flag("use_bias", use_bias)
        has_bias = norm is None if use_bias is None else use_bias
        build = resolve_activation(activation)
        design = Design(layers, build, norm, has_bias, use_skip_connections, groups, width_per_group)

        self.depth, self.widths = depth, stage_widths(width_multiplier)
        kernel_size, stride, pool = layers.stems[Stem(stem)]
        self.entry = layers.entry(inputs)
        self.conv1 = design.weighted(inputs, self.widths[0], kernel_size, stride)
        self.bn1 = design.norm(self.widths[0])
        self.activation = build()
        self.maxpool = pool()
        units = self.widths[0]
        for number, (width, stride) in enumerate(zip(self.widths, layers.strides, strict=True), 1):
            stage, units = _stage(design, depth, BLOCKS[depth][number - 1], units, width, stride)
            self.add_module(f"layer{number}", stage)
        self.avgpool = layers.exit()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(units, num_classes)
        initialize(self, init, build)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of the inputs (N, ``inputs``, ...)."""
        x = self.activation(self.bn1(self.conv1(self.entry(x))))
        x = self.maxpool(x)
        for number in range(1, 5):
            x = self._modules[f"layer{number}"](x)  # type: ignore[misc]
        return cast("Tensor", self.fc(self.dropout(self.avgpool(x))))


def check_depth(depth: object) -> None:
    """Refuse anything but one of :data:`model.choices.DEPTHS`.

    Raises:
        TypeError: If the depth is no integer.
        ValueError: If there is no such ResNet; the message suggests the nearest.

    Example:
        >>> check_depth(20)
        Traceback (most recent call last):
        ValueError: depth must be one of 18, 34, 50, 101, 152, got 20. Did you mean 18?
    """
    number = check_integer("depth", depth)
    if number not in DEPTHS:
        near = min(DEPTHS, key=lambda known: abs(known - number))
        raise ValueError(f"depth must be one of {', '.join(map(str, DEPTHS))}, got {depth}. Did you mean {near}?")


def check_groups(groups: object, width_per_group: object, *, depth: int, init: ResnetInit, has_groups: bool) -> None:
    """Refuse groups that the network can't have.

    Args:
        groups: Groups of the 3x3 layer of a bottleneck.
        width_per_group: Units of a group, in a stage of 64 units.
        depth: Layers of the network.
        init: Initial weights.
        has_groups: Whether the units of a layer can be divided into groups.

    Raises:
        TypeError: If a value is no integer.
        ValueError: If a value is less than 1, or contradicts another.
    """
    check_count("groups", groups)
    check_count("width_per_group", width_per_group)
    if (groups, width_per_group) != (1, 64) and depth < BOTTLENECK_FROM:
        raise ValueError(
            f"groups and width_per_group need the bottlenecks of depth >= {BOTTLENECK_FROM}, got depth={depth}, "
            f"groups={groups} and width_per_group={width_per_group}."
        )
    if groups != 1 and not has_groups:
        raise ValueError(f"groups > 1 needs convolutions, got {groups} for fully connected layers. Use groups=1.")
    if groups != 1 and init is ResnetInit.LOOKS_LINEAR:
        raise ValueError(f"init='looks_linear' needs groups=1: its pairs of units span all groups, got {groups}.")


def _check_width_multiplier(width_multiplier: object) -> None:
    if check_number("width_multiplier", width_multiplier) <= 0:
        raise ValueError(f"width_multiplier must be > 0, got {width_multiplier}.")


def _normalization(layers: Layers, norm_layer: object, *, use_batchnorm: bool) -> NormLayer | None:
    """The class of normalizations of a network; None for none."""
    if norm_layer is None:
        return layers.norm if use_batchnorm else None
    if not callable(norm_layer) or isinstance(norm_layer, nn.Module):
        raise TypeError(f"norm_layer must be a class such as torch.nn.BatchNorm2d, got {norm_layer!r:.60}.")
    if not use_batchnorm:
        raise ValueError("norm_layer replaces batch normalization: use_batchnorm must be True, got False.")
    return norm_layer


def stage_widths(width_multiplier: float) -> tuple[int, int, int, int]:
    """Units of the four stages: 64 times the powers of the multiplier, rounded, at least 1.

    Example:
        >>> stage_widths(2), stage_widths(0.5)
        ((64, 128, 256, 512), (64, 32, 16, 8))
    """
    first, second, third, fourth = (max(1, round(64 * width_multiplier**power)) for power in range(4))
    return first, second, third, fourth


def load_matching(network: nn.Module, state: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Load those weights of another network that have the same name and the same shape.

    For instance, the weights of batch normalization are not loaded into a network without batch normalization, nor an
    output layer into a network with another number of classes. Weights without a match keep their value.

    Args:
        network: The network whose weights are changed.
        state: Weights by name, such as torchvision's ``state_dict()``.

    Returns:
        The names that were loaded, and the names of the network that were not.

    Raises:
        ValueError: If no weight has a match.

    Example:
        >>> first, second = nn.Linear(2, 3), nn.Linear(2, 3, bias=False)
        >>> load_matching(first, second.state_dict())
        (['weight'], ['bias'])
    """
    own = network.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise ValueError(f"state must share a name and a shape with the network, got {sorted(state)[:3]} and so on.")
    network.load_state_dict(fitting, strict=False)
    return list(fitting), [name for name in own if name not in fitting]


def _stage(design: Design, depth: int, count: int, inputs: int, width: int, stride: int) -> tuple[nn.Sequential, int]:
    """A stage of ``count`` blocks, of which the first has the stride, and the number of its output units."""
    outputs = 4 * width if depth >= BOTTLENECK_FROM else width
    first = _block(design, depth, inputs, width, stride)
    return nn.Sequential(first, *(_block(design, depth, outputs, width, 1) for _ in range(count - 1))), outputs


def _block(design: Design, depth: int, inputs: int, width: int, stride: int) -> Block:
    if depth < BOTTLENECK_FROM:
        return Block(design, inputs, widths=(width, width), kernels=(3, 3), strided=1, stride=stride)
    inner = design.inner_width(width)
    if inner < 1:
        raise ValueError(
            f"width_per_group must leave at least one unit in each group of a stage of {width}, got "
            f"{design.width_per_group}. Use {math.ceil(64 / width)} or more."
        )
    widths = (inner, inner, 4 * width)
    return Block(design, inputs, widths=widths, kernels=(1, 3, 1), strided=2, stride=stride, groups=design.groups)
