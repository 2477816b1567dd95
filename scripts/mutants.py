"""Mutants of a module: its code with one small fault each."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
"""What stands in for each operator."""
OPPOSITE = {"min": "max", "amin": "amax", "argmin": "argmax", "minimum": "maximum", "any": "all", "floor": "ceil"}
OPPOSITE |= {value: key for key, value in OPPOSITE.items()}
"""What stands in for each function or method that is called."""
LEFT_OUT = (ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)
"""Code without mutants: texts, and what is for type checkers."""
LEFT_OUT_FIELDS = ("annotation", "returns", "decorator_list")
REPORTS = ("logger", "warnings")
"""Names of what tells the user something: whether it tells has mutants, and the text has none."""
LEFT_OUT_KEYWORDS = (None, "strict", "stacklevel")
"""Keyword arguments that are never dropped: ``**options``, and assertions."""
LONGEST = 60
"""Characters of code in a line of the report."""

Definition: TypeAlias = ast.FunctionDef | ast.Assign | ast.AnnAssign
Spot: TypeAlias = tuple[ast.AST, str, int | None, ast.AST, int]
"""A node below another one: the node above, its attribute, the position in it, the node, the line of its statement."""


@dataclass(frozen=True)
class Mutant:
    """A module with one fault.

    Attributes:
        line: The line of the fault.
        lines: The first and the last line of the statements of which a test must reach one to notice the fault.
        text: The code before and after, in short.
        tree: The module.
        put: Puts the fault into the tree, for good.
        target: None if the fault is in the body of a function. Else the function that has it in a default, or the
            assignment of a module or of a class that has it.
        owner: The class around the target, if there is one.
    """

    line: int
    lines: tuple[int, int]
    text: str
    tree: ast.Module
    put: Callable[[], None]
    target: Definition | None
    owner: str | None


def mutants_of(source: str) -> Iterator[Mutant]:
    r"""All mutants of a module.

    Args:
        source: The code of the module.

    Example:
        >>> [mutant.text for mutant in mutants_of("def f(x):\n    return x < 0")]
        ['return x < 0 -> return None', 'x < 0 -> x <= 0', '0 -> 1', '0 -> -1']
    """
    tree = ast.parse(source)
    for definition, owner in _definitions(tree):
        first, last = definition.lineno, definition.end_lineno or definition.lineno
        spots: list[tuple[Spot, Definition | None]] = []
        if isinstance(definition, ast.FunctionDef):
            spots += [(spot, definition) for spot in _below(definition.args, first)]
            spots += [(spot, None) for spot in _below(definition, first, ("body",))]
        else:
            first, last = 1, len(source.splitlines())
            spots += [(spot, definition) for spot in _below(definition, first, ("value",))]
        names = Counter(_bound(definition))
        for (holder, field, index, node, line), target in spots:
            for new in _faults(node, names):
                yield Mutant(
                    getattr(node, "lineno", line), (line, line) if target is None else (first, last),
                    f"{_short(node)} -> {_short(new)}", tree, partial(_put, holder, field, index, new), target, owner,
                )  # fmt: skip


def _definitions(tree: ast.Module) -> Iterator[tuple[Definition, str | None]]:
    """The functions, methods and assignments of a module, each with its class."""
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef):
            kinds = " ".join(map(ast.unparse, (*statement.bases, *statement.decorator_list)))
            fixed = any(kind in kinds for kind in ("Enum", "dataclass", "Protocol"))
            for inner in () if "Protocol" in kinds else statement.body:
                if isinstance(inner, ast.FunctionDef) or (isinstance(inner, ast.Assign) and not fixed):
                    yield inner, statement.name
        elif isinstance(statement, ast.FunctionDef):
            if "overload" not in map(ast.unparse, statement.decorator_list):
                yield statement, None
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and "TypeAlias" not in ast.unparse(statement):
            yield statement, None


def _below(node: ast.AST, line: int, fields: Sequence[str] = ()) -> Iterator[Spot]:
    """All nodes below one that may have mutants."""
    for field in fields or node._fields:
        value = getattr(node, field, None)
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if field in LEFT_OUT_FIELDS or not isinstance(child, ast.AST) or isinstance(child, LEFT_OUT):
                continue
            if isinstance(child, ast.keyword) and child.arg in LEFT_OUT_KEYWORDS[1:]:
                continue
            here = child.lineno if isinstance(child, ast.stmt) else line
            yield node, field, index, child, here
            if not isinstance(child, ast.Raise) and not (isinstance(child, ast.Call) and _is_report(child)):
                yield from _below(child, here)


def _is_report(call: ast.Call) -> bool:
    return ast.unparse(call.func).partition(".")[0] in REPORTS


def _bound(definition: Definition) -> Iterator[str]:
    """The names that are bound in a definition, as often as they are."""
    for node in ast.walk(definition):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _put(holder: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(holder, field, node)
    else:
        getattr(holder, field)[index] = node


def _short(node: ast.AST) -> str:
    shown = node.test if isinstance(node, ast.If | ast.While) else node
    text = ast.unparse(shown).strip().partition("\n")[0]
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _faults(node: ast.AST, names: Counter[str]) -> Iterator[ast.AST]:
    """What can stand in for a node.

    Args:
        node: The node.
        names: How often each name is bound in the function.
    """
    match node:
        case ast.Compare():
            for index, operator in enumerate(node.ops):
                ops = [*node.ops[:index], OPERATORS[type(operator)](), *node.ops[index + 1 :]]
                yield _changed(node, ops=ops)
        case ast.BinOp() | ast.AugAssign() | ast.BoolOp():
            if type(node.op) in OPERATORS:
                yield _changed(node, op=OPERATORS[type(node.op)]())
        case ast.UnaryOp():
            yield node.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=(int() | float()) as number):
            yield from (ast.Constant(number + step) for step in (1, -1))
        case ast.Slice():
            for name, bound in (("lower", node.lower), ("upper", node.upper)):
                if bound is not None and not isinstance(bound, ast.Constant | ast.UnaryOp):
                    yield _changed(node, **{name: ast.BinOp(bound, ast.Add(), ast.Constant(1))})
        case ast.Return(value=ast.expr()) if ast.unparse(node) != "return None":
            yield _changed(node, value=ast.Constant(None))
        case ast.Call():
            yield from _other_calls(node)
        case ast.If() | ast.While() | ast.IfExp():
            yield from (_changed(node, test=test) for test in _negated(node.test))
        case ast.comprehension():
            for index, condition in enumerate(node.ifs):
                for other in _negated(condition):
                    yield _changed(node, ifs=[*node.ifs[:index], other, *node.ifs[index + 1 :]])
    if _can_be_left_out(node, names):
        yield ast.Pass()


def _changed(node: ast.AST, **fields: object) -> ast.AST:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _other_calls(call: ast.Call) -> Iterator[ast.AST]:
    if isinstance(call.func, ast.Name) and call.func.id in OPPOSITE:
        yield _changed(call, func=_changed(call.func, id=OPPOSITE[call.func.id]))
    if isinstance(call.func, ast.Attribute) and call.func.attr in OPPOSITE:
        yield _changed(call, func=_changed(call.func, attr=OPPOSITE[call.func.attr]))
    for index, keyword in enumerate(() if _is_report(call) else call.keywords):
        if keyword.arg not in LEFT_OUT_KEYWORDS:
            yield _changed(call, keywords=[*call.keywords[:index], *call.keywords[index + 1 :]])


def _negated(test: ast.expr) -> Iterator[ast.AST]:
    """The opposite of a condition, unless a mutant inside of the condition is the opposite."""
    inside = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        inside = not isinstance(test.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE)
    if not inside:
        yield ast.UnaryOp(ast.Not(), test)


def _can_be_left_out(node: ast.AST, names: Counter[str]) -> bool:
    """Whether a statement may be without effect: not if it binds a name that would be unknown without it."""
    if isinstance(node, ast.Assign):
        bound = [part for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)]
        return all(names[part.id] != 1 for part in bound if isinstance(part.ctx, ast.Store))
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    return called or isinstance(node, ast.AugAssign | ast.Raise | ast.Delete | ast.Break | ast.Continue)
