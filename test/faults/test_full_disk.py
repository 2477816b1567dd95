"""A disk that is really full, and one that can't be written: small file systems in memory, which root can make."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.processes import begin, finish
from support.runs import flags

from jumpstart.files.checkpoints import load_checkpoint

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Makes file systems of a size, and removes them."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    places: list[Path] = []

    def make(size: str) -> Path:
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        if subprocess.run(words, check=False, capture_output=True).returncode:
            pytest.skip("this system lets nobody mount a file system")
        places.append(place)
        return place

    yield make
    for place in places:
        subprocess.run(["umount", str(place)], check=True)


def outcome(folder: Path, *words: str) -> tuple[int, str]:
    """The exit code and the output of a command."""
    (folder / "output.txt").unlink(missing_ok=True)
    code = finish(begin(folder, *words))
    return code, (folder / "output.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["compiled", "lightning"])
@pytest.mark.parametrize("plot_status", [False, True])
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    engine: str, plot_status: bool, mount: Mount, tmp_path: Path
) -> None:
    refused = 0
    for size in range(8, 400, 40):
        disk = mount(f"{size}k")
        tiny = flags(output_dir=disk, name="run", engine=engine, checkpoint_seconds=0, plot_status=plot_status)
        code, output = outcome(tmp_path, *tiny)
        assert "Traceback" not in output, output
        assert not list(disk.rglob(".*.tmp*"))
        for file in disk.rglob("*.ckpt"):
            load_checkpoint(file)
        refused += code == 2
        if code == 0:
            break
        assert output.splitlines()[-1].startswith("error: ")
        if (disk / "run/checkpoints/last.ckpt").exists():
            subprocess.run(["mount", "-o", "remount,size=20M", str(disk)], check=True)
            assert outcome(tmp_path, f"--resume={disk / 'run'}")[0] == 0
    assert refused
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    code, output = outcome(tmp_path, f"--resume={disk / 'run'}")
    assert code == 2
    assert output.startswith("error: ")
    assert output.count("\n") == 1
