"""A run as a function: the options of the command, its result, and a process that is left as it was."""

from __future__ import annotations

import inspect
import logging
import os
import random
import re
import signal
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from support.runs import TINY, command, flags, network_weights, same

from model.config.options import options
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig
from model.errors import ConfigError, NonFiniteLossError
from sweep import RunResult, run_rectangular, run_resnet
from sweep.run_directory import RunDirectory, RunDirectoryError

FUNCTIONS = {run_rectangular: RectangularConfig, run_resnet: ResnetConfig}
QUICK = {**TINY, "depth": 2, "epochs": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return run_rectangular(**QUICK, output_dir=tmp_path_factory.mktemp("function"), name="run")


def state_of_the_process() -> dict[str, object]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "precision": torch.get_float32_matmul_precision(),
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "level": logging.getLogger("pytorch_lightning").level,
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "argv": list(sys.argv),
        "cwd": os.getcwd(),
    }


@pytest.mark.parametrize("option", [{"keep": "all"}, {"technique": "jumpstart"}, {"workers": 2}])
def test_an_option_of_sweeps_is_refused(option: dict[str, object]) -> None:
    (name,) = option
    with pytest.raises(ConfigError, match=f"{name} is an option of a sweep, and this function trains one run"):
        run_rectangular(**option)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_keyword_arguments_are_the_flags_with_their_defaults(function: object) -> None:
    parameters = inspect.signature(function).parameters
    table = options(FUNCTIONS[function])
    assert [*parameters] == [*table, "config", "resume"]
    assert {name: parameters[name].default for name in table} == {name: item.default for name, item in table.items()}


def test_the_result_has_directory_summary_best_epoch_and_the_best_network(trained: RunResult) -> None:
    assert trained.directory.read_config() == trained.config.to_dict()
    assert trained.path == trained.directory.path
    assert trained.best_epoch == trained.summary["best_epoch"]
    assert 0 <= trained.summary["test/acc"] <= 1
    assert len(trained.curves()) == 2
    best = network_weights(trained.directory.best_checkpoint)
    assert same({f"network.{name}": value for name, value in trained.network.state_dict().items()}, best)
    assert not trained.network.training
    assert trained.network(torch.zeros(3, 2)).shape == (3, 2)
    assert re.fullmatch(r"RunResult\('.*run', best_epoch=\d, val/acc=0\.\d{4}, test/acc=0\.\d{4}\)", repr(trained))


def test_the_command_trains_the_same_network(trained: RunResult, tmp_path: Path) -> None:
    assert command(*flags(depth=2, epochs=2, output_dir=tmp_path, name="run")) == 0
    other = RunDirectory.open(tmp_path / "run")
    assert same(network_weights(other.best_checkpoint), network_weights(trained.directory.best_checkpoint))


def test_the_process_is_left_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PL_SEED_WORKERS", "before")
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    before = state_of_the_process()
    run_rectangular(**{**QUICK, "epochs": 1, "threads": torch.get_num_threads() + 1}, output_dir=tmp_path)
    assert state_of_the_process() == before
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_two_runs_in_two_threads_give_the_results_of_one(trained: RunResult, tmp_path: Path) -> None:
    results: list[RunResult] = []

    def train(name: str) -> None:
        results.append(run_rectangular(**QUICK, output_dir=tmp_path, name=name))

    threads = [threading.Thread(target=train, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        assert same(result.network.state_dict(), trained.network.state_dict())
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dpeth": 3}, "unknown option 'dpeth'. Did you mean 'depth'?"),
        ({"n_samples": 3}, "unknown option 'n_samples'. Did you mean 'num_points'?"),
        ({"depth": 0}, "depth must be >= 1, got 0."),
        ({"depth": "fifty"}, "depth must be an integer >= 1, got 'fifty'."),
        ({"depth": [1]}, "depth must be an integer >= 1, got [1]."),
        ({"lr": None}, "lr must be a number > 0, got None."),
        ({"dataset": "moon"}, "Did you mean 'moons'?"),
        ({"output_dir": "s3://bucket"}, "output_dir must be a local path"),
        ({"output_dir": 3}, "output_dir must be text, got 3."),
        ({"config": "no.yaml"}, "config file no.yaml can't be read"),
        ({"scheduler": "multistep"}, "need each other"),
        ({"gpus": 99}, "gpus must be among the"),
    ],
)
def test_a_wrong_option_is_an_error_with_its_name_before_anything_is_written(
    values: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(message)):
        run_rectangular(**{**QUICK, **values})
    assert os.listdir(tmp_path) == []


def test_options_are_read_from_a_file_and_a_run_is_resumed(trained: RunResult, tmp_path: Path) -> None:
    first = run_rectangular(config=trained.directory.config, output_dir=tmp_path, name="again", epochs=1)
    assert first.config == trained.config.replace(output_dir=str(tmp_path), name="again", epochs=1)
    longer = run_rectangular(resume=first.path, epochs=3)
    assert (longer.path, longer.summary["epochs"]) == (first.path, 3)
    with pytest.raises(ConfigError, match="depth can't be changed when a run is resumed"):
        run_rectangular(resume=first.path, depth=3)
    with pytest.raises(RunDirectoryError, match="nowhere does not exist"):
        run_rectangular(resume="nowhere")


def test_an_error_of_training_has_its_own_type(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError):
        run_rectangular(**{**QUICK, "lr": 1e30, "optimizer": "sgd", "gradient_clip": 0}, output_dir=tmp_path)


def test_an_interruption_is_one_and_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr("model.experiment.Experiment.on_train_epoch_end", interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            run_rectangular(**QUICK, engine="lightning", output_dir=tmp_path, name="run")
    assert caught.value.__notes__ == [f"Continue the run with resume={str(tmp_path / 'run')!r}."]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert run_rectangular(resume=tmp_path / "run").summary["epochs"] == 2


def test_an_option_in_vain_is_said_before_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_rectangular(**{**QUICK, "epochs": 1}, plateau_patience=5, output_dir=tmp_path, name="run")
    said = [record.getMessage() for record in caplog.records if record.name == "sweep.launch"]
    assert said == ["no effect in this run: plateau_patience=5 (needs scheduler=plateau)."]


def test_a_resnet_runs_as_a_function(tmp_path: Path) -> None:
    tiny = {"dataset": "fake", "image_size": 8, "num_points": 100, "width_multiplier": 1, "batch_size": 64}
    hands = {"gpus": 0, "wandb": False, "progress": False, "plot_status": False, "fast_dev_run": True}
    result = run_resnet(**tiny, **hands, depth=18, output_dir=tmp_path, name="run")
    assert result.summary["epochs"] == 2
    assert result.network(torch.zeros(1, 3, 8, 8)).shape == (1, 10)


def test_the_columns_of_a_file_are_shown_by_the_command_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "own.csv"
    table.write_text("a,b,label\n" + "".join(f"{i},{i % 7},{'xy'[i % 2]}\n" for i in range(60)))
    own = {"dataset": str(table), "target": "label", "output_dir": tmp_path, "epochs": 1}
    run_rectangular(**{**QUICK, **own, "num_points": 1000}, name="function")
    assert capfd.readouterr().out == ""
    assert command(*flags(depth=2, **own, name="command")) == 0
    assert "label" in capfd.readouterr().out
