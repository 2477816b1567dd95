"""Options without an effect in a run: each option is classified, and what is given in vain is named."""

from __future__ import annotations

import pytest

from data.data import DATASETS, make_datamodule
from data.images.catalog import IMAGE_SOURCES
from model.config import ExperimentConfig
from model.config.effects import EFFECTS, no_effect_message, without_effect
from model.config.options import options
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig
from sweep.launch import facts_of

# fmt: off
ALWAYS = {
    "activation", "aggregate", "batch_size", "best_by", "capture", "channels_last", "checkpoint_seconds",
    "curve_points", "dataset", "depth", "dropout", "early_stopping", "engine", "epochs", "fast_dev_run", "fresh_starts",
    "gpus", "gradient_clip", "gradient_clip_value", "init", "label_smoothing", "lambda_", "layer", "lr", "margin",
    "name", "negative_margin", "negative_weight", "num_nodes", "optimizer", "output_dir", "patience", "plot_status",
    "positive_weight", "precision", "progress", "scheduler", "seed", "skip_connections", "split_seed",
    "stop_train_acc", "stop_train_loss", "strategy", "terms",
    "threads", "use_batchnorm", "use_bias", "use_compile", "use_loss", "use_skip_connections", "wandb",
    "warmup_epochs", "weight_decay", "width", "width_multiplier",
}
# fmt: on
"""Options that have an effect in every run."""

REFUSED = {
    *("groups", "milestones", "plot_parts", "pool_at", "width_per_group"),
    *("category_columns", "drop_columns", "target", "test_dataset", "val_dataset"),
}
"""Options that are refused where they would have no effect."""

CASES: dict[type[ExperimentConfig], dict[str, tuple[dict[str, object], dict[str, object], str]]] = {
    RectangularConfig: {
        "adam_betas": (
            {"adam_betas": (0.9, 0.95), "optimizer": "sgd"},
            {"optimizer": "adamw"},
            "optimizer=adam or optimizer=adamw or optimizer=muon",
        ),
        "adam_eps": (
            {"adam_eps": 1e-7, "optimizer": "sgd"},
            {"optimizer": "adam"},
            "optimizer=adam or optimizer=adamw or optimizer=muon",
        ),
        "cosine_epochs": ({"cosine_epochs": 9, "scheduler": "none"}, {"scheduler": "cosine"}, "scheduler=cosine"),
        "cycle_gamma": (
            {"cycle_gamma": 0.9, "scheduler": "cyclic"},
            {"cycle_mode": "exp_range"},
            "cycle_mode=exp_range",
        ),
        "cycle_growth": (
            {"cycle_growth": 2},
            {"lambda_schedule": "cosine_restarts"},
            "scheduler=cosine_restarts or lambda_schedule=cosine_restarts",
        ),
        "cycle_mode": ({"cycle_mode": "triangular2"}, {"scheduler": "cyclic"}, "scheduler=cyclic"),
        "cycle_epochs": (
            {"cycle_epochs": 3},
            {"scheduler": "cyclic"},
            "scheduler=cosine_restarts or scheduler=cyclic or lambda_schedule=cosine_restarts",
        ),
        "data_dir": ({"data_dir": "x"}, {"dataset": "abalone"}, "a data set that is read from files"),
        "gamma": ({"gamma": 0.5}, {"scheduler": "plateau"}, "scheduler=multistep or scheduler=plateau"),
        "head": ({"head": "global"}, {"layer": "conv", "dataset": "digits"}, "layer=conv"),
        "init_noise": ({"init_noise": 0.5}, {"init": "identity"}, "init=identity"),
        "init_value": ({"init_value": 0.5}, {"init": "constant"}, "init=constant"),
        "kernel_size": ({"kernel_size": 5}, {"layer": "conv", "dataset": "digits"}, "layer=conv"),
        "lambda_cosine_epochs": (
            {"lambda_cosine_epochs": 9, "lambda_schedule": "linear"},
            {"lambda_schedule": "cosine"},
            "lambda_schedule=cosine",
        ),
        "lambda_min": ({"lambda_min": 1e-3}, {"lambda_schedule": "linear"}, "a lambda_schedule"),
        "lambda_schedule": (
            {"lambda_schedule": "cosine", "lambda_": 0.0},
            {"lambda_": 0.1},
            "lambda_ > 0",
        ),
        "min_delta": ({"min_delta": 0.1}, {"patience": 5}, "patience"),
        "min_lr": ({"min_lr": 1e-4, "scheduler": "none"}, {"scheduler": "cosine"}, "a scheduler"),
        "momentum": ({"momentum": 0.5}, {"optimizer": "sgd"}, "optimizer=sgd or optimizer=muon"),
        "monitor": ({"monitor": "val/acc"}, {"patience": 5}, "patience"),
        "noise": ({"noise": 0.2, "dataset": "iris"}, {"dataset": "moons"}, "a generated data set"),
        "num_points": ({"num_points": 99, "dataset": "iris"}, {"dataset": "moons"}, "a generated data set"),
        "plateau_patience": ({"plateau_patience": 5}, {"scheduler": "plateau"}, "scheduler=plateau"),
        "plot_every": ({"plot_every": 5, "plot_status": False}, {"plot_status": True}, "plot_status=True"),
        "plot_num_points": ({"plot_num_points": 9, "plot_status": False}, {"plot_status": True}, "plot_status=True"),
        "point": ({"point": "location"}, {"layer": "conv", "dataset": "digits"}, "layer=conv"),
        "scaling": ({"scaling": "range", "dataset": "mnist"}, {"dataset": "iris"}, "a table"),
        "skip_kind": ({"skip_kind": "preactivation"}, {"skip_connections": 2}, "skip_connections"),
        "skip_last": ({"skip_last": False}, {"capture": "weights"}, "capture=weights"),
        "sync": ({"sync": True, "gpus": 1}, {"gpus": 2}, "several processes"),
        "test_size": (
            {"test_size": 0.2, "dataset": "mnist"},
            {"dataset": "iris"},
            "a data set without a published test part",
        ),
        "ties": ({"ties": "average", "lambda_": 0.0}, {"lambda_": 0.1}, "lambda_ > 0"),
        "unit_dim": ({"unit_dim": 1}, {"layer": "conv", "dataset": "digits"}, "layer=conv"),
        "val_size": (
            {"val_size": 0.2, "dataset": "a.csv", "val_dataset": "b.csv"},
            {"val_dataset": None},
            "no val_dataset",
        ),
        **{
            f"wandb_{name}": ({f"wandb_{name}": value, "wandb": False}, {"wandb": True}, "wandb=True")
            for name, value in {"project": "a", "entity": "b", "group": "c", "tags": "d,e", "notes": "f"}.items()
        },
        "wandb_charts": ({"wandb_charts": False, "wandb": False}, {"wandb": True}, "wandb=True"),
        "wandb_checkpoints": ({"wandb_checkpoints": True, "wandb": False}, {"wandb": True}, "wandb=True"),
    },
    ResnetConfig: {
        "augment": (
            {"augment": False, "dataset": "digits"},
            {"dataset": "cifar10"},
            "a data set of images that is augmented",
        ),
        "corrupt": ({"corrupt": "refuse", "dataset": "cifar10"}, {"dataset": "imagenet"}, "images in folders"),
        "float32_matmul_precision": (
            {"float32_matmul_precision": "highest", "gpus": 0},
            {"gpus": "auto"},
            "a GPU",
        ),
        "image_size": ({"image_size": 8, "dataset": "iris"}, {"dataset": "digits"}, "a data set of images"),
        "lambda_clip": ({"lambda_clip": 0.5, "lambda_": 0.0}, {"lambda_": 0.1}, "lambda_ > 0"),
        "num_workers": ({"num_workers": 2, "dataset": "digits"}, {"dataset": "imagenette"}, "images in folders"),
        "stem": ({"stem": "standard", "layer": "dense"}, {"layer": "conv"}, "layer=conv"),
    },
}
"""Option -> a config in which the option has no effect, the change with which it has one, and the condition."""


@pytest.mark.parametrize("config", [RectangularConfig, ResnetConfig])
def test_every_option_is_classified(config: type[ExperimentConfig]) -> None:
    assert {name for name in options(config) if (name in ALWAYS) + (name in REFUSED) + (name in EFFECTS) != 1} == set()
    tried = CASES[RectangularConfig].keys() | CASES[ResnetConfig].keys()
    assert EFFECTS.keys() == tried


@pytest.mark.parametrize(("config", "name"), [(config, name) for config, cases in CASES.items() for name in cases])
def test_an_option_is_named_only_where_it_has_no_effect(config: type[ExperimentConfig], name: str) -> None:
    values, change, words = CASES[config][name]
    vain, useful = config(**values), config(**{**values, **change})
    every = [*options(config)]
    assert without_effect(vain, [name], facts_of(vain.dataset)) == {name: words}
    assert name in without_effect(vain, every, facts_of(vain.dataset))
    assert without_effect(useful, [name], facts_of(useful.dataset)) == {}
    assert without_effect(vain, [], facts_of(vain.dataset)) == {}


def test_the_message_is_one_line_with_every_option_and_its_condition() -> None:
    config = RectangularConfig(plateau_patience=5, wandb=False, wandb_tags="a, b", lr=0.5)
    assert no_effect_message(config, ["lr", "plateau_patience", "wandb_tags"]) == (
        "no effect in this run: plateau_patience=5 (needs scheduler=plateau), wandb_tags=a,b (needs wandb=True)."
    )
    assert no_effect_message(config, ["lr"]) == ""


def test_nothing_is_said_about_data_that_are_not_known() -> None:
    assert facts_of("my/table.csv") is None
    assert without_effect(ResnetConfig(), ["noise", "num_workers", "test_size", "augment"], None) == {}


@pytest.mark.parametrize("name", DATASETS)
def test_the_facts_of_a_data_set_are_true(name: str) -> None:
    facts, info = facts_of(name), DATASETS[name]
    assert facts is not None
    assert facts.images == (info.image_shape is not None)
    assert facts.in_folders == (name in ("imagenet", "imagenette"))
    assert facts.published_test == (name in ("mnist", "cifar10", "imagenet", "imagenette"))
    assert facts.from_files == (info.source in ("UCI", "download", "manual"))
    if facts.generated:
        other = make_datamodule(name, num_points=200)
        other.setup("fit")
        assert sum(other.num_rows(part) for part in ("train", "val", "test")) == 200
    assert facts.augmented == (name in IMAGE_SOURCES)
