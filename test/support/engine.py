"""Members of the compiled engine, and the same training by PyTorch, in the precision of the reference or of the run."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from data.batches import TensorBatches
from jumpstart.engine.build import Build, builds
from jumpstart.engine.member import Member
from model.compiled import make_member
from model.config.rectangular import RectangularConfig
from model.experiment import regularizer_of
from model.meters import StageMeters
from model.optimization import clip_gradient, clip_values, lambda_at, lr_at, make_optimizer
from model.rectangular import RectangularNetwork
from model.rectangular_network import make_network

BUILDS = builds()
Parts = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
Row = dict[str, float]


def every_build(build: Build) -> str:
    """The name of a parameter."""
    return build.name


def config(**options: object) -> RectangularConfig:
    """A small run: 4 layers of 4 units, no clipping and a constant learning rate, where no option says otherwise."""
    small = {"depth": 4, "width": 4, "epochs": 1, "gradient_clip": None, "scheduler": "none", "lr": 0.01}
    return RectangularConfig(**{**small, **options})


def cloud(rows: int = 50, features: int = 2, classes: int = 3, seed: int = 0, val_rows: int | None = None) -> Parts:
    """Training and validation part: normal inputs, whose classes a random linear map decides, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    plane = torch.randn(features, classes, generator=generator)

    def part(count: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(count, features, generator=generator)
        return x, (x @ plane + 0.3 * torch.randn(count, classes, generator=generator)).argmax(1)

    return part(rows), part(rows // 2 + 1 if val_rows is None else val_rows)


def network_of(run: RectangularConfig, parts: Parts, classes: int = 3) -> RectangularNetwork:
    """The network of a run with its initial weights."""
    torch.random.default_generator.manual_seed(run.seed)  # torch.manual_seed would take as long as the network
    return make_network(run, parts[0][0].shape[1:], classes)


def member_of(run: RectangularConfig, parts: Parts, build: Build, classes: int = 3) -> Member:
    """The member of a run, with the same initial weights."""
    return make_member(run, build, network_of(run, parts, classes), parts)


@dataclass
class Reference:
    """Training by PyTorch as ``model.Experiment`` does it, without Lightning.

    Attributes:
        run: The run.
        parts: Training and validation part.
        dtype: Precision of the network.
        classes: Number of classes.
        measures: Whether batches are added to ``meters``.
    """

    run: RectangularConfig
    parts: Parts
    dtype: torch.dtype = torch.float32
    classes: int = 3
    measures: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.network = network_of(self.run, self.parts, self.classes).to(self.dtype)
        self.jumpstart = regularizer_of(self.run, self.network)
        converted = [(x.to(self.dtype), y) for x, y in self.parts]
        (train, val), size = converted, self.run.batch_size
        self.batches = {
            "train": TensorBatches(*train, size, shuffle=True, seed=self.run.seed),
            "val": TensorBatches(*val, size),
        }

    @functools.cached_property
    def meters(self) -> dict[str, StageMeters]:
        """The metrics of both parts."""
        return {part: StageMeters(self.run.margins) for part in ("train", "val")}

    @functools.cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of the run."""
        return make_optimizer(self.run, self.network.parameters())

    @property
    def weights(self) -> Tensor:
        """(parameters,) the present weights, float64."""
        return parameters_to_vector(self.network.parameters()).detach().double()

    def load(self, weights: Tensor) -> None:
        """Replace the weights."""
        vector_to_parameters(weights.to(self.dtype), self.network.parameters())

    def gradient(self) -> tuple[Tensor, float, float]:
        """(parameters,) the gradient of the whole training part, float64; the task loss and the Jumpstart loss."""
        x, y = self.parts[0]
        loss = F.cross_entropy(self.network(x.to(self.dtype)), y)
        self._backward(loss, self.jumpstart.loss, self.run.lambda_)
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.network.parameters()]
        return parameters_to_vector(grads).double(), loss.item(), self.jumpstart.loss.item()

    def epochs(self) -> Iterator[Row]:
        """Train epoch by epoch: the metrics of each."""
        self.measures = True
        for epoch in range(self.run.epochs):
            for meters in self.meters.values():
                meters.reset()
            self.train_epoch(epoch)
            self.network.eval()
            with torch.no_grad():
                for x, y in self.batches["val"]:
                    self._measured("val", x, y)
            self.network.train()
            yield {
                f"{part}/{name}": value
                for part, meters in self.meters.items()
                for name, value in meters.numbers().items()
            }

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr_at(self.run, epoch)
        self.batches["train"].set_epoch(epoch)
        for x, y in self.batches["train"]:
            self._backward(*self._measured("train", x, y), lambda_at(self.run, epoch))
            if self.run.gradient_clip_value:
                clip_values(self.optimizer, self.run.gradient_clip_value)
            if self.run.gradient_clip:
                clip_gradient(self.optimizer, self.run.gradient_clip)
            self.optimizer.step()

    def _backward(self, loss: Tensor, jumpstart_loss: Tensor, lambda_: float) -> None:
        self.network.zero_grad()
        ((loss if self.run.use_loss else 0.0) + lambda_ * jumpstart_loss).backward()

    def _measured(self, part: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(x)
        loss, jumpstart = F.cross_entropy(logits, y), self.jumpstart
        if self.measures:
            meters, loss_parts = self.meters[part], (jumpstart.unit_loss, jumpstart.point_loss)
            meters.classification.update(logits, y, loss, jumpstart.loss, loss_parts)
            meters.status.update(jumpstart.extrema)
            meters.watch.update(jumpstart, loss)
        return loss, jumpstart.loss
