"""README and docs/: their code runs, their links resolve, and their tables and names are those of the code."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import pkgutil
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from data.data import DATASETS
from jumpstart import JumpstartRegularization
from model.config.experiment import ConfigError, ExperimentConfig
from model.config.options import GROUPS, Option, options
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig
from scripts.make_tables import PAGES, TABLES, filled, table_names
from sweep.cli import parse

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
OPTIONS, DATA = PAGES
PUBLISHED = ROOT / "docs" / "from-the-published-code.md"
EXPERIMENTS = ROOT / "docs" / "experiments.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]
SILENT = {"text", "bash", "diff"}
LAUNCHERS: dict[str, type[ExperimentConfig]] = {
    "run_rectangular_sweep.py": RectangularConfig,
    "run_resnet_experiment_sweep.py": ResnetConfig,
}
EXPECTED = re.compile(r"#\s*->\s*(.+?)\s*$")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
README_LINES = 380

Names = dict[str, object]

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)


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


# Code ---------------------------------------------------------------------------------------------


class _Checks(ast.NodeTransformer):
    """Turns ``value  # -> text`` into a comparison, wherever it stands."""

    def __init__(self, block: Block) -> None:
        self.block, self.lines, self.made = block, block.text.splitlines(), 0

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        found = EXPECTED.search(self.lines[(node.end_lineno or node.lineno) - 1])
        if not found:
            return node
        self.made += 1
        arguments = [node.value, ast.Constant(found[1]), ast.Constant(self.where(node.lineno))]
        call = ast.Call(ast.Name("__check", ast.Load()), arguments, [])
        return ast.fix_missing_locations(ast.copy_location(ast.Expr(call), node))

    def where(self, line: int) -> str:
        return f"{self.block.path.name}:{self.block.line + line - 1}"


def check(value: object, expected: str, where: str) -> None:
    """Compare a value, as a session would show it, with what the document says."""
    found = value if isinstance(value, str) else repr(value)
    assert doctest.OutputChecker().check_output(f"{expected}\n", f"{found}\n", FLAGS), (
        f"{where} says {expected}, but it is {found}"
    )


def run(block: Block, names: Names) -> None:
    """Run a Python block among the names of those before it."""
    if block.text.startswith(">>>"):
        name = f"{block.path.name}:{block.line}"
        example = doctest.DocTestParser().get_doctest(block.text, names, name, name, block.line)
        report: list[str] = []
        runner = doctest.DocTestRunner(verbose=False, optionflags=FLAGS)
        failed = runner.run(example, out=report.append, clear_globs=False).failed
        names.update(example.globs)
        assert not failed, "".join(report)
        return
    checks = _Checks(block)
    tree = checks.visit(ast.parse(block.text))
    said = len(re.findall(r"#\s*->", block.text))
    assert checks.made == said, f"{checks.where(1)}: {said} results are given, {checks.made} checked"
    exec(compile(tree, f"{block.path.name}:{block.line}", "exec"), names)


def a_readers_own() -> Names:
    """Objects that the README's snippets assume: a model, data, a loss, an optimizer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    batches = [(torch.randn(16, 2), torch.randint(2, (16,))) for _ in range(3)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    criterion = nn.CrossEntropyLoss()
    return {
        "model": model,
        "dataloader": batches,
        "criterion": criterion,
        "optimizer": optimizer,
        "lambda_": 0.01,
    }


@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.*:FutureWarning")  # Lightning's own
@every_document
def test_python_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: Names = {"__name__": "__main__", "__check": check}
    if path == README:
        names |= a_readers_own()
    blocks = [block for block in blocks_of(path) if block.language == "python"]
    assert blocks
    for block in blocks:
        run(block, names)


def test_the_readmes_training_step_adds_the_loss() -> None:
    names = a_readers_own()
    for block in blocks_of(README):
        if block.language == "python":
            run(block, names)
    names["jumpstart"].remove()

    class Module(nn.Module):
        training_step = names["training_step"]

        def __init__(self, lambda_: float) -> None:
            super().__init__()
            self.model, self.criterion, self.lambda_ = names["model"], names["criterion"], lambda_
            self.jumpstart = JumpstartRegularization(self.model)

        def forward(self, data: torch.Tensor) -> torch.Tensor:
            return self.model(data)

    plain = Module(lambda_=0.0)
    loss = plain.training_step(names["dataloader"][0], 0)
    plain.jumpstart.remove()
    module = Module(lambda_=0.5)
    total = module.training_step(names["dataloader"][0], 0)
    assert module.jumpstart.loss > 0
    torch.testing.assert_close(total, loss + 0.5 * module.jumpstart.loss)


@every_document
def test_every_block_says_what_it_is(path: Path) -> None:
    for block in blocks_of(path):
        assert block.language in SILENT | {"python"}, f"{path.name}:{block.line}: {block.language!r}"
    text = path.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(list(blocks_of(path))), "a fence is not closed"


def test_the_diff_is_what_a_training_loop_needs() -> None:
    (block,) = (block for block in blocks_of(README) if block.language == "diff")
    lines = block.text.splitlines()
    assert all(line[:1] in ("+", " ", "") for line in lines)
    before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
    after = "\n".join(line[1:] for line in lines)
    weights = []
    for text in (before, after):
        names = a_readers_own()
        exec(compile(text, "README.md, diff", "exec"), names)
        weights.append(names["model"][0].weight.detach())
    assert not weights[0].isnan().any()
    assert not torch.equal(*weights), "the added lines change nothing"


def test_a_wrong_result_in_a_document_is_noticed() -> None:
    block = Block("python", "with open(__file__):\n    1 + 1  # -> 3\n", README, 1)
    with pytest.raises(AssertionError, match="says 3, but it is 2"):
        run(block, {"__check": check, "__file__": __file__})
    with pytest.raises(AssertionError):
        run(Block("python", ">>> 1 + 1\n3\n", README, 1), {})
    with pytest.raises(AssertionError, match="1 results are given, 0 checked"):
        run(Block("python", "x = 1  # -> 3\n", README, 1), {"__check": check})


# Links --------------------------------------------------------------------------------------------


def anchor(heading: str) -> str:
    """The anchor that a heading gets on a page."""
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def links_of(path: Path) -> list[str]:
    text = prose_of(path)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img[^>]*\bsrc="([^"]+)"', text)


@every_document
def test_links_lead_somewhere(path: Path) -> None:
    for link in links_of(path):
        if re.match(r"https?://", link):
            continue
        place, _, name = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), f"{path.name} links to {link}"
        if name:
            headings = re.findall(r"^#+ (.+)$", prose_of(target), re.MULTILINE)
            assert name in map(anchor, headings), f"{path.name} links to {link}"


def test_the_picture_is_small() -> None:
    pictures = list((ROOT / "diagrams").glob("graphical_abstract.*"))
    assert {picture.suffix for picture in pictures} == {".png", ".svg"}
    assert all(picture.stat().st_size < 300_000 for picture in pictures)


def structure() -> set[str]:
    """Paths that the README's section on the structure lists."""
    section = re.search(r"^## Repository Structure\n(.*?)^## ", README.read_text(encoding="utf-8"), re.S | re.M)
    assert section
    listed, folder = set(), ""
    for indent, names in re.findall(r"^( *)- ((?:`[^`]+`(?:, )?)+) ", section[1], re.MULTILINE):
        found = re.findall(r"`([^`]+)`", names)
        listed |= {f"{folder if indent else ''}{name}" for name in found}
        folder = folder if indent else found[0]
    return listed


def test_everything_in_the_structure_exists() -> None:
    listed = structure()
    assert len(listed) > 30
    assert not [name for name in listed if not (ROOT / name).exists()]


def test_every_folder_and_launcher_is_in_the_structure() -> None:
    ignored = {line.strip("/*") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()}
    code = (path for pattern in ("*.py", "*.md") for path in ROOT.glob(f"*/{pattern}"))
    tops = {path.parent.name for path in code} - ignored
    tops = {name for name in tops if not name.startswith(".")} | {"test"}
    assert tops >= {"jumpstart", "data", "model", "sweep", "test", "docs"}
    wings = {
        f"{package}/{module.name}/"
        for package in ("jumpstart", "data", "model", "sweep")
        for module in pkgutil.iter_modules([str(ROOT / package)])
        if module.ispkg
    }
    launchers = {path.name for path in ROOT.glob("run_*.py")}
    assert {f"{name}/" for name in tops} | wings | launchers <= structure()


def test_the_readme_is_short() -> None:
    assert README.read_text(encoding="utf-8").count("\n") <= README_LINES


# Tables -------------------------------------------------------------------------------------------

Row = dict[str, str]


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


def default_of(item: Option) -> str:
    if isinstance(item.default, tuple):
        return ",".join(map(str, item.default)) or "none"
    return str(item.default)


def accepted_by(item: Option) -> str:
    return item.words or ", ".join(map(str, item.choices)) or item.range


def option_row(item: Option) -> Row:
    return {
        "flag": f"`--{item.name}`",
        "default": f"`{default_of(item)}`",
        "values": accepted_by(item),
        "meaning": item.help,
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_are_as_the_script_writes_them(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == filled(text), "run: python -m scripts.make_tables"


def test_every_table_of_the_script_is_in_a_page() -> None:
    assert sorted(name for page in PAGES for name in table_names(page.read_text(encoding="utf-8"))) == sorted(TABLES)


def test_the_script_replaces_tables_and_nothing_else() -> None:
    text = DATA.read_text(encoding="utf-8")
    damaged = text.replace("| `iris` |", "| `irises` |")
    assert damaged != text
    assert filled(damaged) == text
    with pytest.raises(KeyError, match="no such table"):
        filled("<!-- table: no such table -->\n<!-- /table -->")


@pytest.mark.parametrize("group", GROUPS)
def test_parameters_are_those_of_the_config(group: str) -> None:
    expected = [option_row(item) for item in options(RectangularConfig).values() if item.group == group]
    assert table_of(OPTIONS, f"### {group.capitalize()}") == expected


def test_parameters_of_resnets_are_those_that_differ() -> None:
    others = options(RectangularConfig)
    expected = [
        option_row(item)
        for item in options(ResnetConfig).values()
        if item.name not in others or option_row(others[item.name]) != option_row(item)
    ]
    assert table_of(OPTIONS, "## ResNets") == expected


def test_options_that_resnets_lack_are_listed() -> None:
    (line,) = re.findall(r"^.* do not apply to ResNets\.$", section_of(OPTIONS, "## ResNets"), re.MULTILINE)
    missing = options(RectangularConfig).keys() - options(ResnetConfig).keys()
    assert set(re.findall(r"`--(\w+)`", line)) == missing


def test_data_sets_are_those_of_the_registry() -> None:
    expected = [
        {
            "name": f"`{d.name}`",
            "title": f"[{d.title}]({d.url})",
            "source": d.source,
            "rows": str(d.rows),
            "features": str(d.features),
            "classes": str(d.classes),
            "license": d.license,
        }
        for d in DATASETS.values()
    ]
    assert tables_of(prose_of(DATA))[0] == expected


def test_options_that_may_change_on_resume_are_listed() -> None:
    section = section_of(EXPERIMENTS, "## Resume")
    (item,) = re.findall(r"^- (`--epochs`.*?)can be changed on resume", section, re.DOTALL | re.MULTILINE)
    tables = (options(RectangularConfig), options(ResnetConfig))
    resumable = {name for table in tables for name, option in table.items() if option.resumable}
    assert set(re.findall(r"`--(\w+)`", item)) == resumable


# The map of names ---------------------------------------------------------------------------------

FLAG = re.compile(r"`--(\w+)(?:=([^`]+))?`")


def published_rows() -> list[Row]:
    return [row for table in tables_of(prose_of(PUBLISHED)) for row in table if "here" in row]


def test_flags_of_the_map_exist() -> None:
    named = [found for row in published_rows() for found in FLAG.findall(row["here"])]
    assert len(named) > 40
    for name, value in named:
        tables = [options(config) for config in LAUNCHERS.values()]
        known = [table[name] for table in tables if name in table]
        assert known, f"{PUBLISHED.name} names --{name}"
        assert not value or any(accepts(item, value) for item in known), f"{PUBLISHED.name}: --{name}={value}"


def accepts(item: Option, value: str) -> bool:
    try:
        item.parse(value)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(("column", "config"), [("rectangular", RectangularConfig), ("ResNet", ResnetConfig)])
def test_defaults_of_the_map_are_those_of_the_config(column: str, config: type[ExperimentConfig]) -> None:
    table = options(config)
    stated = 0
    for row in published_rows():
        if column not in row:
            continue
        ((name, _),) = FLAG.findall(row["here"])
        assert row[column] == (f"`{default_of(table[name])}`" if name in table else ""), name
        stated += 1
    assert stated > 10


def test_modules_and_classes_of_the_map_exist() -> None:
    rows = table_of(PUBLISHED, "## Modules and classes")
    module = re.compile(r"`((?:jumpstart|data|model)\.[\w.]+)`")
    names = [name for row in rows for name in module.findall(" ".join(row.values()))]
    assert len(names) > 10
    for name in names:
        assert pkgutil.resolve_name(name) is not None
    files = {name for row in rows for name in re.findall(r"`([\w/]+\.py)`", row["there"])}
    assert files
    assert not [name for name in files if not (ROOT / name).is_file()], "every published module is importable here"


def test_flags_that_the_map_calls_unknown_are_refused() -> None:
    rows = [row for row in published_rows() if "unknown flag" in row["here"]]
    assert rows
    for row in rows:
        for name, _ in FLAG.findall(row["there"]):
            for config in LAUNCHERS.values():
                with pytest.raises(ConfigError, match=f"unknown flag --{name}"):
                    parse(config, [f"--{name}=1"], description="")
    assert "fast_dev_run" in options(ResnetConfig)
    assert "fast_dev_run" not in options(RectangularConfig)


def test_flags_of_the_published_readme_exist() -> None:
    table = tables_of(section_of(PUBLISHED, "## Flags and defaults"))[0]
    mapped = {name for row in table for name, _ in FLAG.findall(row["here"])}
    commands = [words for words in commands_of(README) if "--plot_status=True" in words]
    assert {word[2:].partition("=")[0] for words in commands for word in words[2:]} == mapped


# Commands -----------------------------------------------------------------------------------------


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


@every_document
def test_commands_exist(path: Path) -> None:
    for words in commands_of(path):
        while words and "=" in words[0] and not words[0].startswith("-"):
            words = words[1:]
        if "-r" in words:
            assert (ROOT / words[words.index("-r") + 1]).is_file(), f"{path.name}: {' '.join(words)}"
        if words[0] != "python":
            continue
        if words[1] == "-m":
            assert importlib.util.find_spec(words[2]), f"{path.name}: {' '.join(words)}"
        else:
            assert (ROOT / words[1]).is_file(), f"{path.name}: {' '.join(words)}"
        if words[1] in LAUNCHERS:
            flags = [w for w in words[2:] if not w.startswith(("--resume", "--config", "--help"))]
            parse(LAUNCHERS[words[1]], flags, description="")


def test_the_users_command_is_read_as_meant() -> None:
    (words,) = (words for words in commands_of(README) if {"--plot_status=True", "--dataset=moons"} <= set(words))
    assert words[:2] == ["python", "run_rectangular_sweep.py"]
    config = parse(RectangularConfig, words[2:], description="").config
    assert config == RectangularConfig(
        depth=50,
        width=4,
        lr=0.01,
        batch_size=256,
        lambda_=0.01,
        use_batchnorm=False,
        skip_connections=None,
        dataset="moons",
        activation="relu",
        epochs=4000,
        plot_status=True,
        gpus="auto",
    )


def test_quick_start_is_two_lines_and_the_second_is_what_ci_runs() -> None:
    (block,) = re.findall(r"^## Quick Start\n.*?^```bash\n(.*?)^```$", README.read_text(), re.S | re.M)
    first, second = block.splitlines()
    assert first.endswith("&& pip install -r requirements.txt && python run_rectangular_sweep.py")
    assert second.endswith("&& pip install -r requirements.txt && pytest test/")
    ci = ROOT / ".ci" / "run"
    if ci.exists():
        (command,) = re.findall(r"^test_command='(.+)'$", ci.read_text(encoding="utf-8"), re.M)
        assert second.endswith(command)
        assert command.endswith("pytest test/")
