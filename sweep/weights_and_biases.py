"""Weights & Biases through Lightning's logger: online where there is a key, else offline, never with a question."""

from __future__ import annotations

import hashlib
import json
import logging
import netrc
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from model.config import ExperimentConfig
from sweep.run_directory import RunDirectory

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger

logger = logging.getLogger(__name__)


def make_wandb_logger(config: ExperimentConfig, directory: RunDirectory) -> WandbLogger:
    """The logger of a run; a resumed run goes on under the same id.

    Args:
        config: Stored with the run.
        directory: Where offline files go, in ``wandb/``.
    """
    # Before wandb is imported: it reads its environment once.
    os.environ.setdefault("WANDB_SILENT", "true")
    mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
    if mode == "offline" and "WANDB_MODE" not in os.environ:
        logger.warning(
            "Weights & Biases: no API key found, so this run is logged offline; `wandb sync %s/offline-run-*` uploads "
            "it later.",
            directory.wandb,
        )
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    wandb.setup(wandb.Settings(silent=True))
    started = json.loads(directory.environment.read_text(encoding="utf-8")).get("started")
    identity = hashlib.sha256(f"{directory.path.name} {started}".encode()).hexdigest()[:12]
    return WandbLogger(
        name=directory.path.name,
        project=config.wandb_project,
        save_dir=directory.path,
        id=identity,
        config=config.to_dict(),
        offline=mode == "offline",
        # Its monitors of console, machine and repository would cost more than a small run, and the run directory has
        # all that they find.
        settings=wandb.Settings(
            mode=mode,
            console="off",
            x_disable_stats=True,
            x_disable_meta=True,
            disable_git=True,
            silent=True,
        ),
    )


def close_wandb() -> None:
    """End the run, if one is open."""
    import wandb

    wandb.finish()


def has_key() -> bool:
    """Whether there is an API key: in WANDB_API_KEY, or in the netrc file that ``wandb login`` writes."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
