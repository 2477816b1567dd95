"""Experiments with ResNets: configs, losses, optimizers, the command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from support.resnet_runs import USERS_COMMAND, batch_of, command, experiment_of, run_tiny, tiny
from torch import nn
from torch.nn import functional as F

from model.choices import BLOCKS
from model.config.batches import check_batches
from model.config.resnet import ResnetConfig
from model.errors import ConfigError
from model.resnet_experiment import ResnetExperiment
from sweep.cli import parse

# Options -------------------------------------------------------------------------------------------------------------


def test_the_users_command_is_read_as_meant() -> None:
    words = shlex.split(USERS_COMMAND)
    config = parse(ResnetConfig, words[2:], description="").config
    assert config == ResnetConfig(
        lambda_=0.00001,
        depth=50,
        use_batchnorm=False,
        use_skip_connections=False,
        width_multiplier=2,
        activation="relu",
        lr=0.1,
        batch_size=128,
        epochs=90,
        dataset="imagenet",
        plot_status=True,
        gpus="auto",
    )


def test_the_users_command_without_the_images_says_in_one_line_where_to_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUMPSTART_DATA_DIR", str(tmp_path / "data"))
    words = shlex.split(USERS_COMMAND)
    assert command(*words[2:], "--wandb=False") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert str(tmp_path / "data") in line
    assert "image-net.org" in line or "kaggle" in line.lower()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 20}, "depth must be one of 18, 34, 50, 101, 152, got 20"),
        ({"width_multiplier": 0}, "width_multiplier must be > 0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be"),
        ({"precision": "8"}, "precision must be one of 32, bf16-mixed, 16-mixed"),
        ({"lambda_clip": 0.5, "use_loss": False}, "lambda_clip needs use_loss=True"),
        ({"layer": "dense", "stem": "small"}, "stem='small' needs layer='conv'"),
        ({"layer": "dense", "channels_last": True}, "channels_last=True needs layer='conv'"),
        ({"num_nodes": 2}, "num_nodes > 1 needs GPUs"),
        ({"strategy": "dp"}, "strategy must be one of"),
        ({"lambda_clip": 0}, "lambda_clip must be > 0"),
    ],
)
def test_wrong_options_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        tiny(**changes)


def test_trainer_options_follow_the_config() -> None:
    assert tiny().trainer_options == {"precision": "32-true", "strategy": "auto", "num_nodes": 1}
    told = tiny(precision="bf16-mixed", strategy="ddp", num_nodes=3, gpus=4).trainer_options
    assert told == {"precision": "bf16-mixed", "strategy": "ddp", "num_nodes": 3}
    assert tiny(strategy="ddp", use_loss=False).trainer_options["strategy"] == "ddp_find_unused_parameters_true"
    assert tiny(fast_dev_run=True, epochs=1).trainer_options["max_epochs"] == 1


def test_half_precision_is_refused_on_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="precision must be 32 or bf16-mixed without a GPU"):
        run_tiny(tmp_path, precision="16-mixed")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("size", "stem", "found"),
    [(8, "auto", "small"), (64, "auto", "small"), (224, "auto", "standard"), (8, "standard", "standard")],
)
def test_small_images_get_the_small_stem(size: int, stem: str, found: str) -> None:
    assert tiny(stem=stem).stem_for((3, size, size)) == found


def test_a_batch_of_one_row_is_refused_where_it_cannot_be_normalized() -> None:
    config = tiny(use_batchnorm=True, batch_size=16)
    with pytest.raises(ConfigError, match="batch_size must leave no batch of a single row"):
        check_batches(config, 33, (3, 8, 8))
    check_batches(config, 32, (3, 8, 8))
    check_batches(config, 33, (3, 16, 16))
    check_batches(config.replace(use_batchnorm=False), 33, (3, 8, 8))


def test_convolutions_refuse_vectors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="layer='conv' needs images"):
        run_tiny(tmp_path, dataset="moons", image_size=None)
    assert not list(tmp_path.iterdir())


# The loss ------------------------------------------------------------------------------------------------------------


def test_the_loss_is_smoothed_in_training_alone() -> None:
    experiment = experiment_of(label_smoothing=0.2, lambda_=0.0)
    x, labels = batch_of()
    logits = 3 * experiment(x).detach()
    log_p = logits.log_softmax(1)
    truth = 0.8 * F.one_hot(labels, 10) + 0.2 / 10
    torch.testing.assert_close(experiment.task_loss(logits, labels), -(truth * log_p).sum(1).mean())
    experiment.eval()
    torch.testing.assert_close(experiment.task_loss(logits, labels), F.cross_entropy(logits, labels))


@pytest.mark.parametrize("clip", [1e-3, 0.5, 1e6, None])
def test_the_jumpstart_term_is_limited_by_lambda_clip(clip: float | None) -> None:
    experiment = experiment_of(lambda_=10.0, lambda_clip=clip)
    x, labels = batch_of()
    loss = experiment.training_step((x, labels), 0)
    with torch.no_grad():
        task = F.cross_entropy(experiment(x), labels)
        term = 10.0 * experiment.jumpstart.loss
    expected = term if clip is None else torch.minimum(term, clip * task)
    torch.testing.assert_close(loss.detach(), task + expected)
    gradient = torch.autograd.grad(loss, experiment.network.conv1.weight)[0]  # type: ignore[union-attr]
    logits = experiment(x)
    scaled = F.cross_entropy(logits, labels) + experiment.jumpstart.loss * (expected / term * 10.0)
    wanted = torch.autograd.grad(scaled, experiment.network.conv1.weight)[0]  # type: ignore[union-attr]
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-7)


def test_a_jumpstart_term_of_zero_stays_zero() -> None:
    experiment = experiment_of(lambda_=0.0, lambda_clip=0.5)
    zero = torch.zeros((), requires_grad=True)
    for task in (0.0, 1.0):
        term = experiment.jumpstart_term(torch.tensor(task), zero)
        assert term.item() == 0
        assert torch.autograd.grad(term, zero)[0].item() == 0


def test_only_weights_decay() -> None:
    experiment = experiment_of(weight_decay=0.1, use_batchnorm=True)
    decays = {id(p): g["weight_decay"] for g in experiment.configure_optimizers().param_groups for p in g["params"]}
    for module in experiment.network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            weight = name == "weight" and isinstance(module, nn.Conv2d | nn.Linear)
            assert decays.pop(id(parameter)) == (0.1 if weight else 0.0)
    assert not decays


def step(experiment: ResnetExperiment) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    loss = experiment.training_step(batch_of(), 0)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in experiment.network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("use_batchnorm", [False, True])
def test_channels_last_changes_nothing_but_the_storage(use_batchnorm: bool) -> None:
    plain, last = (experiment_of(channels_last=value, use_batchnorm=use_batchnorm) for value in (False, True))
    assert last.network.conv1.weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr]
    seen = []
    last.network.layer1.register_forward_pre_hook(  # type: ignore[union-attr]
        lambda _, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    (loss, gradients), (other_loss, other_gradients) = step(plain), step(last)
    assert seen == [True]
    torch.testing.assert_close(other_loss, loss)
    torch.testing.assert_close(other_gradients, gradients, rtol=1e-3, atol=1e-5)


def test_a_compiled_network_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile_(self, backend="eager"))
    monkeypatch.setitem(BLOCKS, 18, (1, 1, 1, 1))  # compiling takes most of the time
    plain, compiled = experiment_of(), experiment_of(use_compile=True)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    (loss, gradients), (other_loss, other_gradients) = step(plain), step(compiled)
    torch.testing.assert_close(other_loss, loss)
    torch.testing.assert_close(other_gradients, gradients)
    assert compiled.jumpstart.layers == plain.jumpstart.layers


def test_the_precision_of_products_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", asked.append)
    experiment_of(float32_matmul_precision="medium").setup("fit")
    assert asked == ["medium"]
