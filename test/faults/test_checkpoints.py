"""Damaged checkpoints are refused by whatever reads them, and are written beside their place."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.faults import flip, resume
from support.runs import run_tiny

from jumpstart.doctor.load import DoctorError
from jumpstart.doctor.weights import load_weights
from jumpstart.files.checkpoints import DamagedCheckpointError, load_checkpoint, refuse_damage, save_checkpoint
from model.rectangular_experiment import RectangularExperiment
from sweep.doctor import load_model
from sweep.files import RunDirectoryError
from sweep.run_directory import RunDirectory


def test_any_wrong_bit_and_any_cut_is_found(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    save_checkpoint({"state_dict": {"weight": torch.randn(8, 8)}, "epoch": 3}, file)
    whole = file.read_bytes()
    refuse_damage(file)
    places = [*random.Random(0).sample(range(len(whole)), 60), *range(len(whole) - 73, len(whole))]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        with pytest.raises(DamagedCheckpointError):
            refuse_damage(file)
    for size in (*random.Random(1).sample(range(1, len(whole)), 10), *range(len(whole) - 75, len(whole), 4)):
        file.write_bytes(whole[:size])
        with pytest.raises(Exception, match=r"\S"):
            load_checkpoint(file)


def test_a_file_without_the_checksum_is_compared_with_those_of_its_parts(tmp_path: Path) -> None:
    file = tmp_path / "own.pt"
    torch.save({"state_dict": {"weight": torch.randn(8, 8)}}, file)
    refuse_damage(file)
    flip(file)
    with pytest.raises(DamagedCheckpointError, match="its part"):
        refuse_damage(file)


READERS: dict[str, tuple[Callable[[Path], object], type[Exception]]] = {
    "doctor": (load_model, DoctorError),
    "doctor with weights": (lambda file: load_weights(torch.nn.Linear(1, 1), file), DoctorError),
    "load_from_checkpoint": (RectangularExperiment.load_from_checkpoint, DamagedCheckpointError),
}


@pytest.mark.parametrize("reader", READERS)
def test_wrong_bits_are_refused_by_whatever_reads_a_checkpoint(reader: str, finished: RunDirectory) -> None:
    read, error = READERS[reader]
    for file in (finished.best_checkpoint, finished.last_checkpoint):
        if reader != "doctor with weights":
            read(file)
        flip(file)
        with pytest.raises(error, match=r"ckpt can't be used: its checksum is wrong, so it is damaged\. Restore it\.$"):
            read(file)


def test_wrong_bits_are_refused_when_a_run_is_resumed(finished: RunDirectory) -> None:
    flip(finished.last_checkpoint)
    with pytest.raises(RunDirectoryError, match="its checksum is wrong"):
        resume(finished, epochs=6)


class Trap:
    """An object whose pickle would run code."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("executed"),))


def test_an_experiment_is_loaded_without_running_code(finished: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished.path)
    torch.save({**torch.load(finished.best_checkpoint), "trap": Trap()}, finished.best_checkpoint)
    with pytest.raises(Exception, match=r"[Ww]eights"):
        RectangularExperiment.load_from_checkpoint(finished.best_checkpoint)
    assert not Path("executed").exists()


@pytest.mark.parametrize("engine", ["compiled", "lightning"])
def test_checkpoints_need_no_folder_of_temporary_files(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    directory, _ = run_tiny(tmp_path, engine=engine, epochs=1, depth=2, num_points=40)
    assert directory.last_checkpoint.is_file()
    assert {path.name for path in directory.checkpoints.iterdir()} == {"best.ckpt", "last.ckpt"}
