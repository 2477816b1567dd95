"""README and docs/: their code runs, their links resolve, their commands exist."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import re
from pathlib import Path

import pytest
import torch
from support.commands import rectangular_config
from support.documents import DOCUMENTS, LAUNCHERS, README, ROOT, Block, blocks_of, commands_of, prose_of
from torch import nn

from jumpstart import JumpstartRegularization
from model.config.rectangular import RectangularConfig
from sweep.cli import parse, read_command
from sweep.grid.expand import expand

SILENT = {"yaml", "text", "bash", "diff"}
EXPECTED = re.compile(r"#\s*->\s*(.+?)\s*$")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

Names = dict[str, object]

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)


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


def reader_objects() -> Names:
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
def test_python_blocks_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if path.stem == "experiments":  # a run with many plots, which no block reads
        request.getfixturevalue("data_alone")
        monkeypatch.setattr("sweep.watchers.intervals.PLOTS", 2)
    monkeypatch.chdir(tmp_path)
    names: Names = {"__name__": "__main__", "__check": check}
    if path == README:
        names |= reader_objects()
    blocks = [block for block in blocks_of(path) if block.language == "python"]
    assert bool(blocks) == ("```python" in path.read_text(encoding="utf-8"))
    for block in blocks:
        run(block, names)


def test_the_readmes_training_step_adds_the_loss() -> None:
    names = reader_objects()
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
def test_every_block_names_its_language(path: Path) -> None:
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
        names = reader_objects()
        exec(compile(text, "README.md, diff", "exec"), names)
        weights.append(names["model"][0].weight.detach())
    assert not weights[0].isnan().any()
    assert not torch.equal(*weights), "the added lines change nothing"


def test_a_wrong_result_in_a_document_is_detected() -> None:
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
def test_links_resolve(path: Path) -> None:
    for link in links_of(path):
        if re.match(r"https?://", link):
            continue
        place, _, name = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), f"{path.name} links to {link}"
        if name:
            headings = re.findall(r"^#+ (.+)$", prose_of(target), re.MULTILINE)
            assert name in map(anchor, headings), f"{path.name} links to {link}"


def test_the_graphical_abstract_is_small() -> None:
    pictures = list((ROOT / "diagrams").glob("graphical_abstract.*"))
    assert {picture.suffix for picture in pictures} == {".png", ".svg"}
    assert all(picture.stat().st_size < 300_000 for picture in pictures)


# Commands -----------------------------------------------------------------------------------------


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
            expand(LAUNCHERS[words[1]], read_command(LAUNCHERS[words[1]], flags, description="").grid.grids)


def test_the_users_command_gives_the_documented_config() -> None:
    (words,) = (words for words in commands_of(README) if {"--plot_status=True", "--dataset=moons"} <= set(words))
    assert words[:2] == ["python", "run_rectangular_sweep.py"]
    config = parse(RectangularConfig, words[2:], description="").config
    assert config == rectangular_config()


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
