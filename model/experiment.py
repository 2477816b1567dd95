"""The Lightning module of every experiment: loss, optimizer, schedules, and the metrics of each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jumpstart import JumpstartRegularization
from jumpstart.files import UserPath, user_path
from jumpstart.files.checkpoints import DamagedCheckpointError, refuse_damage
from model.config.experiment import ExperimentConfig
from model.divergence import divergence
from model.fresh_starts import begins_anew, fresh_network
from model.goal import has_reached_goal
from model.meters import StageMeters
from model.optimization import LearningRate, clip_gradient, clip_values, lambda_at, make_optimizer
from model.quick_hooks import QuickHooksModule

STAGES = ("train", "val", "test")
Batch = tuple[Tensor, Tensor]


def regularizer_of(config: ExperimentConfig, network: nn.Module) -> JumpstartRegularization:
    """Attach the Jumpstart loss to a network, with the options of a config.

    Args:
        config: The options.
        network: The network.
    """
    margin, negative_margin = config.margins
    return JumpstartRegularization(
        network,
        capture=config.capture,
        skip_last=config.skip_last,
        terms=config.terms,
        aggregate=config.aggregate,
        margin=margin,
        negative_margin=negative_margin,
        positive_weight=config.positive_weight,
        negative_weight=config.negative_weight,
        ties=config.ties,
        unit_dim=config.unit_dim,
        point=config.point,
        sync=config.sync,
    )


class RandomState(TypedDict):
    """States of torch's random generators in a checkpoint."""

    cpu: Tensor
    cuda: list[Tensor]


class Experiment(QuickHooksModule):
    """Trains a classifier with Jumpstart and measures every epoch.

    Args:
        config: One run.
        build: Builds the classifier, whose output is (N, classes) logits; called again for each fresh start.

    Attributes:
        network: The classifier.
        jumpstart: The regularizer, attached to ``network``.
        row: The metrics of the latest epoch under ``train/...`` and ``val/...``, with ``epoch`` (from 0), ``lr`` and
            ``lambda``: Python numbers, read from the device once an epoch.
        evaluation: The metrics of the latest test, under ``train/...``, ``val/...`` and ``test/...``.
    """

    fused = True
    """Whether the optimizer is one kernel."""

    def __init__(self, config: ExperimentConfig, build: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.config = config
        self._build = build
        self.network = build()
        self.jumpstart = regularizer_of(config, self.network)
        # In a ModuleDict the meters move to the device of the experiment. Modules have a method `train` already.
        self._meters = nn.ModuleDict({f"{stage}_meters": StageMeters(config.margins) for stage in STAGES})
        self.row: dict[str, float] = {}
        self.evaluation: dict[str, float] = {}
        self.lambda_ = lambda_at(config, 0)
        self._val_row: dict[str, float] = {}
        self._learning_rate: LearningRate | None = None
        self._rate_state: dict[str, object] | None = None
        self._random_state: RandomState | None = None

    def _finish(self, input_shape: Sequence[int], num_classes: int) -> None:
        """Check that the network can be captured, and store the arguments that rebuild the experiment.

        Args:
            input_shape: Shape of one sample.
            num_classes: Number of classes.
        """
        self._try_batch(torch.zeros(1, *input_shape))
        arguments = {
            "config": self.config.to_dict(),
            "input_shape": list(input_shape),
            "num_classes": num_classes,
        }
        self.save_hyperparameters(arguments, logger=False)

    @torch.no_grad()
    def _try_batch(self, x: Tensor) -> None:
        """Run one batch, so that a layer that can't be captured is an error before training."""
        self.network.eval()
        self(x)
        _ = self.jumpstart.loss
        self.network.train()

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes) logits."""
        return self.network(x)  # type: ignore[no-any-return]

    def meters(self, stage: str) -> StageMeters:
        """The metrics of ``train``, ``val`` or ``test``, as of the latest epoch."""
        meters = self._meters[f"{stage}_meters"]
        assert isinstance(meters, StageMeters)
        return meters

    # Steps -------------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss that is minimized: the task loss, plus lambda times the Jumpstart loss."""
        loss, jumpstart_loss = self._measure(batch, "train")
        term = self.jumpstart_term(loss, jumpstart_loss)
        return loss + term if self.config.use_loss else term

    def task_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of the task: cross-entropy."""
        return F.cross_entropy(logits, labels)

    def jumpstart_term(self, loss: Tensor, jumpstart_loss: Tensor) -> Tensor:
        """The term that is added to the task loss: lambda times the Jumpstart loss."""
        return self.lambda_ * jumpstart_loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure one batch."""
        self._measure(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measure one batch of the training, validation and test parts in turn, or of the test part alone."""
        loaders = self.trainer.num_test_batches
        self._measure(batch, STAGES[dataloader_idx] if len(loaders) == len(STAGES) else "test")

    def _measure(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        x, labels = batch
        logits = self(x)
        loss = self.task_loss(logits, labels)
        jumpstart_loss = self.jumpstart.loss
        meters = self.meters(stage)
        parts = self.jumpstart.unit_loss, self.jumpstart.point_loss
        meters.classification.update(logits, labels, loss, jumpstart_loss, parts)
        meters.status.update(self.jumpstart.extrema)
        meters.watch.update(self.jumpstart, loss)
        return loss, jumpstart_loss

    # Epochs ------------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """Reset the metrics of the training part, set the lambda of the epoch, and begin a fresh start if it is due."""
        self._reset("train")
        self.lambda_ = lambda_at(self.config, self.current_epoch)
        if begins_anew(self.config, self.current_epoch):
            self.network.load_state_dict(fresh_network(self.config, self.current_epoch, self._build).state_dict())
            self.optimizers(use_pl_optimizer=False).state.clear()  # type: ignore[union-attr]

    def on_validation_epoch_start(self) -> None:
        """Reset the metrics of the validation part."""
        self._reset("val")

    def on_validation_epoch_end(self) -> None:
        """Read the metrics of the validation part."""
        self._val_row = self._read("val")
        if any(getattr(callback, "monitor", None) for callback in self.trainer.callbacks):  # type: ignore[attr-defined]
            self.log_dict(self._val_row, logger=False)

    def on_train_epoch_end(self) -> None:
        """Store the metrics of the epoch in ``row``, and set the learning rate of the next epoch.

        Raises:
            NonFiniteLossError: If a value of the epoch is not finite.
        """
        assert self._learning_rate is not None
        settings = {"epoch": self.current_epoch, "lr": self._learning_rate.value, "lambda": self.lambda_}
        self.row = settings | self._read("train") | self._val_row
        self._refuse_divergence()
        self._learning_rate.step(self.current_epoch, self._val_row.get("val/loss", self.row["train/loss"]))
        self._stop_early()

    def on_test_epoch_start(self) -> None:
        """Reset the metrics of all parts."""
        self._reset(*STAGES)

    def on_test_epoch_end(self) -> None:
        """Store the metrics of every part that was evaluated in ``evaluation``."""
        seen = [stage for stage in STAGES if self.meters(stage).classification.update_count]
        self.evaluation = {name: value for stage in seen for name, value in self._read(stage).items()}
        self.log_dict({name: self.evaluation[name] for name in ("test/loss", "test/acc")}, rank_zero_only=True)

    def _read(self, stage: str) -> dict[str, float]:
        return {f"{stage}/{name}": value for name, value in self.meters(stage).numbers().items()}

    def _reset(self, *stages: str) -> None:
        for stage in stages:
            self.meters(stage).reset()

    def _refuse_divergence(self) -> None:
        # If the last step of an epoch diverges, the validation after it shows it, before a checkpoint is written.
        layers = [self.meters(stage).watch.first() for stage in ("train", "val")]
        layer = next((name for name in layers if name is not None), None)
        if layer is not None:
            raise divergence(self.config, self.current_epoch, layer)

    def _stop_early(self) -> None:
        if has_reached_goal(self.config, self.row):
            self.trainer.should_stop = True

    # Optimization ------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer; its learning rate is set at the end of each epoch, before any checkpoint is written."""
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
        """Cut the entries of the gradient at ``gradient_clip_value``, then scale its norm down to ``gradient_clip``."""
        if self.config.gradient_clip_value:
            clip_values(optimizer, self.config.gradient_clip_value)
        if self.config.gradient_clip:
            self.clip_norm(optimizer, self.config.gradient_clip)

    def clip_norm(self, optimizer: torch.optim.Optimizer, largest: float) -> None:
        """Scale the gradient down to the norm ``largest`` if its norm is larger."""
        clip_gradient(optimizer, largest)

    # Checkpoints -------------------------------------------------------------------------------------------------

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: UserPath, *arguments: Any, **options: Any
    ) -> Self:
        """An experiment with the weights of a checkpoint. Reading the file executes nothing that it may hold.

        Args:
            checkpoint_path: ``best.ckpt`` or ``last.ckpt`` of a run, or what a Lightning trainer wrote.
            *arguments: Further arguments of Lightning's method of this name, such as ``map_location``.
            **options: The same by name.

        Raises:
            ValueError: If a checksum of the file is wrong.
            OSError: If the file can't be read.
        """
        path = user_path(checkpoint_path, "checkpoint_path", "file")
        try:
            refuse_damage(path)
        except DamagedCheckpointError as error:
            raise DamagedCheckpointError(f"{path} can't be used: {error}. Restore it.") from None
        return super().load_from_checkpoint(path, *arguments, **{"weights_only": True, **options})

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Add the latest metrics and the states of the learning rate and of the random generators."""
        checkpoint["learning_rate"] = self._learning_rate.state_dict() if self._learning_rate else None
        checkpoint["row"] = self.row
        checkpoint["random"] = {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        }

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Read metrics and states from the checkpoint if training resumes; without a trainer, load weights alone."""
        if self._trainer is None:
            return
        self._rate_state = checkpoint.get("learning_rate")  # type: ignore[assignment]
        self._random_state = checkpoint.get("random")  # type: ignore[assignment]
        self.row = checkpoint.get("row", {})  # type: ignore[assignment]

    def on_train_start(self) -> None:
        """Restore the learning rate and the random generators; take no step if the run had stopped early."""
        assert self._learning_rate is not None
        self._learning_rate.begin(self.current_epoch)
        self._stop_early()
        state = self._random_state
        if state is not None:
            torch.set_rng_state(state["cpu"])
            if state["cuda"]:
                torch.cuda.set_rng_state_all(state["cuda"])
            self._random_state = None
