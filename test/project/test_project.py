"""The project's files agree with its code and with one another."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import json
import os
import re
import shlex
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from support import fresh
from support.fresh import python

import jumpstart

ROOT = Path(__file__).resolve().parents[2]
CODE = ("jumpstart", "data", "model", "sweep", "benchmarks", "diagrams", "scripts", "reproduction", "test")
FOR_DEVELOPERS = {"dev", "docs", "ray", "slurm", "zoo"}
"""Extras for work on the project, which add to requirements.txt."""


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def distribution(requirement: Requirement) -> str:
    return normalized(requirement.name)


PROJECT = tomllib.loads(read("pyproject.toml"))["project"]
REQUIREMENTS = {
    distribution(requirement): requirement
    for line in read("requirements.txt").splitlines()
    if (text := line.partition("#")[0].strip()) and not text.startswith("-e")
    for requirement in [Requirement(text)]
}
EXTRAS = {
    name: {distribution(requirement): requirement for requirement in map(Requirement, lines)}
    for name, lines in PROJECT["optional-dependencies"].items()
}
MODULES = {
    name: owners
    for name, owners in importlib.metadata.packages_distributions().items()
    if name not in {*CODE, *sys.stdlib_module_names}
}


@functools.cache
def imports(folder: Path) -> set[str]:
    """First names of all modules that the files below a folder import."""
    names: set[str] = set()
    for path in folder.rglob("*.py") if folder.is_dir() else [folder]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names


def third_party(*places: Path) -> set[str]:
    """The distributions that provide what these files and folders import."""
    # Tests import test/support as `support`, as pytest's `pythonpath` lets them.
    ours = {*CODE, "support", *(path.stem for path in ROOT.glob("*.py"))}
    names = set().union(*map(imports, places)) - ours - sys.stdlib_module_names
    unknown = names - MODULES.keys()
    assert not unknown, f"imported, but not installed: {sorted(unknown)}"
    return {normalized(MODULES[name][0]) for name in names}


ALL_CODE = [path for name in CODE if (path := ROOT / name).exists()] + [
    path
    for path in ROOT.glob("*.py")
    if path.name != "setup.py"  # [build-system] has the requirements of setup.py
]


# Versions -------------------------------------------------------------------------------------


def test_one_version() -> None:
    headings = re.findall(r"^## \[(.+?)\] - (.+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0][0] == jumpstart.__version__
    for _, date in headings:
        assert date == "Unreleased" or re.fullmatch(r"\d{4}-\d\d-\d\d", date)
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == jumpstart.__version__
    assert str(citation["date-released"]) in dict(headings).values()
    assert re.fullmatch(r"\d+\.\d+\.\d+", jumpstart.__version__)


def test_the_citation_names_the_article() -> None:
    article = yaml.safe_load(read("CITATION.cff"))["preferred-citation"]
    assert article["title"] == "Unit-Centric Regularization for Efficient Deep Neural Networks"
    assert (article["journal"], article["year"]) == ("IEEE Access", 2025)


# Requirements ---------------------------------------------------------------------------------


def test_the_distribution_has_a_name_of_its_own() -> None:
    # `jumpstart` is another project's name on the package index.
    assert PROJECT["name"] == "jumpstart-regularization"
    ours = [name for extra in EXTRAS.values() for name in extra if name.startswith("jumpstart")]
    assert ours == ["jumpstart-regularization"]
    assert "jumpstart_regularization-*" in read(".ci/run")


def test_requirements_cover_every_import() -> None:
    assert third_party(*ALL_CODE) <= REQUIREMENTS.keys()


def test_every_requirement_is_used() -> None:
    plugins = {f"pytest-{name}" for name in re.findall(r'hasplugin\("(.+?)"\)', read("test/conftest.py"))}
    assert REQUIREMENTS.keys() <= third_party(*ALL_CODE) | plugins


def test_the_package_requires_torch_and_its_extras_the_rest() -> None:
    (needed,) = map(Requirement, PROJECT["dependencies"])
    assert (needed.name, needed.extras, needed.marker) == ("torch", set(), None)
    optional = {name for extra in EXTRAS.keys() - FOR_DEVELOPERS for name in EXTRAS[extra]}
    assert third_party(ROOT / "jumpstart") - {"torch"} <= optional
    assert EXTRAS["all"]["jumpstart-regularization"].extras == EXTRAS.keys() - {"all", *FOR_DEVELOPERS}


def test_bounds_are_the_same_in_both_files() -> None:
    for extra in EXTRAS.keys() - {"all", *FOR_DEVELOPERS}:
        for name, requirement in EXTRAS[extra].items():
            assert requirement == REQUIREMENTS[name]


def test_the_compromised_package_is_nowhere() -> None:
    assert "lightning" not in REQUIREMENTS.keys() | LOCKED.keys()
    assert not any("lightning" in requirements for requirements in EXTRAS.values())
    assert "lightning" not in set().union(*map(imports, ALL_CODE))
    for bad in ("2.6.2", "2.6.3"):
        for requirements in (REQUIREMENTS, EXTRAS["lightning"]):
            assert not requirements["pytorch-lightning"].specifier.contains(bad)


def test_what_is_installed_is_within_the_bounds() -> None:
    for name, requirement in REQUIREMENTS.items():
        assert requirement.specifier.contains(importlib.metadata.version(name), prereleases=True)


# What the package needs to run ----------------------------------------------------------------

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

# Other packages look for optional ones of their own, so that only imports of jumpstart are refused.
REFUSE = """
import builtins, sys
imported = builtins.__import__

def refusing(name, globals=None, *rest):
    if (globals or {}).get("__name__", "").startswith("jumpstart") and name.partition(".")[0] in sys.argv[1:]:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return imported(name, globals, *rest)

builtins.__import__ = refusing
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


OTHERS = ("numpy", "pandas", "torchmetrics", "torchvision", "yaml")

TRY = """
import json
failures = {}
for name in sys.argv[1:]:
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        failures[name] = str(error)
sys.stdout.write(json.dumps(failures))
"""


@functools.cache
def torch_alone() -> subprocess.CompletedProcess[str]:
    """A process with torch alone: it tries to import each of the others, then uses the method."""
    return subprocess.run(
        [sys.executable, "-c", ALONE + TRY + USE, *OTHERS],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def test_the_method_works_where_nothing_but_torch_is_installed() -> None:
    assert torch_alone().returncode == 0, torch_alone().stderr


@pytest.mark.parametrize("name", OTHERS)
def test_an_import_of_something_else_would_fail_there(name: str) -> None:
    assert json.loads(torch_alone().stdout)[name] == f"No module named '{name}'"


@pytest.mark.parametrize(
    ("module", "extras"),
    [
        ("jumpstart.metrics", ["lightning"]),
        ("jumpstart.monitor", ["lightning"]),
        ("jumpstart.plotting", ["plots"]),
        ("jumpstart.callbacks", ["lightning", "plots"]),
        ("jumpstart.report", ["report"]),
        ("jumpstart.table", ["tables"]),
    ],
)
def test_a_module_needs_torch_and_its_extras_alone(module: str, extras: list[str]) -> None:
    given = {"torch"}.union(*(EXTRAS[extra] for extra in extras))
    refused = [name for name, owners in MODULES.items() if given.isdisjoint(map(normalized, owners))]
    done = python(f"{REFUSE}\nimport {module}", *refused, packages=fresh.EXTRAS)
    assert done.returncode == 0, done.stderr


def test_an_import_outside_of_the_extras_would_fail_there() -> None:
    done = python(f"{REFUSE}\nimport jumpstart.plotting", "matplotlib", packages=fresh.EXTRAS)
    assert done.returncode == 1
    assert "No module named 'matplotlib'" in done.stderr


def test_importing_jumpstart_imports_no_optional_package() -> None:
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


def test_the_checks_of_the_workflow_are_that_script_alone() -> None:
    workflow = yaml.safe_load(read(".github/workflows/ci.yml"))
    for job in workflow["jobs"].values():
        assert all(step.keys() <= {"uses", "with", "run"} for step in job["steps"])
        assert "permissions" not in job
    last = {name: job["steps"][-1]["run"] for name, job in workflow["jobs"].items()}
    assert shlex.split(last["checks"])[-1] == shlex.split(last["newest"])[-1] == ".ci/run"
    assert workflow["permissions"] == {"contents": "read"}


# The lock file --------------------------------------------------------------------------------

LOCKED = {
    distribution(requirement): (requirement, set(re.findall(r"--hash=(\w+):[0-9a-f]{64}\b", hashes)))
    for line, hashes in re.findall(r"^(\w.*?) \\\n((?:    --hash=.*\n)+)", read("requirements.lock"), re.MULTILINE)
    for requirement in [Requirement(line)]
}


def test_the_lock_file_has_one_version_of_each_package_with_hashes() -> None:
    entries = re.findall(r"^\w.*$", read("requirements.lock"), re.MULTILINE)
    assert len(entries) == len(LOCKED) > 100
    for requirement, algorithms in LOCKED.values():
        (pin,) = requirement.specifier
        assert (pin.operator, algorithms, requirement.url) == ("==", {"sha256"}, None)


def test_the_lock_file_fulfills_the_requirements_of_tests_and_ci() -> None:
    needed = [*REQUIREMENTS.values(), *EXTRAS["dev"].values(), *EXTRAS["docs"].values()]
    for requirement in needed:
        (pin,) = LOCKED[distribution(requirement)][0].specifier
        assert requirement.specifier.contains(pin.version), requirement


def test_nothing_names_a_machine() -> None:
    home = re.compile(r"(?<![\w./])/(?:home|root|Users)/\w")
    names = [
        ".gitignore",
        ".pre-commit-config.yaml",
        "CITATION.cff",
        "pyproject.toml",
        "requirements.txt",
        "mkdocs.yml",
    ]
    for pattern in ("*.md", ".ci/run", ".ci/*.py", ".github/workflows/*", "docs/*.md", "docs/*.ipynb", "website/*.*"):
        names += [str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)]
    for name in names:
        assert not home.search(read(name)), name


def test_the_method_is_imported_without_the_compiler() -> None:
    done = python("import sys; from jumpstart import JumpstartRegularization; print('torch._dynamo' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")
