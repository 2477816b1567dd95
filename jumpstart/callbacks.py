"""Lightning callbacks: add the Jumpstart loss to any module, draw the status of units and points."""

from __future__ import annotations

import logging
import math
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from jumpstart.capture import Capture
from jumpstart.hooks import attached
from jumpstart.jumpstart import JumpstartRegularization
from jumpstart.status_plot import NetworkStatusPlot

__all__ = ["Jumpstart", "NetworkStatusPlot"]

logger = logging.getLogger(__name__)


class Jumpstart(pl.Callback):
    """Adds the Jumpstart loss to what any ``LightningModule`` trains on, in one line.

    While ``fit`` runs, a regulariser is attached and ``training_step`` is wrapped: what it returns, a tensor or a
    dictionary with ``"loss"``, gets the loss added that belongs to all that ran inside the step. So accumulation of
    gradients, mixed precision and clipping see one loss, as if it had been written into the module. After ``fit``, and
    after an exception, hooks and wrapper are gone.

    With manual optimisation nothing is added by itself: name the network in ``module``, and add
    ``self.jumpstart_loss()``, which is lambda times the loss of the network's latest forward pass, before
    ``self.manual_backward``.

    The loss is logged as ``jumpstart_loss``, a mean over the epoch's batches, where there is a logger.

    Args:
        lambda_: Weight of the loss, at least 0, or a function from the epoch (from 0) to it.
        module: Name of the part whose preactivations count, such as ``"model"`` or ``"model.encoder"``; by default
            all that the module holds.
        **options: For :class:`~jumpstart.JumpstartRegularization`.

    Raises:
        TypeError: If an option is unknown, or ``lambda_`` neither a number nor a function.
        ValueError: If ``lambda_`` is negative or not finite, or an option is wrong. When training begins, if there is
            no part of that name, or manual optimisation without ``module``.
        RuntimeError: When training begins, if the module has a regulariser of its own.

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
        self._logs = self._was_read = False

    def _check_options(self) -> None:
        """A wrong option is told before there is a model: try it on a small one."""
        names = {} if isinstance(self.options.get("capture", ""), str) else {"capture": Capture.ACTIVATIONS}
        linear = (nn.utils.skip_init(nn.Linear, 1, 1) for _ in range(2))  # leaves the global random numbers alone
        JumpstartRegularization(nn.Sequential(next(linear), nn.ReLU(), next(linear)), **self.options | names).remove()

    def __repr__(self) -> str:
        weight = "<function>" if callable(self.lambda_) else self.lambda_
        parts = [f"lambda_={weight}"] + ([f"module={self.module!r}"] if self.module else [])
        return f"Jumpstart({', '.join(parts + [f'{name}={value!r}' for name, value in self.options.items()])})"

    @property
    def loss(self) -> Tensor:
        """Lambda times the Jumpstart loss of the latest forward pass, to be added by hand in manual optimisation.

        Raises:
            RuntimeError: If nothing is attached, or before any forward pass.
        """
        if self._handle is None:
            raise RuntimeError("there is no Jumpstart loss now: this callback is attached while trainer.fit() runs.")
        self._was_read = True
        return self._weight * self._handle.loss

    # Lightning ---------------------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attach and wrap."""
        self._release()
        target = self._target(pl_module)
        if attached(target) is not None:
            raise RuntimeError(
                f"{type(pl_module).__name__} has a JumpstartRegularization (or a StatusMonitor) attached already, so "
                "the loss might be added twice. Leave out this callback, or remove() that one before trainer.fit()."
            )
        manual = not pl_module.automatic_optimization
        if manual and self.module is None:
            raise ValueError(
                "module must name the network when optimisation is manual, for a step may run several: "
                "Jumpstart(..., module='generator'). Then add self.jumpstart_loss() to its loss in training_step."
            )
        if manual and hasattr(pl_module, "jumpstart_loss"):
            raise ValueError(
                f"{type(pl_module).__name__} has a jumpstart_loss of its own, which is the name of what this callback "
                "gives to a module with manual optimisation. Rename it."
            )
        self._handle = JumpstartRegularization(target, **self.options)
        self._owner = weakref.ref(pl_module)
        self._logs, self._was_read = bool(trainer.loggers), False
        if manual:
            pl_module.jumpstart_loss = _Loss(self)  # type: ignore[assignment]
        else:
            pl_module.training_step = _Step(self, pl_module)  # type: ignore[method-assign]

    def _target(self, pl_module: pl.LightningModule) -> nn.Module:
        if self.module is None:
            return pl_module
        try:
            return pl_module.get_submodule(self.module)
        except AttributeError:
            parts = ", ".join(name for name, _ in pl_module.named_children()) or "none"
            raise ValueError(
                f"module must name a part of {type(pl_module).__name__} ({parts}), got {self.module!r}."
            ) from None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The lambda of this epoch."""
        self._weight = self._weight_at(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say so if nobody adds the loss."""
        if not pl_module.automatic_optimization and not self._was_read and self._weight:
            self._was_read = True
            logger.warning(
                "%s trains without the Jumpstart loss: with manual optimisation, add self.jumpstart_loss() to the "
                "loss before self.manual_backward().",
                type(pl_module).__name__,
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
            mine = vars(owner).get(name) if owner is not None else None
            if isinstance(mine, _Step | _Loss) and mine.callback is self:
                delattr(owner, name)
                if isinstance(mine, _Step) and mine.shadowed is not None:
                    setattr(owner, name, mine.shadowed)
        self._handle = self._owner = None

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
        if handle is None or self._weight == 0:
            return step(*args, **kwargs)
        with handle.recording():
            output = step(*args, **kwargs)
        if output is None:
            return None
        loss = output.get("loss") if isinstance(output, dict) else output
        if not isinstance(loss, Tensor):
            if isinstance(output, dict) and loss is None:
                return output
            raise TypeError(
                "training_step must return a tensor, a dictionary with a tensor under 'loss', or None, got "
                f"{type(output).__name__}."
            )
        added = handle.loss
        owner = self._owner() if self._owner is not None else None
        if self._logs and owner is not None:
            owner.log("jumpstart_loss", added.detach(), on_step=False, on_epoch=True, sync_dist=True, batch_size=1)
        total = loss + self._weight * added
        return {**output, "loss": total} if isinstance(output, dict) else total


class _Step:
    """Stands in for a module's ``training_step``; a copy or a pickle of the module gets its own one back."""

    def __init__(self, callback: Jumpstart, owner: pl.LightningModule) -> None:
        self.callback = callback
        self.shadowed = vars(owner).get("training_step")
        # Lightning looks at the signature of what is wrapped.
        self.__wrapped__ = owner.training_step
        self._owner = weakref.ref(owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.callback._step(self.__wrapped__, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        owner = self._owner()
        copy: Any = memo.get(id(owner), owner)
        return types.MethodType(type(copy).training_step, copy)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self._owner(), "training_step")


class _Loss:
    """``self.jumpstart_loss``, in a module with manual optimisation. Copies and pickles of it are dead."""

    def __init__(self, callback: Jumpstart | None = None) -> None:
        self.callback = callback

    def __call__(self) -> Tensor:
        """Lambda times the loss of the latest forward pass."""
        if self.callback is None:
            raise RuntimeError("this copy of the module has no Jumpstart loss: fit it with the callback Jumpstart.")
        return self.callback.loss

    def __deepcopy__(self, memo: dict[int, Any]) -> _Loss:
        return _Loss()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Loss, ())
