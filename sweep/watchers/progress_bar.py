"""The progress bar of a run."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Never

from tqdm import tqdm

from sweep.signals import signals_held


class ProgressBar:
    """A progress bar over all epochs, with loss, accuracy, and shares of dead and linear units of the latest epoch.

    The bar is refreshed at most five times a second, so that it costs little when epochs are short. If stderr is no
    terminal, one line is written every half minute.
    """

    def __init__(self) -> None:
        self._bar: tqdm[Never] | None = None

    def begin(self, epoch: int, epochs: int | None) -> None:
        """Open the bar.

        Args:
            epoch: The first epoch that is trained.
            epochs: Number of epochs of the run; None if it is endless.
        """
        with signals_held():  # a bar that is made by half prints a traceback when it is deleted
            self._bar = tqdm(
                total=epochs,
                initial=epoch,
                unit="epoch",
                file=sys.stderr,
                mininterval=0.2 if sys.stderr.isatty() else 30.0,
                dynamic_ncols=True,
            )

    def within_epoch(self, epochs: float) -> None:
        """Advance within an epoch.

        Args:
            epochs: Epochs so far, with a fraction.
        """
        if self._bar is not None:
            self._bar.n = epochs
            self._bar.update(0)

    def end_epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        """Advance by one epoch.

        Args:
            epoch: The epoch that is over.
            row: The latest metrics.
        """
        if self._bar is None:
            return
        self._bar.n = epoch
        stage = "val" if "val/acc" in row else "train"
        if row and time.time() - self._bar.last_print_t >= self._bar.mininterval:
            self._bar.set_postfix_str(
                f"loss {row['train/loss']:.3g}, {stage} acc {row[f'{stage}/acc']:.1%}, dead units "
                f"{row[f'{stage}/unit_dead_ratio']:.1%}, linear {row[f'{stage}/unit_linear_ratio']:.1%}",
                refresh=False,
            )
        self._bar.update(1)

    def close(self) -> None:
        """Close the bar, at the end of training or after an error."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
