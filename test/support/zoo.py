"""The zoo: small models with preactivations of every kind. Each entry makes a model and an input."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Case = tuple[nn.Module, Tensor]


def dense(depth: int = 5, width: int = 4, **activation: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(width if i else 3, width), nn.ReLU(**activation)]
    return nn.Sequential(*layers, nn.Linear(width, 2))


def conv(dims: int, inplace: bool = False) -> nn.Sequential:
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    return nn.Sequential(
        layer(2, 3, 3, padding=1),
        nn.ReLU(inplace),
        layer(3, 4, 3, padding=1, stride=2),
        nn.GELU(),
        nn.Flatten(),
    )


class Shared(nn.Module):
    """One activation module, and one linear layer, called several times."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.first, self.again = nn.LeakyReLU(0.1), nn.Linear(3, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        for _ in range(3):
            x = self.act(self.again(x))
        return x


class Residual(nn.Module):
    """A preactivation that a residual sum uses too, and one that is a residual sum, in place."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.act_a, self.act_b = nn.Tanh(), nn.ReLU(inplace)

    def forward(self, x: Tensor) -> Tensor:
        z = self.a(x)
        h = self.b(self.act_a(z)) + z
        h = h + 0
        h += z
        return self.c(self.act_b(h)) + z.sum(1, keepdim=True)


class IgnoredResult(nn.Module):
    """An in-place activation whose result is not used: the tensor itself is read afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.b = nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        z = self.a(x)
        self.act(z)
        return self.b(z)


class Views(nn.Module):
    """Preactivations that are views: a chunk and a transposed tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.act_t = nn.Linear(3, 8), nn.SiLU(), nn.Softplus()

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.a(x).chunk(2, dim=1)
        return self.act(left) * self.act_t(right.t().contiguous().t())


class Outputs(nn.Module):
    """A dictionary or a tuple as output."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.body, self.kind = dense(2), kind

    def forward(self, x: Tensor) -> object:
        y = self.body(x)
        return {"y": y, "x": x} if self.kind is dict else (y, x)


class Checkpointed(nn.Module):
    """A model with a checkpointed part, which the backward pass recomputes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.act, self.b, self.out = (
            nn.Linear(3, 4),
            nn.ReLU(),
            nn.Linear(4, 4),
            nn.Linear(4, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.a(x))
        x = checkpoint(lambda h: self.act(self.b(h)), x, use_reentrant=False)
        return self.out(x)


class Tokens(nn.Module):
    """A block on (N, T, C) tensors, with the units last."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.act, self.down = (
            nn.LayerNorm(6),
            nn.Linear(6, 10),
            nn.GELU(),
            nn.Linear(10, 6),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.act(self.up(self.norm(x))))


def transformer() -> nn.Module:
    # The activation as a module: by name it would be a function, which no hook sees.
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, activation=nn.ReLU(), batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def batchnorm() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            a=nn.Linear(3, 5),
            norm=nn.BatchNorm1d(5),
            act=nn.ReLU(inplace=True),
            drop=nn.Dropout(0.0),
            b=nn.Linear(5, 2),
        )
    )


def dead() -> nn.Module:
    """All weights zero: every preactivation is a tie."""
    model = dense(3)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


class SlimResNet(torchvision.models.ResNet):  # type: ignore[misc]
    """Torchvision's network with an eighth of the channels."""

    def _make_layer(self, block: Any, planes: int, *args: Any, **options: Any) -> nn.Sequential:
        if planes == 64:  # the first stage, before which the stem was made
            self.inplanes = 8
            self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(8)
        return super()._make_layer(block, planes // 8, *args, **options)


def slim_resnet18() -> nn.Module:
    """Torchvision's ResNet-18 with an eighth of the channels."""
    model = SlimResNet(torchvision.models.resnet.BasicBlock, [2, 2, 2, 2])
    model.fc = nn.Linear(model.inplanes, 3)
    return model


ZOO: dict[str, Callable[[], Case]] = {
    "dense": lambda: (dense(), torch.randn(7, 3)),
    "dense-inplace": lambda: (dense(inplace=True), torch.randn(7, 3)),
    "one-sample": lambda: (dense(), torch.randn(1, 3)),
    "width-1": lambda: (dense(4, 1), torch.randn(9, 3)),
    "large-batch": lambda: (dense(3, 70), torch.randn(2100, 3)),
    "conv1d": lambda: (conv(1), torch.randn(4, 2, 6)),
    "conv2d": lambda: (conv(2), torch.randn(4, 2, 6, 5)),
    "conv2d-inplace": lambda: (conv(2, inplace=True), torch.randn(4, 2, 6, 5)),
    "conv2d-channels-last": lambda: (
        conv(2, inplace=True).to(memory_format=torch.channels_last),
        torch.randn(4, 2, 6, 5).to(memory_format=torch.channels_last),
    ),
    "conv3d": lambda: (conv(3), torch.randn(3, 2, 4, 5, 6)),
    "shared": lambda: (Shared(), torch.randn(6, 3)),
    "residual": lambda: (Residual(), torch.randn(6, 3)),
    "residual-inplace": lambda: (Residual(inplace=True), torch.randn(6, 3)),
    "ignored-result": lambda: (IgnoredResult(), torch.randn(6, 3)),
    "views": lambda: (Views(), torch.randn(6, 3)),
    "dict-output": lambda: (Outputs(dict), torch.randn(6, 3)),
    "tuple-output": lambda: (Outputs(tuple), torch.randn(6, 3)),
    "checkpointed": lambda: (Checkpointed(), torch.randn(6, 3)),
    "tokens": lambda: (Tokens(), torch.randn(4, 5, 6)),
    "transformer": lambda: (transformer(), torch.randn(3, 4, 8)),
    "batchnorm": lambda: (batchnorm(), torch.randn(8, 3)),
    "zeros": lambda: (dead(), torch.randn(8, 3)),
    "frozen-start": lambda: (_freeze_first(dense()), torch.randn(8, 3)),
    # Torchvision's ResNet-18 and VGG-11 with an eighth of the channels: the same modules in the same order.
    "resnet18": lambda: (slim_resnet18(), torch.randn(2, 3, 32, 32)),
    "vgg11": lambda: (
        torchvision.models.vgg.make_layers([8, "M", 16, "M", 32, 32, "M", 64, 64, "M", 64, 64, "M"]),
        torch.randn(2, 3, 32, 32),
    ),
}


def _freeze_first(model: nn.Sequential) -> nn.Sequential:
    model[0].requires_grad_(False)
    return model


def make(name: str) -> Case:
    """A model and an input of the zoo in float64, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(sum(map(ord, name)))
        model, x = ZOO[name]()
    return model.double(), x.double()


every_architecture = pytest.mark.parametrize("name", ZOO)
