"""The imported code of the files under mutation: replaced by a mutant, or by code that notes what is reached."""

from __future__ import annotations

import ast
import gc
import importlib
import mmap
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from scripts.mutants import Mutant

ROOT = Path(__file__).resolve().parents[1]


class Code:
    """The imported code of the files, which can be replaced.

    Args:
        files: The files, relative to the project.
    """

    def __init__(self, files: Iterable[Path]) -> None:
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

    def __init__(self, files: Iterable[Path]) -> None:
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
