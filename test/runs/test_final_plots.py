"""The pictures that a run leaves besides those of its status."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image, ImageSequence
from support.runs import fit, run_tiny, same, tiny
from torch import nn

from jumpstart.history import StatusHistory
from sweep.callbacks.decision_film import DecisionFilm
from sweep.final_plots import draw_units

FILM = ("decision_regions.gif", "decision_regions.png")


def frames(folder: Path) -> int:
    """Different pictures in the film, which rests on its last one."""
    with Image.open(folder / "decision_regions.gif") as film:
        return len({frame.convert("RGB").tobytes() for frame in ImageSequence.Iterator(film)})


@pytest.mark.parametrize(("frequency", "expected"), [(1, 5), (2, 3), (3, 3), (10, 2)])
def test_a_film_has_the_first_and_the_last_epoch_and_every_so_many(
    frequency: int, expected: int, tmp_path: Path
) -> None:
    taken: list[int] = []

    class Counted(DecisionFilm):
        def _take(self, epoch: int, pl_module: pl.LightningModule) -> None:
            taken.append(epoch)
            super()._take(epoch, pl_module)

    fit(tiny(), Counted(frequency, tmp_path))
    assert taken == sorted({*range(0, 5, frequency), 4})
    assert len(taken) == expected
    assert frames(tmp_path) == expected


def test_training_is_the_same_with_and_without_a_film(tmp_path: Path) -> None:
    filmed, _ = fit(tiny(dropout=0.2, use_batchnorm=True), DecisionFilm(1, tmp_path))
    plain, _ = fit(tiny(dropout=0.2, use_batchnorm=True))
    assert same(filmed.network.state_dict(), plain.network.state_dict())


def test_data_that_are_not_in_the_plane_have_no_film(tmp_path: Path) -> None:
    fit(tiny(dataset="iris", batch_size=32), DecisionFilm(1, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_was_filmed_is_there_after_a_failure(tmp_path: Path) -> None:
    class Stop(DecisionFilm):
        def on_train_epoch_end(self, trainer: object, pl_module: object) -> None:
            super().on_train_epoch_end(trainer, pl_module)  # type: ignore[arg-type]
            if trainer.current_epoch == 2:  # type: ignore[attr-defined]
                raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        fit(tiny(), Stop(1, tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == list(FILM)


def test_a_network_that_diverges_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Break(DecisionFilm):
        def on_train_epoch_end(self, trainer: object, pl_module: object) -> None:
            if trainer.current_epoch == 4:  # type: ignore[attr-defined]
                network = pl_module.network  # type: ignore[attr-defined]
                nn.init.constant_(next(network.parameters()), torch.inf)
            super().on_train_epoch_end(trainer, pl_module)  # type: ignore[arg-type]

    with caplog.at_level(logging.WARNING, logger="sweep.final_plots"):
        fit(tiny(), Break(1, tmp_path))
    assert "No decision regions of epoch 4: the model's output must be finite" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == list(FILM)


def test_a_run_that_is_resumed_has_a_whole_film(tmp_path: Path) -> None:
    directory, _ = run_tiny(tmp_path, plot_status=True, plot_every=1)
    assert frames(directory.plots) == 5
    run_tiny(tmp_path, plot_status=True, plot_every=1, epochs=8, resume=directory.path)
    run_tiny(tmp_path / "whole", plot_status=True, plot_every=1, epochs=8)
    assert frames(directory.plots) == frames(tmp_path / "whole" / "run" / "plots") == 8


def test_units_of_one_epoch_have_ranges_and_no_life(tmp_path: Path) -> None:
    history = StatusHistory(["a", "b"], [2, 1])
    history.append(0, [1.0, -1.0, 2.0], [-1.0, -2.0, 1.0], [[2, 1], [0, 1]])
    draw_units(history, 1.0, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["unit_ranges.png"]
    history.append(1, [1.0, -1.0, 2.0], [-1.0, -2.0, 1.0], [[2, 1], [0, 1]])
    draw_units(history, 1.0, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["unit_life.png", "unit_ranges.png"]
