"""Lightning modules for the Jumpstart callback, and the same training as a plain loop."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from jumpstart import JumpstartRegularization
from sweep.machine import quiet_lightning

OPTIONS: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "logger": False,
}


def make_model() -> nn.Sequential:
    """The network of all these modules, with the same weights every time."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))


STEPS = 20


class Manual(pl.LightningModule):
    """Manual optimization of two networks with an optimizer each, in turn."""

    def __init__(self, *, adds: bool = True) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.one, self.two, self.adds = make_model(), make_model(), adds

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        first, second = self.optimizers()
        for model, optimizer in ((self.one, first), (self.two, second)):
            loss = F.cross_entropy(model(batch[0]), batch[1])
            if model is self.two and self.adds:
                loss = loss + self.jumpstart_loss()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(model.parameters(), lr=0.05) for model in (self.one, self.two)]


class Plain(pl.LightningModule):
    """A module without Jumpstart; ``returns`` is the kind of result of its training step."""

    def __init__(self, returns: str = "tensor") -> None:
        super().__init__()
        self.model, self.returns = make_model(), returns

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Any:
        loss = F.cross_entropy(self.model(batch[0]), batch[1])
        if self.returns == "none" and batch_idx % 2:
            return None
        return {"loss": loss, "more": 1} if self.returns == "dict" else loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)


def by_hand(
    lambdas: list[float], *, accumulate: int = 1, precision: str = "32-true", skip: int = 0, **options: Any
) -> nn.Module:
    """The network after a plain training loop; ``lambdas`` has one weight per epoch."""
    model = make_model()
    jumpstart = JumpstartRegularization(model, **options)
    adam = torch.optim.Adam(model.parameters(), lr=0.05)
    for lambda_ in lambdas:
        for step, (x, y) in enumerate(DataLoader(data(), batch_size=8)):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = F.cross_entropy(model(x), y)
                if not (skip and step % skip):
                    loss = loss + lambda_ * jumpstart.loss
                    (loss / accumulate).backward()
            if skip and step % skip:
                continue
            if (step + 1) % accumulate == 0:
                adam.step()
                adam.zero_grad()
    jumpstart.remove()
    return model


def data() -> TensorDataset:
    """Inputs and labels for 20 batches of 8."""
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.randn(STEPS * 8, 3, generator=generator), torch.randint(2, (STEPS * 8,), generator=generator)
    )


def fit(module: pl.LightningModule, *callbacks: pl.Callback, rows: slice = slice(None), **options: Any) -> pl.Trainer:
    """Train a module for one epoch; options replace those of the trainer."""
    quiet_lightning()
    trainer = pl.Trainer(**{**OPTIONS, "max_epochs": 1, **options}, callbacks=list(callbacks))
    trainer.fit(module, DataLoader(TensorDataset(*data()[rows]), batch_size=8))
    return trainer


def untouched(module: pl.LightningModule) -> bool:
    """Whether a module has neither hooks nor wrappers."""
    hooks = any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    return not hooks and not {"training_step", "jumpstart_loss"} & vars(module).keys()
