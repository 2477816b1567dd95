"""Small runs of rectangular networks: in this process, by the command, or with a loop written by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from support.commands import as_flags, exit_code_of
from torch import Tensor
from torch.nn import functional as F

from data.datamodules import TabularDataModule, as_datamodule
from jumpstart import JumpstartRegularization
from jumpstart.choices import Margins
from model.config.rectangular import RectangularConfig
from model.optimization import clip_gradient
from model.rectangular import RectangularNetwork
from model.rectangular_experiment import RectangularExperiment
from model.rectangular_network import make_network
from sweep.machine import quiet_lightning
from sweep.rectangular import build, make_data
from sweep.run import run
from sweep.run_directory import RunDirectory

ROOT = Path(__file__).resolve().parents[2]
TINY: dict[str, object] = {
    "depth": 4,
    "epochs": 5,
    "batch_size": 64,
    "num_points": 200,
    "gpus": 0,
    "wandb": False,
    "plot_status": False,
    "progress": False,
}
PLOTTED: dict[str, object] = {"dropout": 0.2, "epochs": 3, "scheduler": "none", "plot_status": True}
"""The options of the fixture ``plotted_run`` that determine its plots, but for ``plot_every=1``."""


@dataclass(frozen=True)
class PlottedRun:
    """A finished, uninterrupted run with plots, W&B and a progress bar.

    Attributes:
        directory: Must not be changed by a test.
        random_state: The state of torch's generator after the run.
    """

    directory: RunDirectory
    random_state: Tensor


def tiny(**changes: object) -> RectangularConfig:
    """A config that trains in a tenth of a second: 140 rows in batches of 64, 64 and 12."""
    return RectangularConfig(**{**TINY, **changes})


def flags(**changes: object) -> list[str]:
    """The flags of the same config."""
    return as_flags({**TINY, **changes})


def run_tiny(folder: Path, *, resume: Path | None = None, **changes: object) -> tuple[RunDirectory, dict[str, object]]:
    """A complete run in this process, in ``folder/run``."""
    config = tiny(output_dir=str(folder), **{"name": "run", **changes})
    result = run(config, make_data(config), build, resume=resume)
    return result.directory, result.summary


def command(*argv: str) -> int:
    """The exit code of ``python run_rectangular_sweep.py ARGV``, run in this process."""
    return exit_code_of(ROOT / "run_rectangular_sweep.py", *argv)


def network_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The weights of the network in a checkpoint file."""
    state: dict[str, Tensor] = torch.load(checkpoint, weights_only=False)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("network.")}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two sets of weights are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@dataclass
class Rows(Checkpoint):
    """Stores the row of every epoch, and the learning rates of the optimizer's steps."""

    rows: list[dict[str, float]] = field(default_factory=list)
    rates: list[set[float]] = field(default_factory=list)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        while len(self.rates) <= trainer.current_epoch:
            self.rates.append(set())
        self.rates[-1] |= {group["lr"] for group in trainer.optimizers[0].param_groups}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, RectangularExperiment)
        self.rows.append(pl_module.row)


def prepare(config: RectangularConfig) -> tuple[TabularDataModule, RectangularExperiment]:
    """The data module and the untrained experiment of a config, seeded as in a run."""
    pl.seed_everything(config.seed, verbose=False)
    data = as_datamodule(make_data(config))
    assert isinstance(data, TabularDataModule)
    data.setup()
    return data, build(config, data)


def fit(
    config: RectangularConfig,
    *callbacks: pl.Callback,
    experiment: RectangularExperiment | None = None,
    **trainer_options: object,
) -> tuple[RectangularExperiment, Rows]:
    """Train without a run directory."""
    quiet_lightning()
    data, fresh = prepare(config)
    experiment = experiment or fresh
    rows = Rows()
    options = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": config.epochs,
        "callbacks": [rows, *callbacks],
        "logger": False,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(**{**options, **trainer_options})
    trainer.fit(experiment, datamodule=data)
    return experiment, rows


@dataclass
class Seen:
    """The outputs of the network on one part of the data in one epoch."""

    logits: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    preactivations: list[list[Tensor]] = field(default_factory=list)  # batch by batch, layer by layer
    losses: list[Tensor] = field(default_factory=list)
    jumpstart_losses: list[Tensor] = field(default_factory=list)


class ByHand:
    """A training loop without Lightning, which stores every intermediate tensor.

    Args:
        config: The run.
        rates: The learning rate of every epoch.
        lambdas: The weight of the Jumpstart loss in every epoch; None: Jumpstart is not attached.
    """

    def __init__(self, config: RectangularConfig, rates: list[float], lambdas: list[float] | None = None) -> None:
        pl.seed_everything(config.seed, verbose=False)
        self.data = as_datamodule(make_data(config))
        self.data.setup()
        self.network = make_network(config, self.data.input_shape, self.data.num_classes)
        self.jumpstart = None
        if lambdas is not None:
            margin, negative_margin = config.margins
            self.jumpstart = JumpstartRegularization(
                self.network, ties=config.ties, margin=margin, negative_margin=negative_margin
            )
        self.epochs: list[dict[str, Seen]] = []
        parameters = list(self.network.parameters())
        optimizers = _optimizers(config, self.network)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        everything = torch.optim.SGD([parameter for group in groups for parameter in group["params"]], 1.0)
        train = self.data.train_dataloader()
        for epoch, rate in enumerate(rates):
            for group in groups:
                group["lr"] = rate
            seen = {"train": Seen(), "val": Seen()}
            self.network.train()
            train.set_epoch(epoch)
            for x, y in train:
                loss = self._forward(x, y, seen["train"])
                if self.jumpstart is not None and lambdas is not None:
                    total = lambdas[epoch] * self.jumpstart.loss
                    loss = loss + total if config.use_loss else total
                self.network.zero_grad()
                loss.backward()
                for parameter in parameters:
                    if config.gradient_clip_value and parameter.grad is not None:
                        parameter.grad.clamp_(-config.gradient_clip_value, config.gradient_clip_value)
                if config.gradient_clip:
                    clip_gradient(everything, config.gradient_clip)
                for optimizer in optimizers:
                    optimizer.step()
            self.network.eval()
            with torch.no_grad():
                for x, y in self.data.val_dataloader():
                    self._forward(x, y, seen["val"])
            self.epochs.append(seen)

    def _forward(self, x: Tensor, y: Tensor, seen: Seen) -> Tensor:
        kept: list[Tensor] = []
        hooks = [
            parts.activation.register_forward_pre_hook(lambda _, args: kept.append(args[0].detach().clone()))
            for parts in self.network.layers
        ]
        logits = self.network(x)
        for hook in hooks:
            hook.remove()
        loss = F.cross_entropy(logits, y)
        seen.logits.append(logits.detach())
        seen.labels.append(y)
        seen.preactivations.append(kept)
        seen.losses.append(loss.detach())
        if self.jumpstart is not None:
            seen.jumpstart_losses.append(self.jumpstart.loss.detach())
        return loss


def _optimizers(config: RectangularConfig, network: RectangularNetwork) -> list[torch.optim.Optimizer]:
    """Optimizers of torch that update each parameter of a network once."""
    weights = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    biases = [parameter for parameter in network.parameters() if parameter.dim() == 1]
    momentum, decay = config.momentum, config.weight_decay
    hidden = weights[1:-1] if config.optimizer == "muon" else []
    muon = [torch.optim.Muon(hidden, config.lr, decay, momentum, adjust_lr_fn="match_rms_adamw")] if hidden else []
    groups: list[dict[str, object]] = [{"params": list(network.parameters())}]
    if decay or hidden:
        rest = [weight for weight in weights if all(weight is not matrix for matrix in hidden)]
        groups = [{"params": rest, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]
    if config.optimizer == "sgd":
        return [torch.optim.SGD(groups, config.lr, momentum, fused=True)]
    if config.optimizer == "adam":
        return [torch.optim.Adam(groups, config.lr, fused=True)]
    return [*muon, torch.optim.AdamW(groups, config.lr, weight_decay=0.0, fused=True)]


def slow_metrics(seen: Seen, margins: Margins) -> dict[str, float]:
    """Every metric of one epoch, computed in NumPy from the stored tensors."""
    logits, labels = (torch.cat(parts).numpy() for parts in (seen.logits, seen.labels))
    layers = [torch.cat(parts).double().numpy() for parts in zip(*seen.preactivations, strict=True)]
    logits = logits.astype(float)
    log_sum = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
    units: list[tuple[float, float]] = []
    status = np.full((len(labels), len(layers)), "nonlinear", dtype=object)
    points = []
    for number, layer in enumerate(layers):
        units += [(layer[:, unit].max(), layer[:, unit].min()) for unit in range(layer.shape[1])]
        for row, values in enumerate(layer):
            points.append((values.max(), values.min()))
            if values.max() <= 0:
                status[row, number] = "dead"
            elif values.min() > 0:
                status[row, number] = "linear"
    alive_after = [
        not (status[row, number:] == "dead").any() for row in range(len(labels)) for number in range(len(layers))
    ]
    metrics = {
        "acc": (logits.argmax(1) == labels).mean(),
        "loss": (log_sum - logits[np.arange(len(labels)), labels]).mean(),
        "jumpstart_loss": np.mean([float(loss) for loss in seen.jumpstart_losses]),
        "unit_dead_ratio": np.mean([top <= 0 for top, _ in units]),
        "unit_linear_ratio": np.mean([bottom > 0 for _, bottom in units]),
        "unit_nonlinear_ratio": np.mean([top > 0 >= bottom for top, bottom in units]),
        "point_dead_ratio": (status == "dead").any(1).mean(),
        "point_linear_ratio": (status == "linear").all(1).mean(),
        "point_nonlinear_ratio": (status == "nonlinear").all(1).mean(),
        "deadness": (status == "dead").mean(),
        "linearity": (status == "linear").mean(),
        "nonlinearity": (status == "nonlinear").mean(),
        "point_efficiency": np.mean(alive_after),
    }
    for name, slices in (("unit", units), ("point", points)):
        positive, negative = hinges(slices, margins)
        metrics |= {f"positive_{name}_loss": positive, f"negative_{name}_loss": negative}
        metrics[f"{name}_loss"] = positive + negative
    for name, dim in (("unit", 1), ("point", 0)):
        parts = []
        for batch in seen.preactivations:
            slices = [row for layer in batch for row in layer.double().movedim(dim, 0).flatten(1).numpy()]
            parts.append(sum(hinges([(row.max(), row.min()) for row in slices], margins)))
        metrics[f"jumpstart_{name}_loss"] = np.mean(parts)
    return {name: float(value) for name, value in metrics.items()}


def hinges(slices: list[tuple[float, float]], margins: Margins) -> tuple[float, float]:
    """The mean positive and negative hinge of slices, each a maximum and a minimum."""
    positive = np.mean([max(0, margins[0] - top) for top, _ in slices])
    return float(positive), float(np.mean([max(0, margins[1] + bottom) for _, bottom in slices]))
