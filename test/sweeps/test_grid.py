"""Grids: several values of options on the command line and in YAML, techniques, and the runs that they make."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.runs import ROOT

from data.cache import DataError
from jumpstart.files import load_yaml
from model.activations import canonical_activation
from model.config.checks import USUAL_ACTIVATIONS
from model.config.effects import no_effect_message
from model.config.options import options
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig
from model.errors import ConfigError
from sweep.cli import Command, combine, main, read_command
from sweep.families import family_named
from sweep.grid.command import GridCommand, grids_in_file
from sweep.grid.expand import Grid, expand, identity_of, json_of
from sweep.grid.options import SweepConfig
from sweep.grid.techniques import options_of, techniques
from sweep.grid.values import values_of
from sweep.rectangular import RECTANGULAR
from sweep.sweep import Sweep, run_sweep

TABLE = options(RectangularConfig)


def read(*flags: str) -> Command[RectangularConfig]:
    return read_command(RectangularConfig, flags, description="")


# Values of one option -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("depth", "7", [7]),
        ("depth", "10,50,100", [10, 50, 100]),
        ("negative_margin", "0.1,auto,none", [0.1, "auto", None]),
        ("seed", "0..9", list(range(10))),
        ("seed", "3..3", [3]),
        ("depth", "2..8..3", [2, 5, 8]),
        ("depth", "1, 4..5 ,1", [1, 4, 5]),
        ("lambda_", "0,1e-2,0.0", [0.0, 0.01]),
        ("use_batchnorm", "True,no", [True, False]),
        ("skip_connections", "None,1,2", [None, 1, 2]),
        ("activation", "relu,gelu", ["relu", "gelu"]),
        ("pool_at", "2,4", [(2, 4)]),
        ("pool_at", "[2,4],[3], []", [(2, 4), (3,), ()]),
        ("pool_at", "[2,4]", [(2, 4)]),
        ("terms", "unit,point", ["unit,point"]),
        ("terms", "[unit],[all]", ["unit", "all"]),
        ("gpus", "0,1", ["0,1"]),
        ("name", "a,b", ["a,b"]),
        ("output_dir", "0..9", ["0..9"]),
    ],
)
def test_values_of_an_option(name: str, text: str, values: list[object]) -> None:
    assert values_of(TABLE[name], text) == values


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("depth", "10,x", "depth must be an integer >= 1, got 'x'"),
        ("depth", "10,0", "depth must be >= 1, got 0"),
        ("depth", "9..2", r"depth: the range '9\.\.2' is empty; write it as 2\.\.9"),
        ("depth", "2..9..0", "depth: the step of a range must be >= 1, got 0"),
        ("depth", "0..2", "depth must be >= 1, got 0"),
        ("depth", "1,,2", "depth must have a value between two commas, got '1,,2'"),
        ("seed", "0..9999999", "more than 1,000,000 values"),
        ("lr", "0..2", r"lr must be a number > 0.*, got '0\.\.2'"),
        ("capture", "weights,activation", "capture must be one of"),
    ],
)
def test_values_that_are_wrong_name_the_option(name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        values_of(TABLE[name], text)


# Grids --------------------------------------------------------------------------------------------


def test_a_grid_has_every_combination_once() -> None:
    values: dict[str, list[Any]] = {"depth": [2, 3, 4], "lambda_": [0.0, 0.1], "seed": [0, 1], "dataset": ["moons"]}
    members = expand(RectangularConfig, [Grid(values)])
    found = [(member.config.depth, member.config.lambda_, member.config.seed) for member in members]
    assert found == list(itertools.product(*(values[name] for name in ("depth", "lambda_", "seed"))))
    assert all(list(member.varied) == ["depth", "lambda_", "seed"] for member in members)
    assert len({member.identity for member in members}) == len(members) == Grid(values).count


def test_equal_runs_of_several_grids_are_one() -> None:
    first, second = Grid({"depth": [2, 3]}), Grid({"depth": [3, 4], "plot_status": [False], "threads": [1]})
    assert [member.config.depth for member in expand(RectangularConfig, [first, second])] == [2, 3, 4]


@pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 0.02}, {"epochs": 3}, {"activation": "gelu"}, {"depth": 9}])
def test_what_decides_the_result_decides_the_identity(change: dict[str, object]) -> None:
    config = RectangularConfig()
    assert identity_of(config) != identity_of(config.replace(**change))
    other = config.replace(name="x", output_dir="y", plot_status=False, wandb=False, progress=False, threads=1)
    assert identity_of(config) == identity_of(other)
    assert identity_of(config) == identity_of(RectangularConfig.from_dict(config.to_dict()))


def test_a_combination_that_is_refused_is_named() -> None:
    with pytest.raises(ConfigError, match=r"skip_connections.*combination depth=2, skip_connections=3"):
        expand(RectangularConfig, [Grid({"depth": [5, 2], "skip_connections": [1, 3]})])


def test_a_large_grid_is_refused_before_it_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--seed=0..9999", "--depth=1..100", "--dry_run"]
    code = main(print, RectangularConfig, flags, description="", sweep=_dry)
    assert code == 2
    assert "the grid has 1,000,000 runs, and max_runs is 10,000: give fewer values, or --max_runs=1000000" in (
        capsys.readouterr().err
    )


def _dry(command: object) -> int:

    assert isinstance(command, GridCommand)
    return run_sweep(Sweep(RECTANGULAR, command.grids, command.options))


# Techniques ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("config_class", [RectangularConfig, ResnetConfig])
@pytest.mark.parametrize("name", techniques())
def test_every_technique_makes_a_run(name: str, config_class: type[RectangularConfig] | type[ResnetConfig]) -> None:
    table = options(config_class)
    known = {option for option in techniques()[name] if option in table}
    (member,) = expand(config_class, [Grid({"lambda_": [0.25]}, [name])])
    assert member.config.lambda_ == (0.25 if name == "jumpstart" else 0.0)
    for option in known:
        assert getattr(member.config, option) == table[option].clean(techniques()[name][option])


def test_techniques_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {**techniques(), "squash": {"activation": "tanh"}}
    monkeypatch.setattr("sweep.grid.techniques.techniques", lambda: own)
    assert options_of(RectangularConfig, "batchnorm+skip+jumpstart") == {"use_batchnorm": True, "skip_connections": 1}
    with pytest.raises(ConfigError, match="sets activation twice, to 'gelu' and to 'tanh'"):
        options_of(RectangularConfig, "gelu+squash")
    with pytest.raises(ConfigError, match=r"got 'batchnrom'\. Did you mean 'batchnorm'"):
        options_of(RectangularConfig, "jumpstart+batchnrom")
    with pytest.raises(ConfigError, match="technique='gelu' sets activation to 'gelu', and 'relu' is given for it"):
        expand(RectangularConfig, [Grid({"activation": ["relu"]}, ["gelu"])])


def test_a_technique_without_jumpstart_is_one_run_for_all_lambdas() -> None:
    members = expand(RectangularConfig, [Grid({"lambda_": [0.1, 0.2, 0.3]}, ["baseline", "jumpstart"])])
    assert [(m.technique, m.config.lambda_) for m in members] == [
        ("baseline", 0.0),
        ("jumpstart", 0.1),
        ("jumpstart", 0.2),
        ("jumpstart", 0.3),
    ]


OTHER: dict[str, list[Any]] = {
    "depth": [1, 7, 0, "x", 2.5],
    "lambda_": [0.5, 0, -1.0, float("nan")],
    "use_loss": [False, True],
    "skip_connections": [None, 1, 9],
    "activation": ["ReLU", "gelu", "reluu"],
    "dataset": ["iris", "./data/x.csv"],
    "pool_at": [(), (1, 2), (2, 1)],
    "layer": ["conv", "dense"],
    "scheduler": ["none", "Cosine", "linaer"],
    "seed": [0, 3, -1],
}


def outcome_of(make: Callable[[], RectangularConfig]) -> object:
    try:
        return make()
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize("start", [{}, {"depth": 3, "layer": "conv", "skip_connections": 1}, {"lambda_": 0.0}], ids=str)
def test_a_changed_config_is_the_config_that_would_be_made(start: dict[str, Any]) -> None:
    base = RectangularConfig(**start)
    for one, other in itertools.combinations(OTHER, 2):
        for first, second in itertools.product(OTHER[one][:3], OTHER[other]):
            changes = {one: first, other: second}
            made = outcome_of(partial(RectangularConfig, **{**start, **changes}))
            changed = outcome_of(partial(base.replace, **changes))
            # The error may be that of the other option if both are wrong.
            assert changed == made or (isinstance(changed, str) and isinstance(made, str)), changes
            if isinstance(changed, RectangularConfig):
                assert identity_of(changed) == identity_of(made)
    assert base == RectangularConfig(**start)


def test_every_combination_is_checked_as_a_config_of_its_own() -> None:
    grid = Grid({"skip_connections": [1, 2], "depth": [5, 4, 2], "lr": [0.1, 0.2]})
    with pytest.raises(ConfigError, match=r"got 2\. This is the combination skip_connections=2, depth=2, lr=0\.1"):
        expand(RectangularConfig, [grid])
    members = expand(
        RectangularConfig, [Grid({"depth": [5, 6], "activation": ["ReLU", "GELU"]}, ["skip", "batchnorm"])]
    )
    for member in members:
        again = RectangularConfig(**member.config.to_dict())
        assert member.config == again
        assert json.loads(json_of(member.config)) == again.to_dict()
    assert len({member.identity for member in members}) == len(members) == 8


def test_the_identity_of_a_run_stays_what_it_was() -> None:
    """A ledger that was written by an earlier version knows its runs again."""
    for config in (RectangularConfig(dataset="café", layer="conv", pool_at=(1, 2)), ResnetConfig(lambda_=0.5)):
        unseen = {"name", "output_dir", "data_dir", "threads", "progress", "curve_points", "checkpoint_seconds"}
        content = {name: value for name, value in config.to_dict().items() if name not in unseen}
        content = {name: value for name, value in content.items() if "wandb" not in name and "plot" not in name}
        text = json.dumps([type(config).__name__, content], sort_keys=True)
        assert identity_of(config) == hashlib.sha256(text.encode()).hexdigest()[:20]


def test_a_grid_of_a_table_is_checked_without_torch() -> None:
    words = ["--depth=2,3", "--activation=relu,gelu", "--dataset=iris,moons", "--dry_run"]
    code = f"import sys; sys.argv[1:] = {words}; from sweep.launch import launch\n"
    code += "from sweep.rectangular import RECTANGULAR\nassert launch(RECTANGULAR) == 0\n"
    code += "assert not {'torch', 'pandas', 'sklearn', 'wandb'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)


def test_the_usual_activations_are_canonical() -> None:
    assert all(canonical_activation(name) == name for name in USUAL_ACTIVATIONS)


@pytest.mark.parametrize(
    "options", [{"dataset": "mooons"}, {"dataset": "moons", "num_points": 11}, {"dataset": "iris", "layer": "conv"}]
)
def test_data_is_checked_as_it_is_made(options: dict[str, Any]) -> None:
    config = RectangularConfig(**options)
    messages = []
    for check in (RECTANGULAR.check_data, RECTANGULAR.make_data):
        with pytest.raises(ConfigError) as caught:
            check(config)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    RECTANGULAR.check_data(RectangularConfig())


# The command line ---------------------------------------------------------------------------------


def test_one_value_everywhere_is_one_run() -> None:
    command = read("--depth=5", "--lambda_=0.1", "--lambda_=0.2", "--technique=batchnorm")
    assert command.grid.is_single
    config = command.single_run().config
    assert (config.depth, config.use_batchnorm, config.lambda_) == (5, True, 0.0)


@pytest.mark.parametrize(
    ("config_class", "flags", "message"),
    [
        (RectangularConfig, ["gelu", "--activation=relu"], "'gelu' sets activation to 'gelu', and 'relu' is given"),
        (RectangularConfig, ["skip", "--skip_connections=2"], "sets skip_connections to 1, and 2 is given for it"),
        (ResnetConfig, ["skip", "--use_skip_connections=no"], "use_skip_connections to True, and False is given"),
    ],
)
def test_a_single_run_does_not_contradict_its_technique(config_class: Any, flags: list[str], message: str) -> None:
    words = [f"--technique={flags[0]}", *flags[1:]]
    for seeds in ("0", "0,1"):
        command = read_command(config_class, [*words, f"--seed={seeds}"], description="")
        with pytest.raises(ConfigError, match=message):
            expand(config_class, command.grid.grids)
    with pytest.raises(ConfigError, match=message):
        read_command(config_class, words, description="").single_run()


def test_a_single_run_may_repeat_what_its_technique_sets() -> None:
    parsed = read("--technique=batchnorm+skip", "--skip_connections=1", "--lambda_=0", "--depth=3").single_run()
    assert (parsed.config.skip_connections, parsed.config.lambda_, parsed.unused) == (1, 0.0, {})


@pytest.mark.parametrize("flags", [["--technique=baseline", "--lambda_=0.5"], ["--technique=skip", "--lambda_=0.01"]])
def test_the_lambda_of_a_technique_without_jumpstart_is_named(flags: list[str]) -> None:
    parsed = read(*flags).single_run()
    assert parsed.config.lambda_ == 0.0
    message = no_effect_message(parsed.config, parsed.given, None, parsed.unused)
    assert message == f"no effect in this run: {flags[1][2:]} (needs technique=jumpstart)."


def test_flags_of_a_sweep_without_effect_on_a_single_run_are_named() -> None:
    words = ["--keep=all", "--retries=1", "--workers=2", "--max-runs=9", "--gpus_per_run=0.5", "--dry_run=False"]
    parsed = read(*words, "--executor=local", "--momentum=0.5").single_run()
    message = no_effect_message(parsed.config, parsed.given, None, parsed.unused)
    several = ("keep=all", "retries=1", "workers=2", "gpus_per_run=0.5", "max_runs=9")
    parts = ["momentum=0.5 (needs optimizer=sgd or optimizer=muon)"]
    parts += [f"{text} (needs several runs)" for text in several]
    assert message == f"no effect in this run: {', '.join(parts)}."


FILES = {
    "grids: [{seed: 3}]": {"seed": 3, "lambda_": 0.01},
    "technique: baseline\nseed: 3": {"seed": 3, "lambda_": 0.0},
    "- seed: 3": {"seed": 3, "lambda_": 0.01},
    "seed: [3]\ngrids: [{technique: [skip], pool_at: []}]": {"seed": 3, "lambda_": 0.0, "skip_connections": 1},
}


@pytest.mark.parametrize("text", FILES)
def test_a_file_of_one_run_is_that_run(text: str, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(text)
    command = read(f"--config={path}", "--depth=4")
    (member,) = expand(RectangularConfig, command.grid.grids)
    alone = combine(RectangularConfig, {"depth": "4"}, config_file=path)
    assert command.single_run().config == alone.config == member.config
    assert {name: getattr(alone.config, name) for name in FILES[text]} == FILES[text]
    assert alone.given == command.single_run().given


def test_a_function_trains_no_grid_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("seed: 0..4")
    with pytest.raises(ConfigError, match=r"one run is meant here, got a grid of 5\."):
        combine(RectangularConfig, {}, config_file=path)
    assert combine(RectangularConfig, {"seed": 7}, config_file=path).config.seed == 7
    path.write_text("technique: gelu")
    with pytest.raises(ConfigError, match="sets activation to 'gelu', and 'tanh' is given for it"):
        combine(RectangularConfig, {"activation": "tanh"}, config_file=path)


def test_the_last_of_several_equal_flags_counts() -> None:
    (grid,) = read("--depth=5,6", "--depth=7,8,9").grid.grids
    assert grid.values["depth"] == [7, 8, 9]
    assert read("--depth=5,6", "--depth=7").grid.is_single


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("depth: [2, 3]\nlambda: 0,0.1", [(2, 0.0), (2, 0.1), (3, 0.0), (3, 0.1)]),
        ("- {depth: 2}\n- {depth: 3, lambda_: 0.5}", [(2, 0.01), (3, 0.5)]),
        ("lambda_: 0.5\ngrids:\n- depth: 2..4..2\n- {depth: 3, lambda: 1}", [(2, 0.5), (4, 0.5), (3, 1.0)]),
        ("depth: 2\ntechnique: baseline, jumpstart", [(2, 0.0), (2, 0.01)]),
        ("depth: 2\ntechnique: [jumpstart, baseline]", [(2, 0.01), (2, 0.0)]),
    ],
)
def test_grids_of_a_file(text: str, runs: list[tuple[int, float]], tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(text)
    command = read(f"--config={tmp_path / 'grid.yaml'}")
    members = expand(RectangularConfig, command.grid.grids)
    assert [(member.config.depth, member.config.lambda_) for member in members] == runs


def test_flags_override_the_grids_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text("- {depth: 2, seed: 1}\n- {depth: 3}")
    command = read(f"--config={tmp_path / 'grid.yaml'}", "--depth=7,8")
    members = expand(RectangularConfig, command.grid.grids)
    assert [(m.config.depth, m.config.seed) for m in members] == [(7, 1), (8, 1), (7, 42), (8, 42)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth: []", "depth must have at least one value, got an empty list"),
        ("depth: [2, x]", "depth must be an integer >= 1, got 'x'"),
        ("grids: 3", "grids must hold a list of grids such as \"- seed: 0..4\", got '3'."),
        ("grids: {seed: 3}", "grids must hold a list of grids"),
        ("grids:", "grids is empty: write a grid"),
        ("seed: 3\ngrids: []", "grids is empty: write a grid"),
        ("[]", "the list is empty: write a grid"),
        ("grids:\n- seed: 1\n-\n- seed: 2", "entry 2 of grids is empty: write"),
        ("- seed: 1\n- seed", "entry 2 of the list must hold \"name: value\" lines, got 'seed'."),
        ("keep: all", "keep is a flag of the command, not an option of a file: write --keep=all."),
        ("dry_run: true", "dry_run is a flag of the command, not an option of a file: write --dry_run=true."),
        ("grids:\n- max-runs: 3", "max_runs is a flag of the command, not an option of a file: write --max_runs=3"),
        ("retries: [1, 2]", "retries is a flag of the command, not an option of a file: write --retries=VALUE."),
        ("workers: 2", "workers is a flag of the command"),
        ("resume: runs/a", "resume is a flag of the command, not an option of a file: write --resume=runs/a."),
        ("- depth: 2\n- dpeth: 3", "unknown option 'dpeth'. Did you mean 'depth'?"),
        ("lambda: [0, 1]\nlambda_: 3", "the same option, given twice"),
        ("technique: [gelo]", "Did you mean 'gelu'?"),
        ("technique: 3", "technique must be one of"),
        ("technique: [[a]]", "technique must be names"),
    ],
)
def test_a_wrong_file_of_grids_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(f"--config={path}")
    assert str(caught.value).startswith(f"config file {path}: ")
    assert message in str(caught.value)


def test_a_sweep_is_not_resumed_by_a_flag(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"--resume continues one run\. A sweep goes on when its command is given again"
    ):
        read(f"--resume={tmp_path}", "--epochs=3,4")


def test_a_dry_run_is_not_resumed(tmp_path: Path) -> None:
    for words in (["--dry_run"], ["--dry_run", "--seed=0,1"], ["--dry_run=True", "--depth=3"]):
        with pytest.raises(ConfigError, match=r"^--dry_run prints .* --resume continues one run: leave one of them"):
            read(f"--resume={tmp_path}", *words)


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grids: [{name: one, seed: 0}, {name: two, seed: 1}]", "name must be the same in all grids of a sweep"),
        ("- {seed: 0}\n- {name: two, seed: 1}", "got None, 'two': give it outside of the grids, or as --name=VALUE"),
        ("name: a\ngrids: [{output_dir: A}, {output_dir: B, seed: 1}]", "output_dir must be the same"),
        ("grids: [{output_dir: A}, {output_dir: B}]", "'A', 'B': give it outside of the grids, or as --output_dir="),
    ],
)
def test_the_grids_of_a_sweep_have_one_folder(
    text: str, message: str, dry: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "grid.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        _dry(read("--config=grid.yaml", f"--dry_run={dry}").grid)
    assert _dry(read("--config=grid.yaml", "--name=x", "--output_dir=y", "--dry_run").grid) == 0
    assert os.listdir(tmp_path) == ["grid.yaml"]


WRONG_DATA = [
    ("--drop_columns=[a],[zz]", "drop_columns must be a column, got 'zz'"),
    ("--drop_columns=zz", "drop_columns must be a column, got 'zz'"),
    ("--category_columns=[b],[zz]", "category_columns must be a column, got 'zz'"),
    ("--target=kond", "target must be a column, got 'kond'"),
    ("--val_size=0.2,0.9", r"val_size \+ test_size must be < 1, got 0.9"),
]


@pytest.mark.parametrize(("flag", "message"), WRONG_DATA)
@pytest.mark.parametrize("family", ["rectangular", "resnet"])
def test_the_data_of_every_combination_are_checked(family: str, flag: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pets.csv"
    path.write_text("a,b,kind\n" + "".join(f"{row},{row * row % 7},{'xy'[row % 2]}\n" for row in range(40)))
    chosen = family_named(family)
    words = [f"--dataset={path}", "--target=kind", *["--layer=dense"] * (family == "resnet"), "--seed=0,1", "--dry_run"]
    for flags, right in (([*words, flag], False), (words, True)):
        command = read_command(chosen.config_class, flags, description="")
        sweep = Sweep(chosen, command.grid.grids, command.grid.options)
        if right:
            assert run_sweep(sweep) == 0
            continue
        with pytest.raises((ConfigError, DataError), match=message):
            run_sweep(sweep)


def test_equal_data_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[object] = []
    family = replace(RECTANGULAR, check_data=checked.append)
    grid = Grid({"seed": list(range(300)), "depth": [1, 2], "num_points": [50, 60], "batch_size": [8, 9]})
    assert run_sweep(Sweep(family, [grid], SweepConfig(dry_run=True))) == 0
    assert len(checked) == 2


def test_every_option_says_how_several_values_are_written() -> None:
    for name, item in options(RectangularConfig).items():
        if item.required or item.default is None:
            continue
        text = item.default_text if item.default != () else "[],[]"
        assert values_of(item, text) == [item.default], name
    assert options(SweepConfig).keys().isdisjoint(TABLE)


def test_grids_in_a_file_take_lists_of_lists_for_options_that_are_lists() -> None:
    (grid,) = grids_in_file(RectangularConfig, {"pool_at": [["1"], ["2", "3"]]})
    assert grid.values == {"pool_at": [(1,), (2, 3)]}
    (grid,) = grids_in_file(RectangularConfig, {"pool_at": ["2", "3"]})
    assert grid.values == {"pool_at": [(2, 3)]}


def test_the_file_of_grids_of_the_page_is_read() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    members = expand(RectangularConfig, grids_in_file(RectangularConfig, load_yaml(text, as_text=True)))
    assert [member.technique for member in members] == ["baseline"] * 10 + ["jumpstart"] * 30
