"""What a member is given: its network, its loss, its training and its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from jumpstart.choices import Aggregate, Capture, Terms, Ties


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """A rectangular network with dense layers; names and meanings are those of ``model.RectangularNetwork``.

    Attributes:
        features: Number of inputs.
        classes: Number of outputs.
        depth: Number of hidden layers.
        width: Units of every hidden layer.
        activation: One of :data:`~jumpstart.engine.layout.ACTIVATIONS`.
        batchnorm: Whether batch normalization precedes each activation.
        skip_connections: Layers that one skip connection spans; None for none.
        skip_kind: ``"preactivation"`` or ``"published"``: before or after the activation.
    """

    features: int
    classes: int
    depth: int
    width: int
    activation: str = "relu"
    batchnorm: bool = False
    skip_connections: int | None = None
    skip_kind: str = "preactivation"

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(weights + rest for weights, rest in self.sizes())

    def sizes(self) -> list[tuple[int, int]]:
        """Of each layer: the number of weights, and of all other parameters (bias, batch normalization)."""
        rest = self.width * (3 if self.batchnorm else 1)
        inputs = [self.features] + [self.width] * (self.depth - 1)
        return [(self.width * count, rest) for count in inputs] + [(self.classes * self.width, self.classes)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossOptions:
    """The loss; names and meanings are those of :class:`~jumpstart.jumpstart.JumpstartRegularization`.

    Attributes:
        capture: Which tensors are preactivations.
        skip_last: With ``capture="weights"``, leave out the output layer.
        terms: The hinges.
        aggregate: How the losses of units and points become one number.
        margin: The margins of the positive and of the negative side.
        weights: The weights of the positive and of the negative hinges.
        ties: Which of several equal extrema have the gradient: the first (``SINGLE``), or all (``AVERAGE``).
        use_task_loss: Whether cross-entropy is minimized too.
    """

    capture: Capture = Capture.ACTIVATIONS
    skip_last: bool = True
    terms: Terms = Terms.ALL
    aggregate: Aggregate = Aggregate.BALANCED
    margin: tuple[float, float] = (1.0, 1.0)
    weights: tuple[float, float] = (1.0, 1.0)
    ties: Ties = Ties.SINGLE
    use_task_loss: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """The optimization.

    Attributes:
        lr: The learning rate of each epoch.
        lambda_: The weight of the Jumpstart loss in each epoch; as many as ``lr``.
        batch: Rows of a batch; None for all rows.
        seed: Seed of the order of the rows, which is that of :class:`data.batches.TensorBatches`.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"``.
        betas: Decay rates of Adam's moments.
        epsilon: Number added to the denominator of Adam.
        momentum: Momentum of SGD.
        weight_decay: Decay of weights; biases and batch normalization do not decay.
        clip_norm: Largest norm of the gradient; None for no limit.
        clip_value: Largest entry of the gradient; None for no limit.
        best_by: ``"val"`` or ``"train"``, the part whose accuracy decides which epoch is the best.
        stop_at_perfect: Whether to stop as soon as the validation accuracy is 1.
        stop_train_acc: Training accuracy at which to stop; with ``stop_train_loss``, both are needed.
        stop_train_loss: Training loss at which to stop; None for no such stop.
        monitor: ``"val/loss"`` or ``"val/acc"``, which ``patience`` waits for; None to never stop.
        patience: Epochs without a better value after which training stops.
        min_delta: Change that counts as better only if it is exceeded.
    """

    lr: Sequence[float] | Tensor
    lambda_: Sequence[float] | Tensor
    batch: int | None = None
    seed: int = 0
    optimizer: str = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    best_by: str = "val"
    stop_at_perfect: bool = False
    stop_train_acc: float | None = None
    stop_train_loss: float | None = None
    monitor: str | None = None
    patience: int = 0
    min_delta: float = 0.0


@dataclass(frozen=True, slots=True)
class Data:
    """The training and the validation part.

    Attributes:
        x: (rows, features) inputs, float32.
        y: (rows,) classes, int64.
        val_x: (validation rows, features) inputs, float32.
        val_y: (validation rows,) classes, int64.
    """

    x: Tensor
    y: Tensor
    val_x: Tensor
    val_y: Tensor
