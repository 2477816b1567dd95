"""Sweeps of Weights & Biases: what its agent passes to the launchers for the grids of the papers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.documents import LAUNCHERS
from support.runs import ROOT

from model.config.rectangular import RectangularConfig
from sweep.cli import read_command

FILES = sorted((ROOT / "sweeps").glob("*.yaml"))
RUNS = {"mnist-conv-grid": 3 * 3 * 10, "moons-grid": 3 * 9 * 13, "uci-50x4": 5 * 5 * 16}


def combinations(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parameters of each run of a grid, as the server of Weights & Biases would choose them."""
    parameters = {name: one.get("values", [one.get("value")]) for name, one in content["parameters"].items()}
    for values in itertools.product(*parameters.values()):
        yield dict(zip(parameters, values, strict=True))


def forms(values: dict[str, Any]) -> dict[str, Any]:
    """The words that the agent of Weights & Biases puts in place of ``${args}``, ``${args_no_equals}``, and so on."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    return create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})


def config_of(launcher: str, words: list[str]) -> Any:
    return read_command(LAUNCHERS[launcher], words, description="").single_run().config


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_launcher_accepts_what_the_agent_passes(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["method"] == "grid"
    runs = list(combinations(content))
    assert len(runs) == RUNS[path.stem]
    assert f": {len(runs)} runs." in path.read_text(encoding="utf-8").splitlines()[0]
    configs = set()
    for values in (runs[0], *runs[1::13], runs[-1]):
        words = forms(values)
        config = config_of(content["program"], words["args"])
        assert config_of(content["program"], words["args_no_equals"]) == config
        given = {name: value for name, value in values.items() if name != "technique"}
        if values["technique"] != "jumpstart":
            assert config.lambda_ == 0.0
            given["lambda_"] = 0.0
        assert {name: getattr(config, name) for name in given} == given
        configs.add(config)
    assert len(configs) == len({str(values) for values in (runs[0], *runs[1::13], runs[-1])})


def test_the_moons_grid_is_that_of_the_paper() -> None:
    content = yaml.safe_load((ROOT / "sweeps" / "moons-grid.yaml").read_text(encoding="utf-8"))["parameters"]
    assert content["width"]["values"] == [1, 2, 3, 4, 5, 10, 15, 20, 25]
    assert content["depth"]["values"] == [1, *range(10, 121, 10)]


VALUES: dict[str, Any] = {
    "depth": 10,
    "use_batchnorm": False,
    "lambda_": 0.01,
    "lr": 1e-05,
    "skip_connections": None,
    "activation": "gelu",
    "layer": "conv",
    "dataset": "digits",
    "pool_at": [2, 4],
    "terms": ["unit", "point_positive"],
    "plot_parts": ["val"],
    "wandb": True,
}


@pytest.mark.parametrize("form", ["args", "args_no_equals", "args_no_boolean_flags"])
def test_every_form_of_the_agent_gives_the_same_run(form: str) -> None:
    config = config_of("run_rectangular_sweep.py", forms(VALUES)[form])
    expected = VALUES | {"pool_at": (2, 4), "terms": "unit,point_positive", "plot_parts": "val"}
    assert {name: getattr(config, name) for name in expected} == expected


def test_a_file_of_the_agent_is_a_config(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(forms(VALUES)["args_json"][0], encoding="utf-8")
    config = config_of("run_rectangular_sweep.py", ["--config", str(path)])
    assert config == config_of("run_rectangular_sweep.py", forms(VALUES)["args"])


@pytest.mark.parametrize(
    ("text", "values"), [("[10, 50]", [10, 50]), ("['10', \"50\"]", [10, 50]), ("[7]", [7]), ("[0..2]", [0, 1, 2])]
)
def test_a_list_of_values_may_have_brackets(text: str, values: list[int]) -> None:
    (grid,) = read_command(RectangularConfig, [f"--seed={text}"], description="").grid.grids
    assert grid.values["seed"] == values
