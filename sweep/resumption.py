"""The check that a run can be resumed, made before any of its files is changed."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

from jumpstart.engine.member import NUMBERS
from jumpstart.files.checkpoints import load_checkpoint
from model.config.experiment import ExperimentConfig
from model.config.options import options
from sweep.files import RunDirectoryError
from sweep.metrics_csv import MetricsCsv
from sweep.run_directory import RunDirectory

if TYPE_CHECKING:
    from data.data import AnyData

logger = logging.getLogger(__name__)

_PARTS = {
    "callbacks",
    "epoch",
    "hyper_parameters",
    "learning_rate",
    "loops",
    "optimizer_states",
    "random",
    "row",
    "state_dict",
}
"""Keys of a checkpoint that training resumes from; ``best.ckpt`` lacks some of them."""
_COMPILED_PARTS = {"best", "data", "epoch", "frames", "hyper_parameters", "member", "row", "state_dict"}
"""The same of a checkpoint of the compiled engine."""
_KEEPER_PARTS = {"best_row", "elapsed", "metrics", "weights"}
"""Keys of the state of :class:`~sweep.callbacks.checkpoints.BestAndLast`."""
_WITHOUT_EFFECT = {
    "checkpoint_seconds",
    "curve_points",
    "name",
    "output_dir",
    "plot_every",
    "plot_status",
    "wandb_checkpoints",
    "wandb_entity",
    "wandb_group",
    "wandb_notes",
    "wandb_project",
    "wandb_tags",
}
"""Options that change nothing in the weights: how often the run writes, and where it was made."""

Content: TypeAlias = Mapping[str, Any]
"""What a checkpoint holds: plain containers, numbers, texts and tensors."""


def check_resumable(run: RunDirectory, config: ExperimentConfig, *, warn: bool = True) -> Content | None:
    """Refuse a run that can't be resumed from its last epoch.

    The first checkpoint is written at the end of the first epoch, after the row of that epoch. A run that has no
    checkpoint and no row of a later epoch starts again from epoch 0. A run that has no checkpoint but results of later
    epochs has lost its checkpoint, and is refused.

    Args:
        run: The run. None of its files is changed.
        config: Its options, with those that may change on resume.
        warn: Whether to log that the run starts again from epoch 0.

    Returns:
        The checkpoint, None if there is none. Reading it executes nothing that a file may hold.

    Raises:
        RunDirectoryError: If the checkpoint is damaged, incomplete or of another run, or missing although more than
            one epoch is finished; if ``config.yaml`` lacks options; if ``metrics.csv`` is damaged or lacks rows; or if
            a file or folder of the run is a link, which would lead writing out of the run directory.
    """
    _refuse_links(run)
    _refuse_missing_options(run, config)
    _refuse_change_in_sweep(run, config)
    checkpoint = run.last_checkpoint
    content: Content | None = None
    if checkpoint.exists():
        content, reason = _read(checkpoint)
        if reason:
            raise RunDirectoryError(
                f"{checkpoint} can't be resumed from: {reason}. Put an undamaged copy there, or "
                f"{_anew(run, repeated=True)}"
            )
        difference = _difference(content, config)
        if difference:
            raise RunDirectoryError(
                f"{run.config} does not fit {checkpoint}: {difference}. Restore the file that belongs to the other, "
                f"or {_anew(run, repeated=True)}"
            )
    else:
        finished = _finished_epochs(run)
        if finished:
            raise RunDirectoryError(
                f"{checkpoint} is missing, but {finished}, which the resumed run would lose. Put the file back, "
                f"or {_anew(run, repeated=True)}"
            )
    _check_metrics(run, content, warn=warn)
    if warn and not checkpoint.exists():
        logger.warning("%s has no checkpoint yet: training starts again from epoch 0.", run.path)
    return content


def _check_metrics(run: RunDirectory, content: Content | None, *, warn: bool) -> None:
    """Refuse a file of metrics whose rows are not those that were written before the checkpoint."""
    metrics = MetricsCsv(run.metrics, repair=False)
    if content is None:
        return
    mark = _keeper(content)["metrics"]
    if mark["rows"] and metrics.last_epoch is None:
        if warn:
            logger.warning(
                "%s has no rows: the epochs before epoch %d will be missing in curves and tables.",
                run.metrics,
                int(content["row"]["epoch"]) + 1,
            )
    elif not metrics.holds(mark):
        raise RunDirectoryError(
            f"{run.metrics} lacks rows that it had when {run.last_checkpoint} was written, or they were changed. "
            "Restore the file, or remove it to go on without the rows so far."
        )


def check_fits(run: RunDirectory, parts: Mapping[str, tuple[Mapping[str, object], Mapping[str, object]]]) -> None:
    """Refuse a checkpoint whose weights are not those of the network.

    Args:
        run: The run, for the message.
        parts: The weights of the network, and those of the checkpoint, by the name of the part.

    Raises:
        RunDirectoryError: If a name or a shape differs.
    """
    for part, (wanted, found) in parts.items():
        for name in sorted(wanted.keys() | found.keys()):
            if _shape(wanted.get(name)) != _shape(found.get(name)):
                raise RunDirectoryError(
                    f"{run.last_checkpoint} holds another network: in its {part}, {name} is "
                    f"{_shape(found.get(name))}, expected {_shape(wanted.get(name))}. Put the checkpoint of this run "
                    "there."
                )


def check_same_engine(run: RunDirectory, content: Content, engine: str) -> None:
    """Refuse a checkpoint of another engine, which a damaged ``environment.json`` can lead to.

    Args:
        run: The run, for the message.
        content: The checkpoint that :func:`check_resumable` returned.
        engine: The engine that is to train: ``"compiled"`` or ``"lightning"``.

    Raises:
        RunDirectoryError: If the other engine wrote the checkpoint.
    """
    wrote = content.get("engine", "lightning")
    if wrote != engine:
        raise RunDirectoryError(
            f"{run.last_checkpoint} was written by the engine {wrote}, but {run.environment} leads to {engine}. "
            f'Restore "engine": "{wrote}" in that file, or {_anew(run)}'
        )


def check_same_data(run: RunDirectory, content: Content | None, data: AnyData) -> None:
    """Refuse data of the user that changed since the run began, which would mix the three parts.

    Args:
        run: The run. Without a checkpoint, its ``data.json`` has the fingerprint of the data.
        content: The checkpoint that :func:`check_resumable` returned.
        data: The data, set up.

    Raises:
        RunDirectoryError: If the fingerprints differ.
    """
    if content is not None:
        source, before = run.last_checkpoint, _fingerprint_in(content)
    elif run.data.exists():
        source, before = run.data, _stored_fingerprint(run)
    else:
        return
    found = data.fingerprint()
    if (before or "") != found:
        raise RunDirectoryError(
            f"the data changed since {source} was written: {found or 'another data set'}, and before "
            f"{before or 'another data set'}. Restore the data, or {_anew(run)}"
        )


def _fingerprint_in(content: Content) -> str | None:
    """The fingerprint in a checkpoint, in which Lightning stores it under the name of a class."""
    states = [state for state in content.values() if isinstance(state, Mapping)]
    return next((state["fingerprint"] for state in states if "fingerprint" in state), None)


def _stored_fingerprint(run: RunDirectory) -> str | None:
    """The fingerprint in ``data.json``."""
    try:
        content = json.loads(run.data.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunDirectoryError(f"{run.data} can't be read: {error}. Restore it, or {_anew(run)}") from None
    return content.get("fingerprint") if isinstance(content, dict) else None


def _anew(run: RunDirectory, *, repeated: bool = False) -> str:
    """How to train a run from the beginning, for messages: in a sweep, its next command makes a run that is gone.

    Args:
        run: The run.
        repeated: Whether its ``config.yaml`` is whole, so that a new run can have the same options.
    """
    if _is_in_sweep(run):
        return f"delete {run.path}: the next command of the sweep trains this run from the beginning."
    return f"start a new run{f' with --config={shlex.quote(str(run.config))} --name=ANOTHER_NAME' if repeated else ''}."


def _is_in_sweep(run: RunDirectory) -> bool:
    """Whether a ledger records the run."""
    from sweep.ledger.ledger import NAME

    return (run.path.parent.parent / NAME).exists()


def _shape(value: object) -> str:
    return "x".join(map(str, value.shape)) or "a scalar" if isinstance(value, Tensor) else "missing"


def _refuse_links(run: RunDirectory) -> None:
    """Refuse links at the places that a run writes to."""
    places = (run.metrics, run.checkpoints, run.plots, run.status, run.wandb, run.lock)
    for path in (*places, run.last_checkpoint, run.best_checkpoint):
        if path.is_symlink():
            raise RunDirectoryError(
                f"{path} is a link to {os.readlink(path)}: a run writes into its own directory only. Put the file or "
                "folder itself there."
            )


def _refuse_missing_options(run: RunDirectory, config: ExperimentConfig) -> None:
    """Refuse a ``config.yaml`` that was cut: every option is written, so none may take its default."""
    stored = run.read_config()
    missing = [name for name in options(type(config)) if name not in stored]
    if missing:
        raise RunDirectoryError(
            f"{run.config} lacks {missing[0]}, so it is damaged: a run stores every option. Restore it, or {_anew(run)}"
        )


def _refuse_change_in_sweep(run: RunDirectory, config: ExperimentConfig) -> None:
    """Refuse another number of epochs for a run of a sweep, whose ledger and tables would keep the old result."""
    before = run.read_config()["epochs"]
    if before != config.epochs and _is_in_sweep(run):
        raise RunDirectoryError(
            f"{run.path} is a run of a sweep, so epochs can't be changed from {before} to {config.epochs}. Start a new "
            f"run with --config={shlex.quote(str(run.config))} --name=ANOTHER_NAME --epochs={config.epochs}."
        )


def _difference(content: Content, config: ExperimentConfig) -> str:
    """The first option by which a checkpoint differs from a config; empty without any."""
    stored, wanted = content["hyper_parameters"]["config"], config.to_dict()
    for name, item in options(type(config)).items():
        before = stored.get(name, "missing")
        if before != wanted[name] and not item.resumable and name not in _WITHOUT_EFFECT:
            return f"{name} is {wanted[name]!r} in the first, and {before!r} in the second"
    if config.is_endless:
        return ""
    if config.fresh_starts > 1 and stored["epochs"] != config.epochs:
        return f"epochs is {config.epochs} in the first, and {stored['epochs']}, shared by fresh starts, in the second"
    if stored["epochs"] > config.epochs:
        return f"epochs is {config.epochs} in the first, and {stored['epochs']} in the second"
    finished = int(content["row"].get("epoch", -1)) + 1
    if finished > config.epochs:
        return f"epochs is {config.epochs} in the first, and {finished} are finished in the second"
    return ""


def read_checkpoint(checkpoint: Path) -> Content:
    """The content of a checkpoint that :func:`check_resumable` has accepted. Reading executes nothing in the file."""
    content: Content = load_checkpoint(checkpoint)  # type: ignore[assignment]
    return content


def _read(checkpoint: Path) -> tuple[Content, str]:
    """The content of a checkpoint, and the reason why training can't be resumed from it, empty if it can."""
    try:
        content = read_checkpoint(checkpoint)
    except pickle.UnpicklingError:
        return {}, "it is no checkpoint of this project, or holds objects that only running its code could read"
    except Exception as error:  # torch raises many types of exception for such a file
        return {}, next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
    missing = _missing_part(content)
    return content, f"it has no {missing}" if missing else ""


def _missing_part(content: object) -> str:
    """The first part that a whole checkpoint would have; empty if none is missing."""
    if not isinstance(content, dict):
        return min(_PARTS)
    compiled, keeper = content.get("engine") == "compiled", _keeper(content)
    parts, name = (_COMPILED_PARTS, "best") if compiled else (_PARTS, "BestAndLast")
    arguments = content.get("hyper_parameters")
    missing = {
        *(_missing_numbers(content["member"]) if compiled and "member" in content else ()),
        *(parts - content.keys()),
        *(_KEEPER_PARTS - keeper.keys() if isinstance(keeper, dict) else {name}),
        *({"config", "input_shape", "num_classes"} - (arguments.keys() if isinstance(arguments, dict) else set())),
    }
    return min(missing, default="")


def _missing_numbers(member: object) -> set[str]:
    """The numbers that the state of a member lacks, as that of another version of the engine can."""
    numbers = member.get("numbers") if isinstance(member, dict) else None
    return set(NUMBERS) - (numbers.keys() if isinstance(numbers, dict) else set())


def _keeper(content: Content) -> Any:
    """The state of the best weights in a checkpoint of either engine; None if it has none."""
    if content.get("engine") == "compiled":
        return content.get("best")
    callbacks = content.get("callbacks")
    return callbacks.get("BestAndLast") if isinstance(callbacks, dict) else None


def _finished_epochs(run: RunDirectory) -> str:
    """Evidence of finished epochs that only a checkpoint could restore; empty without any."""
    for path in (run.summary, run.best_checkpoint):
        if path.exists():
            return f"{path.name} holds results of finished epochs"
    lines = run.metrics.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if run.metrics.exists() else []
    epochs = [line.partition(",")[0] for line in lines]
    last = max((int(epoch[:18]) for epoch in epochs if epoch.isdecimal()), default=0)
    return f"{run.metrics.name} has finished epochs up to {last}" if last else ""
