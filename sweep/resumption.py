"""Whether a run can be resumed, asked before anything of it is changed."""

from __future__ import annotations

import logging
import shlex
import zipfile
from pathlib import Path

import torch

from sweep.files import RunDirectoryError
from sweep.metrics_csv import MetricsCsv
from sweep.run_directory import RunDirectory

logger = logging.getLogger(__name__)

_PARTS = {"callbacks", "epoch", "loops", "optimizer_states", "state_dict"}
"""What training goes on from; ``best.ckpt`` has only some of it."""


def check_resumable(run: RunDirectory, *, warn: bool = True) -> None:
    """Make sure that a run goes on from where it stopped, or begins anew for want of anything to lose.

    The first checkpoint is written at the end of the first epoch, after the row of that epoch. A run without one that
    has finished more than this has lost it, and is refused.

    Args:
        run: The run. At most a line of ``metrics.csv`` that a crash left half-written is changed.
        warn: Log that a run begins anew.

    Raises:
        RunDirectoryError: If the checkpoint is damaged, or missing although epochs are finished; or if ``metrics.csv``
            is damaged.
    """
    remedy = f"or start a new run with --config={shlex.quote(str(run.config))} --name=ANOTHER_NAME."
    checkpoint = run.last_checkpoint
    if checkpoint.exists():
        reason = _damage(checkpoint)
        if reason:
            raise RunDirectoryError(
                f"{checkpoint} can't be resumed from: {reason}. Put a whole copy of it there, {remedy}"
            )
    else:
        finished = _finished(run)
        if finished:
            raise RunDirectoryError(
                f"{checkpoint} is missing, but {finished}: resumed, the run would lose them. Put the file back, "
                f"{remedy}"
            )
    MetricsCsv(run.metrics)
    if warn and not checkpoint.exists():
        logger.warning("%s has no checkpoint yet: training starts at epoch 0 again.", run.path)


def _damage(checkpoint: Path) -> str:
    """Why training can't go on from a file; empty if it can."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=False)
        with zipfile.ZipFile(checkpoint) as archive:  # torch.load lets wrong numbers pass
            wrong = archive.testzip()
    except Exception as error:  # torch has many words for a file that is no checkpoint
        return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
    if wrong is not None:
        return f"the checksum of its part {wrong} is wrong"
    missing = sorted(_PARTS - content.keys()) if isinstance(content, dict) else sorted(_PARTS)
    return f"it has no {missing[0]}" if missing else ""


def _finished(run: RunDirectory) -> str:
    """What tells that epochs were finished which only a checkpoint can bring back; empty if nothing does."""
    for path in (run.summary, run.best_checkpoint):
        if path.exists():
            return f"{path.name} tells of finished epochs"
    lines = run.metrics.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if run.metrics.exists() else []
    epochs = [line.partition(",")[0] for line in lines]
    last = max((int(epoch) for epoch in epochs if epoch.isdecimal()), default=0)
    return f"{run.metrics.name} has finished epochs up to {last}" if last else ""
