"""The folder of one run: its config, environment, metrics, checkpoints and plots.

Every file is written under a temporary name and renamed, so that a crash leaves the old file or the new one. Only
``metrics.csv`` grows in place; a last line that a crash left half-written is dropped when the file is opened again.
"""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import itertools
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from jumpstart.files import UserPath, beginning_of_name, load_yaml, user_path
from jumpstart.files.checksums import CHECKSUMS, keep_checksum, write_checksums
from jumpstart.files.drafts import draft_folder, remove_drafts
from sweep.description import DESCRIPTION, describe_run
from sweep.files import RunDirectoryError, write_json, write_yaml

__all__ = [
    "BEST_CHECKPOINT",
    "LAST_CHECKPOINT",
    "RunDirectory",
    "RunDirectoryError",
    "describe_environment",
]

LAST_CHECKPOINT = Path("checkpoints", "last.ckpt")
BEST_CHECKPOINT = Path("checkpoints", "best.ckpt")
FAILURE = "failure.txt"
REPORT = "report.html"

_PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "torchmetrics",
    "numpy",
    "pandas",
    "scikit-learn",
    "matplotlib",
    "wandb",
)


class _Describable(Protocol):
    """The part of a config that a run directory stores."""

    @property
    def label(self) -> str: ...

    def to_dict(self) -> Mapping[str, object]: ...


class RunDirectory:
    """The paths of one run. :meth:`create` makes a new run directory, :meth:`open` opens an existing one.

    Attributes:
        path: The folder itself, also the ``save_dir`` of the W&B logger.
        config: ``config.yaml``, every option of the run.
        environment: ``environment.json``, versions, commit, command and devices.
        description: ``run.json``, the network in words and the commands that the report quotes.
        data: ``data.json``, what was found in data of the user; absent for a named data set.
        metrics: ``metrics.csv``, one row per epoch; see :class:`~sweep.metrics_csv.MetricsCsv`.
        lock: ``run.lock``, which names the process that trains in the directory; see :func:`~sweep.lock.locked`.
        summary: ``summary.json``, the result.
        checksums: ``SHA256SUMS``, the checksums of a finished run; see :mod:`~jumpstart.files.checksums`.
        failure: ``failure.txt``, the error that ended the run early; absent after a complete run.
        report: ``report.html``, the report of the run for a browser.
        checkpoints: Folder of the checkpoints.
        last_checkpoint: The checkpoint that ``--resume`` continues from; without it, training starts from epoch 0.
        best_checkpoint: The weights of the best epoch.
        plots: Folder of the plots.
        status: ``status.npz``, the status of units and points in the plotted epochs.
        wandb: Folder of the files of Weights & Biases.
    """

    def __init__(self, path: UserPath) -> None:
        self.path = user_path(path)
        self.config = self.path / "config.yaml"
        self.environment = self.path / "environment.json"
        self.description = self.path / DESCRIPTION
        self.data = self.path / "data.json"
        self.metrics = self.path / "metrics.csv"
        self.lock = self.path / "run.lock"
        self.summary = self.path / "summary.json"
        self.checksums = self.path / CHECKSUMS
        self.failure = self.path / FAILURE
        self.report = self.path / REPORT
        self.checkpoints = self.path / LAST_CHECKPOINT.parent
        self.last_checkpoint = self.path / LAST_CHECKPOINT
        self.best_checkpoint = self.path / BEST_CHECKPOINT
        self.plots = self.path / "plots"
        self.status = self.path / "status.npz"
        self.wandb = self.path / "wandb"

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    @classmethod
    def create(
        cls, output_dir: UserPath, name: str | None, config: _Describable, engine: Mapping[str, object] | None = None
    ) -> RunDirectory:
        """Make the directory of a new run, with its config and environment, in one atomic step.

        Args:
            output_dir: Folder of the runs; made if missing.
            name: Name of the directory; None for a name made from the config and the time.
            config: The config of the run: its ``label`` enters the name, its ``to_dict()`` is stored.
            engine: What ``environment.json`` says of the engine.

        Raises:
            RunDirectoryError: If the name is taken or the folder can't be written.
            ValueError: As :func:`~jumpstart.files.user_path`.
        """
        folder = user_path(output_dir, "output_dir")
        try:
            _refuse_unwritable(folder)
            if name is not None:
                _refuse_taken(folder / name)
            with draft_folder(folder) as draft:
                run = cls(draft)
                run.checkpoints.mkdir()
                run.plots.mkdir()
                run.write_config(config)
                write_json(run.environment, {**(engine or {}), **describe_environment()})
                for path in _candidates(folder, name, config):
                    try:
                        draft.rename(path)
                    except OSError:
                        # Another process may have taken the name in the meantime.
                        if not path.exists():
                            raise
                    else:
                        return cls(path)
            _refuse_taken(folder / str(name))
            raise RunDirectoryError(f"run directory {folder / str(name)} can't be made.")
        except RunDirectoryError:
            raise
        except (OSError, ValueError) as error:
            raise _unwritable(folder, getattr(error, "strerror", None) or str(error)) from None

    @classmethod
    def open(cls, path: UserPath) -> RunDirectory:
        """The run in an existing folder.

        Raises:
            RunDirectoryError: If the folder holds no run.
            ValueError: As :func:`~jumpstart.files.user_path`.
        """
        run = cls(path)
        if not os.path.isdir(run.path):
            found = "is a file" if os.path.exists(run.path) else "does not exist"
            raise RunDirectoryError(f"run directory {path} {found}.")
        if not run.config.is_file():
            raise RunDirectoryError(f"{path} is not a run directory: it has no {run.config.name}.")
        return run

    def read_config(self) -> dict[str, object]:
        """The stored options by name.

        Raises:
            RunDirectoryError: If ``config.yaml`` can't be read or holds no mapping.
        """
        try:
            content = load_yaml(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise RunDirectoryError(f"{self.config} can't be read: {reason}") from None
        if not isinstance(content, dict):
            raise RunDirectoryError(f"{self.config} is damaged: it holds no options.")
        return content

    def write_config(self, config: _Describable) -> None:
        """Store every option, and the description of the run for the report."""
        write_yaml(self.config, config.to_dict())
        description = describe_run(config)
        if description is not None:
            write_json(self.description, description)

    def record_resume(self, config: _Describable) -> None:
        """Store the options of a resumed run, and append its time, command and versions to ``environment.json``."""
        environment = self.read_environment()
        before = environment.get("resumed")
        environment["resumed"] = [*(before if isinstance(before, list) else []), describe_environment()]
        keep_checksum(self.path, self.summary.name)
        self.remove_drafts()
        self.write_config(config)
        self.failure.unlink(missing_ok=True)
        write_json(self.environment, environment)

    def write_summary(self, summary: Mapping[str, object]) -> None:
        """Store the result of a finished run, and the checksums of the files that the run is read from later."""
        histories = sorted(self.path.glob(f"{self.status.stem}*{self.status.suffix}"))
        described = (self.config, self.environment, self.description, self.data)
        self.checksums.unlink(missing_ok=True)
        write_json(self.summary, summary)
        write_checksums(self.path, [*described, self.metrics, self.summary, *histories])

    def read_environment(self) -> dict[str, object]:
        """The content of ``environment.json``; empty if the file is missing or damaged."""
        try:
            content = json.loads(self.environment.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    def remove_drafts(self) -> None:
        """Remove the temporary files that a killed process left. The directory must be locked."""
        for folder in (self.path, self.checkpoints, self.plots):
            remove_drafts(folder)


def describe_environment() -> dict[str, object]:
    """Everything besides the config that a result may depend on: versions, commit, command line, devices."""
    import torch

    from jumpstart.extrema import kernel

    cuda = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return {
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "jumpstart": kernel.description(),
        "cuda": torch.version.cuda,
        "gpus": [torch.cuda.get_device_name(index) for index in cuda],
        "versions": {package: _version(package) for package in _PACKAGES},
        "git": _git_state(Path(__file__).resolve().parent.parent),
    }


@functools.cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_state(root: Path) -> dict[str, str | bool] | None:
    """The commit, and whether a tracked file differs from it; None outside a checkout."""
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        result = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=True
        )
        return result.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _candidates(folder: Path, name: str | None, config: _Describable) -> Iterator[Path]:
    """Paths to try in turn: the named one alone, or any number of paths made from the label and the time."""
    if name is not None:
        yield folder / name
        return
    label = beginning_of_name(re.sub(r"[^\w.+-]+", "_", config.label))
    stem = f"{label}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    yield folder / stem
    for count in itertools.count(2):
        yield folder / f"{stem}-{count}"


def _refuse_taken(path: Path) -> None:
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists():
        remedy = (
            f", or continue it with --resume={shlex.quote(str(path))}" if RunDirectory(path).config.is_file() else ""
        )
        raise RunDirectoryError(f"{path} exists already. Choose another --name{remedy}.")


def _refuse_unwritable(folder: Path) -> None:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise _unwritable(folder, f"{existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise _unwritable(folder, f"no permission to write in {existing}")


def _unwritable(folder: Path, reason: str) -> RunDirectoryError:
    return RunDirectoryError(f"output_dir {folder} can't be written: {reason}. Choose another.")
