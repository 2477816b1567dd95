"""Runs of the published code, with its options renamed as the map of names says, against its definition."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support import published, resnet_runs, runs
from support.commands import RECTANGULAR_COMMAND, RESNET_COMMAND, in_shell
from support.references import assert_same_grads
from support.status_reference import reference
from torch import Tensor
from torch.nn import functional as F

from jumpstart.metrics import NetworkStatus
from model.choices import BLOCKS
from model.experiment import Experiment
from model.rectangular_experiment import RectangularExperiment
from model.resnet_experiment import ResnetExperiment
from sweep.doctor import load_model
from sweep.run_directory import RunDirectory

THERE: dict[str, object] = {"capture": "weights", "skip_last": False}
"""The options that read the tensors of the published code."""
LAMBDA = 0.3
"""The weight of the loss there."""
AGGREGATES = {
    "balanced": (published.mean_of_means, LAMBDA / 2),
    "sum_of_squares": (published.sum_of_squares, LAMBDA / 4),
}
"""Aggregate there, and lambda here, by the aggregate here."""


def compare(experiment: Experiment, x: Tensor, outputs: published.Outputs, labels: Tensor, aggregate: str) -> None:
    """Loss, gradient and ratios of an experiment against those of the published definition."""
    logits, read = outputs
    expected = F.cross_entropy(logits, labels) + LAMBDA * published.loss(read, AGGREGATES[aggregate][0])
    weights = list(experiment.network.parameters())
    wanted = torch.autograd.grad(expected, weights)
    found = experiment.training_step((x, labels), 0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert_same_grads(torch.autograd.grad(found, weights), wanted)
    status = NetworkStatus()
    status.update(experiment.jumpstart.extrema)
    ratios = reference([[z.detach().numpy() for z in read]])
    assert status.numbers() == pytest.approx(ratios, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("span", [None, 1, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_step_of_a_rectangular_network_is_that_of_the_published_code(
    aggregate: str, span: int | None, seed: int
) -> None:
    torch.manual_seed(seed)
    skips = {} if span is None else {"skip_connections": span, "skip_kind": "published"}
    config = runs.tiny(**THERE, **skips, depth=8, aggregate=aggregate, lambda_=AGGREGATES[aggregate][1])
    experiment = RectangularExperiment(config, (2,), 2).double()
    x, labels = torch.randn(20, 2).double(), torch.randint(2, (20,))
    outputs = published.rectangular(dict(experiment.network.named_parameters()), x, 8, span)
    compare(experiment, x, outputs, labels, aggregate)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("use_bias", [None, False])
def test_a_step_of_a_plain_resnet_is_that_of_the_published_code(depth: int, use_bias: bool | None) -> None:
    torch.manual_seed(depth)
    options = {"depth": depth, "use_bias": use_bias, "lambda_": AGGREGATES["balanced"][1], "width_multiplier": 0.5}
    config = resnet_runs.tiny(**THERE, **options, init="torch")
    experiment = ResnetExperiment(config, (1, 8, 8), 10).double()
    x, labels = torch.randn(6, 1, 8, 8).double(), torch.randint(10, (6,))
    layers = 3 if depth == 50 else 2
    outputs = published.plain_resnet(dict(experiment.network.named_parameters()), x, BLOCKS[depth], layers)
    compare(experiment, x, outputs, labels, "balanced")


@pytest.mark.parametrize("capture", ["activations", "weights"])
@pytest.mark.parametrize("kind", ["preactivation", "published"])
def test_captured_tensors_of_both_kinds_of_skip_connections(capture: str, kind: str) -> None:
    torch.manual_seed(0)
    config = runs.tiny(capture=capture, depth=7, skip_connections=2, skip_kind=kind)
    experiment = RectangularExperiment(config, (2,), 2).double()
    layers = experiment.network.layers
    part = "activation" if capture == "activations" else "linear"
    assert experiment.jumpstart.layers == [f"layers.{number}.{part}" for number in range(7)]
    x = h = torch.randn(20, 2).double()
    read, past = [], h
    for index, layer in enumerate(layers):
        z = layer.linear(h)
        total = z + past if index % 2 == 0 and index else z
        read.append(total if kind == "preactivation" and capture == "activations" else z)
        h = F.relu(total) if kind == "preactivation" else F.relu(z) + (total - z)
        past = h if index % 2 == 0 else past
    expected = 2 * published.loss(read)
    experiment(x)
    weights = [parameter for name, parameter in experiment.network.named_parameters() if "output" not in name]
    assert experiment.jumpstart.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    wanted = torch.autograd.grad(expected, weights)
    assert_same_grads(torch.autograd.grad(experiment.jumpstart.loss, weights), wanted)


SMALL = ["--gpus=0", "--wandb=False", "--progress=False", "--plot_status=False", "--name=run"]
RENAMED = ["--capture=weights", "--skip_last=False"]


def test_the_published_command_for_moons_runs_with_its_options_renamed(tmp_path: Path) -> None:
    skips = ["--skip_connections=5", "--skip_kind=published"]
    words = [*in_shell(RECTANGULAR_COMMAND), *RENAMED, *skips, "--lambda_=0.005", f"--output_dir={tmp_path}"]
    assert runs.command(*words, *SMALL, "--epochs=2") == 0
    experiment = RectangularExperiment.load_from_checkpoint(RunDirectory.open(tmp_path / "run").best_checkpoint)
    experiment(torch.zeros(3, 2))
    assert experiment.jumpstart.layers == [*(f"layers.{number}.linear" for number in range(50)), "output"]
    assert experiment.network.skip_kind == "published"
    network = "50 layers of 4 units, skip connections over 5 layers added after the activation"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["network"] == network
    loaded = load_model(tmp_path / "run")
    assert loaded.name == f"{tmp_path / 'run'}, {network}"
    assert (loaded.capture["capture"], loaded.capture["skip_last"]) == ("weights", False)


def test_the_published_command_for_resnets_runs_with_its_options_renamed(tmp_path: Path) -> None:
    words = [*in_shell(RESNET_COMMAND), *RENAMED, "--lambda_=0.000005", f"--output_dir={tmp_path}"]
    data = ["--dataset=fake", "--image_size=8", "--num_points=70", "--batch_size=16"]
    thin = ["--depth=18", "--width_multiplier=0.25", "--fast_dev_run", "--use_bias=False", "--terms=negative"]
    assert resnet_runs.command(*words, *SMALL, *data, *thin) == 0
    experiment = ResnetExperiment.load_from_checkpoint(RunDirectory.open(tmp_path / "run").best_checkpoint)
    experiment(torch.zeros(3, 3, 8, 8))
    assert len(experiment.jumpstart.layers) == 18
    assert experiment.jumpstart.layers[-1] == "fc"
    assert [name for name in experiment.network.state_dict() if name.endswith("bias")] == ["fc.bias"]
    assert experiment.config.terms == "negative"
