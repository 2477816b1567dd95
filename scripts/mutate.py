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
import ast
import contextlib
import gc
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
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest

from scripts.mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "jumpstart": ("test/loss", "test/status", "test/faults/test_property_of_models.py"),
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


class Code:
    """The imported code of the files, which can be replaced.

    Args:
        files: The files, relative to the project.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self._modules = {path: importlib.import_module(".".join(path.with_suffix("").parts)) for path in files}
        functions = [item for item in gc.get_objects() if type(item) is FunctionType]
        self._functions = {
            path: [function for function in functions if function.__code__.co_filename == str(ROOT / path)]
            for path in files
        }

    def place(self, path: Path, tree: ast.Module, **names: object) -> None:
        """Put the code of a whole module into its functions, and names into the module."""
        vars(self._modules[path]).update(names)
        codes = {_key(code): code for code in _codes(compile(tree, str(ROOT / path), "exec"))}
        for function in self._functions[path]:
            new = codes.get(_key(function.__code__), function.__code__)
            if new != function.__code__:
                function.__code__ = new

    def place_mutant(self, path: Path, mutant: Mutant) -> None:
        """Put a mutant into the module.

        Raises:
            ValueError: If the function is a closure, and the mutant needs other variables of the function around it.
        """
        mutant.put()
        ast.fix_missing_locations(mutant.tree)
        module, target = self._modules[path], mutant.target
        if target is None:
            self.place(path, mutant.tree)
        elif isinstance(target, ast.FunctionDef):
            self._set_defaults(path, module, target)
        else:
            _assign(module, vars(module)[mutant.owner] if mutant.owner else module, target)

    def _set_defaults(self, path: Path, module: ModuleType, target: ast.FunctionDef) -> None:
        defaults = [_evaluated(default, module) for default in target.args.defaults]
        by_name = {
            argument.arg: _evaluated(default, module)
            for argument, default in zip(target.args.kwonlyargs, target.args.kw_defaults, strict=True)
            if default is not None
        }
        first = min([target.lineno, *(decorator.lineno for decorator in target.decorator_list)])
        for function in self._functions[path]:
            if function.__name__ == target.name and function.__code__.co_firstlineno == first:
                function.__defaults__ = tuple(defaults) or None
                function.__kwdefaults__ = by_name or None


def _assign(module: ModuleType, owner: ModuleType | type, target: ast.Assign | ast.AnnAssign) -> None:
    """Give a name of a module or class its mutated value; for a module, also where other modules have imported it."""
    name = ast.unparse(target.targets[0] if isinstance(target, ast.Assign) else target.target)
    assert target.value is not None
    value, before = _evaluated(target.value, module, vars(owner)), vars(owner)[name]
    modules = [owner] if isinstance(owner, type) else list(sys.modules.values())
    for place in modules:
        if vars(place).get(name) is before:
            setattr(place, name, value)


def _evaluated(expression: ast.expr, module: ModuleType, names: object = None) -> object:
    code = compile(ast.Expression(expression), "<mutant>", "eval")
    return eval(code, {**vars(module), **(dict(names) if names else {})})  # type: ignore[call-overload]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _key(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


class Marks:
    """Which statements were reached, in this process or in one that descends from it.

    Args:
        files: The files, relative to the project.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._starts, size = {}, 0
        for path in files:
            self._starts[path] = size
            size += (ROOT / path).read_bytes().count(b"\n") + 1
        self._bytes = mmap.mmap(-1, size)

    def marker(self, path: Path) -> Callable[[int], None]:
        """What a file calls with the line of a statement before it runs the statement."""
        start = self._starts[path]

        def reached(line: int) -> None:
            self._bytes[start + line - 1] = 1

        # The compiler of torch calls such a function while it traces the caller, and puts the result into the graph.
        reached._dynamo_marked_constant = True  # type: ignore[attr-defined]
        return reached

    def take(self) -> set[int]:
        """The positions of the statements that were reached since the last call."""
        found = self._bytes[:]
        self._bytes[:] = bytes(len(found))
        return {position for position, byte in enumerate(found) if byte} if any(found) else set()

    def put(self, positions: set[int]) -> None:
        """Count statements as reached."""
        for position in positions:
            self._bytes[position] = 1

    def between(self, path: Path, lines: tuple[int, int]) -> range:
        """The positions of the statements in some lines."""
        return range(self._starts[path] + lines[0] - 1, self._starts[path] + lines[1])


def with_markers(source: str) -> ast.Module:
    """A module whose functions call ``_reached`` with the line of each statement before they run it."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in {node: None for function in functions for node in ast.walk(function)}:
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                marked = [part for each in statements for part in (*ast.parse(f"_reached({each.lineno})").body, each)]
                setattr(node, field, marked[1:] if _is_text(statements[:1]) else marked)
    return tree


def _is_text(statements: list[ast.stmt]) -> bool:
    return any(isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant) for each in statements)


class Mutation:
    """A plugin of pytest that runs the tests once without a mutant, and then for each mutant.

    Args:
        files: The files to mutate, relative to the project.
        options: The options of the command.
        report: Writes a line for the user.
    """

    def __init__(self, files: Sequence[Path], options: argparse.Namespace, report: Callable[[str], None]) -> None:
        self._files, self._options, self._report = files, options, report
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
            self._code.place(path, with_markers((ROOT / path).read_text("utf-8")), _reached=self._marks.marker(path))
        for item, following in zip(session.items, [*session.items[1:], session], strict=True):
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
        mutants = list(mutants_of((ROOT / path).read_text(encoding="utf-8")))
        chosen = random.Random(options.seed).sample(mutants, round(options.share * len(mutants)))
        chosen = [mutant for mutant in chosen if not options.line or mutant.line in options.line]
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
        """The tests that have killed most in the least time first, and no more of them than fit into the time."""
        ranked = sorted(names, key=lambda name: -(self._kills[path, name] + 0.1) / (self._seconds[name] + 0.02))
        chosen, left = [], self._options.seconds
        for name in ranked:
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


class _Late(list[object]):
    """An empty list that is filled when it is read."""

    def __init__(self, fill: Callable[[], None]) -> None:
        super().__init__()
        self._fill = fill

    def __getitem__(self, index: object) -> object:
        if not len(self):
            self._fill()
        return super().__getitem__(index)  # type: ignore[index]


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
    parser.add_argument("files", nargs="+", type=Path, help="files or folders of jumpstart/ or data/")
    parser.add_argument("--share", type=float, default=1.0, help="share of the mutants that are tried")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw of that share")
    parser.add_argument("--seconds", type=float, default=60.0, help="most seconds of tests for one mutant")
    parser.add_argument("--line", type=int, action="append", help="try the mutants in this line alone")
    parser.add_argument("--test", action="append", help="tests to run instead of the usual ones")
    options = parser.parse_args()
    named = [file for path in options.files for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    files = [file.resolve().relative_to(ROOT) for file in named]
    tests = options.test or [test for folder, tests in TESTS.items() for test in tests if _any_in(files, folder)]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with os.fdopen(os.dup(1), "w", buffering=1) as out, tempfile.TemporaryDirectory() as folder:
        mutation = Mutation(files, options, lambda line: out.write(f"{line}\n") and None)
        arguments = ["-qq", "-p", "no:cacheprovider", "-o", "tmp_path_retention_policy=none", f"--basetemp={folder}/tests"]
        return pytest.main([*arguments, *tests, *map(str, files)], [mutation])


def _any_in(files: Sequence[Path], folder: str) -> bool:
    return any(file.parts[0] == folder for file in files)


if __name__ == "__main__":
    sys.exit(main())
