"""The options of a sweep itself, beside those of its runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from model.config.options import Config, option
from model.errors import ConfigError


class ExecutorName(StrEnum):
    """Where the runs of a sweep are trained."""

    LOCAL = "local"
    """In processes on this machine."""
    RAY = "ray"
    """On a Ray cluster."""
    SLURM = "slurm"
    """In jobs of a Slurm cluster."""


class Keep(StrEnum):
    """What the run directory of a member keeps when the run is finished."""

    ALL = "all"
    """Everything, with plots and the report, as a single run."""
    WEIGHTS = "weights"
    """Config, curves, summary and the best weights."""
    METRICS = "metrics"
    """Config, curves and summary."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig(Config):
    """The options of a sweep. On a single run, only ``technique`` and ``dry_run`` have an effect.

    Example:
        >>> SweepConfig(keep="metrics").retries
        1
    """

    technique: str | None = option(
        None,
        "Named techniques, separated by commas, such as baseline,jumpstart,batchnorm+skip; sweep/grid/techniques.yaml "
        "defines them.",
    )
    dry_run: bool = option(False, "Whether to print the runs and their number, and to train nothing.")
    keep: str = option("weights", "What a finished run of a sweep keeps.", choices=Keep)
    retries: int = option(1, "How often a failed run of a sweep is tried again.", minimum=0)
    executor: str = option(
        "local", "Where the runs of a sweep are trained: on this machine, or on a cluster.", choices=ExecutorName
    )
    workers: int | None = option(
        None,
        "Runs of a sweep that are trained at once; None: as many as cores or GPUs allow, and 100 jobs on Slurm.",
        minimum=1,
    )
    gpus_per_run: float | None = option(
        None,
        "GPUs of each run of a sweep; 0.25 trains four runs on each GPU. None: one, if there are GPUs and gpus=auto; "
        "on Slurm none.",
        minimum=0,
    )
    ray_address: str | None = option(
        None,
        "Address of a Ray cluster, such as auto or ray://host:10001; None: RAY_ADDRESS, or else a cluster on this "
        "machine for the time of the sweep.",
    )
    slurm: str | None = option(
        None,
        "Options of sbatch for executor=slurm, separated by commas, such as partition=gpu,time=120,mem=8G. The time is "
        "in minutes, 240 if none is given; a run that needs more goes on in the next job.",
    )
    max_runs: int = option(10_000, "Largest number of runs of a sweep.", minimum=1)

    def check_together(self) -> None:
        """Raise :class:`ConfigError` if options contradict each other."""
        share = self.gpus_per_run
        if share is not None and share != int(share) and (share > 1 or self.executor == ExecutorName.SLURM):
            where = " with executor=slurm" if self.executor == ExecutorName.SLURM else " above 1"
            raise ConfigError(f"gpus_per_run must be a whole number{where}, got {share:g}.")
        for name, executor in (("ray_address", ExecutorName.RAY), ("slurm", ExecutorName.SLURM)):
            if getattr(self, name) is not None and self.executor != executor:
                raise ConfigError(f"{name} needs executor={executor}, got executor={self.executor}.")
        self.sbatch_options  # noqa: B018  a wrong text is refused here

    @property
    def sbatch_options(self) -> dict[str, str]:
        """The options of sbatch by name.

        Raises:
            ConfigError: If the text is no list of names and values, or the time is no number of minutes.

        Example:
            >>> SweepConfig(executor="slurm", slurm="partition=gpu,time=60").sbatch_options
            {'partition': 'gpu', 'time': '60'}
        """
        found: dict[str, str] = {}
        for part in (self.slurm or "").split(",") if self.slurm else []:
            name, equals, value = (word.strip() for word in part.strip().lstrip("-").partition("="))
            if not (name and equals and value) or name in found:
                raise ConfigError(f"slurm must be different name=value pairs separated by commas, got {self.slurm!r}.")
            found[name] = value
        minutes = found.get("time", "1")
        if not minutes.isdecimal() or not int(minutes):
            raise ConfigError(f"slurm: time must be a whole number of minutes >= 1, got {minutes!r}.")
        return found
