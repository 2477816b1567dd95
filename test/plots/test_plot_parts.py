"""Status plots of chosen parts of the data: their files, their histories, and that training stays the same."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from support.images import draw_data_alone
from support.report_runs import make_run
from support.resnet_runs import tiny as tiny_resnet
from support.runs import command, fit, flags, network_weights, run_tiny, same, tiny
from support.status_plots import OPTIONS, Images
from torch.utils.data import DataLoader, TensorDataset

from jumpstart.callbacks import NetworkStatusPlot
from jumpstart.choices import Part
from jumpstart.history import StatusHistory
from jumpstart.monitor import StatusMonitor
from jumpstart.report.record import read_run
from jumpstart.report.write import write_report
from model.errors import ConfigError
from model.rectangular_experiment import RectangularExperiment
from sweep import final_plots, wandb_charts
from sweep.final_plots import draw_curves
from sweep.machine import quiet_lightning
from sweep.metrics_csv import MetricsCsv
from sweep.rectangular import make_data
from sweep.run_directory import RunDirectory

TRAINING = {"dataset": "iris", "depth": 2, "lr": 0.05, "scheduler": "none"}
PLOTTED = {"plot_status": True, "plot_parts": "train,val,test", "plot_num_points": 20, "plot_every": 2, **TRAINING}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of three epochs with plots of all parts, interrupted after two and resumed."""
    folder = tmp_path_factory.mktemp("parts")
    with pytest.MonkeyPatch.context() as patch:
        draw_data_alone(patch)
        run_tiny(folder, epochs=2, **PLOTTED)
        return run_tiny(folder, resume=folder / "run", epochs=3, **PLOTTED)[0]


def test_the_files_name_the_parts_and_a_resumed_run_continues_them(finished: RunDirectory) -> None:
    names = {path.name for path in finished.plots.iterdir()}
    best = StatusHistory.load(finished.path / "status-test.npz").epochs
    for kind in ("unit", "point"):
        for part in ("train", "val"):
            epochs = sorted(name[-6:-4] for name in names if name.startswith(f"{kind}_status-{part}-epoch"))
            assert epochs == ["00", "01", "02"]  # 1 was the last epoch before the run was resumed
        assert f"{kind}_status-test-epoch{best[0]:06d}.png" in names
    assert {"unit_life-train.png", "unit_life-val.png", "unit_ranges-train.png", "unit_ranges-test.png"} <= names
    assert {"unit_shares-train.png", "unit_shares-val.png", "loss.png"} <= names
    assert not names & {"unit_life.png", "unit_ranges.png", "unit_shares.png", "unit_life-test.png"}
    for name in ("status.npz", "status-train.npz"):
        assert StatusHistory.load(finished.path / name).epochs == [0, 1, 2]


def test_the_plot_of_the_test_part_shows_the_best_weights(finished: RunDirectory) -> None:
    history = StatusHistory.load(finished.path / "status-test.npz")
    assert history.epochs == [int(read_run(finished.path).summary["best_epoch"])]  # type: ignore[call-overload]
    experiment = RectangularExperiment.load_from_checkpoint(finished.best_checkpoint, weights_only=False)
    data = make_data(tiny(**TRAINING))
    data.prepare()
    data.setup()
    experiment.eval()
    with StatusMonitor(experiment, num_points=20) as monitor, torch.no_grad():
        experiment(data.x_test)
        assert torch.cat(list(monitor.unit_max.values())).numpy() == pytest.approx(history.unit_max[0], rel=1e-5)
        points = torch.stack(list(monitor.point_status.values()), 1).numpy()
        assert (points == history.point_status[0]).mean() > 0.99
        labels = data.y_test[monitor.point_index].numpy()
    assert history.labels is not None
    assert history.labels.tolist() == labels.tolist()


def test_each_part_has_its_own_points(finished: RunDirectory) -> None:
    train, val, test = (
        StatusHistory.load(finished.path / name) for name in ("status-train.npz", "status.npz", "status-test.npz")
    )
    assert {history.point_status.shape[1] for history in (train, val, test)} == {20}
    assert not np.array_equal(train.unit_max, val.unit_max)
    assert not np.array_equal(val.unit_max[-1], test.unit_max[-1])


def test_plots_of_all_parts_leave_the_training_as_it_is(finished: RunDirectory, tmp_path: Path) -> None:
    plain, _ = run_tiny(tmp_path, epochs=3, **TRAINING)
    assert same(network_weights(plain.best_checkpoint), network_weights(finished.best_checkpoint))
    assert [line.split(",")[:4] for line in plain.metrics.read_text().splitlines()] == [
        line.split(",")[:4] for line in finished.metrics.read_text().splitlines()
    ]


def test_the_report_has_the_maps_of_all_parts(finished: RunDirectory) -> None:
    page = write_report(finished.path).read_text(encoding="utf-8")
    assert page.count('<figure class="map"') == 6
    for title in ("Validation part", "Training part", "Test part"):
        assert f"<h3>{title}" in page
    damaged = finished.path / "status-train.npz"
    content = damaged.read_bytes()
    damaged.write_bytes(b"nothing")
    page = write_report(finished.path).read_text(encoding="utf-8")
    damaged.write_bytes(content)
    assert page.count('<figure class="map"') == 4
    assert "status-train.npz can&#x27;t be read" in page


def test_the_charts_for_weights_and_biases_are_complete(finished: RunDirectory) -> None:
    charts = wandb_charts.make_charts(read_run(finished.path))
    curves = ["loss", "accuracy", "jumpstart_loss", "unit_shares_train", "unit_shares_val"]
    tables = ["layers_validation", "layers_training", "layers_test"]
    assert list(charts) == [f"charts/{name}" for name in (*curves, *tables, "report")]
    table = charts["charts/layers_test"]
    history = StatusHistory.load(finished.path / "status-test.npz")
    assert [row[1] for row in table.data] == list(history.layers)  # type: ignore[attr-defined]
    assert [sum(row[3:6]) for row in table.data] == [row[2] for row in table.data] == list(history.units)  # type: ignore[attr-defined]
    lines = charts["charts/loss"].table  # type: ignore[attr-defined]
    assert {row[1] for row in lines.data} == {"train", "val"}


def test_charts_that_fail_do_not_fail_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def log(self, charts: object) -> None:
            raise RuntimeError("the service\nis gone")

    with caplog.at_level(logging.WARNING):
        wandb_charts.log_charts(Broken(), make_run(tmp_path))  # type: ignore[arg-type]
    assert caplog.messages == [
        "Weights & Biases has no interactive charts of this run: RuntimeError: the service is gone"
    ]


# The callback -----------------------------------------------------------------------------------------------------


def test_the_callback_plots_the_part_that_it_is_given(tmp_path: Path) -> None:
    logger = Images()
    parts = [
        NetworkStatusPlot(1, part=part, directory=tmp_path / "plots", history=tmp_path / f"{part}.npz")
        for part in (Part.TRAIN, "val", "test")
    ]
    _, trainer = fit_and_trainer(*parts, logger=logger, default_root_dir=tmp_path)
    assert {key for key, _, _ in logger.seen} == {
        f"status/{part}/{kind}_status" for part in ("train", "val") for kind in ("unit", "point")
    }
    shapes = {part: StatusHistory.load(tmp_path / f"{part}.npz").point_status.shape for part in ("train", "val")}
    assert shapes["train"][1] == 140
    assert shapes["val"][1] == 30
    assert not (tmp_path / "test.npz").exists()
    rows = TensorDataset(torch.randn(7, 2), torch.zeros(7, dtype=torch.long))
    trainer.test(trainer.lightning_module, DataLoader(rows, batch_size=4), verbose=False)
    assert StatusHistory.load(tmp_path / "test.npz").point_status.shape[1] == 7
    assert {key for key, _, _ in logger.seen} >= {"status/test/unit_status", "status/test/point_status"}


def fit_and_trainer(*callbacks: pl.Callback, **options: object) -> tuple[object, pl.Trainer]:
    found: list[pl.Trainer] = []

    class Keep(pl.Callback):
        def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            found.append(trainer)

    result = fit(tiny(epochs=1), *callbacks, Keep(), **options)
    return result, found[0]


def test_a_wrong_part_is_refused() -> None:
    with pytest.raises(ValueError, match=r"part must be one of train, val, test, got 'tran'\. Did you mean 'train'\?"):
        NetworkStatusPlot(part="tran")


def test_the_validation_part_needs_validation_data() -> None:
    class Bare(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())

        def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
            return self.net(batch[0]).mean()  # type: ignore[no-any-return]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    quiet_lightning()
    trainer = pl.Trainer(**OPTIONS, max_epochs=1, callbacks=[NetworkStatusPlot(part="val")])
    with pytest.raises(ValueError, match="part='val' needs validation data"):
        trainer.fit(Bare(), DataLoader(TensorDataset(torch.randn(4, 2)), batch_size=2))


# The options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tiny, tiny_resnet])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"plot_parts": "train,vall"},
            r"plot_parts must be a comma-separated list .* got 'vall'\. Did you mean 'val'\?",
        ),
        ({"plot_parts": "val,train,val"}, "plot_parts must name each part once, got 'val' twice"),
        ({"plot_parts": ""}, "plot_parts must not be empty"),
        ({"plot_parts": ","}, "plot_parts must be a comma-separated list of train, val, test"),
        ({"plot_parts": "test", "plot_status": False}, "plot_parts needs plot_status=True"),
        ({"plot_num_points": 0}, "plot_num_points must be >= 1, got 0"),
    ],
)
def test_wrong_options_are_refused(make: object, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**{"plot_status": True, **changes})  # type: ignore[operator]


def test_a_wrong_part_is_one_line_before_any_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = flags(output_dir=str(tmp_path), plot_status=True)
    assert command(*argv, "--plot_parts=train,tests") == 2
    assert "got 'tests'. Did you mean 'test'?" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_parts_are_read_in_any_case_and_order() -> None:
    config = tiny(plot_status=True, plot_parts=" Test ,val")
    assert config.plot_parts == "test,val"
    assert config.parts_plotted == (Part.TEST, Part.VAL)
    assert tiny().parts_plotted == (None,)


# The final plots --------------------------------------------------------------------------------------------------


def metrics_of(path: Path, rows: list[dict[str, float]]) -> MetricsCsv:
    with MetricsCsv(path) as metrics:
        for epoch, row in enumerate(rows):
            metrics.append(epoch, row)
    return metrics


def test_curves_that_have_no_logarithm_or_no_value_do_not_fail_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shares = {"val/unit_dead_ratio": 0.5, "val/unit_linear_ratio": 0.25, "val/unit_nonlinear_ratio": 0.25}
    row = {"train/loss": 1e300, "val/loss": float("nan"), "val/acc": float("nan"), "val/jumpstart_loss": 0.0, **shares}
    gap = {name: float("nan") for name in shares}
    metrics = metrics_of(tmp_path / "metrics.csv", [row, {**row, **gap}, row])
    with caplog.at_level(logging.WARNING):
        draw_curves(metrics, tmp_path)
    assert not caplog.messages
    assert {path.name for path in tmp_path.glob("*.png")} == {"loss.png", "jumpstart_loss.png", "unit_shares.png"}


def test_a_plot_that_fails_is_named_and_the_others_are_drawn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **options: object) -> None:
        raise RuntimeError("no\nmemory")

    monkeypatch.setattr(final_plots, "plot_status_shares", broken)
    shares = {"val/unit_dead_ratio": 0.5, "val/unit_linear_ratio": 0.25, "val/unit_nonlinear_ratio": 0.25}
    metrics = metrics_of(tmp_path / "metrics.csv", [{"train/loss": 1.0, **shares}] * 2)
    with caplog.at_level(logging.WARNING):
        draw_curves(metrics, tmp_path)
    assert caplog.messages == ["unit_shares.png can't be drawn: RuntimeError: no memory"]
    assert (tmp_path / "loss.png").is_file()
