"""The Lightning module that every experiment shares: loss, optimizer, schedules, figures of each epoch."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jumpstart import JumpstartRegularization
from model.config.experiment import ExperimentConfig
from model.errors import NonFiniteLossError
from model.meters import StageMeters
from model.optimization import LearningRate, clip_gradient, lambda_at, make_optimizer

STAGES = ("train", "val", "test")
Batch = tuple[Tensor, Tensor]


class Experiment(pl.LightningModule):
    """Trains a classifier with Jumpstart and keeps the figures of every epoch.

    Args:
        config: One run.
        network: The classifier; its output is (N, classes) logits.

    Attributes:
        jumpstart: The regularizer, attached to ``network``.
        row: The figures of the latest epoch under ``train/...`` and ``val/...``, with ``epoch`` (from 0), ``lr`` and
            ``lambda``: Python numbers, read from the device once an epoch.
        evaluation: The figures of the latest test, under ``train/...``, ``val/...`` and ``test/...``.
    """

    fused = True
    """Whether the optimizer is one kernel."""

    def __init__(self, config: ExperimentConfig, network: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.jumpstart = JumpstartRegularization(
            network,
            capture=config.capture,
            terms=config.terms,
            aggregate=config.aggregate,
            margin=config.margin,
            positive_weight=config.positive_weight,
            negative_weight=config.negative_weight,
            ties=config.ties,
            unit_dim=config.unit_dim,
            point=config.point,
            sync=config.sync,
        )
        # Modules, so that they move with the experiment; "train" alone is a name that modules have already.
        self._meters = nn.ModuleDict({f"{stage}_meters": StageMeters(config.margin) for stage in STAGES})
        self.row: dict[str, float] = {}
        self.evaluation: dict[str, float] = {}
        self.lambda_ = lambda_at(config, 0)
        self._val_row: dict[str, float] = {}
        self._modes: list[dict[str, Any]] = []
        self._training_modes: list[bool] = []
        self._learning_rate: LearningRate | None = None
        self._rate_state: dict[str, Any] | None = None
        self._random_state: dict[str, Any] | None = None

    @torch.no_grad()
    def _rehearse(self, x: Tensor) -> None:
        """Run one batch, so that layers that can't be read are told when the experiment is built."""
        self.network.eval()
        self(x)
        _ = self.jumpstart.loss
        self.network.train()

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning notes the name of every hook that it calls, some 200 in an epoch: spare that torch's checks."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes) logits."""
        return self.network(x)  # type: ignore[no-any-return]

    def meters(self, stage: str) -> StageMeters:
        """The metrics of ``train``, ``val`` or ``test``, as of the latest epoch."""
        meters = self._meters[f"{stage}_meters"]
        assert isinstance(meters, StageMeters)
        return meters

    # Training ----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss that is minimized: the task's, plus lambda times Jumpstart's."""
        loss, jumpstart_loss = self._measure(batch, "train")
        total = self.jumpstart_term(loss, jumpstart_loss)
        return loss + total if self.config.use_loss else total

    def task_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of the task: cross-entropy."""
        return F.cross_entropy(logits, labels)

    def jumpstart_term(self, loss: Tensor, jumpstart_loss: Tensor) -> Tensor:
        """The Jumpstart loss as it enters the sum: lambda times it."""
        return self.lambda_ * jumpstart_loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measures one batch."""
        self._measure(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measures one batch of the training, validation and test parts in turn, or of the test part alone."""
        loaders = self.trainer.num_test_batches
        self._measure(batch, STAGES[dataloader_idx] if len(loaders) == len(STAGES) else "test")

    def _measure(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        x, labels = batch
        logits = self(x)
        loss = self.task_loss(logits, labels)
        jumpstart_loss = self.jumpstart.loss
        meters = self.meters(stage)
        meters.figures.update(logits, labels, loss, jumpstart_loss)
        meters.status.update(self.jumpstart.extrema)
        meters.watch.update(self.jumpstart, loss)
        return loss, jumpstart_loss

    def _read(self, stage: str) -> dict[str, float]:
        """All the figures of a stage, in one transfer from the device."""
        meters = self.meters(stage)
        found = meters.figures.numbers() | meters.status.numbers()
        return {f"{stage}/{name}": value for name, value in found.items()}

    def _reset(self, *stages: str) -> None:
        for stage in stages:
            self.meters(stage).reset()

    # Epochs ------------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """A new epoch."""
        self._reset("train")
        self.lambda_ = lambda_at(self.config, self.current_epoch)

    def on_validation_epoch_start(self) -> None:
        """A new epoch."""
        self._reset("val")

    def on_validation_epoch_end(self) -> None:
        """The figures of the validation part."""
        self._val_row = self._read("val")
        if any(getattr(callback, "monitor", None) for callback in self.trainer.callbacks):  # type: ignore[attr-defined]
            self.log_dict(self._val_row, logger=False)

    def on_train_epoch_end(self) -> None:
        """The figures of the epoch, and the learning rate of the next."""
        assert self._learning_rate is not None
        found = {"epoch": self.current_epoch, "lr": self._learning_rate.value, "lambda": self.lambda_}
        self.row = found | self._read("train") | self._val_row
        self._refuse_divergence()
        self._learning_rate.step(self.current_epoch, self._val_row.get("val/loss", self.row["train/loss"]))
        self._stop_if_perfect()

    def _refuse_divergence(self) -> None:
        # The last step of an epoch may be the one that diverges: only the validation sees it before
        # the weights are kept.
        found = [self.meters(stage).watch.first() for stage in ("train", "val")]
        layer = next((name for name in found if name is not None), None)
        if layer is not None:
            raise NonFiniteLossError(
                f"the loss of epoch {self.current_epoch} is not finite; the first layer that is not "
                f"finite is {layer}. Try a lower lr, gradient_clip=1.0 or warmup_epochs; the last "
                "good checkpoint is kept."
            )

    def _stop_if_perfect(self) -> None:
        if self.config.early_stopping and self.row.get("val/acc") == 1.0:
            self.trainer.should_stop = True

    def on_test_epoch_start(self) -> None:
        """A new evaluation."""
        self._reset(*STAGES)

    def on_test_epoch_end(self) -> None:
        """The figures of every part that was evaluated, in ``evaluation``."""
        seen = [stage for stage in STAGES if self.meters(stage).figures.update_count]
        self.evaluation = {name: value for stage in seen for name, value in self._read(stage).items()}
        self.log_dict({name: self.evaluation[name] for name in ("test/loss", "test/acc")}, rank_zero_only=True)

    # A deep network has hundreds of modules, and walking through them takes as long as a validation of a small table:
    # the list is made once, and what Lightning would do by four walks an epoch is done along it.

    def on_fit_start(self) -> None:
        """The modules whose mode changes between training and validation."""
        self._modes = [module.__dict__ for module in self.modules()]

    def on_fit_end(self) -> None:
        """Forget them: with such a list an experiment can't be pickled."""
        self._modes = []

    def on_validation_model_eval(self) -> None:
        """Into evaluation mode; the modes of training are kept."""
        self._training_modes = [mode["training"] for mode in self._modes_now()]
        for mode in self._modes_now():
            mode["training"] = False

    def on_validation_model_train(self) -> None:
        """Back into the modes of training."""
        for mode, training in zip(self._modes_now(), self._training_modes, strict=True):
            mode["training"] = training

    def on_validation_model_zero_grad(self) -> None:
        """The optimizer clears the gradients before the next backward pass anyway."""

    def _modes_now(self) -> list[dict[str, Any]]:
        return self._modes or [module.__dict__ for module in self.modules()]

    # Optimization ------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer; the learning rate is set at the end of each epoch, before any checkpoint is written."""
        optimizer = make_optimizer(self.config, self.network.parameters(), fused=self.fused)
        self._learning_rate = LearningRate(self.config, optimizer)
        if self._rate_state is not None:
            self._learning_rate.load_state_dict(self._rate_state)
            self._rate_state = None
        return optimizer

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Scale the gradient down to ``gradient_clip`` if its norm is larger."""
        if self.config.gradient_clip:
            clip_gradient(optimizer, self.config.gradient_clip)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the learning rate's state and the random generators'."""
        checkpoint["learning_rate"] = self._learning_rate.state_dict() if self._learning_rate else None
        checkpoint["row"] = self.row
        checkpoint["random"] = {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them back when training resumes; weights that are loaded alone begin anew."""
        if self._trainer is None:
            return
        self._rate_state = checkpoint.get("learning_rate")
        self._random_state = checkpoint.get("random")
        self.row = checkpoint.get("row", {})

    def on_train_start(self) -> None:
        """Resumed training goes on, or stays stopped, as the interrupted one would have."""
        assert self._learning_rate is not None
        self._learning_rate.begin(self.current_epoch)
        self._stop_if_perfect()
        state = self._random_state
        if state is not None:
            torch.set_rng_state(state["cpu"])
            if state["cuda"]:
                torch.cuda.set_rng_state_all(state["cuda"])
            self._random_state = None
