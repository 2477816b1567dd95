"""The check that a run can be resumed, made before any of its files is changed."""

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
"""Keys of a checkpoint that training resumes from; ``best.ckpt`` lacks some of them."""


def check_resumable(run: RunDirectory, *, warn: bool = True) -> None:
    """Refuse a run that can't be resumed from its last epoch.

    The first checkpoint is written at the end of the first epoch, after the row of that epoch. A run that has no
    checkpoint and no row of a later epoch starts again from epoch 0. A run that has no checkpoint but results of later
    epochs has lost its checkpoint, and is refused.

    Args:
        run: The run. A line of ``metrics.csv`` that a crash left half-written is cut off; no other file is changed.
        warn: Whether to log that the run starts again from epoch 0.

    Raises:
        RunDirectoryError: If the checkpoint is damaged, or missing although more than one epoch is finished; or if
            ``metrics.csv`` is damaged.
    """
    remedy = f"or start a new run with --config={shlex.quote(str(run.config))} --name=ANOTHER_NAME."
    checkpoint = run.last_checkpoint
    if checkpoint.exists():
        reason = _damage(checkpoint)
        if reason:
            raise RunDirectoryError(
                f"{checkpoint} can't be resumed from: {reason}. Put an undamaged copy there, {remedy}"
            )
    else:
        finished = _finished_epochs(run)
        if finished:
            raise RunDirectoryError(
                f"{checkpoint} is missing, but {finished}, which the resumed run would lose. Put the file back, "
                f"{remedy}"
            )
    MetricsCsv(run.metrics)
    if warn and not checkpoint.exists():
        logger.warning("%s has no checkpoint yet: training starts again from epoch 0.", run.path)


def _damage(checkpoint: Path) -> str:
    """The reason why training can't be resumed from a file; empty if it can."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=False)
        with zipfile.ZipFile(checkpoint) as archive:  # torch.load verifies no checksum
            wrong = archive.testzip()
    except Exception as error:  # torch raises many types of exception for such a file
        return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
    if wrong is not None:
        return f"the checksum of its part {wrong} is wrong"
    missing = sorted(_PARTS - content.keys()) if isinstance(content, dict) else sorted(_PARTS)
    return f"it has no {missing[0]}" if missing else ""


def _finished_epochs(run: RunDirectory) -> str:
    """Evidence of finished epochs that only a checkpoint could restore; empty without any."""
    for path in (run.summary, run.best_checkpoint):
        if path.exists():
            return f"{path.name} holds results of finished epochs"
    lines = run.metrics.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if run.metrics.exists() else []
    epochs = [line.partition(",")[0] for line in lines]
    last = max((int(epoch) for epoch in epochs if epoch.isdecimal()), default=0)
    return f"{run.metrics.name} has finished epochs up to {last}" if last else ""
