"""Options and files that nobody should give are refused in one line of bounded length."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from support.runs import command

from jumpstart.files import load_yaml
from jumpstart.words import LONGEST_MESSAGE
from model.config.rectangular import RectangularConfig
from model.errors import ConfigError
from sweep.files import RunDirectoryError
from sweep.run_directory import RunDirectory

YAML = {
    "a tag of a truth value": "wandb: !!bool maybe",
    "a tag of an integer": "depth: !!int ''",
    "a tag of a time": "depth: !!timestamp soon",
    "a tag of bytes": "depth: !!binary é",
    "a tag of a set": "depth: !!set 3",
    "2,000 brackets": "[" * 2000,
    "an integer of 5,000 digits": f"depth: {'9' * 5000}",
    "an unknown tag with a long name": f"depth: !{'x' * 5000} 3",
}


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_yaml_that_the_parser_trips_over_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it is not YAML") as caught:
        load_yaml(text)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


ARGUMENTS = {
    "a value of two dashes": ["--depth=--"],
    "an integer of 400 digits": ["--depth=" + "9" * 400],
    "a negative integer of 400 digits": ["--seed=-" + "9" * 400],
    "an integer of 5,000 digits": ["--epochs=" + "9" * 5000],
    "a range of 400 digits": ["--seed=0.." + "9" * 400],
    "a number of 5,000 digits": ["--lr=" + "9" * 5000],
    "a depth of 1e9": ["--depth=1e9"],
    "the name of a draft": ["--name=.new-" + "0" * 32],
    "a name of 5,000 characters": ["--name=" + "x" * 5000],
    "a path of 5,000 characters": ["--output_dir=" + "x/" * 2500],
    "an unknown flag of 5,000 characters": ["--" + "x" * 5000 + "=1"],
    "a word of 5,000 characters": ["x" * 5000],
    "an unknown data set of 5,000 characters": ["--dataset=" + "x" * 5000],
    "an unknown user": ["--output_dir=~nouser/runs"],
}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_out_of_all_bounds_are_one_line(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("--wandb=False", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert len(err) < LONGEST_MESSAGE + 10
    assert not list(tmp_path.iterdir())


def test_the_hint_for_a_name_that_is_taken_quotes_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    (folder / "a").mkdir(parents=True)
    (folder / "a/config.yaml").write_text("depth: 3\n")
    with pytest.raises(RunDirectoryError) as caught:
        RunDirectory.create(folder, "a", RectangularConfig())
    assert f"--resume={shlex.quote(str(folder / 'a'))}" in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "3", "null", '{"resumed": 3}', "[" * 100_000, "", "{"])
def test_a_damaged_environment_is_replaced_when_a_run_is_resumed(content: str, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.environment.write_text(content)
    run.record_resume(RectangularConfig())
    assert len(json.loads(run.environment.read_text())["resumed"]) == 1


def test_every_name_of_a_draft_is_refused() -> None:
    for name in (".new-", ".new-x", ".new-" + "f" * 32):
        with pytest.raises(ConfigError, match=r"name must .* not begin with \.new-"):
            RectangularConfig(name=name)
    assert RectangularConfig(name=".newest").name == ".newest"
