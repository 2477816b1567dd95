"""Links torch and all that torch requires, and nothing else, from this environment into the environment of a folder.

    python .ci/torch_alone.py ENVIRONMENT

``ENVIRONMENT`` is a new virtual environment of the same Python. Links take a second, a second copy of torch minutes.
"""

from __future__ import annotations

import sys
import sysconfig
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement


def closure(requirement: Requirement, distributions: dict[str, Distribution]) -> dict[str, Distribution]:
    """Add the distribution of a requirement, and all that this distribution requires here, to a dictionary by name."""
    visited = requirement.name in distributions
    installed = distributions.setdefault(requirement.name, distribution(requirement.name))
    for needed in map(Requirement, installed.requires or []):
        extras = [x for x in {"", *requirement.extras} if needed.marker is None or needed.marker.evaluate({"extra": x})]
        if extras and not (visited and "" in extras):
            closure(needed, distributions)
    return distributions


def link(installed: Distribution, target: Path) -> None:
    """Link the top-level files and folders of a distribution."""
    for name in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
        place = target / name
        if not place.exists():
            place.symlink_to(Path(str(installed.locate_file(name))))


def main(environment: Path) -> None:
    """Link torch's closure into the folder of the environment that has its packages."""
    target = Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))
    if not target.is_dir():
        sys.exit(f"{environment} must be a virtual environment of this Python: it has no {target}.")
    try:
        needed = closure(Requirement("torch"), {})
    except PackageNotFoundError as error:
        sys.exit(f"{error}: install torch, with what it requires, in this environment first.")
    for installed in needed.values():
        link(installed, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
