"""Any command line and any file of options: a config with the numbers that were written, or one line of an error."""

from __future__ import annotations

import contextlib
import io
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.properties import tried

from jumpstart.words import LONGEST_MESSAGE
from model.config.options import options
from sweep.cli import Parsed, main
from sweep.families import family_named
from sweep.grid.command import GridCommand
from sweep.sweep import Sweep

FAMILIES = {name: family_named(name) for name in ("rectangular", "resnet")}
MOST = "--max_runs=30"
OTHERS = ("config", "resume", "technique", "retries", "keep", "executor", "workers", "dry_run", "no_wandb", "depht")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d{1,2})?")

NUMBERS = st.one_of(st.integers(-3, 300).map(str), st.floats(-10, 10).map(repr), st.integers().map(str))
TEXTS = st.one_of(
    st.sampled_from(
        ["", "None", "none", "True", "no", "auto", "0..3", "5..1", "1..9..2", "0..", "..", "[1,2]", "[1,2],[3]", "[",
         "]", "relu", "relu,gelu", "moons", "nan", "inf", "-inf", "1e400", "1_000", "0x10", "--", "-", "=", "1,2", ",",
         "'1'", "unit,point", "adam", "~nouser", "a/b", "/", "..", "0..1e9", "0..99999999999999999999", "\x00", "{}",
         "!!int 3"]
    ),
    NUMBERS,
    st.lists(NUMBERS, min_size=2, max_size=3).map(",".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)  # fmt: skip


def names_of(family: str) -> list[str]:
    return [*options(FAMILIES[family].config_class), *OTHERS]


@st.composite
def commands(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A family, and words after the name of its program."""
    family = draw(st.sampled_from(sorted(FAMILIES)))
    flag = st.sampled_from(names_of(family))
    word = st.one_of(
        st.tuples(flag, TEXTS).map(lambda pair: f"--{pair[0]}={pair[1]}"),
        st.tuples(flag, NUMBERS).map(lambda pair: f"--{pair[0]}={pair[1]}"),
        flag.map(lambda name: f"--{name}"),
        TEXTS,
    )
    return family, draw(st.lists(word, min_size=1, max_size=4))


def answer(family: str, words: list[str]) -> tuple[int, str, Any]:
    """The exit code of a command that trains nothing, what it wrote to stderr, and its config."""
    kept: list[Any] = []

    def run(parsed: Parsed[Any]) -> None:
        kept.append(parsed.config)

    def sweep(command: GridCommand) -> int:
        assert Sweep(FAMILIES[family], command.grids, command.options).members()
        return 0

    err = io.StringIO()
    chosen = FAMILIES[family]
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(run, chosen.config_class, words, description=chosen.description, sweep=sweep)
        except SystemExit as help_page:
            code = int(str(help_page.code))
    return code, err.getvalue(), kept[0] if kept else None


def check(code: int, error: str) -> None:
    assert code in (0, 2)
    assert (code == 0) == (error == "")
    if code:
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert len(error) <= LONGEST_MESSAGE + 10


@given(command=commands())
@tried(20)
def test_property_any_command_line_is_a_config_or_one_line(command: tuple[str, list[str]]) -> None:
    family, words = command
    code, error, config = answer(family, [*words, MOST])
    check(code, error)
    if config is None:
        return
    last = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word and word.startswith("--"))
    for name, text in last.items():
        value = getattr(config, name.replace("-", "_"), None)
        given_last = [word for word in words if word.startswith(f"--{name}")][-1] == f"--{name}={text}"
        if given_last and NUMBER.fullmatch(text) and isinstance(value, int | float) and not isinstance(value, bool):
            assert math.isclose(value, float(text), rel_tol=1e-15) or value == int(float(text)), (name, text, value)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 100), st.floats(), st.integers(), st.dates(), st.binary(max_size=3),
    st.sampled_from(["auto", "relu", "0..3", "moons", "None", "yes", "1e-3"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)  # fmt: skip
KEYS = st.one_of(
    st.sampled_from([*sorted({*names_of("rectangular"), *names_of("resnet")}), "grids"]),
    st.sampled_from(["grids", "technique", "max_runs", "1", ""]),
    st.integers(0, 2),
    st.none(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=2)),
    max_leaves=5,
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """The content of a file of options: YAML, YAML with some changed characters, text, or bytes."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=40))
    if kind == 1:
        return draw(st.text(max_size=40)).encode("utf-8", "surrogatepass")
    content = draw(st.one_of(st.dictionaries(KEYS, VALUES, max_size=4), VALUES))
    text = yaml.safe_dump(content, allow_unicode=draw(st.booleans()), default_flow_style=draw(st.booleans()))
    if kind < 5:
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.text("&*!|>-:[]{}%@`'\"\t\n #,?", max_size=3)) + text[place + 1 :]
    return text.encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("options") / "file.yaml"


@given(content=files(), family=st.sampled_from(sorted(FAMILIES)))
@tried(20)
def test_property_any_file_of_options_is_a_config_or_one_line(file: Path, content: bytes, family: str) -> None:
    file.write_bytes(content)
    code, error, _ = answer(family, [f"--config={file}", MOST])
    check(code, error)
