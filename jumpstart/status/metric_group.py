"""The base of the metrics: several numbers that are computed together, from states that stay exact."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class MetricGroup(Metric, abc.ABC):
    """Several metrics that are computed together, from states that are read from the device in one transfer.

    A subclass adds its states with ``add_state`` and defines :meth:`read_numbers`. The states keep their dtype when the
    metric, or a module that holds it, is converted to another one: counts in float16 would not be exact.
    """

    full_state_update = False
    is_differentiable = False

    @abc.abstractmethod
    def read_numbers(self) -> dict[str, float]:
        """Every metric by name, of this process alone unless the state is synchronized."""

    def compute(self) -> dict[str, Tensor]:
        """Every metric by name, as a scalar tensor in float64 on the device of the states."""
        numbers = self.read_numbers()
        values = torch.tensor(list(numbers.values()), dtype=torch.float64, device=self.device)
        return dict(zip(numbers, values.unbind(), strict=True))

    def numbers(self) -> dict[str, float]:
        """The metrics of :meth:`compute` as Python numbers, with one transfer from the device instead of one each."""
        with self._all_processes():
            return self.read_numbers()

    @contextmanager
    def sync_context(self, *args: Any, **options: Any) -> Iterator[None]:
        """The states of all processes inside the block. After it, and after an error, those of this process again."""
        was_synced = self._is_synced
        try:
            with super().sync_context(*args, **options):
                yield
        except BaseException:
            if self._is_synced and not was_synced:
                self.unsync()
            raise

    def _all_processes(self) -> AbstractContextManager[None]:
        return self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync)

    # Where torchmetrics replaces the states, values that were computed from the states before must be forgotten.

    def _reduce_states(self, incoming_state: Mapping[str, Tensor]) -> None:
        self._note_states()
        super()._reduce_states(dict(incoming_state))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        if any(f"{prefix}{name}" in state_dict for name in self._defaults):
            self._note_states()
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _note_states(self) -> None:
        """Forget the computed values, and count as updated."""
        self._computed = None
        self._update_count = max(self._update_count, 1)

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any) -> nn.Module:
        def move(state: Tensor) -> Tensor:
            moved = fn(state)
            return moved if moved.dtype == state.dtype else state.to(moved.device)

        return super()._apply(move, *args)
