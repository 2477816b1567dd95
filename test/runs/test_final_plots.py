"""The decision animation and the final plots of a run."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageSequence
from support.runs import PLOTTED, PlottedRun, fit, run_tiny, same, tiny
from torch import nn

from jumpstart.history import StatusHistory
from sweep.callbacks.decision_animation import DecisionAnimation
from sweep.final_plots import draw_units

FILES = ("decision_regions.gif", "decision_regions.png")


def frames(folder: Path) -> int:
    """The number of different frames in the animation, which repeats its last frame."""
    with Image.open(folder / "decision_regions.gif") as animation:
        return len({frame.convert("RGB").tobytes() for frame in ImageSequence.Iterator(animation)})


@pytest.mark.usefixtures("data_alone")
def test_an_animation_has_the_first_and_the_last_epoch_and_every_nth(tmp_path: Path) -> None:
    expected = {1: [0, 1, 2, 3, 4], 2: [0, 2, 4], 3: [0, 3, 4], 10: [0, 4]}
    recorded: dict[int, list[int]] = {frequency: [] for frequency in expected}

    class Counted(DecisionAnimation):
        @property
        def state_key(self) -> str:
            return f"every {self.frequency}"  # of several callbacks in one training

        def _record(self, epoch: int, network: nn.Module) -> None:
            recorded[self.frequency].append(epoch)
            super()._record(epoch, network)

    fit(tiny(lr=0.1, scheduler="none"), *(Counted(frequency, tmp_path / str(frequency)) for frequency in expected))
    assert recorded == expected
    for frequency, epochs in expected.items():
        assert frames(tmp_path / str(frequency)) == len(epochs)


@pytest.mark.usefixtures("data_alone")
def test_training_is_the_same_with_and_without_an_animation(tmp_path: Path) -> None:
    animated, _ = fit(tiny(dropout=0.2, use_batchnorm=True, epochs=3), DecisionAnimation(1, tmp_path))
    plain, _ = fit(tiny(dropout=0.2, use_batchnorm=True, epochs=3))
    assert same(animated.network.state_dict(), plain.network.state_dict())


def test_data_with_other_than_two_features_have_no_animation(tmp_path: Path) -> None:
    fit(tiny(dataset="iris", batch_size=32), DecisionAnimation(1, tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("data_alone")
def test_the_frames_so_far_are_written_after_a_failure(tmp_path: Path) -> None:
    class Stop(DecisionAnimation):
        def on_train_epoch_end(self, trainer: object, pl_module: object) -> None:
            super().on_train_epoch_end(trainer, pl_module)  # type: ignore[arg-type]
            if trainer.current_epoch == 1:  # type: ignore[attr-defined]
                raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        fit(tiny(), Stop(1, tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == list(FILES)


@pytest.mark.usefixtures("data_alone")
def test_an_epoch_with_a_diverged_network_is_left_out_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Break(DecisionAnimation):
        def on_train_epoch_end(self, trainer: object, pl_module: object) -> None:
            if trainer.current_epoch == 2:  # type: ignore[attr-defined]
                network = pl_module.network  # type: ignore[attr-defined]
                nn.init.constant_(next(network.parameters()), torch.inf)
            super().on_train_epoch_end(trainer, pl_module)  # type: ignore[arg-type]

    with caplog.at_level(logging.WARNING, logger="sweep.watchers.decision_frames"):
        fit(tiny(epochs=3), Break(1, tmp_path))
    assert "epoch 2 has no decision regions: the model's output must be finite" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == list(FILES)


@pytest.mark.usefixtures("data_alone")
def test_a_resumed_run_has_the_animation_of_an_uninterrupted_one(plotted_run: PlottedRun, tmp_path: Path) -> None:
    options = {**PLOTTED, "plot_every": 1}
    directory, _ = run_tiny(tmp_path, **{**options, "epochs": 2})
    assert frames(directory.plots) == 2
    run_tiny(tmp_path, resume=directory.path, **options)
    assert frames(directory.plots) == frames(plotted_run.directory.plots) == PLOTTED["epochs"]
    for name in FILES:
        assert (directory.plots / name).read_bytes() == (plotted_run.directory.plots / name).read_bytes()


@pytest.mark.usefixtures("data_alone")
def test_a_history_of_one_epoch_has_ranges_but_no_status_over_time(tmp_path: Path) -> None:
    history = StatusHistory(["a", "b"], [2, 1])
    history.append(0, [1.0, -1.0, 2.0], [-1.0, -2.0, 1.0], [[2, 1], [0, 1]])
    draw_units(history, (1.0, 1.0), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["unit_ranges.png"]
    history.append(1, [1.0, -1.0, 2.0], [-1.0, -2.0, 1.0], [[2, 1], [0, 1]])
    draw_units(history, (1.0, 1.0), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["unit_life.png", "unit_ranges.png"]


def test_the_ranges_show_the_margin_of_each_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr("sweep.final_plots.save_figure", lambda figure, path: figures.append(figure))
    history = StatusHistory(["a"], [1])
    history.append(0, [1.0], [-1.0], [[2]])
    draw_units(history, (2.0, 0.5), tmp_path)
    marks = {float(np.ravel(line.get_ydata())[0]) for line in figures[0].axes[0].get_lines()}
    assert marks == {-0.5, 0.0, 2.0}
