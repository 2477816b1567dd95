"""The house stays in order: which way imports go, small files, nothing printed, all explained."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("jumpstart", "data", "model", "sweep")
TOOLS = ("benchmarks", "diagrams", "reproduction")
FOLDERS = (*PACKAGES, *TOOLS, "test")
LINES = 400

# What each may import of ours. Networks come before the rest of their folder: they know their own
# folder alone.
NETWORKS = {"rectangular.py", "resnet.py", "resnet_conv.py", "resnet_dense.py", "resnet_init.py", "checks.py"}
MAY_IMPORT = {
    "jumpstart": {"jumpstart"},
    "data": {"data"},
    "networks": {"model"},
    "model": {"model", "jumpstart"},
    "sweep": {"sweep", "model", "data", "jumpstart"},
    "run": set(PACKAGES),
    **{folder: {*PACKAGES, folder} for folder in TOOLS},
}

FILES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.py", *(f"{folder}/**/*.py" for folder in FOLDERS))
    for path in ROOT.glob(pattern)
)
MODULES = [path for path in FILES if path.parts[0] != "test"]


def layer_of(path: Path) -> str:
    """The row of MAY_IMPORT for a file."""
    if len(path.parts) == 1:
        return "run"
    return "networks" if path.parts[0] == "model" and path.name in NETWORKS else path.parts[0]


def imported(source: str, path: Path) -> Iterator[str]:
    """First names of what a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0] if node.module and not node.level else path.parts[0]


def wrong_imports(source: str, path: Path) -> set[str]:
    """What a file imports of ours and should not."""
    ours = {name for name in imported(source, path) if name in FOLDERS or name.startswith("run_")}
    return ours - MAY_IMPORT[layer_of(path)]


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
    """A setter or an overload: its docstring is that of the first definition."""
    marks = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return not marks.isdisjoint({"setter", "deleter", "overload", "override"})


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_go_one_way(path: Path) -> None:
    assert wrong_imports((ROOT / path).read_text(encoding="utf-8"), path) == set()


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_file_is_too_long(path: Path) -> None:
    lines = (ROOT / path).read_text(encoding="utf-8").count("\n")
    assert lines <= LINES


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[0] in PACKAGES], ids=str)
def test_packages_print_nothing(path: Path) -> None:
    assert printing((ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_everything_public_is_explained(path: Path) -> None:
    assert unexplained((ROOT / path).read_text(encoding="utf-8")) == []


def test_each_package_is_there() -> None:
    assert {path.parts[0] for path in FILES} >= {*PACKAGES, "test"}


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("jumpstart/a.py", "import torch, jumpstart.b", set()),
        ("jumpstart/a.py", "import data.data as d", {"data"}),
        ("data/a.py", "def f():\n    from jumpstart import status", {"jumpstart"}),
        ("model/rectangular.py", "from .config import option", set()),
        ("model/rectangular.py", "from jumpstart import Status", {"jumpstart"}),
        ("model/experiment.py", "from jumpstart import Status", set()),
        ("model/experiment.py", "from data import data", {"data"}),
        ("sweep/a.py", "import run_rectangular_sweep", {"run_rectangular_sweep"}),
        ("sweep/a.py", "from benchmarks.main_job import bare", {"benchmarks"}),
        ("run_a.py", "from sweep.run import run\nfrom test import asserts", {"test"}),
    ],
)
def test_a_wrong_import_is_seen(path: str, source: str, wrong: set[str]) -> None:
    assert wrong_imports(source, Path(path)) == wrong


def test_what_is_unexplained_is_seen() -> None:
    source = "class A:\n  def f(self): pass\n  def _g(self): pass\ndef h():\n  def inner(): pass"
    assert unexplained(source) == ["module", "A", "A.f", "h"]
    assert unexplained('"M."\nclass _A:\n  def f(self): pass\ndef h():\n  "H."') == []


def test_a_call_of_print_is_seen() -> None:
    assert printing("def f():\n    '''print()'''\n    print(1)\nx.print()") == [3]


def test_the_picture_of_the_house_is_true() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (picture,) = re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    drawn, folder = set(), ""
    for line in picture.splitlines():
        if found := re.match(r"(\w+)/", line):
            folder = found[1]
        elif found := re.match(r"( *)(\w+\.py)\b", line):
            drawn.add(Path(folder if found[1] else "", found[2]))
    built = {path for path in MODULES if path.name != "__init__.py"}
    helpers = {path for path in FILES if path.parts[0] == "test"} - {
        path for path in FILES if path.name.startswith("test_")
    }
    missing, gone = (built | helpers) - drawn, drawn - built - helpers
    assert (sorted(map(str, missing)), sorted(map(str, gone))) == ([], [])
