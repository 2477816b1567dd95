"""Runs that the compiled engine trains: the same files as by Lightning, the same refusals, and the choice of engine."""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest
import torch
from support.images import draw_data_alone
from support.runs import command, flags, network_weights, run_tiny, tiny

from jumpstart.engine.build import best_build
from jumpstart.engine.member import Member
from model.compiled import captured_layers, not_covered
from model.config.rectangular import RectangularConfig
from model.errors import ConfigError, NonFiniteLossError
from model.rectangular_experiment import RectangularExperiment
from sweep.files import RunDirectoryError
from sweep.metrics_csv import MetricsCsv
from sweep.rectangular import run_rectangular
from sweep.run_directory import RunDirectory

pytestmark = pytest.mark.skipif(best_build() is None, reason="no C++ compiler built the engine")

PLOTTED = {"lr": 0.001, "epochs": 5, "plot_status": True, "plot_every": 2, "plot_parts": "train,val,test",
           "margin": 1.5, "negative_margin": "auto"}  # fmt: skip
ENGINES = ("compiled", "lightning")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[RunDirectory, dict[str, object]]]:
    """The same run by both engines."""
    folder = tmp_path_factory.mktemp("both")
    with pytest.MonkeyPatch.context() as patch:
        draw_data_alone(patch)
        return {engine: run_tiny(folder / engine, engine=engine, **PLOTTED) for engine in ENGINES}


def files_of(run: RunDirectory) -> set[str]:
    return {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}


def test_both_engines_leave_the_same_files(both: dict[str, tuple[RunDirectory, dict[str, object]]]) -> None:
    compiled, lightning = (both[engine][0] for engine in ENGINES)
    assert files_of(compiled) == files_of(lightning)
    environments = [json.loads(run.environment.read_text()) for run in (compiled, lightning)]
    assert [found["engine"] for found in environments] == [*ENGINES]
    build = best_build()
    assert build is not None
    assert environments[0]["instruction_set"] == build.name


def test_both_engines_measure_the_same(both: dict[str, tuple[RunDirectory, dict[str, object]]]) -> None:
    compiled, lightning = (MetricsCsv(both[engine][0].metrics).read() for engine in ENGINES)
    pd.testing.assert_frame_equal(compiled, lightning, check_exact=False, rtol=1e-4, atol=1e-5)
    assert list(compiled.columns) == list(lightning.columns)
    one, other = (both[engine][1] for engine in ENGINES)
    assert one.keys() == other.keys()
    numbers = [name for name, value in one.items() if isinstance(value, float) and name != "seconds"]
    assert [one[name] for name in numbers] == pytest.approx([other[name] for name in numbers], rel=1e-3, abs=1e-4)
    assert one["data"] == other["data"]


def test_the_best_weights_are_those_that_lightning_would_load(
    both: dict[str, tuple[RunDirectory, dict[str, object]]],
) -> None:
    run, summary = both["compiled"]
    loaded = RectangularExperiment.load_from_checkpoint(run.best_checkpoint, weights_only=True)
    weights = network_weights(run.best_checkpoint)
    assert {f"network.{name}" for name in loaded.network.state_dict()} == weights.keys()
    assert all(torch.equal(value, weights[f"network.{name}"]) for name, value in loaded.network.state_dict().items())
    other = network_weights(both["lightning"][0].best_checkpoint)
    for name, value in weights.items():
        torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-5)
    assert summary["best_epoch"] == both["lightning"][1]["best_epoch"]


def test_the_result_in_python_has_the_best_weights(tmp_path: Path) -> None:
    result = run_rectangular(config=None, **{**TINY_FUNCTION, "output_dir": tmp_path})
    x = torch.rand(5, 2)
    assert torch.equal(result.network(x), result.experiment(x))
    assert not result.experiment.training


TINY_FUNCTION = {"depth": 3, "epochs": 3, "num_points": 100, "gpus": 0, "wandb": False, "plot_status": False,
                 "progress": False, "engine": "compiled"}  # fmt: skip


# The choice ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, r"engine: compiled \((avx512|avx2|plain)\)"),
        ({"engine": "lightning"}, r"engine: Lightning \(--engine=lightning\)"),
        ({"dropout": 0.1}, r"engine: Lightning \(the compiled engine does not cover dropout=0\.1\)"),
        ({"activation": "mish"}, r"engine: Lightning \(the compiled engine does not cover activation='mish'\)"),
    ],
)
def test_a_run_says_in_one_line_which_engine_it_took_and_why(
    changes: dict[str, object], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*flags(output_dir=tmp_path, name="run", epochs=1, depth=2, **changes)) == 0
    said = [found for found in capsys.readouterr().out.splitlines() if found.startswith("engine")]
    assert len(said) == 1
    assert re.fullmatch(line, said[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"dropout": 0.1}, {"activation": "mish"}, {"scheduler": "plateau"}, {"fast_dev_run": True},
        {"unit_dim": 1}, {"sync": True}, {"optimizer": "muon"},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_what_is_not_covered_is_refused_by_name(changes: dict[str, object], tmp_path: Path) -> None:
    config = tiny(**changes)
    found = not_covered(config)
    name = next(iter(changes))
    assert found == f"{name}={getattr(config, name)!r}"
    with pytest.raises(ConfigError, match=re.escape(found)):
        run_tiny(tmp_path, engine="compiled", **changes)
    assert os.listdir(tmp_path) == []


def test_images_are_not_covered(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not cover images, such as fake"):
        run_tiny(tmp_path, engine="compiled", dataset="fake", num_points=100)


def test_without_a_build_lightning_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUMPSTART_ENGINE", "0")
    with pytest.raises(ConfigError, match="not installed, which needs a C"):
        run_tiny(tmp_path, engine="compiled")
    run, _ = run_tiny(tmp_path, epochs=1)
    assert json.loads(run.environment.read_text())["engine"] == "lightning"


@pytest.mark.parametrize("capture", ["activations", "weights"])
@pytest.mark.parametrize("skip_last", [True, False])
def test_layers_have_the_names_that_lightning_reports(capture: str, skip_last: bool) -> None:
    config = RectangularConfig(depth=3, capture=capture, skip_last=skip_last)
    experiment = RectangularExperiment(config, (2,), 2)
    experiment(torch.zeros(1, 2))
    assert captured_layers(config) == [*experiment.jumpstart.layers, "the output", "the Jumpstart loss"]


# Resuming ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def begun(both: dict[str, tuple[RunDirectory, dict[str, object]]], tmp_path: Path) -> RunDirectory:
    """A copy of the finished run of the compiled engine."""
    shutil.copytree(both["compiled"][0].path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_is_resumed_by_the_engine_that_began_it(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = flags(output_dir=tmp_path, name="run", epochs=2, **({} if engine == "compiled" else {"engine": engine}))
    assert command(*begin) == 0
    assert command(f"--resume={tmp_path / 'run'}", "--epochs=3", "--progress=False") == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("engine")]
    assert [line.split()[1].lower() for line in said] == [engine, engine]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["epochs"] == 3


def test_a_checkpoint_of_the_other_engine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("JUMPSTART_ENGINE", "0")
        run, _ = run_tiny(tmp_path, epochs=1)
    run.environment.write_text("{}")
    with pytest.raises(RunDirectoryError, match=r'written by the engine lightning, .* Restore "engine": "lightning"'):
        run_tiny(tmp_path, epochs=2, resume=run.path)


def test_a_run_of_the_engine_is_not_resumed_without_it(begun: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUMPSTART_ENGINE", "0")
    with pytest.raises(RunDirectoryError, match="was begun by the compiled engine, which can't continue it here"):
        run_tiny(begun.path.parent, resume=begun.path, engine="compiled", **PLOTTED)


@pytest.mark.parametrize(
    "part",
    ["member", "member/numbers/best_batch", "best", "best/best_row", "best/elapsed", "best/weights", "frames",
     "row", "state_dict", "hyper_parameters/config"],
)  # fmt: skip
def test_an_incomplete_checkpoint_is_refused(part: str, begun: RunDirectory) -> None:
    change(begun, part, lambda content, key: content.pop(key))
    with pytest.raises(RunDirectoryError, match=f"it has no {part.split('/')[-1]}"):
        run_tiny(begun.path.parent, resume=begun.path, engine="compiled", **PLOTTED)


@pytest.mark.parametrize("part", ["member/tensors/weights", "member/tensors/moment1", "state_dict/network.output.bias"])
def test_weights_of_another_network_are_refused(part: str, begun: RunDirectory) -> None:
    change(begun, part, lambda content, key: content.update({key: torch.zeros(3, 1)}))
    with pytest.raises(RunDirectoryError, match="holds another network: in its "):
        run_tiny(begun.path.parent, resume=begun.path, engine="compiled", **PLOTTED)


def change(run: RunDirectory, path: str, act: Callable[[dict[str, object], str], object]) -> None:
    content = torch.load(run.last_checkpoint, weights_only=True)
    *folders, last = path.split("/")
    inner = content
    for folder in folders:
        inner = inner[folder]
    act(inner, last)
    torch.save(content, run.last_checkpoint)


def test_an_interrupted_run_has_lost_no_finished_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run_tiny(tmp_path / "whole", engine="compiled", epochs=6)
    train = Member.train

    def two_epochs_and_a_signal(self: Member, until: int | None = None, seconds: float = 1.0) -> object:
        if self.epoch == 2:
            raise KeyboardInterrupt
        return train(self, min(2, until or 2), seconds)

    with monkeypatch.context() as patch:
        patch.setattr(Member, "train", two_epochs_and_a_signal)
        with pytest.raises(KeyboardInterrupt):
            run_tiny(tmp_path, engine="compiled", epochs=6, checkpoint_seconds=1e9)
    run = RunDirectory(tmp_path / "run")
    assert torch.load(run.last_checkpoint, weights_only=True)["epoch"] == 2
    run_tiny(tmp_path, resume=run.path, engine="compiled", epochs=6, checkpoint_seconds=1e9)
    assert run.metrics.read_text() == whole.metrics.read_text()
    weights, wanted = network_weights(run.last_checkpoint), network_weights(whole.last_checkpoint)
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


def test_a_run_that_diverges_keeps_its_last_whole_epoch(tmp_path: Path) -> None:
    risky = {"optimizer": "sgd", "gradient_clip": None, "scheduler": "cyclic", "cycle_epochs": 20, "min_lr": 1e-3}
    options = {"engine": "compiled", "epochs": 20, **risky}
    with pytest.raises(NonFiniteLossError, match=r"of epoch \d+ is not finite; the first layer .* is layers\.\d"):
        run_tiny(tmp_path, lr=1e30, **options)
    run = RunDirectory(tmp_path / "run")
    assert run.failure.read_text().startswith("NonFiniteLossError")
    content = torch.load(run.last_checkpoint, weights_only=True)
    assert 1 <= content["epoch"] == MetricsCsv(run.metrics).last_epoch + 1
    weights = network_weights(run.last_checkpoint)
    assert all(value.isfinite().all() for value in weights.values())
    if content["epoch"] == 1:  # epoch 0 has the least rate, so it is that of a harmless run
        harmless = {**options, "epochs": 1, "scheduler": "none", "cycle_epochs": None, "lr": 1e-3}
        whole, _ = run_tiny(tmp_path / "harmless", **harmless)
        assert all(torch.equal(weights[name], value) for name, value in network_weights(whole.last_checkpoint).items())


def test_an_endless_run_outlasts_its_first_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"engine": "compiled", "scheduler": "none", "patience": 60, "num_points": 60}
    whole, summary = run_tiny(tmp_path / "whole", epochs=100_000, **options)
    monkeypatch.setattr("model.compiled.FIRST_EPOCHS", 7)
    monkeypatch.setattr("sweep.compiled_run.SLICE_EPOCHS", 5)
    endless, other = run_tiny(tmp_path / "endless", epochs=-1, **options)
    assert 60 < summary["epochs"] == other["epochs"]
    weights = network_weights(endless.last_checkpoint)
    assert all(torch.equal(weights[name], value) for name, value in network_weights(whole.last_checkpoint).items())


def test_early_stopping_ends_in_the_same_epoch_by_both_engines(tmp_path: Path) -> None:
    options: Mapping[str, object] = {"dataset": "blobs", "epochs": 40, "lr": 0.003, "depth": 2, "scheduler": "none"}
    for name, rule in {"perfect": {"early_stopping": True}, "patience": {"patience": 3, "monitor": "val/acc"}}.items():
        found = [
            run_tiny(tmp_path / name / engine, engine=engine, **options, **rule)[1]["epochs"] for engine in ENGINES
        ]
        assert found[0] == found[1] < 40
