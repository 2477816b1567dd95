"""Metrics of one part of the data over an epoch: loss and accuracy, status of the network, divergence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jumpstart import JumpstartRegularization
from jumpstart.choices import Margins
from jumpstart.metrics import NetworkStatus
from jumpstart.status.metric_group import MetricGroup

SUMS = (
    "correct",
    "loss",
    "jumpstart_loss",
    "jumpstart_unit_loss",
    "jumpstart_point_loss",
    "points",
    "batches",
    "parted",
)
"""What :class:`ClassificationMetrics` adds up; ``parted`` are the batches that have parts."""


class ClassificationMetrics(MetricGroup):
    """Loss, Jumpstart loss and accuracy over an epoch, exact for batches of unequal size.

    The predicted class is that of the highest *probability*; logits are never compared with a threshold.

    Args:
        **kwargs: Options of :class:`torchmetrics.Metric`.

    Example:
        >>> metrics = ClassificationMetrics()
        >>> logits = torch.tensor([[0.2, 0.4], [0.3, 0.1]])
        >>> metrics.update(logits, torch.tensor([1, 1]), torch.tensor(0.7), torch.tensor(0.0))
        >>> float(metrics.compute()["acc"])
        0.5
    """

    sums: Tensor

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.add_state("sums", torch.zeros(len(SUMS), dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        logits: Tensor,
        labels: Tensor,
        loss: Tensor,
        jumpstart_loss: Tensor,
        parts: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Add one batch.

        Args:
            logits: (N, classes).
            labels: (N,) indices of classes.
            loss: Mean task loss of the batch.
            jumpstart_loss: Jumpstart loss of the batch.
            parts: Its parts of the units and of the points, if they are known.
        """
        points = len(labels)
        if not points:
            return
        probabilities = logits.detach().float().softmax(1)
        correct = (probabilities.argmax(1) == labels).sum()
        unit, point = parts or (torch.zeros_like(jumpstart_loss),) * 2
        values = [correct, loss.detach() * points, jumpstart_loss.detach(), unit.detach(), point.detach()]
        sizes = torch.tensor([points, 1.0, parts is not None], dtype=torch.float64, device=logits.device)
        # Not in place: other metrics, copies and wrappers may hold the state.
        self.sums = self.sums + torch.cat([torch.stack([value.double() for value in values]), sizes])

    def read_numbers(self) -> dict[str, float]:
        """Every metric by name.

        Returns:
            ``acc`` and ``loss``, means over points; ``jumpstart_loss``, the mean over batches; and, if its parts were
            given, their means ``jumpstart_unit_loss`` and ``jumpstart_point_loss``.

        Raises:
            RuntimeError: Before any update.
        """
        sums = dict(zip(SUMS, self.sums.tolist(), strict=True))
        if not sums["points"]:
            raise RuntimeError("there is no metric yet: update() it with a batch first.")
        numbers = {"acc": sums["correct"] / sums["points"], "loss": sums["loss"] / sums["points"]}
        numbers["jumpstart_loss"] = sums["jumpstart_loss"] / sums["batches"]
        if sums["parted"]:
            numbers |= {name: sums[name] / sums["parted"] for name in ("jumpstart_unit_loss", "jumpstart_point_loss")}
        return numbers


class DivergenceWatch:
    """Records the first layer with a value that is not finite, without a transfer from the device per batch."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: Tensor | None = None

    def update(self, jumpstart: JumpstartRegularization, loss: Tensor) -> None:
        """Add one batch: its sums replace those of the batch before, unless one of those is not finite.

        Args:
            jumpstart: Holds the extrema of the batch's forward pass.
            loss: The task loss of the batch.
        """
        records = jumpstart.extrema
        losses = torch.stack([loss.detach(), jumpstart.loss.detach()]).float()
        sums = torch.cat([record.unit.sum((0, 2)) for record in records] + [losses])
        order = [position for record in records for position in record.order]
        places = sorted(range(len(order)), key=order.__getitem__)
        if places != list(range(len(order))):
            sums = sums[[*places, -2, -1]]
        if self._sums is None:
            self._names, self._sums = [*jumpstart.layers, "the output", "the Jumpstart loss"], sums
        else:
            self._sums = torch.where(self._sums.sum().isfinite(), sums, self._sums)

    def first(self) -> str | None:
        """The first layer in call order with a value that is not finite; None if all are finite."""
        if self._sums is None or bool(self._sums.sum().isfinite()):
            return None
        finite = self._sums.isfinite().tolist()
        return next(
            (name for name, is_finite in zip(self._names, finite, strict=True) if not is_finite),
            "a sum of layers",
        )


class StageMeters(nn.Module):
    """All metrics of one part of the data.

    Args:
        margins: Margins of the Jumpstart loss, of the positive and of the negative side.

    Attributes:
        classification: Loss and accuracy.
        status: Dead, linear and non-linear units and points, and their penalties.
        watch: The first layer that is not finite.
    """

    def __init__(self, margins: Margins) -> None:
        super().__init__()
        self.classification, self.status = ClassificationMetrics(), NetworkStatus(*margins)
        self.watch = DivergenceWatch()

    def numbers(self) -> dict[str, float]:
        """Every metric by name, as Python numbers."""
        return self.classification.numbers() | self.status.numbers()

    def reset(self) -> None:
        """Discard all batches, for a new epoch."""
        self.classification.reset()
        self.status.reset()
        self.watch = DivergenceWatch()
