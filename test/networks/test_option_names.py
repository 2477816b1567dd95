"""The option that is suggested for a wrong name: the one that is meant, or none."""

from __future__ import annotations

import pytest

from jumpstart.choices import nearest
from model.config import ExperimentConfig
from model.config.options import options
from model.config.other_names import OTHER_NAMES, guess
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig

RIGHT_NAMES = {
    **dict.fromkeys(["n_samples", "num_samples", "n_points"], "num_points"),
    **dict.fromkeys(["n_layers", "num_layers", "layers", "hidden_layers", "dpeth", "dept", "dep"], "depth"),
    **dict.fromkeys(["learning_rate", "base_lr", "LR", "rl"], "lr"),
    **dict.fromkeys(["bs", "batchsize", "batch", "train_batch_size", "batch_sizes"], "batch_size"),
    **dict.fromkeys(["max_epochs", "num_epochs", "n_epochs", "epoch", "epcohs"], "epochs"),
    **dict.fromkeys(["seed_everything", "random_seed", "seeds"], "seed"),
    **dict.fromkeys(["device", "devices", "num_gpus", "accelerator", "gpu"], "gpus"),
    **dict.fromkeys(["wd", "l2", "weight-decay", "weight_dcay"], "weight_decay"),
    **dict.fromkeys(["lr_scheduler", "schedule", "schedulr"], "scheduler"),
    **dict.fromkeys(["opt", "optim", "optimizr"], "optimizer"),
    **dict.fromkeys(["clip", "grad_clip", "max_grad_norm", "gradient_clip_val"], "gradient_clip"),
    **dict.fromkeys(["out", "save_dir", "logdir", "output", "outptu_dir"], "output_dir"),
    **dict.fromkeys(["exp_name", "run_name"], "name"),
    **dict.fromkeys(["lam", "lambda", "lambda-", "lamda_"], "lambda_"),
    **dict.fromkeys(["use_wandb", "wandbb"], "wandb"),
    **dict.fromkeys(["project", "wandb_projet"], "wandb_project"),
    **dict.fromkeys(["bn", "batchnorm", "batch_norm"], "use_batchnorm"),
    **dict.fromkeys(["activation_fn", "nonlinearity", "activaton"], "activation"),
    **dict.fromkeys(["early_stop"], "early_stopping"),
}
"""Names that people type -> the option that both launchers have."""

OWN_NAMES: dict[type[ExperimentConfig], dict[str, str]] = {
    RectangularConfig: {
        **dict.fromkeys(["hidden", "hidden_size", "hidden_dim", "units", "num_units", "widths", "widht"], "width"),
        **dict.fromkeys(["use_skip_connections", "residual", "skip_conections"], "skip_connections"),
    },
    ResnetConfig: {
        **dict.fromkeys(["width", "width_mult"], "width_multiplier"),
        **dict.fromkeys(["skip_connections", "residual"], "use_skip_connections"),
        **dict.fromkeys(["workers", "n_workers", "num_worker"], "num_workers"),
        **dict.fromkeys(["amp", "fp16", "bf16"], "precision"),
        **dict.fromkeys(["compile"], "use_compile"),
    },
}

# fmt: off
NO_NAMES = (
    "entities", "nesterov", "betas", "beta1", "eps", "pretrained", "local_rank", "world_size",
    "verbose", "n_jobs", "job_type", "mode", "model", "arch", "metric", "loss",
    "criterion", "topk", "eval", "evaluate", "train", "inference", "beam", "xyzzy",
    "abc", "a", "x", "-", "--", "_", "sign_balance", "callbacks",
    "logger", "ema", "swa", "mixup", "cutmix", "alpha", "classes", "n_classes",
    "num_classes", "features", "sgd", "adam", "relu", "moons", "true", "1",
    "plot_num_pts", "random", "none",
)
# fmt: on
"""Names for which no option is near enough to be suggested."""


@pytest.mark.parametrize("config", [RectangularConfig, ResnetConfig])
def test_the_suggested_option_is_the_one_that_is_meant_or_none(config: type[ExperimentConfig]) -> None:
    table = options(config)
    names = RIGHT_NAMES | OWN_NAMES[config]
    known = {name: meant for name, meant in names.items() if name not in table}
    assert {name: guess(name, table) for name in known} == known
    assert {name: guess(name, table) for name in NO_NAMES} == dict.fromkeys(NO_NAMES)


@pytest.mark.parametrize("config", [RectangularConfig, ResnetConfig])
def test_a_slip_of_one_key_is_suggested_and_never_another_option(config: type[ExperimentConfig]) -> None:
    table = options(config)
    for name in table:
        slips = [name[:i] + name[i + 1 :] for i in range(1, len(name), 3)]
        slips += [name[:i] + name[i + 1] + name[i] + name[i + 2 :] for i in range(0, len(name) - 1, 3)]
        found = {guess(slip, table) for slip in slips if slip not in table} - {None}
        assert found <= {name, *(other for other in table if abs(len(other) - len(name)) < 2 and other[0] == name[0])}
        assert name in found or len(name) < 3


def test_other_names_are_of_options_that_exist() -> None:
    known = {*options(RectangularConfig), *options(ResnetConfig), "config", "resume"}
    assert OTHER_NAMES.keys() <= known
    shared = set(options(RectangularConfig)) & set(options(ResnetConfig))
    words = [word for option in shared & OTHER_NAMES.keys() for word in OTHER_NAMES[option].split()]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("Leaky-ReLU", ["leakyrelu", "relu"], "leakyrelu"),
        ("moon", ["moons", "circles"], "moons"),
        ("fashion", ["fashion_mnist", "mnist"], "fashion_mnist"),
        ("banlanced", ["balanced", "mean"], "balanced"),
        ("nadam", ["adam", "adamw", "sgd", "muon"], None),
        ("adamax", ["adam", "adamw", "sgd", "muon"], None),
        ("cifar100", ["cifar10", "mnist"], None),
        ("resnet50", ["resnet18", "resnet34"], None),
        ("none", ["noise", "nodes"], None),
        ("test", ["rest", "text_size", "testing", "test_size"], None),
        ("depht", ["depth", "dept"], None),
        ("widest", ["width"], None),
        ("milestone_gap", ["milestones"], None),
    ],
)
def test_a_word_is_meant_if_it_is_near_and_the_only_one(word: str, known: list[str], meant: str | None) -> None:
    assert nearest(word, known) == meant
