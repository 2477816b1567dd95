"""Lightning callbacks: add the Jumpstart loss to any module, plot the status of units and points."""

from __future__ import annotations

import inspect
import logging
import types
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor

from jumpstart.capture.hooks import attached
from jumpstart.capture.targets import CaptureLike, small_model
from jumpstart.choices import MARGIN, Aggregate, Capture, PointMode, Terms, Ties, is_finite
from jumpstart.jumpstart import JumpstartRegularization
from jumpstart.status_plot import NetworkStatusPlot, part_of

__all__ = ["Jumpstart", "NetworkStatusPlot"]

logger = logging.getLogger(__name__)

PARTS = ("jumpstart_loss", "jumpstart_unit_loss", "jumpstart_point_loss")
"""The names in the logs: the loss, and its parts of units and of points."""

Step: TypeAlias = Callable[..., object]
"""A ``training_step``, or a wrapper of one."""


class Jumpstart(pl.Callback):
    """Adds the Jumpstart loss to the training loss of any ``LightningModule``, in one line.

    While ``fit`` runs, a regularizer is attached and ``training_step`` is wrapped. The wrapper adds the Jumpstart loss
    of everything that ran inside the step to the result of the step, which is a tensor or a dictionary with ``"loss"``.
    Accumulation of gradients, mixed precision and clipping therefore act on one loss, as if the module had computed the
    sum. After ``fit``, and after an exception, hooks and wrapper are removed.

    With manual optimization nothing is added automatically: name the network in ``module``, and add
    ``self.jumpstart_loss()``, which is lambda times the loss of the network's latest forward pass, to the loss before
    ``self.manual_backward``.

    If there is a logger, the loss without lambda is logged as ``jumpstart_loss``, and its parts of units and of points
    as ``jumpstart_unit_loss`` and ``jumpstart_point_loss``, each a mean over the batches of the epoch; with manual
    optimization, a mean over all calls of ``self.jumpstart_loss()`` in ``training_step``. With automatic optimization
    and lambda 0, the loss is computed for the log alone, without a gradient, and training is the same, bit for bit.
    Without a logger it is then not computed.

    Several of these callbacks can be used together, each with its own ``module`` and no part in common. Their losses
    are logged as ``jumpstart_loss/<module>``, and read as ``self.jumpstart_loss("<module>")``.

    Args:
        lambda_: Weight of the loss, at least 0, or a function from the epoch (from 0) to the weight.
        module: Name of the part whose preactivations count, such as ``"model"`` or ``"model.encoder"``; by default
            the whole module.
        capture: This and all further arguments are those of :class:`~jumpstart.JumpstartRegularization`.
        skip_last: With ``capture="weights"``, leave out the layer that is called last.
        terms: The hinges that enter the loss.
        aggregate: How the losses of units and points become one number.
        margin: The distance from zero that the positive side should reach.
        negative_margin: The same for the negative side; None for that of ``margin``.
        positive_weight: Weight of the hinge that is 0 when the maximum reaches the margin.
        negative_weight: Weight of the hinge that is 0 when the minimum reaches minus its margin.
        ties: Which entries get the gradient of a tied extremum.
        unit_dim: The dimension of the units in tensors of 3 dimensions and more.
        batch_first: Whether dimension 0 holds the samples, or dimension 1, in tensors of 3 dimensions and more.
        point: What counts as one point.
        sync: Compute the loss of the whole batch of all processes.
        process_group: With ``sync=True``, the group of the processes that share the loss; by default, all processes.

    Raises:
        TypeError: If an option is unknown, or ``lambda_`` neither a number nor a function.
        ValueError: If ``lambda_`` is negative or not finite, or an option is wrong. When training begins, if there is
            no part of that name, or manual optimization without ``module``.
        RuntimeError: When training begins, if a regularizer or a monitor is attached to the module.

    Example:
        >>> trainer = pl.Trainer(callbacks=[Jumpstart(0.01)])  # doctest: +SKIP
        >>> Jumpstart(lambda epoch: 0.01 * 0.99**epoch, module="model", aggregate="mean")
        Jumpstart(lambda_=<function>, module='model', aggregate='mean')
    """

    def __init__(
        self,
        lambda_: float | Callable[[int], float] = 0.01,
        *,
        module: str | None = None,
        capture: CaptureLike = Capture.ACTIVATIONS,
        skip_last: bool = True,
        terms: Terms | str | Iterable[str] = Terms.ALL,
        aggregate: Aggregate | str = Aggregate.BALANCED,
        margin: float = MARGIN,
        negative_margin: float | None = None,
        positive_weight: float = 1.0,
        negative_weight: float = 1.0,
        ties: Ties | str = Ties.SINGLE,
        unit_dim: int | None = None,
        batch_first: bool | None = None,
        point: PointMode | str = PointMode.SAMPLE,
        sync: bool = False,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        if isinstance(lambda_, bool) or not (isinstance(lambda_, int | float) or callable(lambda_)):
            raise TypeError(
                f"lambda_ must be a number >= 0 or a function of the epoch, got {type(lambda_).__name__}: {lambda_!r}."
            )
        self.lambda_, self.module = lambda_, module
        self._attach = partial(
            JumpstartRegularization,
            capture=capture,
            skip_last=skip_last,
            terms=terms,
            aggregate=aggregate,
            margin=margin,
            negative_margin=negative_margin,
            positive_weight=positive_weight,
            negative_weight=negative_weight,
            ties=ties,
            unit_dim=unit_dim,
            batch_first=batch_first,
            point=point,
            sync=sync,
            process_group=process_group,
        )
        self._weight = self._weight_at(0)
        # Wrong options are refused before there is a model. Names of modules can only be checked with the model.
        mode = capture if isinstance(capture, str) else Capture.ACTIVATIONS
        self._attach(small_model(), capture=mode).remove()
        self._handle: JumpstartRegularization | None = None
        self._owner: weakref.ref[pl.LightningModule] | None = None
        self._logs = self._measures = self._was_read = False
        self._suffix = ""
        self._reads: list[Tensor] | None = None  # the values of the losses that a step has read
        self._sums: Tensor | None = None  # of the values of every batch of the epoch
        self._batches = 0

    def __repr__(self) -> str:
        weight = "<function>" if callable(self.lambda_) else self.lambda_
        parts = [f"lambda_={weight}"] + ([f"module={self.module!r}"] if self.module else [])
        defaults = inspect.signature(JumpstartRegularization).parameters
        changed = [(name, value) for name, value in self._attach.keywords.items() if value != defaults[name].default]
        return f"Jumpstart({', '.join(parts + [f'{name}={value!r}' for name, value in changed])})"

    @property
    def loss(self) -> Tensor:
        """Lambda times the Jumpstart loss of the latest forward pass, for manual optimization.

        Raises:
            RuntimeError: If nothing is attached, or before any forward pass.
        """
        if self._handle is None:
            raise RuntimeError("there is no Jumpstart loss now: this callback is attached while trainer.fit() runs.")
        self._was_read = True
        loss = self._handle.loss
        if self._reads is not None:
            self._reads.append(_values(self._handle))
        return self._weight * loss

    # Lightning ---------------------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attach the regularizer and wrap ``training_step``."""
        self._release()
        target = part_of(pl_module, self.module)
        if attached(target) is not None:
            raise RuntimeError(
                f"{type(pl_module).__name__} has a JumpstartRegularization (or a StatusMonitor) attached already, so "
                "the loss might be added twice. Leave out this callback, or remove() that one before trainer.fit()."
            )
        manual = not pl_module.automatic_optimization
        others = vars(pl_module).get("jumpstart_loss" if manual else "training_step")
        if manual:
            self._check_manual(pl_module, others)
        self._handle = self._attach(target)
        self._owner = weakref.ref(pl_module)
        self._logs, self._was_read, self._reads = bool(trainer.loggers), False, None
        self._measures = True
        several = sum(isinstance(callback, Jumpstart) for callback in trainer.callbacks) > 1  # type: ignore[attr-defined]
        self._suffix = f"/{self.module}" if several and self.module else ""
        if isinstance(others, _Step | _Loss) and others.callbacks:
            others.callbacks.append(self)
        elif manual:
            pl_module.jumpstart_loss = _Loss(self)  # type: ignore[assignment]
        else:
            pl_module.training_step = _Step(self, pl_module)  # type: ignore[assignment, method-assign]

    def _check_manual(self, pl_module: pl.LightningModule, others: object) -> None:
        """Refuse manual optimization without the name of a part, or where ``jumpstart_loss`` is taken."""
        if self.module is None:
            raise ValueError(
                "module must name the network when optimization is manual, because a step may run several networks: "
                "Jumpstart(..., module='generator'). Then add self.jumpstart_loss() to its loss in training_step."
            )
        if not isinstance(others, _Loss) and hasattr(pl_module, "jumpstart_loss"):
            raise ValueError(
                f"{type(pl_module).__name__} already has an attribute jumpstart_loss. With manual optimization, this "
                "callback adds a method of that name to the module. Rename the attribute."
            )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set lambda for this epoch, and start the sums of its log."""
        self._weight = self._weight_at(trainer.current_epoch)
        self._sums, self._batches = None, 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Start the list of the losses that the step reads, with manual optimization and a logger."""
        self._reads = None if pl_module.automatic_optimization or not self._logs else []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Add the mean of the losses that the step has read to the log, with manual optimization."""
        if self._reads:
            self._add(torch.stack(self._reads).mean(0))
        self._reads = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch, and a warning if a module with manual optimization has not read the loss."""
        if self._sums is not None:
            means = zip(PARTS, (self._sums / self._batches).unbind(), strict=True)
            logs = {f"{name}{self._suffix}": mean for name, mean in means}
            pl_module.log_dict(logs, on_step=False, on_epoch=True, sync_dist=True, batch_size=self._batches)
        if not pl_module.automatic_optimization and not self._was_read and self._weight:
            self._was_read = True
            logger.warning(
                "%s trains without the Jumpstart loss of %r: with manual optimization, add self.jumpstart_loss() to "
                "the loss before self.manual_backward().",
                type(pl_module).__name__,
                self.module,
            )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Detach the regularizer and the wrapper."""
        self._release()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Detach the regularizer and the wrapper."""
        self._release()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Detach the regularizer and the wrapper."""
        self._release()

    def _release(self) -> None:
        if self._handle is not None:
            self._handle.remove()
        owner = self._owner() if self._owner is not None else None
        for name in ("training_step", "jumpstart_loss"):
            shared = vars(owner).get(name) if owner is not None else None
            if not isinstance(shared, _Step | _Loss) or self not in shared.callbacks:
                continue
            shared.callbacks.remove(self)
            if not shared.callbacks:
                delattr(owner, name)
                if isinstance(shared, _Step) and shared.shadowed is not None:
                    setattr(owner, name, shared.shadowed)
        self._handle = self._owner = self._reads = self._sums = None

    # The loss ----------------------------------------------------------------------------------------------------

    def _weight_at(self, epoch: int) -> float:
        found, where = self.lambda_, ""
        if callable(found):
            found, where = found(epoch), f" from the function in epoch {epoch}"
        if not (is_finite(found) and float(found) >= 0):
            raise ValueError(f"lambda_ must be a finite number >= 0, got {found!r}{where}. 0.01 is a good start.")
        return float(found)

    def _step(self, step: Step, *args: object, **kwargs: object) -> object:
        """Run a training step and add the loss to its result.

        Args:
            step: The step of the module, or the wrapper of another callback.
            *args: Arguments of the step.
            **kwargs: Keyword arguments of the step.

        Returns:
            The result of the step, with the loss added to the tensor, or to the one under ``"loss"``.

        Raises:
            TypeError: If the result is neither a tensor, nor a dictionary, nor None.
        """
        handle = self._handle
        if handle is None or (self._weight == 0 and not (self._logs and self._measures)):
            return step(*args, **kwargs)
        with handle.recording(grad=self._weight > 0):
            output = step(*args, **kwargs)
        if output is None:
            return None
        if self._weight == 0:
            self._measure(handle)
            return output
        return self._with_loss(output, handle)

    def _with_loss(self, output: object, handle: JumpstartRegularization) -> object:
        """The result of a step with lambda times the Jumpstart loss added."""
        loss = output.get("loss") if isinstance(output, dict) else output
        if loss is None:
            return output
        if not isinstance(loss, Tensor):
            raise TypeError(
                "training_step must return a tensor, a dictionary with a tensor under 'loss', or None, got "
                f"{type(output).__name__}."
            )
        total = loss + self._weight * handle.loss
        if self._logs:
            self._add(_values(handle))
        return {**output, "loss": total} if isinstance(output, dict) else total

    def _measure(self, handle: JumpstartRegularization) -> None:
        """Add the loss that does not enter the training to the log. An error ends the logging, not the training."""
        try:
            values = _values(handle)
        except (RuntimeError, TypeError, ValueError) as error:
            self._measures = False
            logger.warning("%s is not logged any more while lambda_ is 0: %s", f"{PARTS[0]}{self._suffix}", error)
        else:
            self._add(values)

    def _add(self, values: Tensor) -> None:
        """Add a batch to the sums of the epoch, which stay on the device until the end of the epoch."""
        self._sums = values if self._sums is None else self._sums + values
        self._batches += 1


def _values(handle: JumpstartRegularization) -> Tensor:
    """(3,) the loss and its parts, in the order of :data:`PARTS`, without a graph."""
    return torch.stack([handle.loss.detach(), handle.unit_loss, handle.point_loss])


class _Step:
    """Replaces the ``training_step`` of a module; a copy or a pickle of the module has its original step.

    Several callbacks share one wrapper, so that they can be removed in any order, and Lightning finds the signature of
    the original step under ``__wrapped__``, one level deep.
    """

    def __init__(self, callback: Jumpstart, owner: pl.LightningModule) -> None:
        self.callbacks = [callback]
        self.shadowed = vars(owner).get("training_step")
        self.__wrapped__ = owner.training_step
        self._owner = weakref.ref(owner)

    def __call__(self, *args: object, **kwargs: object) -> object:
        step: Step = self.__wrapped__
        for callback in self.callbacks:
            step = partial(callback._step, step)
        return step(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, object]) -> object:
        owner = self._owner()
        copy = memo.get(id(owner), owner)
        assert isinstance(copy, pl.LightningModule)
        return types.MethodType(type(copy).training_step, copy)

    def __reduce__(self) -> tuple[object, ...]:
        return getattr, (self._owner(), "training_step")


class _Loss:
    """``self.jumpstart_loss`` of a module with manual optimization. Copies and pickles have no callback."""

    def __init__(self, *callbacks: Jumpstart) -> None:
        self.callbacks = list(callbacks)

    def __call__(self, module: str | None = None) -> Tensor:
        """Lambda times the loss of the latest forward pass of a part, which must be named if there are several."""
        if not self.callbacks:
            raise RuntimeError("this copy of the module has no Jumpstart loss: fit it with the callback Jumpstart.")
        named = [callback for callback in self.callbacks if module in (None, callback.module)]
        if len(named) != 1:
            names = ", ".join(repr(callback.module) for callback in self.callbacks)
            raise ValueError(f"module must be one of {names}, got {module!r}: self.jumpstart_loss(module) is its loss.")
        return named[0].loss

    def __deepcopy__(self, memo: dict[int, object]) -> _Loss:
        return _Loss()

    def __reduce__(self) -> tuple[type[_Loss], tuple[()]]:
        return (_Loss, ())
