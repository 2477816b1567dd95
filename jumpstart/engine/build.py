"""The builds of the compiled engine: one for each instruction set, made at install where there is a C++ compiler."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Protocol, cast

import torch

from jumpstart.engine.layout import MemberLayout


class Functions(Protocol):
    """The functions of a build. Numbers named ``address`` are addresses of arrays; ``engine.cpp`` says what they hold.

    Attributes:
        LANES: Number of floats in a vector register.
    """

    LANES: int

    def train(self, member: MemberLayout, until: int, seconds: float) -> int: ...

    def measure(self, member: MemberLayout, address: int) -> int: ...

    def order(self, seed: int, epoch: int, rows: int, address: int) -> None: ...

    def functions(self, kind: int, z: int, h: int, gradient: int, count: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Build:
    """One build of the engine.

    Attributes:
        name: ``"avx512"``, ``"avx2"`` or ``"plain"``.
        functions: Its compiled functions.
    """

    name: str
    functions: Functions


_CAPABILITIES = {"AVX512": ("avx512", "avx2", "plain"), "AVX2": ("avx2", "plain")}
"""The builds that a processor can run, the fastest first, by torch's name of its vector instructions."""


def builds() -> tuple[Build, ...]:
    """The builds that were made and that this processor can run, the fastest first.

    Example:
        >>> all(build.functions.LANES in (4, 8, 16) for build in builds())
        True
    """
    found = []
    for name in _CAPABILITIES.get(torch.backends.cpu.get_cpu_capability(), ("plain",)):
        try:
            functions = importlib.import_module(f"jumpstart.engine._{name}")
        except ImportError:
            continue
        found.append(Build(name, cast("Functions", functions)))
    return tuple(found)


def best_build() -> Build | None:
    """The build that trains: the fastest one, or the one that ``JUMPSTART_ENGINE`` names; None if there is none.

    ``JUMPSTART_ENGINE=0`` switches the engine off.
    """
    wanted = os.environ.get("JUMPSTART_ENGINE", "")
    return next((build for build in builds() if wanted in ("", build.name)), None)
