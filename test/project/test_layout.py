"""The layout of the project: which module may import which, no circles, and a picture that matches the files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.import_graph import PACKAGES, ROOT, as_svg, as_text, circles, file_graph, floors, imported_names, rooms

TOOLS = ("benchmarks", "diagrams", "scripts", "reproduction")
FOLDERS = (*PACKAGES, *TOOLS, "test")

# What a file may import of the project, by the longest matching beginning of its path. The networks are useful on
# their own, so they import nothing of the experiments.
NETWORKS = (
    "activations",
    "checks",
    "choices",
    "errors",
    "rectangular",
    "resnet",
    "resnet_conv",
    "resnet_dense",
    "resnet_init",
)
MAY_IMPORT = {
    "jumpstart/": ("jumpstart",),
    "data/": ("data", "jumpstart.files", "jumpstart.choices", "jumpstart.words"),
    "model/": ("model", "jumpstart"),
    **{
        f"model/{network}.py": (
            *(f"model.{other}" for other in NETWORKS),
            "jumpstart.capture",
            "jumpstart.choices",
            "jumpstart.register_activation",
        )
        for network in NETWORKS
    },
    "sweep/": ("sweep", "model", "data", "jumpstart"),
    "run_": PACKAGES,
    **{f"{folder}/": (*PACKAGES, folder) for folder in TOOLS},
    "reproduction/": (*PACKAGES, "reproduction", "scripts"),
}

FILES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.py", *(f"{folder}/**/*.py" for folder in FOLDERS))
    for path in ROOT.glob(pattern)
)
MODULES = [path for path in FILES if path.parts[0] != "test" and path.name != "setup.py"]


def wrong_imports(source: str, path: Path) -> set[str]:
    """The imports of the project's own modules that a file may not have."""
    rule = max((start for start in MAY_IMPORT if path.as_posix().startswith(start)), key=len)
    package = ".".join(path.parts[:-1])
    names = {f"{module}.{item}" if item else module for module, item in imported_names(source, package)}
    ours = {name for name in names if name.split(".")[0] in FOLDERS or name.startswith("run_")}
    return {name for name in ours if not any(f"{name}.".startswith(f"{start}.") for start in MAY_IMPORT[rule])}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_go_one_way(path: Path) -> None:
    assert wrong_imports((ROOT / path).read_text(encoding="utf-8"), path) == set()


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("jumpstart/a.py", "import torch, jumpstart.b", set()),
        ("jumpstart/a.py", "import data.data as d", {"data.data"}),
        ("jumpstart/a.py", "importlib.import_module('model').errors", {"model"}),
        ("jumpstart/a.py", "import_module(f'data.{name}')", {"data"}),
        ("jumpstart/a.py", "import_module('sweep.' + name)", {"sweep"}),
        ("jumpstart/plots/a.py", "from ..status import Status", set()),
        ("data/a.py", "def f():\n    from jumpstart import status", {"jumpstart.status"}),
        ("data/a.py", "from jumpstart.files import write_text", set()),
        ("model/rectangular.py", "from .config import option", {"model.config.option"}),
        ("model/rectangular.py", "from jumpstart.metrics import NetworkStatus", {"jumpstart.metrics.NetworkStatus"}),
        ("model/rectangular.py", "from model.checks import check_count", set()),
        ("model/experiment.py", "from jumpstart import Status", set()),
        ("model/experiment.py", "from data import data", {"data.data"}),
        ("sweep/a.py", "import run_rectangular_sweep", {"run_rectangular_sweep"}),
        ("sweep/a.py", "from benchmarks.main_job import bare", {"benchmarks.main_job.bare"}),
        ("run_a.py", "from sweep.run import run\nfrom test import support", {"test.support"}),
    ],
)
def test_a_wrong_import_is_detected(path: str, source: str, wrong: set[str]) -> None:
    assert wrong_imports(source, Path(path)) == wrong


# Circles and floors ---------------------------------------------------------------------------


def test_no_modules_import_one_another() -> None:
    assert circles(file_graph()) == []


@pytest.mark.parametrize("folder", ["", *PACKAGES])
def test_no_folders_import_one_another(folder: str) -> None:
    assert circles(rooms(file_graph(), folder)) == []


def test_the_packages_stand_over_one_another() -> None:
    level = floors(rooms(file_graph()))
    assert (
        level["jumpstart"] < min(level["data"], level["model"]) <= max(level["data"], level["model"]) < level["sweep"]
    )


def test_jumpstart_can_be_surveyed() -> None:
    seen = rooms(file_graph(), "jumpstart")
    assert len(seen) <= 25
    assert max(floors(seen).values()) <= 6


def write_package(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_the_graph_reads_every_kind_of_import(tmp_path: Path) -> None:
    write_package(
        tmp_path,
        {
            "__init__.py": "from p.wing import thing",
            "wing/__init__.py": "from p.wing.b import thing",
            "wing/b.py": "if TYPE_CHECKING:\n    from .c import x",
            "wing/c.py": "",
            "a.py": "def f():\n    from p import thing",
            "d.py": "import_module('p.a')",
            "e.py": "import p.wing",
            "f.py": "from p import wing",
        },
    )
    assert file_graph(tmp_path, ("p",)) == {
        "p.a": {"p.wing.b"},
        "p.d": {"p.a"},
        "p.e": {"p.wing.b"},
        "p.f": {"p.wing.b"},
        "p.wing.b": {"p.wing.c"},
        "p.wing.c": set(),
    }
    assert rooms(file_graph(tmp_path, ("p",)), "p") == {
        "a": {"wing"},
        "d": {"a"},
        "e": {"wing"},
        "f": {"wing"},
        "wing": set(),
    }


def test_a_circle_is_detected_however_long(tmp_path: Path) -> None:
    write_package(
        tmp_path,
        {"a.py": "import p.b", "b.py": "from p import c", "c.py": "import_module('p.a')", "d.py": "import p.a"},
    )
    graph = file_graph(tmp_path, ("p",))
    assert circles(graph) == [["p.a", "p.b", "p.c"]]
    with pytest.raises(ValueError, match="import one another"):
        floors(graph)


def test_the_drawing_has_every_room_and_arrow() -> None:
    graph = rooms(file_graph(), "sweep")
    text, drawing = as_text(graph), as_svg(graph)
    for name in graph:
        assert f"    {name}" in text
        assert f">{name}</text>" in drawing
    assert drawing.count("<line") == sum(map(len, graph.values()))


# The picture in CONTRIBUTING.md ---------------------------------------------------------------


def files_drawn(picture: str) -> set[Path]:
    """The Python files of a drawn tree: a folder's name ends in a slash, and its content is indented below it."""
    folders: list[tuple[int, str]] = []
    files = set()
    for line in picture.splitlines():
        indent = len(line) - len(line.lstrip())
        while folders and folders[-1][0] >= indent:
            folders.pop()
        if match := re.match(r" *(\w+)/(?:\s|$)", line):
            folders.append((indent, match[1]))
        elif match := re.match(r" *(\w+\.py)\b", line):
            files.add(Path(*(name for _, name in folders), match[1]))
    return files


def test_a_drawn_tree_is_read() -> None:
    picture = "run.py   a\n\na/      b\n    c.py  d\n    e/\n        f.py\n    g.py\nh/\n    i.py"
    assert files_drawn(picture) == {Path("run.py"), Path("a/c.py"), Path("a/e/f.py"), Path("a/g.py"), Path("h/i.py")}


def test_the_picture_of_the_project_is_true() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    picture = next(iter(re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)))
    built = {path for path in FILES if path.name != "__init__.py" and not path.name.startswith("test_")}
    drawn = files_drawn(picture)
    assert (sorted(map(str, built - drawn)), sorted(map(str, drawn - built))) == ([], [])
