"""Metrics of an experiment: accuracy and loss of a stage, its network status, and the watch for divergence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from jumpstart import JumpstartRegularization
from jumpstart.metrics import NetworkStatus


class ClassificationFigures(Metric):
    """Loss, Jumpstart loss and accuracy over an epoch, exact for batches of unequal size.

    Accuracy compares the class of the highest *probability* with the label. It never thresholds logits.

    Example:
        >>> figures = ClassificationFigures()
        >>> logits = torch.tensor([[0.2, 0.4], [0.3, 0.1]])
        >>> figures.update(logits, torch.tensor([1, 1]), torch.tensor(0.7), torch.tensor(0.0))
        >>> float(figures.compute()["acc"])
        0.5
    """

    full_state_update = False
    sums: Tensor
    last: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("sums", torch.zeros(5, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor, loss: Tensor, jumpstart_loss: Tensor) -> None:
        """Take in one batch: (N, classes) logits, (N,) labels, and the batch's two losses."""
        points = len(labels)
        probabilities = logits.detach().float().softmax(1)
        correct = (probabilities.argmax(1) == labels).sum()
        parts = [correct, loss.detach() * points, jumpstart_loss.detach()]
        sizes = torch.tensor([points, 1.0], dtype=torch.float64, device=logits.device)
        self.sums += torch.cat([torch.stack([part.double() for part in parts]), sizes])

    def compute(self) -> dict[str, Tensor]:
        """``acc``, ``loss`` (means over points) and ``jumpstart_loss`` (mean over batches)."""
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in self._numbers().items()}

    def numbers(self) -> dict[str, float]:
        """What :meth:`compute` returns, as Python numbers."""
        with self.sync_context(should_sync=self._to_sync, should_unsync=self._should_unsync):
            return self._numbers()

    def _numbers(self) -> dict[str, float]:
        correct, loss, jumpstart_loss, points, batches = self.sums.tolist()
        return {"acc": correct / points, "loss": loss / points, "jumpstart_loss": jumpstart_loss / batches}


class DivergenceWatch:
    """Remembers, without waiting for the device, which layer was the first that was not finite."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._kept: Tensor | None = None

    def update(self, jumpstart: JumpstartRegularization, loss: Tensor) -> None:
        """Look at one batch: keep its layers' sums until one is not finite, and those for good.

        Args:
            jumpstart: Has the layers of the batch's forward pass.
            loss: The task's loss of the batch.
        """
        records = jumpstart.extrema
        losses = torch.stack([loss.detach(), jumpstart.loss.detach()]).float()
        sums = torch.cat([record.unit.sum((0, 2)) for record in records] + [losses])
        order = [position for record in records for position in record.order]
        places = sorted(range(len(order)), key=order.__getitem__)
        if places != list(range(len(order))):
            sums = sums[[*places, -2, -1]]
        if self._kept is None:
            self._names, self._kept = [*jumpstart.layers, "the output", "the Jumpstart loss"], sums
        else:
            self._kept = torch.where(self._kept.sum().isfinite(), sums, self._kept)

    def first(self) -> str | None:
        """The first layer in call order that is not finite, if any."""
        if self._kept is None or bool(self._kept.sum().isfinite()):
            return None
        finite = self._kept.isfinite().tolist()
        return next(
            (name for name, good in zip(self._names, finite, strict=True) if not good),
            "a sum of layers",
        )


class StageMeters(nn.Module):
    """What is measured on one part of the data."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.figures, self.status = ClassificationFigures(), NetworkStatus(margin)
        self.watch = DivergenceWatch()

    def reset(self) -> None:
        """A new epoch."""
        self.figures.reset()
        self.status.reset()
        self.watch = DivergenceWatch()
