r"""Initial weights of a ResNet.

``he``
    Normal, scaled by the fan in and the gain of the activation; biases are zero. The outputs of a layer have the mean
    square of its inputs, unless a skip connection is added to them.
``torchvision``
    As torchvision initializes a ResNet: convolutions normal, scaled by the fan *out* and the gain of ReLU; dense layers
    and biases by torch's default. In layers with stride 2 or fewer outputs than inputs, fan in and fan out differ.
``torch``
    torch's default for every layer: uniform, with a third of the variance that keeps the mean square without an
    activation, and a sixth of the variance that ReLU needs. Through layers without skip connections, the signal shrinks
    by a factor of 2.4 per layer.
``looks_linear``
    For deep networks without skip connections. The units of every hidden layer are pairs of :math:`h` and :math:`-h`,
    and the next layer reads :math:`f(h) - f(-h)`, which for ReLU, GELU and SiLU is :math:`h` itself: a network of any
    depth is linear at the start. Its matrices are orthogonal; in a convolution, they are at the center of the kernel.
    So the size of the signal, the angle between two points and the size of the gradient are the same in every layer.
    Under ``he`` all points enter the last layers of a deep plain network with nearly the same direction. On images of a
    few pixels, where most of a kernel lies on the padding, the signal shrinks as well.

Source:
    *Delving Deep into Rectifiers* (He et al., 2015); *The Shattered Gradients Problem* (Balduzzi et al., 2017) for
    ``looks_linear``, with the centered kernels of *Dynamical Isometry and a Mean Field Theory of CNNs* (Xiao et al.,
    2018).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.activations import ActivationClass, activation_gain, pair_scale
from model.choices import ResnetInit


@torch.no_grad()
def initialize(network: nn.Module, init: ResnetInit, activation: ActivationClass) -> None:
    """Set the weights of every dense and convolutional layer in place; batch normalization keeps its own.

    Args:
        network: A network whose output layer is named ``fc`` and whose first layer is named ``conv1``.
        init: The kind of initial weights; this module's docstring describes them.
        activation: The activation of the hidden layers.
    """
    if init is ResnetInit.TORCH:
        return
    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    if init is ResnetInit.TORCHVISION:
        for module in layers.values():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        return
    hidden_gain = activation_gain(activation) if init is ResnetInit.HE else 1.0
    for name, module in layers.items():
        if init is ResnetInit.HE:
            # No activation follows the output layer.
            gain = 1.0 if name == "fc" else hidden_gain
            nn.init.normal_(module.weight, std=gain / math.sqrt(module.weight[0].numel()))
        else:
            fill_looks_linear(module.weight, activation, first=name == "conv1", last=name == "fc")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def fill_looks_linear(weight: Tensor, activation: ActivationClass, *, first: bool, last: bool) -> None:
    """Fill one weight for ``looks_linear``, in place.

    Args:
        weight: (outputs, inputs), or (outputs, inputs, height, width).
        activation: The activation between this layer and the one before.
        first: Whether the inputs are data, which are no pairs.
        last: Whether the outputs are logits, which are no pairs either.
    """
    outputs, inputs = weight.shape[:2]
    rows = outputs if last else math.ceil(outputs / 2)
    # The kernels of the first layer are filled entirely: with their centers alone, they would read single pixels.
    columns = weight[0].numel() if first else math.ceil(inputs / 2)
    matrix = torch.empty(rows, columns, device="cpu")
    nn.init.orthogonal_(matrix)
    # Keeps the mean square of a unit in layers with more outputs than inputs, too.
    matrix *= math.sqrt(max(1.0, rows / columns))
    if not first:
        matrix /= pair_scale(activation)
        matrix = torch.cat([matrix, -matrix], 1)[:, :inputs]
    if not last:
        matrix = torch.cat([matrix, -matrix], 0)[:outputs]
    if first:
        weight.copy_(matrix.reshape(weight.shape))
    elif weight.dim() == 2:
        weight.copy_(matrix)
    else:
        weight.zero_()
        weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2] = matrix
