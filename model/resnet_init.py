r"""How the weights of a ResNet begin.

``he``
    Normal, scaled by the fan in and the gain of the activation; zero biases. A layer keeps the mean square of its
    inputs, as long as no skip connection adds to it.
``torchvision``
    What torchvision does: convolutions normal, scaled by the fan *out* and the gain of ReLU, dense layers and biases as
    torch leaves them. With stride 2 or a narrowing layer, fan in and fan out differ.
``torch``
    As torch leaves every layer: uniform, a third of the variance that its fan in would allow without an activation, a
    sixth of what ReLU needs. Through plain layers the signal shrinks by 2.4 each time.
``looks_linear``
    For plain deep networks. Every hidden layer begins with its units in pairs, :math:`h` and :math:`-h`, and reads
    :math:`f(h) - f(-h)` of the layer before, which for ReLU, GELU and SiLU is :math:`h` itself: a network of any depth
    begins as a linear one. Its matrices are orthogonal and, in a convolution, stand at the center of the kernel. So
    neither the size of the signal, nor the angle between two points, nor the gradient changes from layer to layer.
    Under ``he`` all the points of a deep plain network begin as nearly the same, and on images of a few pixels, where
    most of a kernel lies on the padding, the signal shrinks as well.

Source:
    *Delving Deep into Rectifiers* (He et al., 2015); *The Shattered Gradients Problem* (Balduzzi et al., 2017) for
    ``looks_linear``, with the centered kernels of *Dynamical Isometry and a Mean Field Theory of CNNs* (Xiao et al.,
    2018).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from model.activations import activation_gain

Init = Literal["he", "torchvision", "torch", "looks_linear"]


@torch.no_grad()
def initialize(network: nn.Module, init: Init, activation: type[nn.Module]) -> None:
    """Set the weights of every dense and convolutional layer; normalization keeps its own.

    Args:
        network: Is changed. The output layer is called ``fc``, the first one ``conv1``.
        init: See the text of this module.
        activation: Of all the hidden layers.
    """
    if init == "torch":
        return
    for name, module in network.named_modules():
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        if init == "torchvision":
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            continue
        if init == "he":
            # No activation follows the output layer.
            gain = 1.0 if name == "fc" else activation_gain(activation)
            nn.init.normal_(module.weight, std=gain / math.sqrt(module.weight[0].numel()))
        else:
            fill_looks_linear(module.weight, activation, first=name == "conv1", last=name == "fc")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def fill_looks_linear(weight: Tensor, activation: type[nn.Module], *, first: bool, last: bool) -> None:
    """Fill a weight as ``looks_linear`` says.

    Args:
        weight: (outputs, inputs), or (outputs, inputs, height, width).
        activation: Between this layer and the one before.
        first: Whether the inputs are data, which have no pairs.
        last: Whether the outputs are logits, which have none either.
    """
    outputs, inputs = weight.shape[:2]
    rows = outputs if last else math.ceil(outputs / 2)
    columns = inputs if first else math.ceil(inputs / 2)
    if first:
        # A kernel that read the center alone would be blind to all else of the image.
        columns = weight[0].numel()
    matrix = torch.empty(rows, columns, device="cpu")
    nn.init.orthogonal_(matrix)
    # The mean square of a unit is kept where the number of units grows, too.
    matrix *= math.sqrt(max(1.0, rows / columns))
    if not first:
        matrix /= _pair_scale(activation)
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


def _pair_scale(activation: type[nn.Module]) -> float:
    """The root mean square of f(z) - f(-z) for standard normal z: 1 for ReLU."""
    z = torch.linspace(-12.0, 12.0, 24_001, dtype=torch.float64, device="cpu")
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi)
    module = activation().to(device="cpu", dtype=torch.float64).eval()
    odd = module(z) - module(-z)
    return float(torch.trapezoid(odd.square() * density, z).sqrt())
