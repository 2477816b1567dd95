"""Peers that the launchers do not have: initial weights, layers and new weights in training, each with its source.

All of them train the network of the config with its recipe, in a loop of PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import pandas as pd
import torch
from torch import Tensor, nn

from data.tabular import TabularData
from jumpstart.monitor import StatusMonitor
from model.config.experiment import ExperimentConfig
from model.config.rectangular import RectangularConfig
from model.experiment import regularizer_of
from model.optimization import lr_at, make_optimizer
from model.rectangular import RectangularNetwork
from model.rectangular_network import make_network
from sweep.machine import seed_everything
from sweep.rectangular import make_data

Prepare = Callable[[RectangularNetwork, Tensor], None]
AfterStep = Callable[[RectangularNetwork, Tensor, int, torch.optim.Optimizer], None]


def _nothing(*args: object) -> None:
    pass


@dataclass(frozen=True)
class Peer:
    """What differs from the plain recipe.

    Attributes:
        prepare: Changes the network before training; takes the network and the training inputs.
        after_step: Takes the network, a batch, the number of the step and the optimizer after each step.
    """

    prepare: Prepare = _nothing
    after_step: AfterStep = _nothing


def hidden(network: RectangularNetwork) -> list[nn.Linear]:
    """The linear layers of a network but for the last one, from the input on."""
    return [cast("nn.Linear", parts.linear) for parts in network.layers]


def orthogonal(network: RectangularNetwork, x: Tensor) -> None:
    """Orthogonal weights with the gain of ReLU (Saxe, McClelland and Ganguli, 2014), by ``torch.nn.init``."""
    for layer in hidden(network):
        nn.init.orthogonal_(layer.weight, nn.init.calculate_gain("relu"))
        nn.init.zeros_(layer.bias)


def lsuv(network: RectangularNetwork, x: Tensor) -> None:
    """Orthogonal weights, each layer scaled to outputs of variance 1 (Mishkin and Matas, 2016)."""
    with torch.no_grad():
        for parts, layer in zip(network.layers, hidden(network), strict=True):
            nn.init.orthogonal_(layer.weight)
            nn.init.zeros_(layer.bias)
            for _ in range(10):
                spread = layer(x).std()
                if not spread or abs(spread - 1) < 0.05:
                    break
                layer.weight /= spread
            x = parts(x)


def looks_linear(network: RectangularNetwork, x: Tensor) -> None:
    """Mirrored orthogonal weights, with which a ReLU network begins as a linear map (Balduzzi et al., 2017)."""
    with torch.no_grad():
        for number, layer in enumerate([*hidden(network), network.output]):
            rows, columns = layer.weight.shape
            first, last = number == 0, layer is network.output
            half = torch.empty(rows if last else rows // 2, columns if first else columns // 2)
            nn.init.orthogonal_(half)
            half = half if first else torch.cat([half, -half], dim=1)
            layer.weight.copy_(half if last else torch.cat([half, -half], dim=0))
            layer.bias.zero_()


def selu(network: RectangularNetwork, x: Tensor) -> None:
    """Weights of variance 1 / inputs, for which SELU keeps mean and variance (Klambauer et al., 2017)."""
    for layer in hidden(network):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        nn.init.zeros_(layer.bias)


def layernorm(network: RectangularNetwork, x: Tensor) -> None:
    """Layer normalization before each activation (Ba, Kiros and Hinton, 2016), by ``torch.nn``."""
    for parts in network.layers:
        parts.activation = nn.Sequential(nn.LayerNorm(network.width), cast("nn.Module", parts.activation))


def fixup(network: RectangularNetwork, x: Tensor) -> None:
    """The scales of Fixup for residual branches of two layers (Zhang, Dauphin and Ma, 2019), without its scalars.

    The first layer of each of L branches is He's, times 1 / sqrt(L); the second layer and the output are 0.
    """
    branches = hidden(network)[1:]
    scale = 1 / math.sqrt(len(branches) / 2)
    for first in branches[::2]:
        nn.init.kaiming_normal_(first.weight)
        first.weight.data *= scale
        nn.init.zeros_(first.bias)
    for last in [*branches[1::2], network.output]:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)


RECYCLE_EVERY = 100
"""Steps from one search for dormant units to the next."""
DORMANT = 0.025
"""Share of the mean activation of a layer at or below which a unit is dormant."""


def redo(network: RectangularNetwork, x: Tensor, step: int, optimizer: torch.optim.Optimizer) -> None:
    """New incoming and zero outgoing weights for dormant units (Sokar, Agarwal, Castro and Evci, 2023)."""
    if step % RECYCLE_EVERY:
        return
    with torch.no_grad():
        layers, dormant = hidden(network), []
        for parts in network.layers:
            x = parts(x)
            activity = x.abs().mean(0)
            dormant.append(activity <= DORMANT * activity.mean())
        for layer, rows in zip(layers, dormant, strict=True):
            fresh = nn.Linear(layer.in_features, layer.out_features)
            layer.weight[rows], layer.bias[rows] = fresh.weight[rows], fresh.bias[rows]
            for parameter in (layer.weight, layer.bias):
                for moment in ("exp_avg", "exp_avg_sq"):
                    optimizer.state[parameter][moment][rows] = 0.0
        for follower, columns in zip([*layers[1:], network.output], dormant, strict=True):
            follower.weight[:, columns] = 0.0


PEERS = {
    "orthogonal": Peer(prepare=orthogonal),
    "lsuv": Peer(prepare=lsuv),
    "looks_linear": Peer(prepare=looks_linear),
    "selu": Peer(prepare=selu),
    "layernorm": Peer(prepare=layernorm),
    "fixup": Peer(prepare=fixup),
    "redo": Peer(after_step=redo),
}


def table(name: str, configs: Sequence[ExperimentConfig]) -> pd.DataFrame:
    """One row for each config, with its options and the metrics of the best weights.

    Args:
        name: A key of :data:`PEERS`.
        configs: The configs of rectangular networks.
    """
    return pd.DataFrame([{**config.to_dict(), **_trained(PEERS[name], config)} for config in configs])


class Trainer:
    """A network of a config in training with a peer: its data, its optimizer, and one step after another.

    Args:
        peer: What differs from the plain recipe.
        config: The config of a rectangular network.

    Attributes:
        data: The data of the config.
        network: The network, prepared by the peer.
        optimizer: That of the config.
        jumpstart: The Jumpstart loss, if the lambda of the config is above 0.
    """

    def __init__(self, peer: Peer, config: ExperimentConfig) -> None:
        assert isinstance(config, RectangularConfig)
        self._peer, self._config = peer, config
        seed_everything(config.seed)
        data = make_data(config)
        assert isinstance(data, TabularData)
        data.prepare()
        data.setup()
        self.data, self.network = data, make_network(config, data.input_shape, data.num_classes)
        peer.prepare(self.network, data.x_train)
        self.optimizer = make_optimizer(config, self.network.parameters())
        self.jumpstart = regularizer_of(config, self.network) if config.lambda_ else None

    def step(self, x: Tensor, y: Tensor, number: int) -> None:
        """Train on one batch.

        Args:
            x: The inputs.
            y: The classes.
            number: The number of the step, from 1.
        """
        self.network.zero_grad()
        loss = nn.functional.cross_entropy(self.network(x), y)
        if self.jumpstart is not None:
            loss = loss + self._config.lambda_ * self.jumpstart.loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self._config.gradient_clip or math.inf)
        self.optimizer.step()
        self._peer.after_step(self.network, x, number, self.optimizer)


def _trained(peer: Peer, config: ExperimentConfig) -> dict[str, float]:
    """Train a peer, and measure the weights of the best epoch on all three parts."""
    trainer, best = Trainer(peer, config), None
    network, data = trainer.network, trainer.data
    batches = data.batches("train", shuffle=True)
    for epoch in range(config.epochs):
        for group in trainer.optimizer.param_groups:
            group["lr"] = lr_at(config, epoch)
        for number, (x, y) in enumerate(batches, start=epoch * len(batches) + 1):
            trainer.step(x, y, number)
        rank = _rank(network, data)
        if best is None or rank > best[0]:
            best = rank, epoch, {name: value.clone() for name, value in network.state_dict().items()}
    assert best is not None
    network.load_state_dict(best[2])
    return {**_measured(network, data), "best_epoch": best[1], "diverged": 0}


@torch.no_grad()
def _rank(network: RectangularNetwork, data: TabularData) -> tuple[float, float]:
    """The accuracy in the validation part, and the negative loss, which decides between equal accuracies."""
    logits = network(data.x_val)
    loss = nn.functional.cross_entropy(logits, data.y_val)
    return float((logits.argmax(1) == data.y_val).double().mean()), -float(loss.nan_to_num(math.inf))


@torch.no_grad()
def _measured(network: RectangularNetwork, data: TabularData) -> dict[str, float]:
    """The accuracy in each part, and the status of the units in the test part."""
    parts = {"train": (data.x_train, data.y_train), "val": (data.x_val, data.y_val), "test": (data.x_test, data.y_test)}
    found = {f"{part}/acc": float((network(x).argmax(1) == y).double().mean()) for part, (x, y) in parts.items()}
    with StatusMonitor(network) as monitor:
        network(data.x_test)
        return found | {f"test/{name}": value for name, value in monitor.numbers().items() if name.endswith("_ratio")}
