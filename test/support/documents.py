"""The documents of the project, as tests read them: blocks, prose, sections, tables, commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model.config.experiment import ExperimentConfig
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]
LAUNCHERS: dict[str, type[ExperimentConfig]] = {
    "run_rectangular_sweep.py": RectangularConfig,
    "run_resnet_experiment_sweep.py": ResnetConfig,
}

Row = dict[str, str]


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    text: str
    path: Path
    line: int


def blocks_of(path: Path) -> Iterator[Block]:
    """Every fenced block, in order."""
    text = path.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\S*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        line = text.count("\n", 0, found.start()) + 2
        yield Block(found[1], found[2], path, line)


def prose_of(path: Path) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)


def commands_of(path: Path) -> Iterator[list[str]]:
    """The commands in ``bash`` blocks, one list of words each."""
    for block in blocks_of(path):
        if block.language != "bash":
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            for command in " ".join(map(shlex.quote, words)).split(" '&&' "):
                if command:
                    yield shlex.split(command)


def tables_of(text: str) -> list[list[Row]]:
    """The Markdown tables of a text: rows as mappings from column titles to cells."""
    tables = []
    for found in re.finditer(r"^(\|.+\|)\n\|[-:|]+\|\n((?:\|.+\|\n)*)", text, re.MULTILINE):
        head, *body = ([cell.strip() for cell in line[1:-1].split("|")] for line in (found[1], *found[2].splitlines()))
        tables.append([dict(zip(head, cells, strict=True)) for cells in body])
    return tables


def section_of(path: Path, heading: str) -> str:
    text = prose_of(path)
    level = heading.split(" ")[0]
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"{path.name} has no section {heading!r}"
    return found[1]


def table_of(path: Path, heading: str) -> list[Row]:
    (table,) = tables_of(section_of(path, heading))
    return table
