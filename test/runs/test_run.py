"""Runs: the content of the run directory, the summary, and refused configs, which write nothing."""

from __future__ import annotations

import copy
import json
import math
import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from support.commands import RECTANGULAR_COMMAND, in_shell
from support.fresh import EXTRAS, python
from support.processes import begin, finish
from support.runs import (
    PLOTTED,
    ROOT,
    PlottedRun,
    Seen,
    command,
    flags,
    network_weights,
    prepare,
    run_tiny,
    same,
    slow_metrics,
    tiny,
)

from data.uci import files as download
from model.errors import ConfigError
from model.rectangular_experiment import RectangularExperiment
from sweep.machine import find_devices
from sweep.metrics_csv import MetricsCsv
from sweep.rectangular import build, make_data
from sweep.run import headline, leave_report, run
from sweep.run_directory import RunDirectory

FILES = {"config.yaml", "environment.json", "run.json", "metrics.csv", "summary.json", "SHA256SUMS", "report.html"}
RUN = FILES | {"checkpoints", "plots"}
FEATURES: dict[str, dict[str, object]] = {
    "skips": {"skip_connections": 2},
    "batchnorm": {"use_batchnorm": True},
    "dropout and gelu": {"dropout": 0.3, "activation": "gelu"},
    "weights": {"capture": "weights", "terms": "unit_positive,point", "aggregate": "mean", "ties": "average"},
    "conv": {"dataset": "digits", "layer": "conv", "pool_at": (1, 3), "use_batchnorm": True, "batch_size": 629},
    "global head": {"dataset": "digits", "layer": "conv", "head": "global", "kernel_size": 2, "point": "location"},
    "flat images": {"dataset": "digits", "skip_connections": 1, "activation": "leaky_relu", "batch_size": None},
    "iris": {"dataset": "iris", "lambda_": 0.0, "optimizer": "sgd", "init": "kaiming"},
}


def test_the_users_command_needs_no_account_and_fills_the_run_directory(tmp_path: Path) -> None:
    # As in a new process, where torch and Lightning are imported already, which would take half of the time.
    script = str(ROOT / "run_rectangular_sweep.py")
    code = "import os, runpy, sys; folder, *sys.argv = sys.argv[1:]; os.chdir(folder); sys.stdin = open(os.devnull); "
    code += f"sys.path[0] = {str(ROOT)!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = python(code, str(tmp_path), script, *in_shell(RECTANGULAR_COMMAND), "--epochs=2", packages=EXTRAS)
    assert done.returncode == 0, done.stderr
    warning, *rest = done.stderr.splitlines()
    assert warning.startswith("Weights & Biases: no API key found, so this run is logged offline;")
    assert all("epoch" in line for line in rest if line)
    assert " 2/2 " in rest[-1]
    where = re.search(
        r"run directory: (runs/moons-50x4-lambda0\.01-seed42-\d+-\d+)\nreport: \1/report\.html\n$", done.stdout
    )
    assert where is not None
    assert os.listdir(tmp_path) == ["runs"]
    path = tmp_path / where[1]
    assert set(os.listdir(path)) == RUN | {"wandb", "status.npz"}
    assert sorted(os.listdir(path / "checkpoints")) == ["best.ckpt", "last.ckpt"]
    status_plots = {f"{kind}_status-epoch{epoch:06d}.png" for kind in ("unit", "point") for epoch in range(2)}
    assert set(os.listdir(path / "plots")) == status_plots | {
        "accuracy.png",
        "decision_regions.gif",
        "decision_regions.png",
        "jumpstart_loss.png",
        "loss.png",
        "unit_life.png",
        "unit_ranges.png",
        "unit_shares.png",
    }
    assert len(MetricsCsv(path / "metrics.csv").read()) == 2
    summary = json.loads((path / "summary.json").read_text())
    for name in ("train/acc", "val/acc", "test/acc", "val/unit_dead_ratio", "val/unit_linear_ratio"):
        assert 0 <= summary[name] <= 1
        assert f"{summary[name]:.4f}" in done.stdout
    assert (summary["epochs"], summary["parameters"]) == (2, 2 * 4 + 4 + 49 * 20 + 10)
    assert summary["seconds"] > 0
    assert "run_rectangular_sweep.py" in json.loads((path / "environment.json").read_text())["command"]


@pytest.mark.parametrize("changes", [{}, {"use_batchnorm": True, "dropout": 0.2, "dataset": "wine", "batch_size": 16}])
def test_the_summary_holds_the_metrics_of_the_best_weights_on_each_part(
    changes: dict[str, object], tmp_path: Path
) -> None:
    directory, summary = run_tiny(tmp_path, epochs=8, lr=0.05, **changes)
    table = MetricsCsv(directory.metrics).read()
    best = table.sort_values(["val/acc", "val/loss"], ascending=[False, True]).iloc[0]
    assert summary["best_epoch"] == best["epoch"]
    assert summary["last"] == table.iloc[-1].to_dict()
    assert summary["val/acc"] == pytest.approx(best["val/acc"])
    experiment = RectangularExperiment.load_from_checkpoint(directory.best_checkpoint).eval()
    data, _ = prepare(experiment.config)
    for stage, loader in (
        ("train", data.train_dataloader()),
        ("val", data.val_dataloader()),
        ("test", data.test_dataloader()),
    ):
        seen = Seen()
        for x, y in loader:
            kept: list[torch.Tensor] = []
            hooks = [
                parts.activation.register_forward_pre_hook(lambda _, args, kept=kept: kept.append(args[0].detach()))
                for parts in experiment.network.layers
            ]
            seen.logits.append(experiment(x).detach())
            seen.labels.append(y)
            seen.preactivations.append(kept)
            seen.jumpstart_losses.append(experiment.jumpstart.loss.detach())
            for hook in hooks:
                hook.remove()
        expected = slow_metrics(seen, (1.0, 1.0))
        # A mean over batches depends on the order of the rows, which differs from epoch to epoch.
        expected = {name: value for name, value in expected.items() if not name.startswith("jumpstart_")}
        assert {name: summary[f"{stage}/{name}"] for name in expected} == pytest.approx(expected, rel=1e-5, abs=1e-6)
    stored = json.loads(directory.summary.read_text())
    assert stored == json.loads(json.dumps(summary))
    assert stored["data"]["rows"] == sum(part["rows"] for part in stored["data"]["parts"].values())


@pytest.mark.parametrize(("epochs", "points"), [(1, 400), (7, 7), (11, 4), (12, 5)])
def test_metrics_have_enough_rows_with_the_first_and_last_epoch(epochs: int, points: int, tmp_path: Path) -> None:
    directory, _ = run_tiny(tmp_path, epochs=epochs, curve_points=points, depth=1, batch_size=None)
    epochs_written = MetricsCsv(directory.metrics).read()["epoch"].tolist()
    assert len(epochs_written) >= min(epochs, points)
    assert (epochs_written[0], epochs_written[-1]) == (0, epochs - 1)
    assert len({later - earlier for earlier, later in pairwise(epochs_written[:-1])}) <= 1


def test_plots_logging_and_progress_change_nothing(plotted_run: PlottedRun, tmp_path: Path) -> None:
    full = plotted_run.directory
    plain, _ = run_tiny(tmp_path, **{**PLOTTED, "plot_status": False})
    assert torch.equal(torch.get_rng_state(), plotted_run.random_state)
    assert full.metrics.read_text() == plain.metrics.read_text()
    for name in ("last.ckpt", "best.ckpt"):
        assert same(network_weights(full.checkpoints / name), network_weights(plain.checkpoints / name))
    assert set(os.listdir(full.path)) == RUN | {"wandb", "status.npz"}
    assert set(os.listdir(plain.path)) == RUN
    assert os.listdir(plain.plots) == []


def test_a_stored_config_repeats_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {"dropout": 0.1, "batch_size": None, "milestones": (2, 4), "scheduler": "multistep", "seed": 0}
    first, summary = run_tiny(tmp_path, name="first", **changes)
    assert yaml.safe_load(first.config.read_text()) == tiny(output_dir=str(tmp_path), name="first", **changes).to_dict()
    assert command(f"--config={first.config}", "--name=second") == 0
    assert f"run directory: {tmp_path}/second\n" in capsys.readouterr().out
    for name in ("last.ckpt", "best.ckpt"):
        again = network_weights(tmp_path / "second" / "checkpoints" / name)
        assert same(network_weights(first.checkpoints / name), again)
    other, _ = run_tiny(tmp_path, name="third", **{**changes, "seed": 1})
    assert not same(network_weights(first.last_checkpoint), network_weights(other.last_checkpoint))
    assert summary["epochs"] == 5


@pytest.mark.usefixtures("data_alone")
@pytest.mark.parametrize("changes", FEATURES.values(), ids=FEATURES)
def test_every_kind_of_network_completes_a_run(changes: dict[str, object], tmp_path: Path) -> None:
    directory, summary = run_tiny(tmp_path, **{"epochs": 2, "batch_size": 500, "plot_status": True, **changes})
    table = MetricsCsv(directory.metrics).read()
    assert table.notna().all(axis=None)
    metrics = {name: value for name, value in summary.items() if "/" in name}
    assert len(metrics) == 3 * 21
    assert all(math.isfinite(value) for value in metrics.values())
    for stage in ("train", "val", "test"):
        shares = [summary[f"{stage}/unit_{status}_ratio"] for status in ("dead", "linear", "nonlinear")]
        assert sum(shares) == pytest.approx(1)
    has_animation = changes.get("dataset", "moons") == "moons"
    assert len(os.listdir(directory.plots)) == 2 * 2 + 6 + 2 * has_animation


def test_early_stopping_ends_with_the_first_perfect_epoch(tmp_path: Path) -> None:
    changes = {"dataset": "blobs", "depth": 2, "width": 8, "scheduler": "none", "epochs": 60, "curve_points": 1}
    directory, summary = run_tiny(tmp_path, early_stopping=True, **changes)
    assert summary["val/acc"] == 1
    assert 1 < summary["epochs"] < 60
    assert summary["best_epoch"] == summary["epochs"] - 1
    assert MetricsCsv(directory.metrics).read()["epoch"].tolist() == [0, summary["epochs"] - 1]
    longer = summary["epochs"] + 3
    _, summary = run_tiny(tmp_path, name="on", **{**changes, "epochs": longer})
    assert summary["epochs"] == longer


@pytest.mark.usefixtures("data_alone")
def test_a_trial_run_makes_every_step_and_says_what_it_leaves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = flags(fast_dev_run=True, epochs=4000, depth=1, plot_status=True, output_dir=tmp_path, name="trial")
    assert command(*argv) == 0
    *_, notice, place, report = capsys.readouterr().out.splitlines()
    assert notice == (
        "trial run of at most two epochs of two batches: its results say nothing about the network. The run directory "
        "can be deleted."
    )
    assert [place, report] == [f"run directory: {tmp_path}/trial", f"report: {tmp_path}/trial/report.html"]
    directory = RunDirectory.open(tmp_path / "trial")
    assert json.loads(directory.summary.read_text())["epochs"] == 2
    assert MetricsCsv(directory.metrics).read()["epoch"].tolist() == [0, 1]
    assert directory.best_checkpoint.exists()
    assert {"accuracy.png", "unit_status-epoch000001.png", "decision_regions.gif"} <= {*os.listdir(directory.plots)}


def test_a_diverged_run_ends_with_one_line_and_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = flags(output_dir=tmp_path, name="run", lr=1e30, optimizer="sgd", gradient_clip=0, plot_status=True)
    assert command(*argv) == 1
    captured = capsys.readouterr()
    assert re.fullmatch(r"engine: .*\n", captured.out)
    assert re.fullmatch(
        r"error: the loss of epoch 0 is not finite; the first layer that is not finite is layers\.\d\.activation\. "
        r"Try a lower lr or gradient_clip=1\.0 or warmup_epochs\.\n",
        captured.err,
    )
    assert os.listdir(tmp_path / "run" / "checkpoints") == []


def damage(folder: Path) -> list[str]:
    place = folder / "cache" / "uci" / "haberman" / "haberman.data"
    place.parent.mkdir(parents=True)
    place.write_text("30,64,1,1\n")
    return ["--dataset=haberman", f"--data_dir={folder / 'cache'}"]


def block(folder: Path) -> list[str]:
    (folder / "file").touch()
    return [f"--output_dir={folder / 'file' / 'runs'}"]


BAD: dict[str, tuple[Callable[[Path], list[str]] | str, str]] = {
    "flag": ("--widht=3", "unknown flag --widht. Did you mean '--width'?"),
    "type": ("--depth=deep", "depth must be an integer >= 1"),
    "range": ("--lr=-1", "lr must be > 0, got -1"),
    "nan": ("--lr=nan", "lr must be finite"),
    "data set": ("--dataset=mooons", "Did you mean 'moons'?"),
    "activation": ("--activation=rellu", "Did you mean 'relu'?"),
    "optimizer": ("--optimizer=adan", "Did you mean 'adam'?"),
    "schedule": ("--scheduler=cosin", "Did you mean 'cosine'?"),
    "lambda schedule": ("--lambda_schedule=lineer", "Did you mean 'linear'?"),
    "plateau": ("--scheduler=plateau --gamma=1", "gamma must be < 1"),
    "unreachable": (
        "--dataset=haberman --data_dir=nowhere",
        "haberman.data out of http://127.0.0.1:9/.* put it at",
    ),
    "damaged": (damage, r"haberman.data is damaged: its sha256 is [0-9a-f]{64}, expected [0-9a-f]{64}"),
    "unwritable": (block, "output_dir .* can't be written: .* is a file"),
    "conv on a table": ("--layer=conv", r'layer="conv" needs a data set of images \(digits, .*\), got dataset="moons"'),
    "unit_dim": ("--layer=conv --dataset=digits --unit_dim=9", "unit_dim must be one of 1 to 3"),
    "pooling": ("--layer=conv --dataset=digits --pool_at=1,2,3,4", "pool_at must leave at least one pixel"),
    "skips": ("--skip_connections=4", "skip_connections must be < depth = 4"),
    "gpus": ("--gpus=64", "gpus must be among the"),
    "one row": (
        "--use_batchnorm --batch_size=139",
        "no batch of a single row .* 139 for 140 rows",
    ),
    "parts": ("--dataset=iris --val_size=0.001", "val_size must leave each part a row"),
    "few points": ("--num_points=10", "num_points must be >= 14"),
    "nothing to train on": ("--use_loss=False --lambda_=0", "lambda_ must be > 0"),
    "project": ("--wandb=True --wandb_project=a/b", "wandb_project must have at most 128 characters, and none of"),
    "name": ("--name=a/b", "name must be a plain folder name"),
    "resume": ("--resume=nowhere", "run directory nowhere does not exist"),
    "config": ("--config=nowhere.yaml", "config file nowhere.yaml can't be read"),
}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no server of UCI data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(download.URL_VARIABLE, "http://127.0.0.1:9")
    monkeypatch.setattr("data.fetch.BACKOFF", 0)
    return tmp_path


def flags_of(argv: Callable[[Path], list[str]] | str, folder: Path) -> list[str]:
    given = argv(folder) if callable(argv) else argv.split()
    alone = any(flag.startswith(("--resume", "--config")) for flag in given)
    return given if alone else [*flags(), *given]


@pytest.mark.parametrize(("argv", "message"), BAD.values(), ids=BAD)
def test_wrong_input_ends_with_one_line_and_code_2_and_writes_nothing(
    argv: Callable[[Path], list[str]] | str, message: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = flags_of(argv, elsewhere)
    before = sorted(elsewhere.rglob("*"))
    assert command(*given) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(rf"error: .*{message}.*\n", captured.err)
    assert sorted(elsewhere.rglob("*")) == before


@pytest.mark.parametrize("kind", ["damaged", "conv on a table", "one row"])
def test_wrong_input_prints_one_line_in_a_separate_process(kind: str, elsewhere: Path) -> None:
    argv, message = BAD[kind]
    given = flags_of(argv, elsewhere)
    log = elsewhere / "log"
    assert finish(begin(log, *given)) == 2
    assert re.fullmatch(rf"error: .*{message}.*\n", (log / "output.txt").read_text())
    assert not (elsewhere / "runs").exists()


def test_a_taken_name_is_refused_and_the_run_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory, _ = run_tiny(tmp_path)
    before = {path: path.read_bytes() for path in directory.path.rglob("*") if path.is_file()}
    assert command(*flags(output_dir=tmp_path, name="run")) == 2
    assert "exists already. Choose another --name, or continue it with --resume=" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in directory.path.rglob("*") if path.is_file()} == before


def test_a_network_that_refuses_the_data_writes_nothing(tmp_path: Path) -> None:
    def refuse(*_: object) -> RectangularExperiment:
        raise ValueError("not these data")

    config = tiny(output_dir=str(tmp_path), engine="lightning")
    with pytest.raises(ConfigError, match="not these data"):
        run(config, make_data(config), refuse)
    assert os.listdir(tmp_path) == []


def test_on_directory_is_called_before_training(tmp_path: Path) -> None:
    paths: list[Path] = []
    config = tiny(output_dir=str(tmp_path), name="run")

    def refuse(path: Path) -> None:
        paths.append(path)
        files = {"config.yaml", "environment.json", "run.json", "run.lock"}
        assert set(os.listdir(path)) == files | {"checkpoints", "plots"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, make_data(config), build, on_directory=refuse)
    assert paths == [tmp_path / "run"]


@pytest.mark.parametrize(
    ("gpus", "available", "expected"),
    [
        (0, 4, ("cpu", 1)),
        ("auto", 0, ("cpu", 1)),
        ("auto", 2, ("gpu", "auto")),
        (2, 2, ("gpu", 2)),
        ("0,3", 4, ("gpu", [0, 3])),
        ("1,", 2, ("gpu", [1])),
        (3, 2, None),
        ("0,2", 2, None),
    ],
)
def test_gpus_are_the_requested_ones(
    gpus: int | str, available: int, expected: tuple[str, object] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: available)
    if expected is None:
        with pytest.raises(ConfigError, match=f"gpus must be among the {available} of this machine, got {gpus}"):
            find_devices(gpus)
    else:
        assert find_devices(gpus) == expected


def test_the_reason_of_a_failure_is_stored_until_the_run_is_finished(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path, "run", tiny())
    leave_report(directory, OSError("the disk is full"))
    assert directory.failure.read_text() == "OSError: the disk is full\n"
    leave_report(directory)
    assert not directory.failure.exists()


@pytest.mark.parametrize(
    ("failure", "told"),
    [(None, True), (ValueError("no"), True), (OSError("the disk is full"), False)],
    ids=["no failure", "another failure", "the same failure"],
)
def test_a_report_that_can_not_be_written_is_told_unless_the_run_failed_for_this_reason(
    failure: Exception | None,
    told: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("the disk is full")

    directory = RunDirectory.create(tmp_path, "run", tiny())
    monkeypatch.setattr("sweep.run.write_report", refuse)
    leave_report(directory, failure)
    assert [record.getMessage() for record in caplog.records] == [
        f"no report was written for {directory.path}: the disk is full"
    ] * told


def test_the_headline_is_part_of_the_summary() -> None:
    summary = {"val/acc": 0.5, "test/acc": 0.25, "epochs": 3, "seconds": 1.5, "val/unit_loss": 2.0, "last": {}}
    assert headline(copy.deepcopy(summary)) == {"val/acc": 0.5, "test/acc": 0.25, "epochs": 3, "seconds": 1.5}
