"""The result of an examination: what one forward pass of a model shows, what a step costs, and advice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Batch:
    """The batch that the model ran on.

    Attributes:
        source: Its origin: ``random``, the name of a data set, or ``given``.
        shape: Its shape, with the samples first.
        seed: The seed of the data.
    """

    source: str
    shape: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class FunctionCall:
    """An activation that is called as a function, which no hook can reach.

    Attributes:
        module: The path of the module that calls it.
        function: The name of the function.
        calls: The number of calls.
        in_place: Whether a call overwrites its input.
        before: The paths of the modules whose outputs are the inputs of the calls; none if not all inputs are.
    """

    module: str
    function: str
    calls: int
    in_place: bool
    before: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckpointedModule:
    """A module that runs inside a gradient checkpoint.

    Attributes:
        module: Its path.
        reentrant: Whether the checkpoint is a reentrant one.
    """

    module: str
    reentrant: bool


class NoGradient(StrEnum):
    """Why the loss of a captured layer has no gradient."""

    OFF = "gradients are off"
    """The layer runs under ``torch.no_grad()`` or ``torch.inference_mode()``."""
    CONSTANT = "depends on no trainable parameter"
    """The layers before are frozen or missing, or their output is detached."""


@dataclass(frozen=True)
class Layer:
    """One captured call of an activation.

    Attributes:
        name: The path of the module, with the number of the call from the second call on.
        type: The class of the module.
        shape: The shape of the preactivations.
        units: The number of units.
        dead_units: The number of dead units.
        linear_units: The number of linear units.
        dead_points: The share of dead points.
        minimum: The smallest preactivation, or None if it is not finite.
        maximum: The largest preactivation, or None if it is not finite.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    units: int
    dead_units: int
    linear_units: int
    dead_points: float
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True)
class Total:
    """The sums over all captured calls.

    Attributes:
        units: The number of units.
        dead_units: The number of dead units.
        linear_units: The number of linear units.
        dead_points: The share of points that are dead in at least one layer.
    """

    units: int
    dead_units: int
    linear_units: int
    dead_points: float


@dataclass(frozen=True)
class FirstDeath:
    """The first layer in which a point is dead.

    Attributes:
        layer: Its name.
        dead_points: The share of dead points in it.
    """

    layer: str
    dead_points: float


@dataclass(frozen=True)
class Cost:
    """The time of forward and backward pass, with the Jumpstart loss and without.

    Attributes:
        plain_ms: Milliseconds without the loss, in the round with the median ratio.
        jumpstart_ms: Milliseconds with the loss, in the same round.
        ratio: The median ratio of the two.
        lowest_ratio: The lowest ratio of all rounds.
        highest_ratio: The highest ratio of all rounds.
        rounds: The number of rounds.
        samples: The number of samples in a step: the whole batch, or its beginning if a longer step does not fit.
        threads: The number of torch's threads.
        device: The device of the batch.
    """

    plain_ms: float
    jumpstart_ms: float
    ratio: float
    lowest_ratio: float
    highest_ratio: float
    rounds: int
    samples: int
    threads: int
    device: str


@dataclass(frozen=True)
class TooSlow:
    """Steps that are too slow to be timed.

    Attributes:
        seconds: The time that a step with the Jumpstart loss and one without take together, estimated.
        samples: The number of samples in such a step.
    """

    seconds: float
    samples: int


@dataclass(frozen=True)
class Examination:
    """The result of :func:`~jumpstart.doctor.examine`.

    Attributes:
        model: The name of the model.
        kind: The class of the model.
        parameters: The number of parameters.
        mode: ``training`` or ``evaluation``.
        data: The batch that the model ran on.
        compiled: The paths of the compiled modules.
        functional: The activations that are called as functions, which no hook can reach.
        checkpointed: The modules that run inside a gradient checkpoint.
        nothing: Why nothing is captured, or None.
        captured: One entry per captured call, in call order.
        shared: The number of calls of each activation that is called several times.
        in_place: The activations whose input is overwritten.
        not_called: The activations that did not run.
        total: The sums over all captured calls, or None if nothing is captured.
        first_death: The first layer in which a point is dead, or None.
        doubts: What the regularizer has warned of.
        time_major: The modules with ``batch_first=False``, whose samples are in dimension 1.
        no_gradient: The captured layers whose loss has no gradient, with the reason.
        cost: The cost of a step, or None if it was not measured.
        too_slow: Why the cost of a step was not measured, or None.
        advice: What to do, at least one sentence.
    """

    model: str
    kind: str
    parameters: int
    mode: str
    data: Batch
    compiled: tuple[str, ...]
    functional: tuple[FunctionCall, ...]
    checkpointed: tuple[CheckpointedModule, ...]
    nothing: str | None
    captured: tuple[Layer, ...]
    shared: dict[str, int]
    in_place: tuple[str, ...]
    not_called: tuple[str, ...]
    total: Total | None
    first_death: FirstDeath | None
    doubts: tuple[str, ...]
    time_major: tuple[str, ...]
    no_gradient: dict[str, NoGradient]
    cost: Cost | None = None
    too_slow: TooSlow | None = None
    advice: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The result as plain values: JSON has them all."""
        return asdict(self)
