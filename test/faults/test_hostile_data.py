"""Files and paths that a person is given: YAML bombs, packed bombs, endless paths, tables without rows."""

from __future__ import annotations

import bz2
import gzip
import lzma
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from data.cache import DataError
from data.data import make_datamodule
from data.own_tables.text import read_text
from jumpstart.files import PathError, load_yaml, user_path
from jumpstart.report.record import read_run
from sweep.files import RunDirectoryError
from sweep.run_directory import RunDirectory


def bomb(first: str, step: Callable[[int], str], levels: int = 12) -> str:
    lines = [f"a0: &a0 {first}", *(f"a{i}: &a{i} {step(i - 1)}" for i in range(1, levels))]
    return "\n".join(lines)


def nine(level: int) -> str:
    return f"[{', '.join([f'*a{level}'] * 9)}]"


BOMBS = {
    "lists": bomb("[lol]", nine),
    "mappings": bomb("{x: lol}", lambda i: "{" + ", ".join(f"k{j}: *a{i}" for j in range(9)) + "}"),
    "merges": bomb("{x: lol}", lambda i: f"{{<<: {nine(i)}}}"),
    "long texts": bomb("lol" * 1000, nine, 4),
    "a list of itself": "a: &a [*a]",
    "a mapping of itself": "a: &a {b: {c: *a}}",
    "a key of itself": "&a [*a]: 1",
}
WRONG = (
    "!!bool maybe",
    "!!int ''",
    "!!timestamp x",
    "!!float x",
    "!!python/object:os.system x",
    "[" * 1000,
    "? {a: 1}",
)


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("text", [*BOMBS.values(), "[" * 1000, *WRONG, *(f"a: {text}" for text in WRONG)])
def test_yaml_is_refused_in_one_line(text: str, as_text: bool) -> None:
    begin = time.process_time()
    with pytest.raises(ValueError, match=r"alias|not YAML") as error:
        load_yaml(text, as_text=as_text)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500
    assert time.process_time() - begin < 2


def test_aliases_of_a_person_are_read() -> None:
    text = "base: &base {lr: 0.1, milestones: &m [1, 2]}\nruns:\n" + "- {<<: *base, more: *m}\n" * 100
    assert load_yaml(text) == {
        "base": {"lr": 0.1, "milestones": [1, 2]},
        "runs": [{"lr": 0.1, "milestones": [1, 2], "more": [1, 2]}] * 100,
    }


def test_every_reader_of_a_config_refuses_a_bomb(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(BOMBS["lists"])
    with pytest.raises(RunDirectoryError, match="aliases repeat"):
        RunDirectory(tmp_path).read_config()
    assert any("aliases repeat" in note for note in read_run(tmp_path).notes)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_a_packed_bomb_is_refused_in_little_memory(
    suffix: str, pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.own_tables.text._ANY_SIZE", 1 << 20)
    path = tmp_path / f"table.csv{suffix}"
    path.write_bytes(pack(bytes(16 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="when it is unpacked: unpack it by hand"):
            read_text(path)
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", ["a/" * 2500, "a" * 5000, "~nouser/x", "~nouser", "/" * 5000 + "a" * 300])
def test_a_path_that_no_system_takes_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(PathError) as error:
        user_path(path, "output_dir")
    assert str(error.value).startswith("output_dir must ")
    assert len(str(error.value)) < 300
    with pytest.raises((PathError, DataError)):
        make_datamodule(f"./{path}" if path.startswith("a") else path)


@pytest.mark.parametrize("content", ["", "\n\n", "size,kind\n", "size,kind\n\n", "\ufeffsize;kind\n", "#\n"])
def test_a_table_without_rows_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises((DataError, ValueError), match=r"table\.csv") as error:
        make_datamodule(path, target="kind").setup()
    assert str(error.value).isprintable()
