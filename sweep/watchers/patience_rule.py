"""When training ends because a metric no longer becomes better."""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np

from model.choices import Monitor
from model.config.experiment import ExperimentConfig


class PatienceState(TypedDict):
    """The state of a :class:`PatienceRule` in a checkpoint."""

    wait_count: int
    best_score: float


class PatienceRule:
    """Ends training after a number of epochs in which a metric has not become better, as Lightning's ``EarlyStopping``.

    Values are compared in float32, in which Lightning keeps metrics. A value that is not finite ends training.

    Args:
        patience: Number of epochs without a better value after which training ends.
        min_delta: A value must be better than the best by more than this.
        larger_is_better: Whether larger values of the metric are better.

    Example:
        >>> rule = PatienceRule(patience=2, min_delta=0.0, larger_is_better=True)
        >>> [rule.ends(value) for value in (0.5, 0.6, 0.6, 0.6)]
        [False, False, False, True]
    """

    def __init__(self, patience: int, min_delta: float, *, larger_is_better: bool) -> None:
        self.patience = patience
        self._sign = 1.0 if larger_is_better else -1.0
        self._min_delta = np.float32(abs(min_delta))
        self._wait_count = 0
        self._best = np.float32(-math.inf)  # of the values times the sign

    @classmethod
    def of(cls, config: ExperimentConfig) -> PatienceRule | None:
        """The rule of a run; None if it has none."""
        if config.patience is None:
            return None
        return cls(config.patience, config.min_delta, larger_is_better=config.monitor == Monitor.VAL_ACC)

    @property
    def exhausted(self) -> bool:
        """Whether training has ended by patience, so that a resumed run takes no step."""
        return self._wait_count >= self.patience

    def ends(self, value: float) -> bool:
        """Whether training ends after an epoch.

        Args:
            value: The metric in this epoch.
        """
        if not np.isfinite(np.float32(value)):
            return True
        score = np.float32(self._sign * value)
        if score - self._min_delta > self._best:
            self._best, self._wait_count = score, 0
            return False
        self._wait_count += 1
        return self.exhausted

    def state_dict(self) -> PatienceState:
        """The best value and the number of epochs since then."""
        return {"wait_count": self._wait_count, "best_score": self._sign * float(self._best)}

    def load_state_dict(self, state_dict: PatienceState) -> None:
        """Restore :meth:`state_dict` when a run is resumed."""
        self._wait_count = state_dict["wait_count"]
        self._best = np.float32(self._sign * state_dict["best_score"])
