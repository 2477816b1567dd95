"""Import graph of the project, as text and as an SVG: ``python test/support/import_graph.py [FOLDER] [--svg FILE]``.

Every import counts: at the top of a file or inside a function, for type checkers alone, and by ``importlib`` with a
literal name. A name that a package's ``__init__.py`` re-exports counts as an import of the module that defines it.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("jumpstart", "data", "model", "sweep")
Graph = Mapping[str, set[str]]


def module_of(path: Path) -> str:
    """The dotted name of a file, relative to the root of the project.

    Example:
        >>> module_of(Path("data/uci/__init__.py"))
        'data.uci'
    """
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(source: str, package: str) -> Iterator[tuple[str, str | None]]:
    """Each import of a file, as a module and the name that is imported from it.

    Args:
        source: The text of the file.
        package: The package of the file, which relative imports start from.

    Example:
        >>> list(imported_names("from .hooks import Hook\\nimport torch.nn", "jumpstart.capture"))
        [('jumpstart.capture.hooks', 'Hook'), ('torch.nn', None)]
        >>> list(imported_names("importlib.import_module('data.data')", "jumpstart"))
        [('data.data', None)]
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _BY_NAME:
            yield from ((text, None) for text in map(_literal, node.args[:1]) if text)


_BY_NAME = {"import_module", "__import__", "find_spec", "run_module", "resolve_name", "walk_packages", "iter_modules"}


def _literal(node: ast.expr) -> str:
    """The literal beginning of a text; empty if there is none."""
    if isinstance(node, ast.JoinedStr):
        node = node.values[0]
    if isinstance(node, ast.BinOp):
        return _literal(node.left)
    return node.value.strip(".") if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@cache
def file_graph(root: Path = ROOT, packages: tuple[str, ...] = PACKAGES) -> Graph:
    """The modules of the packages, and the modules that each imports. Faces, which define nothing, are left out."""
    sources = {
        module_of(path.relative_to(root)): (path, path.read_text(encoding="utf-8"))
        for package in packages
        for path in sorted(root.joinpath(package).rglob("*.py"))
    }
    exports = {name: _exports(text, name) for name, (path, text) in sources.items() if path.name == "__init__.py"}
    graph: dict[str, set[str]] = {name: set() for name in sources if name not in exports}
    for name in graph:
        for module, item in imported_names(sources[name][1], name.rpartition(".")[0]):
            graph[name] |= set(_targets(module, item, graph, exports)) - {name}
    return graph


def _exports(source: str, name: str) -> dict[str, tuple[str, str | None]]:
    return {item: (module, item) for module, item in imported_names(source, name) if item}


def _targets(
    module: str, item: str | None, graph: Graph, exports: Mapping[str, Mapping[str, tuple[str, str | None]]]
) -> Iterator[str]:
    """The file that an import reads, past the faces in between."""
    if item and f"{module}.{item}" in graph:
        yield f"{module}.{item}"
    elif module in graph:
        yield module
    elif item and item in exports.get(module, {}):
        yield from _targets(*exports[module][item], graph, exports)
    elif item and f"{module}.{item}" in exports:
        yield from _everything(f"{module}.{item}", graph, exports)
    elif module in exports and item is None:
        yield from _everything(module, graph, exports)


def _everything(face: str, graph: Graph, exports: Mapping[str, Mapping[str, tuple[str, str | None]]]) -> Iterator[str]:
    for module, item in exports[face].values():
        yield from _targets(module, item, graph, exports)


def rooms(graph: Graph, folder: str = "") -> Graph:
    """The graph seen from one folder: its files, and its subfolders as one room each. What is outside is left out.

    Args:
        graph: A graph of files.
        folder: A dotted package, or nothing for the packages themselves.
    """

    def room(name: str) -> str | None:
        inside = name.removeprefix(f"{folder}.") if folder else name
        return inside.split(".")[0] if inside != name or not folder else None

    seen: dict[str, set[str]] = defaultdict(set)
    for name, targets in graph.items():
        if (own := room(name)) is not None:
            seen[own] |= {other for target in targets if (other := room(target)) not in (None, own)}
    return dict(seen)


def circles(graph: Graph) -> list[list[str]]:
    """Groups of modules that import one another in a loop.

    Example:
        >>> circles({"a": {"b"}, "b": {"c"}, "c": {"b"}})
        [['b', 'c']]
    """
    reached = {name: _reach(name, graph) for name in graph}
    groups = {
        tuple(sorted({name, *(other for other in reached[name] if name in reached.get(other, ()))}))
        for name in graph
        if name in reached[name]
    }
    return [list(group) for group in sorted(groups)]


def _reach(start: str, graph: Graph) -> set[str]:
    reached: set[str] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph.get(name, ())
    return reached


def floors(graph: Graph) -> dict[str, int]:
    """The floor of each room: one above the highest that it imports; rooms that import nothing are on floor 1.

    Raises:
        ValueError: If there is a circle.

    Example:
        >>> floors({"a": {"b", "c"}, "b": {"c"}, "c": set()})
        {'c': 1, 'b': 2, 'a': 3}
    """
    if found := circles(graph):
        raise ValueError(f"these import one another: {found}.")
    known: dict[str, int] = {}

    def floor(name: str) -> int:
        if name not in known:
            known[name] = 1 + max((floor(other) for other in graph[name]), default=0)
        return known[name]

    for name in sorted(graph):
        floor(name)
    return dict(sorted(known.items(), key=lambda item: (item[1], item[0])))


def as_text(graph: Graph) -> str:
    """A line for each room, floor by floor from the top, with what it imports."""
    level = floors(graph)
    lines = []
    for number in sorted(set(level.values()), reverse=True):
        lines.append(f"floor {number}")
        lines += [
            f"    {name} -> {', '.join(sorted(graph[name], key=lambda other: (-level[other], other)))}".removesuffix(
                " -> "
            )
            for name in sorted(graph)
            if level[name] == number
        ]
    arrows = sum(map(len, graph.values()))
    return "\n".join([*lines, f"{len(graph)} rooms, {max(level.values())} floors, {arrows} arrows"]) + "\n"


def as_svg(graph: Graph) -> str:
    """The rooms as boxes, floor over floor, and the imports as arrows, which all run down."""
    level = floors(graph)
    rows = [sorted(name for name in graph if level[name] == number) for number in range(max(level.values()), 0, -1)]
    width = 130 * max(map(len, rows)) + 20
    place = {
        name: ((column + 0.5) * width / len(row), 40 + 110 * index)
        for index, row in enumerate(rows)
        for column, name in enumerate(row)
    }
    parts = [
        f'<line x1="{place[name][0]:.0f}" y1="{place[name][1] + 15:.0f}" x2="{place[other][0]:.0f}" '
        f'y2="{place[other][1] - 15:.0f}" stroke="#999" stroke-width="1" marker-end="url(#arrow)"/>'
        for name in sorted(graph)
        for other in sorted(graph[name])
    ]
    for name, (x, y) in sorted(place.items()):
        parts.append(
            f'<rect x="{x - 58:.0f}" y="{y - 15:.0f}" width="116" height="30" rx="4" fill="#E8F1F8" stroke="#0072B2"/>'
        )
        parts.append(f'<text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="middle">{name}</text>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {110 * len(rows)}" font-family="sans-serif" '
        'font-size="12"><defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="#999"/></marker></defs>'
        '<rect width="100%" height="100%" fill="white"/>'
    )
    return "\n".join([head, *parts, "</svg>\n"])


def main() -> None:
    """Print the graph of one folder, and write it as an SVG if a file is named."""
    parser = argparse.ArgumentParser(description="The import graph of the project, or of one of its packages.")
    parser.add_argument(
        "folder", nargs="?", default="", help="such as jumpstart or jumpstart/plots; by default all packages"
    )
    parser.add_argument("--svg", type=Path, help="file to draw the graph into")
    options = parser.parse_args()
    graph = rooms(file_graph(), options.folder.strip("/").replace("/", "."))
    if not graph:
        parser.error(f"folder must be a package of the project, got {options.folder!r}.")
    if options.svg:
        options.svg.write_text(as_svg(graph), encoding="utf-8")
    sys.stdout.write(as_text(graph))


if __name__ == "__main__":
    main()
