"""Lightning callbacks: add the Jumpstart loss to any module, draw the status of units and points."""

from __future__ import annotations

import logging
import math
import types
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from jumpstart.capture.hooks import attached
from jumpstart.capture.targets import small_model
from jumpstart.choices import Capture
from jumpstart.jumpstart import JumpstartRegularization
from jumpstart.status_plot import NetworkStatusPlot, part_of

__all__ = ["Jumpstart", "NetworkStatusPlot"]

logger = logging.getLogger(__name__)


class Jumpstart(pl.Callback):
    """Adds the Jumpstart loss to what any ``LightningModule`` trains on, in one line.

    While ``fit`` runs, a regularizer is attached and ``training_step`` is wrapped: what it returns, a tensor or a
    dictionary with ``"loss"``, gets the loss added that belongs to all that ran inside the step. So accumulation of
    gradients, mixed precision and clipping see one loss, as if it had been written into the module. After ``fit``, and
    after an exception, hooks and wrapper are gone.

    With manual optimization nothing is added by itself: name the network in ``module``, and add
    ``self.jumpstart_loss()``, which is lambda times the loss of the network's latest forward pass, before
    ``self.manual_backward``.

    Where there is a logger, the loss without lambda is logged as ``jumpstart_loss``, a mean over the epoch's batches;
    with manual optimization it is that of every ``self.jumpstart_loss()`` in ``training_step``. With automatic
    optimization and lambda 0 it is measured for the log alone: training is the same, bit for bit, and the time is that
    of the loss without its gradient. Without a logger it is not measured then.

    Several of these callbacks may be given, each with a ``module`` of its own that has no part in common with the
    others. They are logged as ``jumpstart_loss/<module>``, and ``self.jumpstart_loss("<module>")`` is the one meant.

    Args:
        lambda_: Weight of the loss, at least 0, or a function from the epoch (from 0) to it.
        module: Name of the part whose preactivations count, such as ``"model"`` or ``"model.encoder"``; by default
            all that the module holds.
        **options: For :class:`~jumpstart.JumpstartRegularization`.

    Raises:
        TypeError: If an option is unknown, or ``lambda_`` neither a number nor a function.
        ValueError: If ``lambda_`` is negative or not finite, or an option is wrong. When training begins, if there is
            no part of that name, or manual optimization without ``module``.
        RuntimeError: When training begins, if the module has a regularizer of its own.

    Example:
        >>> trainer = pl.Trainer(callbacks=[Jumpstart(0.01)])  # doctest: +SKIP
        >>> Jumpstart(lambda epoch: 0.01 * 0.99**epoch, module="model", aggregate="mean")
        Jumpstart(lambda_=<function>, module='model', aggregate='mean')
    """

    def __init__(
        self, lambda_: float | Callable[[int], float] = 0.01, *, module: str | None = None, **options: Any
    ) -> None:
        if isinstance(lambda_, bool) or not (isinstance(lambda_, int | float) or callable(lambda_)):
            raise TypeError(
                f"lambda_ must be a number >= 0 or a function of the epoch, got {type(lambda_).__name__}: {lambda_!r}."
            )
        self.lambda_, self.module, self.options = lambda_, module, options
        self._weight = self._weight_at(0)
        self._check_options()
        self._handle: JumpstartRegularization | None = None
        self._owner: weakref.ref[pl.LightningModule] | None = None
        self._logs = self._measures = self._was_read = False
        self._name = "jumpstart_loss"
        self._reads: list[Tensor] | None = None

    def _check_options(self) -> None:
        """A wrong option is told before there is a model: try it on a small one."""
        names = {} if isinstance(self.options.get("capture", ""), str) else {"capture": Capture.ACTIVATIONS}
        JumpstartRegularization(small_model(), **self.options | names).remove()

    def __repr__(self) -> str:
        weight = "<function>" if callable(self.lambda_) else self.lambda_
        parts = [f"lambda_={weight}"] + ([f"module={self.module!r}"] if self.module else [])
        return f"Jumpstart({', '.join(parts + [f'{name}={value!r}' for name, value in self.options.items()])})"

    @property
    def loss(self) -> Tensor:
        """Lambda times the Jumpstart loss of the latest forward pass, to be added by hand in manual optimization.

        Raises:
            RuntimeError: If nothing is attached, or before any forward pass.
        """
        if self._handle is None:
            raise RuntimeError("there is no Jumpstart loss now: this callback is attached while trainer.fit() runs.")
        self._was_read = True
        loss = self._handle.loss
        if self._reads is not None:
            self._reads.append(loss.detach())
        return self._weight * loss

    # Lightning ---------------------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attach and wrap."""
        self._release()
        target = part_of(pl_module, self.module)
        if attached(target) is not None:
            raise RuntimeError(
                f"{type(pl_module).__name__} has a JumpstartRegularization (or a StatusMonitor) attached already, so "
                "the loss might be added twice. Leave out this callback, or remove() that one before trainer.fit()."
            )
        manual = not pl_module.automatic_optimization
        if manual and self.module is None:
            raise ValueError(
                "module must name the network when optimization is manual, for a step may run several: "
                "Jumpstart(..., module='generator'). Then add self.jumpstart_loss() to its loss in training_step."
            )
        others = vars(pl_module).get("jumpstart_loss" if manual else "training_step")
        if manual and not isinstance(others, _Loss) and hasattr(pl_module, "jumpstart_loss"):
            raise ValueError(
                f"{type(pl_module).__name__} has a jumpstart_loss of its own, which is the name of what this callback "
                "gives to a module with manual optimization. Rename it."
            )
        self._handle = JumpstartRegularization(target, **self.options)
        self._owner = weakref.ref(pl_module)
        self._logs, self._was_read, self._reads = bool(trainer.loggers), False, None
        self._measures = True
        several = sum(isinstance(callback, Jumpstart) for callback in trainer.callbacks) > 1  # type: ignore[attr-defined]
        self._name = f"jumpstart_loss/{self.module}" if several and self.module else "jumpstart_loss"
        if isinstance(others, _Step | _Loss) and others.callbacks:
            others.callbacks.append(self)
        elif manual:
            pl_module.jumpstart_loss = _Loss(self)  # type: ignore[assignment]
        else:
            pl_module.training_step = _Step(self, pl_module)  # type: ignore[method-assign]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The lambda of this epoch."""
        self._weight = self._weight_at(trainer.current_epoch)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note what is read from here on, with manual optimization."""
        self._reads = None if pl_module.automatic_optimization or not self._logs else []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log it."""
        if self._reads:
            self._log(pl_module, torch.stack(self._reads).mean())
        self._reads = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say so if nobody adds the loss."""
        if not pl_module.automatic_optimization and not self._was_read and self._weight:
            self._was_read = True
            logger.warning(
                "%s trains without the Jumpstart loss of %r: with manual optimization, add self.jumpstart_loss() to "
                "the loss before self.manual_backward().",
                type(pl_module).__name__,
                self.module,
            )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Detach."""
        self._release()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Detach."""
        self._release()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Detach."""
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
        self._handle = self._owner = self._reads = None

    # The loss ----------------------------------------------------------------------------------------------------

    def _weight_at(self, epoch: int) -> float:
        if not callable(self.lambda_):
            weight, where = float(self.lambda_), ""
        else:
            weight, where = float(self.lambda_(epoch)), f" from the function in epoch {epoch}"
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"lambda_ must be a finite number >= 0, got {weight}{where}. 0.01 is a good start.")
        return weight

    def _step(self, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One training step, with the loss added."""
        handle = self._handle
        owner = self._owner() if self._owner is not None else None
        logs = self._logs and owner is not None
        if handle is None or (self._weight == 0 and not (logs and self._measures)):
            return step(*args, **kwargs)
        with handle.recording(grad=self._weight > 0):
            output = step(*args, **kwargs)
        if output is None:
            return None
        if self._weight == 0:
            if owner is not None:
                self._measure(handle, owner)
            return output
        loss = output.get("loss") if isinstance(output, dict) else output
        if not isinstance(loss, Tensor):
            if isinstance(output, dict) and loss is None:
                return output
            raise TypeError(
                "training_step must return a tensor, a dictionary with a tensor under 'loss', or None, got "
                f"{type(output).__name__}."
            )
        added = handle.loss
        if self._logs and owner is not None:
            self._log(owner, added.detach())
        total = loss + self._weight * added
        return {**output, "loss": total} if isinstance(output, dict) else total

    def _measure(self, handle: JumpstartRegularization, owner: pl.LightningModule) -> None:
        """The loss that is not added. Nobody trains on it, so that a step without one is no failure."""
        try:
            loss = handle.loss
        except (RuntimeError, TypeError, ValueError) as error:
            self._measures = False
            logger.warning("%s is not logged any more while lambda_ is 0: %s", self._name, error)
        else:
            self._log(owner, loss)

    def _log(self, owner: pl.LightningModule, loss: Tensor) -> None:
        owner.log(self._name, loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)


class _Step:
    """Stands in for a module's ``training_step``; a copy or a pickle of the module gets its own one back.

    Several callbacks share one, so that they may leave in any order, and Lightning finds the signature of the module's
    own step under ``__wrapped__``, where it looks once.
    """

    def __init__(self, callback: Jumpstart, owner: pl.LightningModule) -> None:
        self.callbacks = [callback]
        self.shadowed = vars(owner).get("training_step")
        self.__wrapped__ = owner.training_step
        self._owner = weakref.ref(owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        step: Callable[..., Any] = self.__wrapped__
        for callback in self.callbacks:
            step = partial(callback._step, step)
        return step(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        owner = self._owner()
        copy: Any = memo.get(id(owner), owner)
        return types.MethodType(type(copy).training_step, copy)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self._owner(), "training_step")


class _Loss:
    """``self.jumpstart_loss``, in a module with manual optimization. Copies and pickles of it are dead."""

    def __init__(self, *callbacks: Jumpstart) -> None:
        self.callbacks = list(callbacks)

    def __call__(self, module: str | None = None) -> Tensor:
        """Lambda times the loss of the latest forward pass of a part, which is to be named if there are several."""
        if not self.callbacks:
            raise RuntimeError("this copy of the module has no Jumpstart loss: fit it with the callback Jumpstart.")
        found = [callback for callback in self.callbacks if module in (None, callback.module)]
        if len(found) != 1:
            names = ", ".join(repr(callback.module) for callback in self.callbacks)
            raise ValueError(f"module must be one of {names}, got {module!r}: self.jumpstart_loss(module) is its loss.")
        return found[0].loss

    def __deepcopy__(self, memo: dict[int, Any]) -> _Loss:
        return _Loss()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Loss, ())
