"""One network in training, in arrays that the compiled engine reads and writes."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Sequence
from typing import TypedDict

import torch
from torch import Tensor

from jumpstart.choices import Capture, Terms, Ties
from jumpstart.engine import layout
from jumpstart.engine.build import Build
from jumpstart.engine.layout import METRICS, MemberLayout, Outcome
from jumpstart.engine.options import Data, LossOptions, NetworkOptions, TrainingOptions

PADDING = 16
"""Arrays of parameters are read in whole vectors, so their lengths are multiples of this number."""


class MemberState(TypedDict):
    """All that training depends on at the end of an epoch, for a checkpoint."""

    tensors: dict[str, Tensor]
    numbers: dict[str, float]


_ARRAYS = ("weights", "moment1", "moment2", "best_weights", "running", "best_running")
NUMBERS = (
    "step",
    "best_batch",
    "epoch",
    "best_epoch",
    "waited",
    "outcome",
    "best_accuracy",
    "best_loss",
    "monitored",
)
"""Numbers of a :class:`MemberState`."""


class Member:
    """Trains one network with the compiled engine.

    The result depends on the arguments alone: not on other members, on threads, or on how training is divided into
    calls of :meth:`train`. :meth:`train` releases the GIL, so threads train several members at a time.

    Args:
        build: The compiled functions.
        network: The network.
        loss: The loss.
        training: The optimization.
        data: The data.
        weights: (parameters,) initial weights, in the order of PyTorch: ``parameters_to_vector`` of the network.

    Raises:
        ValueError: If arguments do not fit each other.

    Example:
        >>> from jumpstart.engine.build import builds
        >>> x, y = torch.rand(20, 2), torch.arange(20) % 2
        >>> network = NetworkOptions(features=2, classes=2, depth=3, width=4)
        >>> training = TrainingOptions(lr=[0.01] * 5, lambda_=[0.01] * 5, batch=8)
        >>> for build in builds()[:1]:
        ...     weights = torch.randn(network.parameters)
        ...     member = Member(build, network, LossOptions(), training, Data(x, y, x, y), weights)
        ...     outcome = member.train(5)
        ...     assert outcome is Outcome.FINISHED and member.epoch == 5
    """

    def __init__(
        self,
        build: Build,
        network: NetworkOptions,
        loss: LossOptions,
        training: TrainingOptions,
        data: Data,
        weights: Tensor,
    ) -> None:
        self.network, self.loss, self.training = network, loss, training
        self._build = build
        self._check(data, weights)
        self._data = Data(*(part.contiguous() for part in (data.x, data.y, data.val_x, data.val_y)))
        padded = -(-network.parameters // PADDING + -1) * PADDING
        self._arrays = {name: torch.zeros(padded) for name in _ARRAYS[:4]}
        self._arrays["weights"][: network.parameters] = weights.detach()
        if network.batchnorm:
            shape = (network.depth, 2, network.width)
            for name in _ARRAYS[4:]:
                self._arrays[name] = torch.zeros(shape)
            self._arrays["running"][:, 1] = 1.0
        self._schedules = [torch.as_tensor(values, dtype=torch.float64) for values in (training.lr, training.lambda_)]
        self._rows = torch.zeros(0, 2, len(METRICS), dtype=torch.float64)
        self._decays = self._decaying(padded) if training.weight_decay else None
        self.gradient: Tensor | None = None
        self._layout = self._laid_out()

    def _check(self, data: Data, weights: Tensor) -> None:
        network, training = self.network, self.training
        for name in ("features", "classes", "depth", "width"):
            if getattr(network, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(network, name)}.")
        if weights.numel() != network.parameters:
            raise ValueError(f"weights must have {network.parameters} numbers for {network}, got {weights.numel()}.")
        if len(training.lr) != len(training.lambda_):
            raise ValueError(
                f"lr and lambda_ must have one number per epoch each, got {len(training.lr)} and "
                f"{len(training.lambda_)}."
            )
        self._check_part("x", data.x, data.y)
        self._check_part("val_x", data.val_x, data.val_y)
        if training.batch is not None and training.batch < 1:
            raise ValueError(f"batch must be >= 1, got {training.batch}.")
        rows = len(data.x)
        size = min(training.batch or rows, rows)
        if network.batchnorm and (size == 1 or rows % size == 1):
            raise ValueError(
                f"batch must leave no batch of a single row to batch normalization, got {size} for {rows} rows."
            )

    def _check_part(self, name: str, x: Tensor, y: Tensor) -> None:
        features, classes = self.network.features, self.network.classes
        if x.dtype != torch.float32 or y.dtype != torch.int64 or x.device.type != "cpu" or y.device.type != "cpu":
            found = f"{x.dtype} on {x.device} and {y.dtype} on {y.device}"
            raise ValueError(f"{name} must be float32 and its classes int64, on the CPU, got {found}.")
        if y.dim() != 1 or x.shape != (len(y), features):
            raise ValueError(
                f"{name} must be (rows, {features}) and its classes (rows,), got {tuple(x.shape)} and {tuple(y.shape)}."
            )
        if not len(y):
            raise ValueError(f"{name} must have at least one row.")
        if not 0 <= int(y.min()) <= int(y.max()) < classes:
            raise ValueError(
                f"the classes of {name} must be from 0 to {classes - 1}, got {int(y.min())} to {int(y.max())}."
            )

    def _decaying(self, padded: int) -> Tensor:
        """1 for every weight, 0 for biases and batch normalization."""
        decays = torch.zeros(padded)
        at = 0
        for weights, rest in self.network.sizes():
            decays[at : at + weights] = 1.0
            at += weights + rest
        return decays

    def _laid_out(self) -> MemberLayout:
        network, loss, training, data = self.network, self.loss, self.training, self._data
        skip = network.skip_kind if network.skip_connections else None
        units, points = (
            [weight * (term in loss.terms) for weight, term in zip(loss.weights, sides, strict=True)]
            for sides in (
                (Terms.UNIT_POSITIVE, Terms.UNIT_NEGATIVE),
                (Terms.POINT_POSITIVE, Terms.POINT_NEGATIVE),
            )
        )
        weighs = loss.capture == Capture.WEIGHTS
        return MemberLayout(
            depth=network.depth,
            width=network.width,
            features=network.features,
            classes=network.classes,
            activation=_code("activation", network.activation, layout.ACTIVATIONS),
            batchnorm=network.batchnorm,
            skip=_code("skip_kind", skip, layout.SKIPS),
            skip_span=network.skip_connections or 1,
            capture_weights=weighs,
            capture_output=weighs and not loss.skip_last,
            aggregate=_code("aggregate", loss.aggregate, layout.AGGREGATES),
            unit_terms=bool(loss.terms & Terms.UNIT),
            point_terms=bool(loss.terms & Terms.POINT),
            use_task_loss=loss.use_task_loss,
            margin=loss.margin,
            unit_weight=tuple(units),
            point_weight=tuple(points),
            optimizer=_code("optimizer", training.optimizer, layout.OPTIMIZERS),
            monitor=_code("monitor", training.monitor, layout.MONITORS),
            beta1=training.betas[0],
            beta2=training.betas[1],
            epsilon=training.epsilon,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            clip_norm=training.clip_norm or 0.0,
            clip_value=training.clip_value or 0.0,
            rows=len(data.x),
            val_rows=len(data.val_x),
            batch=min(training.batch or len(data.x), len(data.x)),
            val_batch=min(training.batch or len(data.val_x), len(data.val_x)),
            epochs=len(training.lr),
            x=data.x.data_ptr(),
            val_x=data.val_x.data_ptr(),
            y=data.y.data_ptr(),
            val_y=data.val_y.data_ptr(),
            seed=training.seed,
            lr=self._schedules[0].data_ptr(),
            lambda_=self._schedules[1].data_ptr(),
            stop_at_perfect=training.stop_at_perfect,
            patience=training.patience,
            min_delta=training.min_delta,
            stop_train_accuracy=_goal(training.stop_train_acc),
            stop_train_loss=_goal(training.stop_train_loss),
            parameters=network.parameters,
            **{name: array.data_ptr() for name, array in self._arrays.items()},
            decays=None if self._decays is None else self._decays.data_ptr(),
            best_epoch=-1,
            monitored=float("-inf") if training.monitor == "val/acc" else float("inf"),
            diverged_layer=-1,
            ties=_code("ties", loss.ties, (Ties.SINGLE, Ties.AVERAGE, Ties.RANDOM)),
            best_by_train=_code("best_by", training.best_by, ("val", "train")),
        )

    # Training ----------------------------------------------------------------------------------------------------

    def train(self, until: int | None = None, seconds: float = float("inf")) -> Outcome:
        """Train on, from the present epoch.

        Args:
            until: The epoch to end before; by default, the last epoch is trained too.
            seconds: Time after which training ends with the epoch that is under way.

        Raises:
            ValueError: If ``until`` is beyond the schedules.
            MemoryError: If the batch of this network does not fit into memory.
        """
        member = self._layout
        last = member.epochs if until is None else until
        if not member.epoch <= last <= member.epochs:
            raise ValueError(f"until must be from {member.epoch} to {member.epochs}, got {until}.")
        self._rows = torch.zeros(last - member.epoch, 2, len(METRICS), dtype=torch.float64)
        member.first_epoch, member.metrics = member.epoch, self._rows.data_ptr()
        return Outcome(self._build.functions.train(member, last, seconds))

    def begin_anew(self, weights: Tensor) -> None:
        """Begin training anew with other weights; the best weights so far, the epoch and the schedules stay.

        Args:
            weights: (parameters,) initial weights.
        """
        for name in ("moment1", "moment2"):
            self._arrays[name].zero_()
        self.weights.copy_(weights.detach())
        if self.running is not None:
            self.running[:, 0], self.running[:, 1] = 0.0, 1.0
        self._layout.step = 0

    def extend(self, lr: Sequence[float] | Tensor, lambda_: Sequence[float] | Tensor) -> None:
        """Replace the schedules by longer ones.

        Args:
            lr: The learning rate of each epoch, from the first one on.
            lambda_: The weight of the Jumpstart loss in each epoch; as many as ``lr``.

        Raises:
            ValueError: If there are not as many of both, or fewer than the epochs that are done.
        """
        if len(lr) != len(lambda_) or len(lr) < self.epoch:
            raise ValueError(
                f"lr and lambda_ must have one number per epoch each, at least {self.epoch}, got {len(lr)} and "
                f"{len(lambda_)}."
            )
        self._schedules = [torch.as_tensor(values, dtype=torch.float64).contiguous() for values in (lr, lambda_)]
        self._layout.lr, self._layout.lambda_ = (schedule.data_ptr() for schedule in self._schedules)
        self._layout.epochs = len(lr)

    @property
    def epochs(self) -> int:
        """Number of epochs that the schedules have."""
        return int(self._layout.epochs)

    def measure(self, x: Tensor, y: Tensor, *, best: bool = False) -> dict[str, float]:
        """The metrics of a part of the data; all are NaN if a preactivation or a loss is not finite.

        Args:
            x: (rows, features) inputs, float32.
            y: (rows,) classes, int64.
            best: Whether the weights of the best epoch are measured, instead of the present ones.

        Raises:
            ValueError: If the part does not fit the network, or there is no best epoch yet.
        """
        self._check_part("x", x, y)
        if best and self.best_epoch < 0:
            raise ValueError("there is no best epoch yet: train() first.")
        x, y = x.contiguous(), y.contiguous()
        member = MemberLayout.from_buffer_copy(self._layout)
        member.val_x, member.val_y, member.val_rows = x.data_ptr(), y.data_ptr(), len(x)
        member.val_batch = min(self.training.batch or len(x), len(x))
        if best:
            member.weights, member.running = member.best_weights, member.best_running
        member.outcome = Outcome.FINISHED
        found = torch.zeros(len(METRICS), dtype=torch.float64)
        if self._build.functions.measure(member, found.data_ptr()) == Outcome.DIVERGED:
            found.fill_(math.nan)
        return dict(zip(METRICS, found.tolist(), strict=True))

    def keep_gradient(self) -> Tensor:
        """From now on, keep the gradient of the latest step, before it is clipped: (parameters,)."""
        self.gradient = torch.zeros(self.network.parameters)
        self._layout.gradient = self.gradient.data_ptr()
        return self.gradient

    @property
    def epoch(self) -> int:
        """Number of epochs that are done."""
        return int(self._layout.epoch)

    @property
    def steps(self) -> int:
        """Number of steps that are done, since training began, or began anew."""
        return int(self._layout.step)

    @property
    def waited(self) -> int:
        """Number of epochs since the monitored metric became better."""
        return int(self._layout.waited)

    @property
    def outcome(self) -> Outcome:
        """Why the latest call of :meth:`train` returned."""
        return Outcome(self._layout.outcome)

    @property
    def best_batches(self) -> int:
        """Number of batches from which the running statistics beside the best weights are made."""
        return int(self._layout.best_batch)

    @property
    def best_epoch(self) -> int:
        """The epoch of the best weights, from 0; -1 before the first."""
        return int(self._layout.best_epoch)

    @property
    def diverged_layer(self) -> int:
        """The first captured layer that is not finite, or their number for the task loss, one more for Jumpstart."""
        return int(self._layout.diverged_layer)

    @property
    def weights(self) -> Tensor:
        """(parameters,) the present weights, in the memory that training writes to."""
        return self._arrays["weights"][: self.network.parameters]

    @property
    def best_weights(self) -> Tensor:
        """(parameters,) the weights of the best epoch, in the memory that training writes to."""
        return self._arrays["best_weights"][: self.network.parameters]

    @property
    def running(self) -> Tensor | None:
        """(depth, 2, width) the running means and variances of batch normalization, if there is any."""
        return self._arrays.get("running")

    @property
    def best_running(self) -> Tensor | None:
        """(depth, 2, width) the running means and variances of the best epoch, if there are any."""
        return self._arrays.get("best_running")

    def rows(self) -> Iterator[tuple[int, dict[str, float]]]:
        """The epochs of the latest call of :meth:`train`, each with its metrics under ``train/...`` and ``val/...``."""
        names = [f"{part}/{name}" for part in ("train", "val") for name in METRICS]
        first = int(self._layout.first_epoch)
        for epoch in range(first, self.epoch):
            yield epoch, dict(zip(names, self._rows[epoch - first].flatten().tolist(), strict=True))

    def metric(self, name: str) -> Tensor:
        """One metric in each epoch of the latest call of :meth:`train`: (epochs,), float64.

        Args:
            name: Such as ``"val/acc"``.
        """
        part, _, metric = name.partition("/")
        done = self.epoch - int(self._layout.first_epoch)
        return self._rows[:done, ("train", "val").index(part), METRICS.index(metric)]

    # Checkpoints -------------------------------------------------------------------------------------------------

    def state_dict(self) -> MemberState:
        """A copy of the state at the end of the latest epoch."""
        return {
            "tensors": {name: array.clone() for name, array in self._arrays.items()},
            "numbers": {name: getattr(self._layout, name) for name in NUMBERS},
        }

    def load_state_dict(self, state: MemberState) -> None:
        """Restore a state, of which training then goes on as if it had never stopped.

        Raises:
            ValueError: If the state is of another network.
        """
        tensors, numbers = state["tensors"], state["numbers"]
        for name, array in self._arrays.items():
            if name not in tensors or tensors[name].shape != array.shape:
                raise ValueError(f"{name} of the state does not fit a network with {self.network}.")
        for name, array in self._arrays.items():
            array.copy_(tensors[name])
        for name in NUMBERS:
            setattr(self._layout, name, numbers[name])


def _goal(value: float | None) -> float:
    """A goal of training as ``member.h`` has it."""
    return math.nan if value is None else value


def _code(name: str, value: str | None, choices: Sequence[str | None]) -> int:
    """The number of a choice in ``member.h``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}.")
    return choices.index(value)


assert ctypes.sizeof(MemberLayout) % 8 == 0
