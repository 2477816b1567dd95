"""The Ray executor: actors on a Ray cluster, which train the runs that this process claims for them.

The ledger stays with the command. On the machine of the command, an actor writes the run directory of the sweep itself;
on another machine it trains in a folder of its own, and the files travel with the run in both directions.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

from jumpstart.files.drafts import draft_folder
from model.errors import ConfigError
from sweep.executors.executor import Executor, Work
from sweep.executors.extras import needed
from sweep.executors.gpus import room_for
from sweep.executors.local import disk_full, environment_of_process, open_runs
from sweep.executors.outcome import Outbox, Outcome, packed, unpack
from sweep.executors.worker import FULL, RUNS, train
from sweep.families import family_named
from sweep.grid.options import Keep
from sweep.ledger.alive import Life, joined, living
from sweep.ledger.entry import Entry
from sweep.ledger.ledger import LOGS, LedgerError
from sweep.signals import interrupt

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("jumpstart", "data", "model", "sweep")
_POLL_SECONDS = 0.5
_STOP_SECONDS = 60.0
_MOST_DEATHS = 3
_STOP_SIGNAL = signal.SIGUSR2 if hasattr(signal, "SIGUSR2") else signal.SIGINT
"""Ray blocks SIGINT in its processes."""


@dataclass(frozen=True)
class Result:
    """What an actor sends back.

    Attributes:
        code: The result of :func:`sweep.executors.worker.train`.
        outcome: What became of the run.
        files: The run directory, if the actor is on another machine.
    """

    code: int
    outcome: Outcome
    files: bytes | None


class Trainer:
    """The process of a cluster that trains one run after the other.

    Args:
        folder: The folder of the sweep, on the machine of the command.
        name: The name of this process in the ledger.
        family: The name of the family of networks.
        keep: What a finished run keeps.
    """

    def __init__(self, folder: Path, name: str, family: str, keep: Keep) -> None:
        self._folder, self._name, self._keep, self._family = folder, name, keep, family_named(family)
        self._held = ExitStack()
        self._at_home = False

    def settle(self, home: str) -> tuple[str, int]:
        """Hold the lock of this process in the ledger, if the ledger is on this machine.

        Args:
            home: The node of the command.

        Returns:
            The node and the number of this process.
        """
        ray = needed("ray", "executor=ray")
        node = ray.get_runtime_context().get_node_id()
        self._at_home = node == home
        if self._at_home:
            self._held.enter_context(joined(self._folder, self._name))
        return node, os.getpid()

    def train(self, entry: Entry, files: bytes | None) -> Result:
        """Train one run.

        Args:
            entry: The run.
            files: Its run directory, if it was begun; None on the machine of the command, which has it.
        """
        with self._place() as folder, _interruptible():
            place = folder / RUNS / entry.label
            place.parent.mkdir(exist_ok=True)
            unpack(files, place)
            outbox = Outbox(folder)
            code = train(outbox, self._family, entry, self._keep)
            return Result(code, outbox.outcomes[-1], None if self._at_home else packed(place))

    @contextlib.contextmanager
    def _place(self) -> Iterator[Path]:
        if self._at_home:
            yield self._folder
            return
        with draft_folder(Path(tempfile.gettempdir()), 0o700) as folder:
            yield folder


@dataclass
class _Slot:
    """An actor with what the command holds for it."""

    name: str
    actor: Any
    life: Life
    held: ExitStack
    node: str | None = None
    process: int | None = None
    entry: Entry | None = None


@dataclass
class RayExecutor(Executor):
    """Actors on a Ray cluster that train the runs of a sweep.

    Args:
        workers: Number of actors; None: as many as the cluster has room for.
        gpus_per_run: GPUs of each actor; None: one if the runs use GPUs and the cluster has some.
        on_gpus: Whether the runs use the GPUs that they can see.
        address: The address of the cluster; None: that of RAY_ADDRESS, or else a cluster for the time of the sweep.
    """

    claims_alone: ClassVar[bool] = True

    workers: int | None
    gpus_per_run: float | None
    on_gpus: bool
    address: str | None
    _ray: ModuleType = field(init=False, repr=False)
    _work: Work = field(init=False, repr=False, compare=False)
    _slots: dict[Any, _Slot] = field(default_factory=dict, init=False)
    _deaths: int = field(default=0, init=False)

    def __enter__(self) -> Self:
        self._ray = needed("ray", "executor=ray")
        own = self.address is None and not os.environ.get("RAY_ADDRESS")
        environment = environment_of_process()
        variables = {name: environment[name] for name in ("OMP_NUM_THREADS", *(("PYTHONPATH",) if own else ()))}
        runtime: dict[str, Any] = {"env_vars": variables}
        if not own:
            runtime["py_modules"] = [str(_ROOT / name) for name in _PACKAGES]
        local = {"include_dashboard": False, "num_cpus": self.workers} if own else {}
        try:
            self._ray.init(
                address=None if own else self.address,
                runtime_env=runtime,
                log_to_driver=False,
                logging_level="ERROR",
                **local,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"no Ray cluster can be used at ray_address={self.address}: {reason}") from None
        try:
            self._plan()
        except BaseException:
            self._ray.shutdown()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._ray.shutdown()

    def _plan(self) -> None:
        """Decide the GPUs of an actor and the number of actors by what the cluster has."""
        has = self._ray.cluster_resources()
        gpus = int(has.get("GPU", 0))
        if self.gpus_per_run is None:
            self.gpus_per_run = float(self.on_gpus and gpus > 0)
        if self.gpus_per_run > gpus:
            raise ConfigError(f"gpus_per_run must be at most the {gpus} of the cluster, got {self.gpus_per_run:g}.")
        room = max(1, int(has.get("CPU", 1)))
        if self.gpus_per_run:
            room = min(room, room_for(gpus, self.gpus_per_run))
        self.workers = min(self.workers or room, room)

    def run(self, work: Work) -> None:
        """Train all runs that are not finished; see :meth:`~sweep.executors.executor.Executor.run`."""
        self._work = work
        home = self._ray.get_runtime_context().get_node_id()
        try:
            for _ in range(min(self.workers or 1, open_runs(work.ledger))):
                self._start(home)
            while self._slots:
                ready, _ = self._ray.wait(list(self._slots), timeout=_POLL_SECONDS)
                for task in ready:
                    self._ended(task, self._slots.pop(task), home)
                work.on_change()
        finally:
            self._stop()

    def _start(self, home: str) -> None:
        """Start an actor, whose first task is to say where it is."""
        name = f"ray-{uuid.uuid4().hex[:12]}"
        folder = self._work.ledger.folder.absolute()
        held = ExitStack()
        life = held.enter_context(living(folder, name))
        actor = (
            self._ray.remote(Trainer)
            .options(num_cpus=1, num_gpus=self.gpus_per_run, max_restarts=0)
            .remote(folder, name, self._work.ledger.family, self._work.keep)
        )
        self._slots[actor.settle.remote(home)] = _Slot(name, actor, life, held)

    def _ended(self, task: Any, slot: _Slot, home: str) -> None:
        """Store the result of a task, and give the actor its next run; start another actor in place of a lost one."""
        try:
            result = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            self._lost(slot, error)
            self._start(home)
            return
        if isinstance(result, Result):
            self._store(slot, result)
        else:
            slot.node, slot.process = result
        self._deaths = 0
        self._next(slot, home)

    def _next(self, slot: _Slot, home: str) -> None:
        slot.entry = self._work.ledger.claim(slot.life, self._work.retries)
        if slot.entry is None:
            self._release(slot)
            return
        place = self._work.ledger.folder / RUNS / slot.entry.label
        files = None if slot.node == home else packed(place)
        self._slots[slot.actor.train.remote(slot.entry, files)] = slot

    def _store(self, slot: _Slot, result: Result) -> None:
        assert slot.entry is not None
        unpack(result.files, self._work.ledger.folder / RUNS / slot.entry.label)
        result.outcome.record(self._work.ledger)
        if result.code == FULL:
            raise disk_full(self._work.ledger.folder)

    def _lost(self, slot: _Slot, error: Exception) -> None:
        """Write why an actor was lost, and let the ledger give its run to another one."""
        logs = self._work.ledger.folder / LOGS
        logs.mkdir(exist_ok=True)
        (logs / f"{slot.name}.log").write_text(f"{error}\n", encoding="utf-8")
        slot.held.close()
        self._deaths = self._deaths + 1 if slot.process is None else 0
        if self._deaths >= _MOST_DEATHS:
            last = " ".join(str(error).split())
            raise LedgerError(f"the processes of the sweep end with an error: {last}")

    def _release(self, slot: _Slot) -> None:
        self._ray.kill(slot.actor)
        slot.held.close()

    def _stop(self) -> None:
        """Let every actor store the state of its run and end."""
        training = {task: slot for task, slot in self._slots.items() if slot.entry is not None}
        for slot in training.values():
            self._interrupt(slot)
        ready, _ = (
            self._ray.wait(list(training), num_returns=len(training), timeout=_STOP_SECONDS) if training else ([], [])
        )
        for task in ready:
            with contextlib.suppress(self._ray.exceptions.RayError, OSError):
                self._store(training[task], self._ray.get(task))
        for slot in self._slots.values():
            self._release(slot)
        self._slots.clear()
        self._work.ledger.recover()

    def _interrupt(self, slot: _Slot) -> None:
        """Interrupt the process of an actor as Ctrl-C does, on whatever machine it is."""
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        there = strategies.NodeAffinitySchedulingStrategy(node_id=slot.node, soft=False)
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.remote(_send_signal).options(num_cpus=0, scheduling_strategy=there).remote(slot.process)


def _send_signal(process: int) -> None:
    """Ask a process of this machine to stop."""
    os.kill(process, _STOP_SIGNAL)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Interrupt the block at the signal that the command sends to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(_STOP_SIGNAL, interrupt)
    try:
        yield
    finally:
        signal.signal(_STOP_SIGNAL, before)
