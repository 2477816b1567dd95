"""Weights & Biases through Lightning's logger: online with an API key, offline without, never with a prompt."""

from __future__ import annotations

import hashlib
import logging
import netrc
import os
import shlex
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from jumpstart.files import user_path
from jumpstart.words import shorten
from model.config.experiment import ExperimentConfig
from model.errors import ConfigError
from sweep.run_directory import RunDirectory

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger

logger = logging.getLogger(__name__)

MODES = ("online", "offline", "disabled", "shared", "run", "dryrun")
"""The values of WANDB_MODE that Weights & Biases accepts."""

INIT_TIMEOUT = 30.0
"""Seconds after which a run is logged offline because the server does not answer."""

_LONGEST_REASON = 300

Mode = Literal["online", "offline", "disabled", "shared"]


def check_wandb(config: ExperimentConfig) -> None:
    """Refuse settings that Weights & Biases would refuse only after the run directory is made.

    Raises:
        ConfigError: If Weights & Biases does not accept the project, the entity, the group, or WANDB_MODE.
    """
    mode = os.environ.get("WANDB_MODE")
    if mode and mode not in MODES:
        raise ConfigError(f"WANDB_MODE must be one of {', '.join(MODES)}, got {mode!r}.")
    for name in ("wandb_project", "wandb_entity", "wandb_group"):
        value = getattr(config, name) or ""
        reserved = "" if name == "wandb_group" else "/\\#?%:"
        if len(value) > 128 or any(mark in reserved or not mark.isprintable() for mark in value):
            none_of = f", and none of {' '.join(reserved)}" if reserved else ""
            raise ConfigError(f"{name} must have at most 128 characters{none_of}, got {value!r}.")


def make_wandb_logger(config: ExperimentConfig, directory: RunDirectory) -> WandbLogger | None:
    """The logger of a run, opened; None, with a warning, if Weights & Biases can't be used.

    A resumed run keeps its id.

    Args:
        config: Sent to the server with the run.
        directory: The run directory, which receives the offline files in ``wandb/``.
    """
    try:
        return _open(config, directory)
    except Exception as error:  # wandb and pydantic raise many kinds of errors for settings in the environment
        reason = shorten(" ".join(str(error).split()), _LONGEST_REASON) or type(error).__name__
        logger.warning(
            "Weights & Biases can't be used (%s), so this run is stored in %s alone.", reason, directory.path
        )
        return None


def _open(config: ExperimentConfig, directory: RunDirectory) -> WandbLogger:
    # Set before wandb is imported, because wandb reads its environment once.
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    wandb.setup(wandb.Settings(silent=True))
    mode = _mode()
    if mode in ("online", "shared") and not has_key():
        _warn_offline("no API key found", directory)
        mode = "offline"
    opened = _logger(config, directory, mode)
    try:
        _ = opened.experiment
    except wandb.Error as error:
        if mode in ("offline", "disabled"):
            raise
        reason = shorten(" ".join(str(error).split()), _LONGEST_REASON)
        _warn_offline(f"can't be used online ({reason})", directory)
        wandb.teardown(exit_code=1)
        opened = _logger(config, directory, "offline")
        _ = opened.experiment
    return opened


def upload_checkpoints(opened: WandbLogger, directory: RunDirectory) -> None:
    """Log ``best.ckpt`` and ``last.ckpt`` as one artifact of the run; offline, ``wandb sync`` uploads it.

    Args:
        opened: The logger of the run.
        directory: The run directory.
    """
    import wandb

    artifact = wandb.Artifact(f"checkpoints-{opened.version}", type="model")
    for path in (directory.best_checkpoint, directory.last_checkpoint):
        artifact.add_file(str(path), name=path.name)
    opened.experiment.log_artifact(artifact)


def close_wandb() -> None:
    """End the open W&B run, if there is one."""
    import wandb

    wandb.finish()


def has_key() -> bool:
    """Whether WANDB_API_KEY, or the netrc file that ``wandb login`` writes, holds an API key."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    try:
        place = os.environ.get("NETRC")
        entry = netrc.netrc(user_path(place, "NETRC") if place else None).authenticators(host)
        return entry is not None and bool(entry[2])
    except (OSError, ValueError, netrc.NetrcParseError):
        return False


def _mode() -> Mode:
    mode = os.environ.get("WANDB_MODE")
    if mode in ("offline", "dryrun"):
        return "offline"
    if mode == "disabled":
        return "disabled"
    return "shared" if mode == "shared" else "online"


def _warn_offline(reason: str, directory: RunDirectory) -> None:
    logger.warning(
        "Weights & Biases: %s, so this run is logged offline; `wandb sync %s/offline-run-*` uploads it later.",
        reason,
        shlex.quote(str(directory.wandb)),
    )


def _logger(config: ExperimentConfig, directory: RunDirectory, mode: Mode) -> WandbLogger:
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    if mode in ("offline", "disabled"):
        # Keeps wandb from sending reports on its own errors to its servers.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    started = directory.read_environment().get("started")
    identity = hashlib.sha256(f"{directory.path.name} {started}".encode()).hexdigest()[:12]
    return WandbLogger(
        name=directory.path.name,
        project=config.wandb_project,
        entity=config.wandb_entity,
        group=config.wandb_group,
        tags=config.wandb_tags.split(",") if config.wandb_tags else None,
        notes=config.wandb_notes,
        save_dir=directory.path.absolute(),  # wandb's service may run in another working directory
        id=identity,
        config=config.to_dict(),
        # wandb's monitors of console, machine and repository would cost more than a small run, and the run directory
        # holds the same information. The mode is set here, because Lightning's argument `offline` sets WANDB_MODE for
        # the rest of the process.
        settings=wandb.Settings(
            mode=mode,
            init_timeout=INIT_TIMEOUT,
            console="off",
            x_disable_stats=True,
            x_disable_meta=True,
            disable_git=True,
            silent=True,
        ),
    )
