"""Runs of ResNets: the content of the run directory, and runs that are killed."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from support.image_layouts import torchvision_layout
from support.resnet_runs import SCRIPT, USERS_COMMAND, command, experiment_of, flags, run_tiny, tiny
from support.runs import ROOT, network_weights, same
from torch import nn

from jumpstart.history import StatusHistory
from model.choices import BLOCKS
from model.config.options import options
from model.config.resnet import ResnetConfig
from model.resnet_conv import resnet50_conv
from model.resnet_experiment import ResnetExperiment
from sweep.cli import parse
from sweep.machine import quiet_lightning
from sweep.resnet import build, make_data
from sweep.run_directory import RunDirectory


@pytest.mark.usefixtures("data_alone")
@pytest.mark.parametrize(
    "changes",
    [
        {"plot_status": True, "epochs": 3, "num_points": 70},
        {"layer": "dense", "use_batchnorm": True, "use_skip_connections": True, "dropout": 0.1, "batch_size": 10},
        {
            "precision": "bf16-mixed",
            "channels_last": True,
            "label_smoothing": 0.1,
            "lambda_clip": 0.1,
            "num_points": 70,
            "epochs": 1,
        },
        {
            "depth": 50,
            "init": "looks_linear",
            "activation": "gelu",
            "scheduler": "plateau",
            "lambda_schedule": "cosine",
            "num_points": 70,
        },
        {"dataset": "digits", "image_size": None, "fast_dev_run": True, "epochs": 50, "batch_size": 64},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_a_run_fills_its_run_directory(changes: dict[str, object], tmp_path: Path) -> None:
    changes = {"epochs": 2, **changes}
    directory, summary = run_tiny(tmp_path, **changes)
    assert summary["epochs"] == (2 if "fast_dev_run" in changes else changes.get("epochs", 2))
    for name in ("train/loss", "val/acc", "test/acc", "test/unit_dead_ratio"):
        assert 0 <= summary[name] < 10
    assert directory.last_checkpoint.exists()
    assert directory.best_checkpoint.exists()
    stored = ResnetConfig.from_dict(directory.read_config())
    assert stored == tiny(output_dir=str(tmp_path), name="run", **changes)
    if changes.get("plot_status"):
        assert len(list(directory.plots.glob("unit_status-*.png"))) == 3


@pytest.mark.usefixtures("data_alone")
def test_fast_dev_run_runs_every_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    argv = flags(fast_dev_run=True, epochs=90, plot_status=True, output_dir=tmp_path, name="trial")
    assert command(*argv) == 0
    assert time.monotonic() - begun < 120
    assert "test" in capsys.readouterr().out
    directory = RunDirectory.open(tmp_path / "trial")
    assert json.loads(directory.summary.read_text())["epochs"] == 2
    assert directory.last_checkpoint.exists()
    assert directory.best_checkpoint.exists()
    assert {"accuracy.png", "unit_status-epoch000000.png"} <= {path.name for path in directory.plots.iterdir()}


def test_the_best_weights_can_be_loaded(tmp_path: Path) -> None:
    # With this rate and seed, the first epoch is better than the last.
    directory, summary = run_tiny(tmp_path, use_batchnorm=True, epochs=2, lr=0.05, scheduler="none", seed=0)
    assert summary["best_epoch"] == 0
    quiet_lightning()
    experiment = ResnetExperiment.load_from_checkpoint(directory.best_checkpoint, weights_only=False)
    kept = {f"network.{name}": value for name, value in experiment.network.state_dict().items()}
    assert same(kept, network_weights(directory.best_checkpoint))
    assert not same(kept, network_weights(directory.last_checkpoint))


def submitted(folder: Path, *more: str, nodes: int = 1) -> list[str]:
    """The arguments that the Slurm script passes to ``srun``, after the name of the program."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "srun").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tools / "srun").chmod(0o755)
    variables = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "JUMPSTART_DATA_DIR": str(folder),
        "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_JOB_NUM_NODES": str(nodes),
        "NAME": "run",
    }
    words = ["bash", str(ROOT / "scripts" / "imagenet.slurm"), *more]
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=True)
    given = done.stdout.splitlines()
    assert given[1:3] == ["python", SCRIPT.name]
    return given[3:]


def test_a_requeued_job_resumes_with_or_without_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "run").mkdir(parents=True)  # not a run directory: nothing to resume
    more = ["--batch_size=2048", "--wandb=False"]
    first = parse(ResnetConfig, submitted(tmp_path, *more, nodes=2), description="")
    assert first.resume is None
    assert (first.config.name, first.config.num_nodes, first.config.batch_size) == ("run", 2, 2048)
    (tmp_path / "runs" / "run").rmdir()
    directory = RunDirectory.create(first.config.output_dir, first.config.name, first.config)
    assert not directory.last_checkpoint.exists()
    again = parse(ResnetConfig, submitted(tmp_path, *more, nodes=2), description="")
    assert again.resume == directory.path
    assert again.config == first.config
    longer = parse(ResnetConfig, submitted(tmp_path, *more, "--epochs=100", nodes=3), description="")
    assert longer.config == first.config.replace(num_nodes=3, epochs=100)


def test_the_job_script_names_the_resumable_options() -> None:
    said = "epochs, data_dir, num_workers, gpus, num_nodes, wandb, wandb_charts, progress"
    text = (ROOT / "scripts" / "imagenet.slurm").read_text()
    assert said in " ".join(text.replace("\n#", "").split())
    names = {name for name, item in options(ResnetConfig).items() if item.resumable}
    assert names == set(said.split(", "))


@pytest.mark.slow
def test_the_users_command_trains_on_a_small_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision_layout(tmp_path / "data", classes=2, per_class=30)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUMPSTART_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    words = shlex.split(USERS_COMMAND)
    assert command(*words[2:], "--epochs=1") == 0
    (path,) = (tmp_path / "runs").iterdir()
    directory = RunDirectory.open(path)
    summary = json.loads(directory.summary.read_text())
    assert summary["parameters"] == sum(p.numel() for p in plain_resnet50().parameters())
    assert summary["data"]["parts"]["test"]["rows"] == 4
    assert 0 < summary["test/loss"] < 10
    assert directory.best_checkpoint.exists()
    assert len(list(directory.plots.iterdir())) >= 2
    assert any((path / "wandb").iterdir())


def plain_resnet50() -> nn.Module:
    with torch.device("meta"):
        return resnet50_conv(num_classes=2, use_batchnorm=False, use_skip_connections=False)


@pytest.mark.slow
def test_a_killed_and_resumed_run_has_the_same_result(tmp_path: Path) -> None:
    changes = {"epochs": 6, "dropout": 0.2, "use_batchnorm": True, "checkpoint_seconds": 0, "num_points": 200}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def begin(*argv: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(SCRIPT), *argv], cwd=tmp_path, env=environment)

    killed = tmp_path / "killed" / "run"
    rows = killed / "metrics.csv"
    process = begin(*flags(output_dir=killed.parent, name="run", **changes))
    for least in (1, 3):
        while process.poll() is None and not (rows.exists() and rows.read_text().count("\n") > least):
            time.sleep(0.005)
        time.sleep(0.03)  # in the middle of an epoch
        process.kill()
        assert process.wait() == -9
        process = begin(f"--resume={killed}")
    assert process.wait(300) == 0
    whole = begin(*flags(output_dir=tmp_path / "whole", name="run", **changes))
    assert whole.wait(300) == 0
    for name in ("last.ckpt", "best.ckpt"):
        found, wanted = (network_weights(path / "checkpoints" / name) for path in (killed, tmp_path / "whole" / "run"))
        assert same(found, wanted), name
    assert rows.read_text() == (tmp_path / "whole" / "run" / "metrics.csv").read_text()


def test_scaled_gradients_are_not_clipped_by_a_fused_optimizer() -> None:
    for changes, fused in (({}, True), ({"precision": "16-mixed"}, False), ({"strategy": "fsdp"}, False)):
        assert experiment_of(**changes).configure_optimizers().defaults["fused"] is fused


def test_the_seed_determines_the_weights() -> None:
    config = tiny()
    data = make_data(config)
    data.setup()
    weights = []
    for seed in (1, 2, 1):
        pl.seed_everything(seed, verbose=False)
        weights.append(build(config, data).network.state_dict())
    assert same(weights[0], weights[2])
    assert not same(weights[0], weights[1])


@pytest.mark.usefixtures("data_alone")
def test_a_compiled_network_has_the_same_status_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ = nn.Module.compile
    compiled_sizes: set[int] = set()

    def count_sizes(module: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        compiled_sizes.update(len(value) for value in inputs if value.dim() == 4 and value.shape[1:] == (3, 8, 8))
        return module

    monkeypatch.setattr(nn.Module, "compile", lambda self: compile_(self, backend=count_sizes, dynamic=False))
    # One block a stage, because compiling takes most of the time.
    monkeypatch.setitem(BLOCKS, 18, (1, 1, 1, 1))
    # A batch of 16 rows, and 12 rows in both other parts: the network is compiled three times.
    sizes = {"num_points": 40, "val_size": 12 / 40, "test_size": 12 / 40, "batch_size": 16}
    status = []
    for name, use_compile in (("plain", False), ("compiled", True)):
        directory, _ = run_tiny(tmp_path, name=name, epochs=2, plot_status=True, use_compile=use_compile, **sizes)
        history = StatusHistory.load(directory.status)
        status.append((history.layers, history.epochs, history.unit_status, history.point_status))
        assert (directory.plots / "unit_status-epoch000001.png").is_file()
    assert compiled_sizes == {12, 16}
    for plain, compiled in zip(*status, strict=True):
        assert np.array_equal(plain, compiled)
