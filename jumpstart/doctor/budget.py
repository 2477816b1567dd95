"""The time that an examination may take, and the number of samples that fit into it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from jumpstart.doctor.load import DoctorError

SECONDS = 20.0
"""Seconds that the passes and steps of an examination take at most, unless the user gives another number."""
MOST_SAMPLES = 64
"""Samples of the batch where that many fit."""
_STATUS_SHARE = 0.4
"""The share of the time that the two passes may take that read the status. The rest is for the cost of a step."""
_STATUS_PASSES = 2
_SHORT = 0.5
"""Seconds below which a pass is run again for its time, because the first pass of a model takes longer."""


class Budget:
    """The seconds that are left.

    Args:
        seconds: All of them, above 0.

    Raises:
        DoctorError: If ``seconds`` is not above 0, or not finite.

    Example:
        >>> budget = Budget(20.0)
        >>> 19 < budget.left <= 20
        True
    """

    def __init__(self, seconds: float) -> None:
        if not 0 < seconds < math.inf:
            raise DoctorError(f"seconds must be a finite number above 0, got {seconds:g}.")
        self.seconds = seconds
        self._begin = time.perf_counter()

    @property
    def left(self) -> float:
        """Seconds until the end; negative afterwards."""
        return self.seconds - (time.perf_counter() - self._begin)


def samples_that_fit(run: Callable[[], object], samples: int, most: int, budget: Budget) -> tuple[int, float]:
    """The number of samples with which the passes that read the status take their share of the time.

    Args:
        run: Runs the model on a few samples.
        samples: The number of these few samples.
        most: The largest number to return.
        budget: The time.

    Returns:
        The number, at least ``samples`` and at most ``most``, and the seconds that one pass on it may take.
    """
    seconds = seconds_of(run)
    if seconds < min(_SHORT, budget.left):
        seconds = min(seconds, seconds_of(run))
    per_sample = seconds / samples
    fitting = int(_STATUS_SHARE * budget.seconds / (_STATUS_PASSES * max(per_sample, 1e-9)))
    count = min(max(fitting, samples), most)
    return count, count * per_sample


def seconds_of(run: Callable[[], object], like: Tensor | None = None) -> float:
    """The seconds that a call takes.

    Args:
        run: The call.
        like: A tensor on the device that the call uses, which is waited for.
    """
    _wait(like)
    begin = time.perf_counter()
    run()
    _wait(like)
    return time.perf_counter() - begin


def _wait(like: Tensor | None) -> None:
    if like is not None and like.is_cuda:
        torch.cuda.synchronize(like.device)
