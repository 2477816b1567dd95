"""The documentation site: what its build adds, and what its build refuses. These tests need the extra ``docs``."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "first-steps.ipynb"

needs_docs = pytest.mark.site


def website(name: str) -> ModuleType:
    """A module of the folder website, which is no package."""
    spec = importlib.util.spec_from_file_location(f"website_{name}", ROOT / "website" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


# The notebook ---------------------------------------------------------------------------------


def test_the_notebook_has_no_outputs() -> None:
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_notebook_imports_torch_and_public_names_of_jumpstart_alone() -> None:
    code = re.sub(r"^%.*", "", "\n".join(cells("code")), flags=re.MULTILINE)
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= {"math", "torch"}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.module.split(".")[0] in ("torch", "jumpstart")
            assert not any(
                name.startswith("_") for alias in node.names for name in (*node.module.split("."), alias.name)
            )


def test_the_prose_of_the_notebook_gives_no_result_in_figures() -> None:
    for text in cells("markdown"):
        assert not re.search(r"\d+(\.\d+)? ?%|\b0\.\d{2,}", text), text


@needs_docs
def test_a_failing_cell_fails_the_build(tmp_path: Path) -> None:
    hooks = website("hooks")
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    notebook["cells"] = [cell | {"source": "1 / 0"}]
    path = tmp_path / "failing.ipynb"
    path.write_text(json.dumps(notebook))
    with pytest.raises(hooks.PluginError, match=r"failing\.ipynb: a cell failed(.|\n)*ZeroDivisionError"):
        hooks.executed(path)


# Docstrings -----------------------------------------------------------------------------------


def resolve(name: str) -> str | None:
    return {"Terms": "jumpstart.choices.Terms", "jumpstart.a.f": "jumpstart.a.f"}.get(name)


@needs_docs
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":class:`Terms` or", '<autoref identifier="jumpstart.choices.Terms" optional><code>Terms</code></autoref> or'),
        (":func:`~jumpstart.a.f`", '<autoref identifier="jumpstart.a.f" optional><code>f()</code></autoref>'),
        (":class:`torch.Tensor`", "`torch.Tensor`"),
        (":meth:`~torch.Tensor.sum`", "`sum()`"),
        ("``:class:`` and `x`", "``:class:`` and `x`"),
        (
            "An example:\n\n    >>> f(1)\n    2\n\nText.",
            "An example:\n\n    ```pycon\n    >>> f(1)\n    2\n    ```\n\nText.",
        ),
    ],
)
def test_docstrings_become_markdown(text: str, expected: str) -> None:
    assert website("docstrings").to_markdown(text, resolve) == expected


@needs_docs
def test_formulas_become_mathml() -> None:
    inline = website("docstrings").to_markdown(r"With :math:`m > 0`, done.", resolve)
    assert re.fullmatch(r"With <math.*<mi>m</mi>.*</math>, done\.", inline)
    block = website("docstrings").to_markdown("Pays\n\n.. math::\n    a_1\n    + b .\n\nAnd text.", resolve)
    assert re.fullmatch(r'Pays\n\n<div><math.*display="block".*</math></div>\n+And text\.', block)


# Links ----------------------------------------------------------------------------------------

PAGES = {"index.md", "cost.md", "contributing.md", "reference/jumpstart.penalty.md", "reference/jumpstart.report.md"}


@needs_docs
@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("README.md", "[costs](docs/cost.md#the-kernel)", "[costs](cost.md#the-kernel)"),
        ("README.md", "[how](CONTRIBUTING.md)", "[how](contributing.md)"),
        ("docs/cost.md", "[start](../README.md#usage)", "[start](index.md#usage)"),
        (
            "docs/cost.md",
            "[start][a], [b](#c) and [d](https://e.org/f)",
            "[start][a], [b](#c) and [d](https://e.org/f)",
        ),
        ("README.md", "[`penalty.py`](jumpstart/penalty.py)", "[`penalty.py`](reference/jumpstart.penalty.md)"),
        ("README.md", "[a page](jumpstart/report/page.py)", "[a page](reference/jumpstart.report.md)"),
        ("README.md", "[`test/`](test/)", "`test/`"),
        ("docs/cost.md", "![plot](cost.svg)", "![plot](cost.svg)"),
        ("README.md", "```text\n[x](LICENSE)\n```\n", "```text\n[x](LICENSE)\n```\n"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(source: str, text: str, expected: str) -> None:
    assert website("hooks").site_links(text, source, PAGES) == expected


@needs_docs
def test_a_link_to_a_missing_file_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert website("hooks").site_links("[x](docs/missing.md)", "README.md", PAGES) == "x"
    assert "README.md links to docs/missing.md, which does not exist." in caplog.text


# Pages ----------------------------------------------------------------------------------------


@needs_docs
@pytest.mark.parametrize(
    ("html", "faults"),
    [
        ('<script src="https://cdn.example.org/a.js"></script>', ["loads https://cdn.example.org/a.js"]),
        ('<link rel="stylesheet" href="//fonts.example.org/a.css">', ["loads //fonts.example.org/a.css"]),
        ('<a href="https://example.org">there</a><script src="a.js"></script>', []),
        ("<p>:class:<code>Terms</code></p>", ["shows the markup :class:"]),
        ("<p>write <code>:class:`Terms`</code></p>", []),
        ("<p>.. math::</p>", ["shows the markup .. math::"]),
        ("<p>ratio a:b: see <code>c</code></p>", []),
    ],
)
def test_a_page_that_needs_another_machine_or_shows_markup_is_refused(html: str, faults: list[str]) -> None:
    assert website("hooks").faults_of(html) == faults


def test_the_reference_has_a_page_for_every_public_module_of_the_method() -> None:
    listed = set(re.findall(r"reference/(jumpstart\.\w+)\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    inner = {
        "arrays",
        "files",
        "literal",
        "palette",
        "plots",
        "tables",
        "undisturbed",
        "words",
        "__init__",
        "__main__",
    }
    folder = ROOT / "jumpstart"
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert listed == {f"jumpstart.{name}" for name in modules - inner}


@needs_docs
def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Title\n\n[text](index.md#no-such-heading)\n")
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    validation = config[config.index("validation:") : config.index("theme:")]
    (tmp_path / "mkdocs.yml").write_text(f"site_name: site\n{validation}")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"],
        cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "no-such-heading" in done.stderr
