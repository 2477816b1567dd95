"""The style of the code: docstrings, short functions, few untyped values, American spelling, nothing printed."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.import_graph import PACKAGES, ROOT

FOLDERS = (*PACKAGES, "benchmarks", "diagrams")
MODULES = sorted(
    path.relative_to(ROOT)
    for pattern in ("run_*.py", *(f"{folder}/**/*.py" for folder in FOLDERS))
    for path in ROOT.glob(pattern)
)
LONGEST = 40
"""Lines of code that a function may have, without its docstring, comments and blank lines."""
LONGEST_FILE = 500
ANY_PER_THOUSAND = 5.0

BRITISH = re.compile(
    r"colour|\bgrey|behaviour|neighbour|favour|honour|licence|catalogue|centre[ds]?\b|fulfil\b|judgement|learnt|spelt\b"
    r"|(?:normal|regular|optim|initial|summar|penal|util|standard|vector|minim|maxim|serial|organ|recogn|general|real|visual"
    r"|synchron|random|parallel|character|memor|categor|binar|special)is(?:e[drs]?|ing|ation)s?\b"
    r"|(?:label|model|cancel|travel|signal)l(?:ed|ing)\b|analys(?:e|ed|ing)\b|artefact|whilst|programme\b"
)


def british(text: str) -> re.Match[str] | None:
    """The first word of British spelling in a text. Ignoring case in the expression would take six times as long."""
    return BRITISH.search(text.lower())


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function that hold code."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    lines = ast.unparse(ast.Module(body=body, type_ignores=[])).splitlines() if body else []
    spread = body[-1].end_lineno - body[0].lineno + 1 if body and body[-1].end_lineno else 0
    return min(len(lines), spread) if lines else 0


def printing(source: str) -> list[int]:
    """Lines that call ``print``."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def unexplained(source: str) -> list[str]:
    """Public modules, classes, functions and methods without a docstring."""

    def visit(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
        if ast.get_docstring(node) is None:
            yield prefix or "module"
        for child in node.body:
            if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            name = f"{prefix}.{child.name}".lstrip(".")
            if child.name.startswith("_") or _is_variant(child):
                continue
            if isinstance(child, ast.ClassDef):
                yield from visit(child, name)
            elif ast.get_docstring(child) is None:
                yield name

    return list(visit(ast.parse(source), ""))


def _is_variant(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the definition is a setter or an overload, which shares the docstring of the first definition."""
    marks = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return not marks.isdisjoint({"setter", "deleter", "overload", "override"})


def read(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", PACKAGES)
def test_packages_print_nothing(folder: str) -> None:
    assert {str(path): lines for path in MODULES if path.parts[0] == folder and (lines := printing(read(path)))} == {}


@pytest.mark.parametrize("folder", [*FOLDERS, "run_"])
def test_everything_public_has_a_docstring(folder: str) -> None:
    missing = {
        str(path): names for path in MODULES if str(path).startswith(folder) and (names := unexplained(read(path)))
    }
    assert missing == {}


def test_functions_are_short() -> None:
    lengths = {
        f"{path}:{node.name}": code_lines(node)
        for path in MODULES
        for node in functions(ast.parse(read(path)))
        if (node.end_lineno or node.lineno + LONGEST) - node.lineno >= LONGEST  # `code_lines` takes a while
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_no_file_is_too_long() -> None:
    lengths = {str(path): read(path).count("\n") for path in [*MODULES, *(ROOT / "test").rglob("*.py")]}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


@pytest.mark.parametrize("folder", PACKAGES)
def test_few_values_are_untyped(folder: str) -> None:
    texts = [read(path) for path in MODULES if path.parts[0] == folder]
    untyped = sum(len(re.findall(r"\bAny\b", text)) for text in texts)
    assert 1000 * untyped / sum(text.count("\n") for text in texts) <= ANY_PER_THOUSAND


def test_spelling_is_american() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    own = Path(__file__).resolve()
    found = {
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}": match[0]
        for name in tracked.splitlines()
        if Path(name).suffix
        in {".py", ".md", ".js", ".css", ".html", ".c", ".inc", ".toml", ".yml", ".yaml", ".ipynb", ".sh", ".txt"}
        and (ROOT / name).is_file()
        and (ROOT / name).resolve() != own
        and (match := british(text := read(Path(name))))
    }
    assert found == {}


def test_each_fault_of_style_is_detected() -> None:
    source = "class A:\n  def f(self): pass\n  def _g(self): pass\ndef h():\n  def inner(): pass"
    assert unexplained(source) == ["module", "A", "A.f", "h"]
    assert unexplained('"M."\nclass _A:\n  def f(self): pass\ndef h():\n  "H."') == []
    assert printing("def f():\n    '''print()'''\n    print(1)\nx.print()") == [3]
    (long,) = functions(ast.parse('def f():\n    """D.\n\n    More.\n    """\n    # why\n    a = 1\n\n    return a'))
    assert code_lines(long) == 2
    for word in ("Colour", "normalised", "optimiser", "labelled", "grey", "regularisation", "centre"):
        assert british(f"a {word} b")
    for word in (
        "color",
        "precision",
        "otherwise",
        "raise",
        "noise",
        "promised",
        "exercise",
        "supervised",
        "grep",
        "center",
    ):
        assert not british(f"a {word} b")


def code_of(source: str) -> list[tuple[int, str]]:
    """The lines of a file that hold code, by number: without imports, docstrings, comments, and brackets alone.

    Parameters are left out too, because a public signature names every option that it hands on.
    """
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if (text or isinstance(node, ast.Import | ast.ImportFrom)) and node.end_lineno:
            left_out |= set(range(node.lineno, node.end_lineno + 1))
        for parameter in ast.walk(node.args) if isinstance(node, ast.FunctionDef) else ():
            if isinstance(parameter, ast.arg):
                left_out.add(parameter.lineno)
    lines = ((number, line.partition("#")[0].strip()) for number, line in enumerate(source.splitlines(), 1))
    return [(number, line) for number, line in lines if number not in left_out and re.search(r"\w", line)]


def repeated(sources: dict[str, str], length: int = 6) -> list[tuple[str, str]]:
    """Pairs of places that hold the same code, ``length`` lines or more."""
    seen: dict[tuple[str, ...], str] = {}
    pairs = []
    for name, source in sources.items():
        lines = code_of(source)
        for start in range(len(lines) - length + 1):
            block = lines[start : start + length]
            place = f"{name}:{block[0][0]}"
            first = seen.setdefault(tuple(line for _, line in block), place)
            if first != place:
                pairs.append((first, place))
    return pairs


def test_nothing_is_written_twice() -> None:
    tables = {"data/uci/catalog.py"}  # the files of data sets, entry by entry
    paths = [*MODULES, *sorted(path.relative_to(ROOT) for path in (ROOT / "test").rglob("*.py"))]
    assert repeated({str(path): read(path) for path in paths if str(path) not in tables}) == []


def test_code_that_is_written_twice_is_detected() -> None:
    code = "\n".join(f"x{i} = {i}  # note {{}}" for i in range(6))
    again = "def f():\n    '''D.'''\n" + "\n\n".join(f"    {line}" for line in code.splitlines())
    assert repeated({"a": code, "b": again}) == [("a:1", "b:3")]
    assert repeated({"a": code, "b": again.replace("x3", "y3")}) == []
    signature = "def f(\n" + "".join(f"    x{i}: int,\n" for i in range(9)) + ") -> None:\n    return"
    assert repeated({"a": signature, "b": signature}) == []
