"""Mutation tests of the compiled engine: ``python -m scripts.mutate_engine --share 0.1``.

A mutant is the engine with one small fault: another comparison, operator, number, sign or index, a condition negated,
a statement left out, two names exchanged. Each one is built in a copy of the project, for a single instruction set and
without optimization, and tested by ``test/engine``. A mutant is killed if a test fails or takes far too long; it
survives if all tests pass. Mutants that do not compile are not counted. Lines that only another processor has, such as
those of AVX-512, have no mutants.

Needs Linux, g++, and an environment with this project's extra ``dev``. A mutant takes some eight seconds.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import re
import resource
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENGINE = Path("jumpstart/engine")
FIRST = ("functions", "ties", "training", "bits", "gradients", "stopping", "divergence", "bad_input")
"""The files of tests that are run first, in this order; the others of the folder follow."""

LEFT_OUT = "distribution"
"""The file of tests that compares accuracies over many seeds, which no single mutant changes for sure."""

SECONDS = 100
"""Processor time after which the tests of a mutant end: four times what they need."""

BUILD = ["g++", "-O0", "-w", "-std=c++17", "-fPIC", "-shared", "-fno-exceptions", "-fno-rtti", "-fno-math-errno"]
SETS = {"plain": [], "avx2": ["-mavx2", "-mfma"]}
"""The flags of each instruction set. A mutant is built for the first one that has its line."""

SWAPS = "< <= > >= == != + - % * * / ^ | & | << >> && || += -= *= /= ^= |= |= &= true false larger smaller fmax fmin"
OPPOSITES = dict(zip(SWAPS.split()[::2], SWAPS.split()[1::2], strict=True))
OPPOSITES = {after: before for before, after in OPPOSITES.items()} | OPPOSITES | {"max": "min", "min": "max"}
"""What stands in for each operator and name."""

NO_CODE = re.compile(
    r"//.*|\"[^\"]*\"|^\s*template <.*?>(?= )|^\s*(typedef|static_assert|using)\b.*|.*ALIGNMENT.*|== 16 \? \d+"
)
"""What has no mutants: comments, texts, parameters of templates, types, alignment, and what AVX-512 alone has."""

DECLARED_SIZE = re.compile(r"(?<=[\w)])\[[2-9]\]")
DECLARATION = re.compile(r"^\s*(const |INLINE )?(float|double|Vector|Mask|u?int\d*_t|PyObject|__m128|void|bool)\b")
STATEMENT = re.compile(
    r"^(\s*)(\*?[\w.>-]+(\[[^=]*\])*( [-+*/|&^]?= .+|\+\+)"
    r"|(?!return\b)[\w.:>-]+(<[^;]*>)?\(.*\)|return|continue|break);\s*$"
)
RULES: tuple[tuple[str, Callable[[re.Match[str]], list[str]]], ...] = (
    (r"(?<= )([-+*/|&^<>=!]{1,2}|%)(?= |$)", lambda m: [OPPOSITES[m[0]]] if m[0] in OPPOSITES else []),
    (r"(?<![a-zA-Z])(true|false|larger|smaller|fmax|max|min)(?![a-z])", lambda m: [OPPOSITES[m[0]]]),
    (r"(?<=[ (!])!(?=[\w(])|~(?=[\w(])|(?<=[ (])-(?=[\w(])", lambda m: [""]),
    (r"(?<![\w.])(\d+)(?=u?(?![\w.]))", lambda m: [str(int(m[0]) + 1), f"({m[0]} - 1)"]),
    (r"\b0x[0-9a-f]+", lambda m: [hex(int(m[0], 16) ^ 1), hex(int(m[0], 16) ^ 1 << 16)]),
    (r"\b\d+\.\d+(e[-+]\d+)?", lambda m: [repr(float(m[0]) * 1.001 or 1.0)]),
    (r"\[([^\]&]*[a-z][^\]&]*)\]", lambda m: [f"[{m[1]} + 1]"]),
    (r"(?<=\bif \().*(?=\)( \{)? *$)", lambda m: [f"!({m[0]})"]),
    (r"((?<=[=(,] )|(?<=return )|(?<=\())[A-Za-z_][\w.]*(?= \? )", lambda m: [f"!{m[0]}"]),
    (r"\b([A-Z][A-Z_]+), ([A-Z][A-Z_]+)\b", lambda m: [f"{m[2]}, {m[1]}"]),
)


@dataclass(frozen=True)
class Mutant:
    """A line of a file of the engine without and with a fault, and the instruction set that has the line."""

    file: str
    number: int
    before: str
    after: str
    instructions: str


def compiler(instructions: str) -> list[str]:
    """The command of the compiler, without its files."""
    return [*BUILD, *SETS[instructions], f"-I{sysconfig.get_paths()['include']}", f"-DENGINE=_{instructions}"]


def lines_of(instructions: str) -> set[tuple[str, int]]:
    """The lines that are compiled for an instruction set: file, and number from 1."""
    command = [*compiler(instructions), "-E", str(ROOT / ENGINE / "engine.cpp")]
    found, file, number = set(), Path(), 0
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        if marker := re.match(r'# (\d+) "(.*?)"', line):
            number, file = int(marker[1]), Path(marker[2])
            continue
        if line.strip() and file.parent == ROOT / ENGINE:
            found.add((file.name, number))
        number += 1
    return found


def faulty(line: str) -> Iterator[str]:
    """A line with each of its faults."""
    code = NO_CODE.sub(lambda found: " " * len(found[0]), line)
    if DECLARATION.match(line):
        code = DECLARED_SIZE.sub(lambda found: " " * len(found[0]), code)
    if statement := STATEMENT.match(code):
        yield f"{statement[1]};"
    for pattern, faults in RULES:
        for found in re.finditer(pattern, code):
            for fault in faults(found):
                yield line[: found.start()] + fault + line[found.end() :]


def mutants() -> list[Mutant]:
    """All mutants, file by file and line by line."""
    sets = [name for name in SETS if name == "plain" or name in Path("/proc/cpuinfo").read_text()]
    compiled = {name: lines_of(name) for name in sets}
    found = []
    for path in [*sorted((ROOT / ENGINE).glob("*.h")), ROOT / ENGINE / "engine.cpp"]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            name = next((name for name in sets if (path.name, number) in compiled[name]), None)
            if name is not None:
                found += [Mutant(path.name, number, line, after, name) for after in dict.fromkeys(faulty(line))]
    return found


def build(copy: Path, instructions: str) -> bytes | None:
    """Build the engine of a copy of the project: its bytes; None if it does not compile."""
    for old in (copy / ENGINE).glob("*.so"):
        old.unlink()
    made = copy / ENGINE / f"_{instructions}.abi3.so"
    command = [*compiler(instructions), "engine.cpp", "-o", str(made)]
    done = subprocess.run(command, cwd=copy / ENGINE, capture_output=True, check=False)
    return None if done.returncode else made.read_bytes()


def copy_of_project(folder: Path) -> None:
    """Copy the project, without builds, into a folder, and import what the tests need, from there."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    for name in filter(None, names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    os.chdir(folder)
    sys.dont_write_bytecode = True
    sys.path[:] = [str(folder), str(folder / "test"), *(path for path in sys.path if path not in ("", str(ROOT)))]
    for name in ("pytest", "pytorch_lightning", "support.browser", "support.engine", "sweep.watchers.patience_rule"):
        importlib.import_module(name)
    vars(importlib.import_module("support.fresh"))["begin"] = lambda *packages: None  # its servers would take seconds
    del sys.modules["support.engine"]  # which has looked for builds, and found none


def _place(file: str) -> int:
    """The place of a file of tests in the order in which they are run."""
    return next((place for place, name in enumerate(FIRST) if file.endswith(f"_{name}.py")), len(FIRST))


def kill(log: Path) -> str | None:
    """The first test that fails, in a fork of this process, or how the fork ended; None if all tests pass."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        with log.open("w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        files = sorted(map(str, Path("test/engine").glob("test_*.py")), key=_place)
        files = [file for file in files if LEFT_OUT not in file]
        os._exit(importlib.import_module("pytest").main(["-x", "-q", "-p", "no:cacheprovider", *files]))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    failed = re.search(r"^(?:FAILED|ERROR) \S*test_(\S+)", log.read_text(errors="replace"), re.MULTILINE)
    return None if not status else failed[1] if failed else f"status {status}"


def trial(mutant: Mutant, copy: Path, log: Path) -> str:
    """Build and test one mutant: what killed it, ``survived``, or ``no build``."""
    path = copy / ENGINE / mutant.file
    whole = path.read_text()
    lines = whole.split("\n")
    lines[mutant.number - 1] = mutant.after
    path.write_text("\n".join(lines))
    built = build(copy, mutant.instructions)
    path.write_text(whole)
    return (kill(log) or "survived") if built else "no build"


def main() -> None:
    """Test a share of the mutants: a line for each, and a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--share", type=float, default=0.1, help="share of the mutants (default: 0.1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of their choice (default: 0)")
    parser.add_argument("--match", default="", help="regular expression of file:line of the mutants (default: all)")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    every = [one for one in mutants() if re.match(options.match, f"{one.file}:{one.number}:")]
    chosen = sorted(random.Random(options.seed).sample(range(len(every)), round(options.share * len(every))))
    killed: dict[str, list[bool]] = {}
    with tempfile.TemporaryDirectory() as folder:
        copy, log = Path(folder, "project"), Path(folder, "log")
        copy_of_project(copy)
        for name in sorted({every[number].instructions for number in chosen}):
            if not build(copy, name) or (failed := kill(log)):
                raise SystemExit(f"without a fault, the {name} engine fails: {failed}")
        for mutant in (every[number] for number in chosen):
            result = trial(mutant, copy, log)
            for file in (mutant.file, "all") if result != "no build" else ():
                killed.setdefault(file, []).append(result != "survived")
            where = f"{mutant.file}:{mutant.number}: {mutant.before.strip()}  ->  {mutant.after.strip()}"
            sys.stdout.write(f"{result:40} {where}\n")
    sys.stdout.write("| file | mutants | killed | share |\n|---|---|---|---|\n")
    killed["all"] = killed.pop("all", [])
    for file, dead in killed.items():
        sys.stdout.write(f"| {file} | {len(dead)} | {sum(dead)} | {sum(dead) / max(1, len(dead)):.1%} |\n")


if __name__ == "__main__":
    main()
