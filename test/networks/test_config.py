"""Configs: errors of wrong values, one spelling per value, conversion to plain values and back, tables."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from jumpstart import JumpstartRegularization, Terms
from model.activations import activation_names, resolve_activation
from model.config import ConfigError, ExperimentConfig
from model.config.options import options
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig
from model.config.tables import markdown_table, markdown_tables
from model.rectangular import RectangularNetwork
from model.resnet import ResNet
from sweep.cli import parse
from sweep.run_directory import RunDirectory

ROOT = Path(__file__).resolve().parents[2]
TABLE = options(RectangularConfig)


def error_of(**values: object) -> str:
    """The one-line message with which these values are refused."""
    with pytest.raises(ConfigError) as caught:
        RectangularConfig(**values)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 0}, "depth must be >= 1, got 0."),
        ({"depth": 1.0}, "depth must be an integer >= 1, got 1.0."),
        ({"depth": True}, "depth must be an integer >= 1, got True."),
        ({"depth": None}, "depth must be an integer >= 1, got None."),
        ({"lr": 0}, "lr must be > 0, got 0.0."),
        ({"lr": float("nan")}, "lr must be finite, got nan."),
        ({"lr": 10**400}, "lr must be finite, got inf."),
        ({"lr": "fast"}, "lr must be a number > 0, got 'fast'."),
        ({"dropout": 1}, "dropout must be >= 0 and < 1, got 1.0."),
        ({"dropout": -0.1}, "dropout must be >= 0 and < 1, got -0.1."),
        ({"gamma": 1.5}, "gamma must be > 0 and <= 1, got 1.5."),
        ({"lambda_": -0.1}, "lambda_ must be >= 0, got -0.1."),
        ({"use_batchnorm": 1}, "use_batchnorm must be True or False, got 1."),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0."),
        ({"batch_size": "x"}, "batch_size must be an integer >= 1 or None, got 'x'."),
        ({"seed": 2**32}, "seed must be >= 0 and <= 4294967295, got 4294967296."),
        ({"pool_at": (0,)}, "pool_at must be >= 1, got 0."),
        ({"pool_at": (1.5,)}, "pool_at must be comma-separated integers >= 1, got (1.5,)."),
        ({"dataset": ""}, "dataset must not be empty."),
        (
            {"optimizer": "Adm"},
            "optimizer must be one of adam, adamw, sgd, muon, got 'Adm'. Did you mean 'adam'?",
        ),
        ({"gpus": -1}, "gpus must be >= 0, got -1."),
        ({"negative_margin": 0}, "negative_margin must be > 0, got 0.0."),
        ({"negative_margin": -0.5}, "negative_margin must be > 0, got -0.5."),
        ({"negative_margin": math.nan}, "negative_margin must be finite, got nan."),
        ({"negative_margin": "atuo"}, "negative_margin must be auto or a number > 0, got 'atuo'. Did you mean 'auto'?"),
        ({"negative_margin": True}, "negative_margin must be auto or a number > 0 or None, got True."),
        ({"gpus": "1,1"}, "gpus must be auto, a number >= 0, or indices such as \"0,1\", got '1,1'."),
    ],
)
def test_the_error_of_a_bad_value_has_name_range_and_value(values: dict[str, object], message: str) -> None:
    assert error_of(**values) == message


@pytest.mark.parametrize("bad", ["rleu", "GLU", "MultiheadAttention", "softmax", "Linear", "threshold"])
def test_an_unknown_activation_is_refused(bad: str) -> None:
    assert error_of(activation=bad).startswith("activation must be one of celu, elu, gelu, ")
    assert error_of(activation="rleu").endswith("or package.module:Class, got 'rleu'. Did you mean 'relu'?")


@pytest.mark.parametrize("name", activation_names())
def test_every_activation_is_accepted_and_keeps_the_shape(name: str) -> None:
    x = torch.randn(3, 4)
    assert resolve_activation(RectangularConfig(activation=name).activation)()(x).shape == x.shape


def test_the_usual_activations_are_accepted() -> None:
    assert {*activation_names()} >= {"relu", "gelu", "tanh", "sigmoid", "silu", "leakyrelu"}


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"val_size": 0.5, "test_size": 0.5}, "val_size + test_size must be < 1"),
        ({"skip_connections": 3, "depth": 3}, "skip_connections must be < depth = 3, because "),
        ({"milestones": (3, 3), "scheduler": "multistep"}, "milestones must increase, got 3,3."),
        ({"milestones": (3,)}, "need each other"),
        ({"scheduler": "multistep"}, "need each other"),
        ({"pool_at": (2, 1), "layer": "conv"}, "pool_at must increase, got 2,1."),
        (
            {"pool_at": (1, 9), "layer": "conv", "depth": 8},
            "pool_at must stay <= depth = 8, got 9.",
        ),
        ({"pool_at": (1,)}, "pool_at needs layer='conv', got layer='auto'."),
        ({"use_loss": False, "lambda_": 0}, "lambda_ must be > 0"),
        ({"lambda_min": 1, "lambda_schedule": "cosine"}, "lambda_min must be <= lambda_ = 0.01"),
        ({"min_lr": 1, "scheduler": "cosine"}, "min_lr must be <= lr = 0.01, got 1.0."),
        ({"warmup_epochs": 5, "epochs": 4}, "warmup_epochs must be <= epochs = 4, got 5."),
        ({"epochs": 10, "fresh_starts": 4}, "epochs must be a multiple of fresh_starts = 4, because"),
        ({"epochs": 3, "fresh_starts": 8}, "got 3. Use 8."),
        ({"epochs": -1, "fresh_starts": 2, "stop_train_acc": 1, "scheduler": "none"}, "got epochs=-1"),
        ({"fresh_starts": 2, "patience": 5}, "patience must be None with fresh_starts=2, got 5."),
        ({"fresh_starts": 2, "scheduler": "plateau"}, "scheduler='plateau' needs fresh_starts=1, got 2."),
        (
            {"fresh_starts": 4, "epochs": 40, "warmup_epochs": 11},
            "warmup_epochs must be <= epochs = 40 / fresh_starts = 10, got 11.",
        ),
        ({"fresh_starts": 4, "epochs": 40, "cycle_epochs": 11}, "cycle_epochs must be <= epochs = 40 / fresh_starts"),
        ({"epochs": -1, "scheduler": "none"}, "set patience, early_stopping=True, stop_train_acc or stop_train_loss"),
        ({"adam_betas": (0.9,)}, "adam_betas must be two numbers, such as 0.9,0.999, got 1."),
        ({"adam_betas": (0.9, 1)}, "adam_betas must be >= 0 and < 1, got 1.0."),
        ({"adam_betas": (0.9, 10**400)}, "adam_betas must be finite, got inf."),
        ({"adam_betas": (True, 0.9)}, "adam_betas must be comma-separated numbers"),
        ({"lambda_schedule": "cosine_restarts", "scheduler": "cyclic"}, "'cyclic' has others"),
        (
            {"lambda_schedule": "cosine_restarts", "epochs": -1, "patience": 5, "scheduler": "none"},
            "Set cycle_epochs.",
        ),
        ({"val_size": 0}, "val_size=0 leaves no validation part for best_by='val'"),
        ({"val_size": 0, "best_by": "train", "early_stopping": True}, "for early_stopping=True"),
        ({"val_size": 0, "best_by": "train", "patience": 5}, "for patience=5"),
        ({"val_size": 0, "best_by": "train", "scheduler": "plateau"}, "for scheduler='plateau'"),
        ({"val_size": 0, "best_by": "train", "val_dataset": "/v.csv"}, "got val_dataset='/v.csv'"),
        ({"val_size": 0, "best_by": "train", "plot_parts": "train,val"}, "plot_parts must not name val"),
        ({"positive_weight": 0, "negative_weight": 0}, "must be > 0, got 0.0 for both"),
        ({"unit_dim": 0}, "unit_dim must not be 0"),
        ({"terms": "unit,uint"}, "got 'uint'. Did you mean 'unit'?"),
        ({"terms": "all,uint"}, "got 'uint'. Did you mean 'unit'?"),
        ({"terms": "unit,"}, "got ''"),
        ({"name": "a/b"}, "name must be a plain folder name"),
        ({"name": ".."}, "name must be a plain folder name"),
        ({"name": "a::b"}, "name must be a plain folder name"),
        ({"name": 80 * "é"}, "name must be a plain folder name of at most 150 bytes in UTF-8"),
    ],
)
def test_values_that_contradict_each_other_are_refused(values: dict[str, object], part: str) -> None:
    assert part in error_of(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"skip_connections": 2, "depth": 3},
        {"scheduler": "multistep", "milestones": (1, 2)},
        {"layer": "conv", "pool_at": (1, 8), "depth": 8},
        {"warmup_epochs": 4, "epochs": 4},
        {"positive_weight": 0.0},
        {"unit_dim": -1},
        {"lambda_": 0.0},
        {"seed": 0},
        {"gradient_clip": None},
    ],
)
def test_values_at_the_edge_are_accepted(values: dict[str, object]) -> None:
    config = RectangularConfig(**values)
    assert {name: getattr(config, name) for name in values} == values


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"lr": 1}, {"lr": 1.0}),
        ({"depth": np.int64(3)}, {"depth": 3}),
        ({"lr": np.float32(0.5)}, {"lr": 0.5}),
        ({"activation": "Leaky_ReLU"}, {"activation": "leakyrelu"}),
        ({"optimizer": "SGD"}, {"optimizer": "sgd"}),
        ({"scheduler": None}, {"scheduler": "none"}),
        ({"terms": "Unit, point,unit"}, {"terms": "unit,point"}),
        ({"gpus": "2"}, {"gpus": 2}),
        ({"negative_margin": "Auto "}, {"negative_margin": "auto"}),
        ({"negative_margin": 1}, {"negative_margin": 1.0}),
        ({"gpus": "0, 1"}, {"gpus": "0,1"}),
        (
            {"milestones": [1, 2], "scheduler": "multistep"},
            {"milestones": (1, 2), "scheduler": "multistep"},
        ),
    ],
)
def test_every_value_has_one_spelling(one: dict[str, object], other: dict[str, object]) -> None:
    a, b = RectangularConfig(**one), RectangularConfig(**other)
    assert a == b
    assert repr(a) == repr(b)


@pytest.mark.parametrize(
    ("values", "margins"),
    [
        ({}, (1.0, 1.0)),
        ({"margin": 3.0}, (3.0, 3.0)),
        ({"margin": 3.0, "negative_margin": 0.3}, (3.0, 0.3)),
        ({"negative_margin": "auto", "depth": 1}, (1.0, 1.0)),
        ({"negative_margin": "auto", "depth": 4, "margin": 3.0}, (3.0, 0.25)),
        ({"negative_margin": "auto", "depth": 50}, (1.0, 0.1)),
    ],
)
def test_the_negative_margin_is_given_or_that_of_the_positive_side_or_follows_from_the_depth(
    values: dict[str, object], margins: tuple[float, float]
) -> None:
    assert RectangularConfig(**values).margins == margins


def test_resnets_have_a_negative_margin_too() -> None:
    assert ResnetConfig(dataset="digits", depth=18, margin=3.0, negative_margin="auto").margins == (3.0, 0.1)


def test_integers_become_floats_where_a_number_is_expected() -> None:
    assert type(RectangularConfig(lr=1).lr) is float


CONFIGS = [
    RectangularConfig(),
    RectangularConfig(
        lr=1e-5,
        batch_size=None,
        skip_connections=2,
        scheduler="multistep",
        milestones=(30, 60),
        adam_betas=(0, 0.95),
        noise=1 / 3,
        gpus="0,1",
        negative_margin="auto",
        name="2024-01-01",
        terms="unit_positive,point",
        unit_dim=-1,
        dataset="yes",
        wandb=False,
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_survives_plain_values_json_and_yaml(config: RectangularConfig) -> None:
    values = config.to_dict()
    assert list(values) == list(TABLE)
    assert RectangularConfig.from_dict(values) == config
    assert RectangularConfig.from_dict(json.loads(json.dumps(values))) == config
    assert RectangularConfig.from_dict(yaml.safe_load(yaml.safe_dump(values))) == config


def test_from_dict_parses_text_and_refuses_unknown_names() -> None:
    config = RectangularConfig.from_dict({"lr": "1e-3", "skip_connections": "None", "depth": "1e1"})
    assert (config.lr, config.skip_connections, config.depth) == (0.001, None, 10)
    with pytest.raises(ConfigError, match=r"unknown option 'widht'\. Did you mean 'width'\?"):
        RectangularConfig.from_dict({"widht": 4})
    with pytest.raises(ConfigError, match="lr is required"):
        ExperimentConfig.from_dict({})


def test_replace_checks_again_and_leaves_the_original() -> None:
    config = RectangularConfig()
    assert config.replace(depth=3).depth == 3
    assert config.depth == 50
    with pytest.raises(ConfigError, match="depth must be >= 1"):
        config.replace(depth=0)
    with pytest.raises(ConfigError, match="Did you mean 'depth'"):
        config.replace(dept=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.depth = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "1e3", 1000),
        ("epochs", " 12 ", 12),
        ("lr", "1e-2", 0.01),
        ("lr", "1", 1.0),
        ("use_loss", "FALSE", False),
        ("use_loss", "yes", True),
        ("use_loss", "0", False),
        ("batch_size", "none", None),
        ("batch_size", "NULL", None),
        ("pool_at", "2,4", (2, 4)),
        ("pool_at", "(2, 4)", (2, 4)),
        ("pool_at", "[]", ()),
        ("pool_at", "None", ()),
        ("gpus", "2", 2),
        ("gpus", "0,1", "0,1"),
        ("gpus", "auto", "auto"),
        ("negative_margin", "auto", "auto"),
        ("negative_margin", "1e-1", 0.1),
        ("negative_margin", "none", None),
        ("scheduler", "None", "none"),
        ("data_dir", "None", None),
        ("init_value", "-0.5", -0.5),
        ("adam_betas", "[0.9, 0.95]", (0.9, 0.95)),
        ("adam_betas", "0,5e-1", (0.0, 0.5)),
    ],
)
def test_text_is_parsed_by_the_types_of_the_option(name: str, text: str, value: object) -> None:
    found = TABLE[name].parse(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("epochs", "1.5"),
        ("epochs", "inf"),
        ("epochs", "None"),
        ("epochs", ""),
        ("lr", "nan"),
        ("lr", "0,1"),
        ("use_loss", "maybe"),
        ("use_loss", "None"),
        ("pool_at", "2;4"),
        ("pool_at", "2,,4"),
        ("output_dir", ""),
    ],
)
def test_text_that_means_nothing_is_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must "):
        TABLE[name].parse(text)


def test_the_defaults_are_those_of_the_users_command() -> None:
    config = RectangularConfig()
    assert (config.depth, config.width, config.lr, config.batch_size) == (50, 4, 0.01, 256)
    assert (config.use_batchnorm, config.skip_connections) == (False, None)
    assert (config.dataset, config.activation, config.epochs) == ("moons", "relu", 4000)
    assert (config.plot_status, config.gpus) == (True, "auto")


@pytest.mark.parametrize(
    ("make", "config", "apart"),
    [
        (RectangularNetwork, RectangularConfig, {"layer"}),
        (ResNet, ResnetConfig, {"use_batchnorm", "use_skip_connections", "stem"}),
        (JumpstartRegularization, RectangularConfig, {"terms"}),
    ],
)
def test_defaults_are_those_of_the_classes_that_the_options_are_for(
    make: type, config: type[ExperimentConfig], apart: set[str]
) -> None:
    table = options(config)
    parameters = inspect.signature(make).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty and p.name in table}
    assert len(defaults) > 6
    assert {name: table[name].default for name in defaults.keys() - apart} == {
        name: tuple(default) if isinstance(default, tuple) else default
        for name, default in defaults.items()
        if name not in apart
    }


@pytest.mark.parametrize("term", [name.lower() for name in Terms.__members__])
@pytest.mark.parametrize("config_class", [RectangularConfig, ResnetConfig])
def test_every_term_can_be_given_alone_or_with_others(term: str, config_class: type[ExperimentConfig]) -> None:
    for text in (term, f"{term},point_negative", f"unit, {term.upper()} ", f"{term},{term}"):
        assert Terms.parse(config_class(terms=text).terms) == Terms.parse(text)


@pytest.mark.parametrize("config_class", [RectangularConfig, ResnetConfig])
@pytest.mark.parametrize(("text", "terms"), [("negative", "negative"), ("[Positive, unit]", "positive,unit")])
def test_terms_are_read_alike_from_flags_files_and_runs(
    config_class: type[ExperimentConfig], text: str, terms: str, tmp_path: Path
) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(f"terms: {text}\nskip_last: false\ncapture: weights\n")
    given = [f"--terms={text.strip('[]')}", "--skip_last=False", "--capture=weights"]
    configs = [parse(config_class, words, description="").config for words in (given, [f"--config={file}"])]
    run = RunDirectory.create(tmp_path, "run", configs[0])
    configs.append(parse(config_class, [f"--resume={run.path}"], description="").config)
    assert [(config.terms, config.skip_last, config.capture) for config in configs] == [(terms, False, "weights")] * 3
    with pytest.raises(ConfigError, match="terms can't be changed when a run is resumed"):
        parse(config_class, [f"--resume={run.path}", "--terms=unit"], description="")


def test_the_label_and_the_cycle_follow_the_values() -> None:
    config = RectangularConfig(dataset="iris", depth=3, width=5, lambda_=1e-5, seed=0, epochs=90)
    assert config.label == "iris-3x5-lambda1e-05-seed0"
    assert config.cycle_length == 9
    assert config.replace(cycle_epochs=4).cycle_length == 4
    assert config.replace(epochs=5).cycle_length == 1


def test_configs_and_their_options_are_read_without_importing_torch() -> None:
    code = (
        "import sys; from sweep import cli; from model.config.rectangular import RectangularConfig;"
        "from model.config.options import options; options(RectangularConfig);"
        "assert not {'torch', 'yaml', 'pandas'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_tables_list_every_option_once() -> None:
    rows = [line for line in markdown_tables(RectangularConfig).splitlines() if line.startswith("| `--")]
    assert [row.split("`")[1] for row in rows] == [f"--{name}" for name in TABLE]
    assert markdown_table(RectangularConfig).splitlines()[2:] == rows


def test_a_table_of_differences_leaves_out_equal_rows() -> None:
    table = markdown_table(ResnetConfig, differing_from=RectangularConfig)
    assert "| `--depth` | `50` | 18, 34, 50, 101, 152 |" in table
    assert "| `--lr` | `0.1` |" in table
    assert "--use_batchnorm" not in table
    assert markdown_table(RectangularConfig, differing_from=RectangularConfig) == ""


def test_a_table_of_an_unknown_group_is_refused() -> None:
    with pytest.raises(ValueError, match=r"group must be one of network, .*, got 'net'\."):
        markdown_table(RectangularConfig, "net")
