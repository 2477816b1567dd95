"""The files around the code agree with it, and with one another."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shlex
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import jumpstart

ROOT = Path(__file__).resolve().parents[2]
CODE = ("jumpstart", "data", "model", "sweep", "benchmarks", "diagrams", "scripts", "reproduction", "test")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def distribution(requirement: Requirement) -> str:
    return re.sub(r"[-_.]+", "-", requirement.name).lower()


PROJECT: dict[str, Any] = tomllib.loads(read("pyproject.toml"))["project"]
REQUIREMENTS = {
    distribution(found): found
    for line in read("requirements.txt").splitlines()
    if (text := line.partition("#")[0].strip()) and not text.startswith("-e")
    for found in [Requirement(text)]
}
EXTRAS = {
    name: {distribution(found): found for found in map(Requirement, lines)}
    for name, lines in PROJECT["optional-dependencies"].items()
}


def imports(folder: Path) -> set[str]:
    """First names of all that the files below a folder import."""
    names: set[str] = set()
    for path in folder.rglob("*.py") if folder.is_dir() else [folder]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names


def third_party(*places: Path) -> set[str]:
    """The distributions that provide what is imported there."""
    provided = importlib.metadata.packages_distributions()
    ours = {*CODE, *(path.stem for path in [*ROOT.glob("*.py"), *ROOT.glob("test/*.py")])}
    names = set().union(*map(imports, places)) - ours - sys.stdlib_module_names
    unknown = names - provided.keys()
    assert not unknown, f"imported, but not installed: {sorted(unknown)}"
    return {distribution(Requirement(provided[name][0])) for name in names}


ALL_CODE = [path for name in CODE if (path := ROOT / name).exists()] + [
    path
    for path in ROOT.glob("*.py")
    if path.name != "setup.py"  # what that needs is in [build-system]
]


# Versions -------------------------------------------------------------------------------------


def test_one_version() -> None:
    headings = re.findall(r"^## \[(.+?)\] - (.+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0][0] == jumpstart.__version__
    for _, date in headings:
        assert date == "Unreleased" or re.fullmatch(r"\d{4}-\d\d-\d\d", date)
    assert yaml.safe_load(read("CITATION.cff"))["version"] == jumpstart.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", jumpstart.__version__)


def test_the_citation_names_the_article() -> None:
    article = yaml.safe_load(read("CITATION.cff"))["preferred-citation"]
    assert article["title"] == "Unit-Centric Regularization for Efficient Deep Neural Networks"
    assert (article["journal"], article["year"]) == ("IEEE Access", 2025)


# What is needed -------------------------------------------------------------------------------


def test_requirements_cover_every_import() -> None:
    assert third_party(*ALL_CODE) <= REQUIREMENTS.keys()


def test_every_requirement_is_used() -> None:
    assert REQUIREMENTS.keys() <= third_party(*ALL_CODE)


def test_the_package_requires_torch_and_its_extras_the_rest() -> None:
    (needed,) = map(Requirement, PROJECT["dependencies"])
    assert (needed.name, needed.extras, needed.marker) == ("torch", set(), None)
    optional = {name for extra, found in EXTRAS.items() if extra != "dev" for name in found}
    assert third_party(ROOT / "jumpstart") - {"torch"} <= optional
    assert EXTRAS["all"]["jumpstart"].extras == EXTRAS.keys() - {"all", "dev"}


def test_bounds_are_the_same_in_both_files() -> None:
    for extra, found in EXTRAS.items():
        for name, requirement in found.items():
            if extra not in ("all", "dev"):
                assert requirement == REQUIREMENTS[name]


def test_the_compromised_package_is_nowhere() -> None:
    assert "lightning" not in REQUIREMENTS
    assert not any("lightning" in found for found in EXTRAS.values())
    assert "lightning" not in set().union(*map(imports, ALL_CODE))
    for bad in ("2.6.2", "2.6.3"):
        assert not REQUIREMENTS["pytorch-lightning"].specifier.contains(bad)


def test_what_is_installed_is_within_the_bounds() -> None:
    for name, requirement in REQUIREMENTS.items():
        assert requirement.specifier.contains(importlib.metadata.version(name), prereleases=True)


# `import jumpstart` ---------------------------------------------------------------------------

ALONE = """
import importlib.metadata, re, sys

def needed(name, seen):
    name = re.sub(r"[-_.]+", "-", name).lower()
    if name not in seen:
        seen.add(name)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            return seen
        for line in lines:
            if "extra ==" not in line:
                needed(re.match(r"[\\w.-]+", line)[0], seen)
    return seen

closure = needed("torch", set())
allowed = {"jumpstart", *sys.stdlib_module_names}
for module, owners in importlib.metadata.packages_distributions().items():
    if any(re.sub(r"[-_.]+", "-", owner).lower() in closure for owner in owners):
        allowed.add(module)

class TorchAlone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, TorchAlone())
"""

USE = """
import torch
from jumpstart import JumpstartRegularization
model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
with JumpstartRegularization(model) as jumpstart:
    model(torch.randn(8, 2))
    jumpstart.loss.backward()
    repr(jumpstart)
assert model[0].weight.grad is not None
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def test_the_method_works_where_nothing_but_torch_is_installed() -> None:
    done = python(ALONE + USE)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["numpy", "pandas", "torchmetrics", "torchvision", "yaml"])
def test_that_check_would_notice(name: str) -> None:
    done = python(f"{ALONE}\nimport {name}")
    assert done.returncode == 1
    assert f"No module named '{name}'" in done.stderr


def test_importing_jumpstart_leaves_the_rest_alone() -> None:
    heavy = {
        "lightning", "matplotlib", "pandas", "pytorch_lightning", "scipy", "sklearn",
        "torchmetrics", "torchvision", "wandb",
    }  # fmt: skip
    done = python("import sys, jumpstart; sys.stdout.write(' '.join(sys.modules))")
    assert done.returncode == 0, done.stderr
    assert heavy.isdisjoint(done.stdout.split())


def test_the_package_is_typed() -> None:
    assert (ROOT / "jumpstart" / "py.typed").is_file()


# Continuous integration -----------------------------------------------------------------------


def test_ci_can_be_run() -> None:
    path = ROOT / ".ci" / "run"
    assert path.stat().st_mode & stat.S_IXUSR
    subprocess.run(["bash", "-n", str(path)], check=True, timeout=200)


def test_ci_runs_the_command_of_the_readme() -> None:
    (command,) = re.findall(r"^test_command='(.+)'$", read(".ci/run"), re.MULTILINE)
    words = shlex.split(command)
    assert words[words.index("-r") :][:2] == ["-r", "requirements.txt"]
    assert words[-2:] == ["pytest", "test/"]
    blocks = re.findall(r"^```\w*\n(.*?)^```", read("README.md"), re.MULTILINE | re.DOTALL)
    assert command in {line.strip() for block in blocks for line in block.splitlines()}


def test_nothing_names_a_machine() -> None:
    home = re.compile(r"(?<![\w./])/(?:home|root|Users)/\w")
    names = [".ci/run", ".gitignore", ".pre-commit-config.yaml", "pyproject.toml"]
    names += [path.name for path in ROOT.glob("*.md")] + ["CITATION.cff", "requirements.txt"]
    for name in names:
        assert not home.search(read(name)), name
