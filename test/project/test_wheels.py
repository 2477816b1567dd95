"""Wheels of one source are the same bits, whenever, wherever and by whomever they are built."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import os; os.umask(int({umask!r}, 8)); from setuptools import build_meta; build_meta.build_wheel({out!r})"


def digest_of_wheel(source: Path, *, umask: str, day: int) -> str:
    """The SHA-256 of a wheel that is built from a copy of the sources in ``source``, as if on some day of 2026."""
    shutil.copytree(
        ROOT / "jumpstart", source / "jumpstart", ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.pyd")
    )
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source / name)
    for path in source.rglob("*"):
        os.utime(path, (1_767_225_600 + 86_400 * day,) * 2)
    out = source / "wheel"
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    built = subprocess.run(
        [sys.executable, "-c", BUILD.format(umask=umask, out=str(out))],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = out.glob("*.whl")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_wheel_that_is_built_twice_has_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    first = digest_of_wheel(tmp_path / "one", umask="022", day=1)
    assert digest_of_wheel(tmp_path / "another folder", umask="077", day=200) == first
