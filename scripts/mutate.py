"""Mutation testing: ``python -m scripts.mutate jumpstart/penalty.py data/splitting.py``.

A mutant is the code with one small fault: ``<`` for ``<=``, a constant off by one, a call left out. A test that fails
kills the mutant. Mutants that survive show what no test checks, or code that has no effect.

One process imports the tests, and is forked for each mutant. The fork puts the changed code into the functions that are
imported, and runs the tests that reach the changed statement, until one fails. Which tests reach it is known from a run
without a mutant. Code in processes that began before the fork, such as those of ``test/support/fresh.py``, has no
mutant.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import mmap
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scripts.imported import ROOT, Code, Marks, with_markers
from scripts.mutants import Mutant, mutants_of

TESTS = {
    "jumpstart": ("test/loss", "test/status", "test/doctor/test_doctor.py", "test/faults/test_property_of_models.py"),
    "data": tuple(
        f"test/datasets/test_{name}.py"
        for name in ("splitting", "batches", "scaling", "tables", "split_seed", "datamodules", "images_in_memory")
    ),
}
"""The tests of the files in a folder of the project, besides the examples in these files."""
GRACE = 5
"""A test is stopped, and counts as failed, after 5 seconds and 5 times what it takes without a mutant."""
UNPLACED = 9
"""Exit code of a fork that could not put a mutant into the imported code."""


class Mutation:
    """A plugin of pytest that runs the tests once without a mutant, and then for each mutant.

    Args:
        files: The files to mutate, relative to the project, each with the lines to mutate; none for all.
        options: The options of the command.
        report: Writes a line for the user.
    """

    def __init__(
        self, files: dict[Path, list[int]], options: argparse.Namespace, report: Callable[[str], None]
    ) -> None:
        self._files, self._options, self._report = files, options, report
        self._sources = {path: (ROOT / path).read_text(encoding="utf-8") for path in files}
        self._marks = Marks(files)
        self._of_fixtures: dict[object, set[int]] = {}
        self._seconds: dict[str, float] = {}
        self._reached: dict[str, set[int]] = {}
        self._kills: Counter[tuple[Path, str]] = Counter()
        self._failures: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try all mutants."""
        if session.testsfailed:
            raise session.Interrupted("a test cannot be imported")
        self._code = Code(self._files)
        self._items = {item.nodeid: item for item in session.items}
        _set_up(session)
        with tempfile.TemporaryDirectory() as folder:
            failed = _forked(partial(self._run_without_mutant, session, Path(folder, "usual.json")))
            if failed:
                raise session.Interrupted(f"exit code {failed} without a mutant")
            self._seconds, reached = json.loads(Path(folder, "usual.json").read_text())
        self._reached = {name: set(positions) for name, positions in reached.items()}
        self._report(f"{len(self._seconds)} tests take {sum(self._seconds.values()):.0f} s without a mutant")
        for path in self._files:
            self._try_file(path)
        return True

    def _run_without_mutant(self, session: pytest.Session, output: Path) -> int:
        for path in self._files:
            self._code.place(path, with_markers(self._sources[path]), _reached=self._marks.marker(path))
        for number, item in enumerate(session.items, 1):
            following = session.items[number] if number < len(session.items) else session
            self._marks.take()
            start = time.perf_counter()
            if failure := self._failure(item, following):
                self._report(f"{item.nodeid} fails without a mutant:\n{failure}")
                return 1
            self._seconds[item.nodeid] = time.perf_counter() - start
            reached = self._marks.take()
            fixtures = getattr(item, "_fixtureinfo", None)
            for definitions in fixtures.name2fixturedefs.values() if fixtures else ():
                reached.update(*(self._of_fixtures.get(definition, ()) for definition in definitions))
            self._reached[item.nodeid] = reached
        output.write_text(json.dumps([self._seconds, {name: sorted(lines) for name, lines in self._reached.items()}]))
        return 0

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
        """Note what is reached by a fixture that several tests share."""
        before = self._marks.take()
        try:
            return (yield)
        finally:
            reached = self._marks.take()
            if fixturedef.scope != "function":
                self._of_fixtures[fixturedef] = reached
            self._marks.put(before | reached)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        if report.failed:
            self._failures.append(report.longreprtext)

    def _failure(self, item: pytest.Item, following: pytest.Item | pytest.Session) -> str:
        """Run a test in a fork: the text of its failure, empty if it passes."""
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        return "".join(self._failures)

    def _try_file(self, path: Path) -> None:
        options = self._options
        mutants = list(mutants_of(self._sources[path]))
        chosen = random.Random(options.seed).sample(mutants, round(options.share * len(mutants)))
        chosen = [mutant for mutant in chosen if not self._files[path] or mutant.line in self._files[path]]
        killed, unplaced, start = 0, 0, time.monotonic()
        for mutant in sorted(chosen, key=lambda mutant: mutant.line):
            lines = self._marks.between(path, mutant.lines)
            reaching = [name for name, reached in self._reached.items() if not reached.isdisjoint(lines)]
            tests = self._ranked(path, reaching)
            status, last = self._try(path, mutant, tests)
            if status == UNPLACED:
                unplaced += 1
            elif status:
                killed += 1
                self._kills[path, last] += 1
            else:
                self._report(f"{path}:{mutant.line}: {mutant.text}  [{len(tests)} of {len(reaching)} tests]")
        tried = len(chosen) - unplaced
        self._report(
            f"{path}: {tried} of {len(mutants)} mutants, {killed} killed, {100 * killed / max(tried, 1):.1f} %, "
            f"{time.monotonic() - start:.0f} s"
        )

    def _ranked(self, path: Path, names: list[str]) -> list[str]:
        """The tests in the order that is likely to kill soonest, and no more of them than fit into the time.

        Those that have killed a mutant of the file come first, then one case of each test, then another one of each.
        """
        cases: Counter[str] = Counter()
        keys = {}
        for name in sorted(names, key=self._seconds.__getitem__):
            cases[name.partition("[")[0]] += 1
            kills = self._kills[path, name]
            keys[name] = (kills == 0, -kills / self._seconds[name], cases[name.partition("[")[0]], self._seconds[name])
        chosen, left = [], self._options.seconds
        for name in sorted(names, key=keys.__getitem__):
            if self._seconds[name] <= left:
                left -= self._seconds[name]
                chosen.append(name)
        return chosen

    def _try(self, path: Path, mutant: Mutant, names: list[str]) -> tuple[int, str]:
        """The exit code of a fork with the mutant, 0 if all tests pass, and the test that ran last."""
        position = mmap.mmap(-1, 1 + len(names))

        def test() -> int:
            try:
                self._code.place_mutant(path, mutant)
            except ValueError:
                return UNPLACED
            items = [self._items[name] for name in names]
            for number, item in enumerate(items):
                position[number] = 1
                signal.setitimer(signal.ITIMER_REAL, GRACE + GRACE * self._seconds[item.nodeid])
                if self._failure(item, items[number + 1] if number + 1 < len(items) else item.session):
                    return 1
            return 0

        status = _forked(test)
        return status, names[max(0, position[:].count(1) - 1)] if names else ""


def _set_up(session: pytest.Session) -> None:
    """Set up what all tests share, except for the server of processes, which each fork starts when it needs one."""
    session.config.pluginmanager.unregister(name="terminalreporter")
    processes = sys.modules.pop("support.processes", None)
    session.items[0].ihook.pytest_runtest_protocol(item=session.items[0], nextitem=session)
    if processes is not None:
        sys.modules["support.processes"] = processes
        for name in processes.PRELOADED:
            importlib.import_module(name)
        vars(processes)["_context"] = _Late(processes.start_server)


class _Late(list[Any]):
    """An empty list that is filled when it is read."""

    def __init__(self, fill: Callable[[], None]) -> None:
        super().__init__()
        self._fill = fill

    def __getitem__(self, index: Any) -> Any:
        if not len(self):
            self._fill()
        return super().__getitem__(index)


def _forked(work: Callable[[], int]) -> int:
    """The exit code of a fork that runs ``work``; negative after a signal, as when time ran out."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setpgid(0, 0)
            status = work()
        finally:
            os._exit(status)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # with what the tests have left running


def main() -> int:
    """Mutate the files that the command names."""
    parser = argparse.ArgumentParser(prog="python -m scripts.mutate", description="Mutation testing.")
    parser.add_argument("files", nargs="+", help="files or folders of jumpstart/ or data/, or FILE:LINE,LINE-LINE")
    parser.add_argument("--share", type=float, default=1.0, help="share of the mutants that are tried")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw of that share")
    parser.add_argument("--seconds", type=float, default=60.0, help="most seconds of tests for one mutant")
    parser.add_argument("--test", action="append", help="tests to run instead of the usual ones")
    options = parser.parse_args()
    files = dict(part for text in options.files for part in _named(text))
    tests = options.test or [test for folder, tests in TESTS.items() for test in tests if _any_in(files, folder)]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with os.fdopen(os.dup(1), "w", buffering=1) as out, tempfile.TemporaryDirectory() as folder:
        mutation = Mutation(files, options, partial(print, file=out))
        quiet = ("-qq", "-p", "no:faulthandler", "-p", "no:cacheprovider")
        nothing = ("-o", "tmp_path_retention_policy=none", f"--basetemp={folder}/tests")
        return pytest.main([*quiet, *nothing, *tests, *map(str, files)], [mutation])


def _named(text: str) -> list[tuple[Path, list[int]]]:
    """The files that an argument names, each with the lines that it names."""
    name, _, lines = text.partition(":")
    path = Path(name).resolve().relative_to(ROOT)
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [(file, [line for part in lines.split(",") if part for line in _lines(part)]) for file in files]


def _lines(part: str) -> range:
    """The lines in ``"7"`` or ``"7-12"``."""
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)


def _any_in(files: Iterable[Path], folder: str) -> bool:
    return any(file.parts[0] == folder for file in files)


if __name__ == "__main__":
    sys.exit(main())
