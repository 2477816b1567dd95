"""Weights & Biases through Lightning's logger: online if there is a key, never with a question."""

from __future__ import annotations

import hashlib
import json
import logging
import netrc
import os
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from model.config.experiment import ConfigError, ExperimentConfig
from sweep.run_directory import RunDirectory

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger

logger = logging.getLogger(__name__)

MODES = ("online", "offline", "disabled", "shared", "run", "dryrun")
"""What Weights & Biases takes for WANDB_MODE."""

PATIENCE = 30.0
"""Seconds after which a server that does not answer is given up, and the run logged offline."""

Mode = Literal["online", "offline", "disabled", "shared"]


def check_wandb(config: ExperimentConfig) -> None:
    """Refuse what Weights & Biases would refuse once the run has begun.

    Raises:
        ConfigError: If the project or WANDB_MODE can't be.
    """
    asked = os.environ.get("WANDB_MODE")
    if asked and asked not in MODES:
        raise ConfigError(f"WANDB_MODE must be one of {', '.join(MODES)}, got {asked!r}.")
    project = config.wandb_project
    if len(project) > 128 or any(mark in project for mark in "/\\#?%:"):
        raise ConfigError(f"wandb_project must have at most 128 characters, and none of / \\ # ? % :, got {project!r}.")


def make_wandb_logger(config: ExperimentConfig, directory: RunDirectory) -> WandbLogger:
    """The logger of a run, opened; a resumed run goes on under the same id.

    Args:
        config: Stored with the run.
        directory: Where offline files go, in ``wandb/``.
    """
    # Before wandb is imported: it reads its environment once.
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
        reason = " ".join(str(error).split())
        _warn_offline(f"can't be used online ({reason})", directory)
        wandb.teardown(exit_code=1)
        opened = _logger(config, directory, "offline")
        _ = opened.experiment
    return opened


def close_wandb() -> None:
    """End the run, if one is open."""
    import wandb

    wandb.finish()


def has_key() -> bool:
    """Whether there is an API key: in WANDB_API_KEY, or in the netrc file of ``wandb login``."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
        return found is not None and bool(found[2])
    except (OSError, ValueError, netrc.NetrcParseError):
        return False


def _mode() -> Mode:
    asked = os.environ.get("WANDB_MODE")
    if asked in ("offline", "dryrun"):
        return "offline"
    if asked == "disabled":
        return "disabled"
    return "shared" if asked == "shared" else "online"


def _warn_offline(reason: str, directory: RunDirectory) -> None:
    logger.warning(
        "Weights & Biases: %s, so this run is logged offline; `wandb sync %s/offline-run-*` uploads it later.",
        reason,
        directory.wandb,
    )


def _logger(config: ExperimentConfig, directory: RunDirectory, mode: Mode) -> WandbLogger:
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    if mode in ("offline", "disabled"):
        # Else it would still report on its own use to its servers.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    started = json.loads(directory.environment.read_text(encoding="utf-8")).get("started")
    identity = hashlib.sha256(f"{directory.path.name} {started}".encode()).hexdigest()[:12]
    return WandbLogger(
        name=directory.path.name,
        project=config.wandb_project,
        save_dir=directory.path.absolute(),  # its service may have been started elsewhere
        id=identity,
        config=config.to_dict(),
        # Its monitors of console, machine and repository would cost more than a small run, and the
        # run directory has all that they find. The mode goes here, for Lightning's own `offline`
        # sets WANDB_MODE for good.
        settings=wandb.Settings(
            mode=mode,
            init_timeout=PATIENCE,
            console="off",
            x_disable_stats=True,
            x_disable_meta=True,
            disable_git=True,
            silent=True,
        ),
    )
