"""Runs on a folder of images of the user: one command, and a resumed run that compares the folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import resnet_runs, runs

from data.cache import FOLDER_VARIABLE
from sweep.run_directory import RunDirectory


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder of images, ``flowers``, and a finished run on it, ``run``."""
    root = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    for c, name in enumerate(("daisy", "rose")):
        (root / "flowers" / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(rng.normal(100 + 50 * c, 20, (6, 6, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / "flowers" / name / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv(FOLDER_VARIABLE, str(root / "cache"))
        arguments = runs.flags(dataset="./flowers", depth=2, epochs=1, output_dir=str(root), name="run")
        assert runs.command(*arguments) == 0
    return root


def test_a_folder_is_trained_on_by_one_command(trained: Path) -> None:
    directory = RunDirectory(trained / "run")
    assert directory.read_config()["dataset"] == str(trained / "flowers")
    assert json.loads(directory.description.read_text())["dataset"] == "flowers"
    summary = json.loads(directory.summary.read_text())
    assert summary["data"]["class_names"] == ["daisy", "rose"]
    assert summary["data"]["dataset"] == "flowers"
    assert "flowers" in directory.report.read_text()


CHANGES: dict[str, Callable[[Path], object]] = {
    "one more image": lambda folder: shutil.copy(folder / "rose" / "0.png", folder / "rose" / "new.png"),
    "another name": lambda folder: (folder / "rose").rename(folder / "lily"),
}


@pytest.mark.parametrize("change", [None, *CHANGES])
def test_a_resumed_run_compares_the_folder(
    change: str | None,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    kept = trained.with_name("kept")
    shutil.copytree(trained, kept)
    try:
        if change is not None:
            CHANGES[change](trained / "flowers")
        before = (trained / "run" / "metrics.csv").read_bytes()
        code = runs.command(f"--resume={trained / 'run'}", "--epochs=2")
        err = capsys.readouterr().err
        if change is None:
            assert code == 0
        else:
            assert code == 2
            assert "the data changed since" in err
            assert err.count("\n") == 1
            assert (trained / "run" / "metrics.csv").read_bytes() == before
    finally:
        shutil.rmtree(trained)
        kept.rename(trained)


def test_a_resnet_names_its_run_after_the_folder() -> None:
    config = resnet_runs.tiny(dataset="../data/flowers/")
    assert config.label.startswith("flowers-resnet")
    assert config.dataset == str(Path("../data/flowers").resolve())


def test_a_missing_folder_is_refused_before_a_run_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for launcher in (runs, resnet_runs):
        arguments = launcher.flags(dataset=str(tmp_path / "none"), output_dir=str(tmp_path / "runs"))
        assert launcher.command(*arguments) == 2
        err = capsys.readouterr().err
        assert "does not exist" in err
        assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
