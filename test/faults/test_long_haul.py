"""Weeks of use in minutes: memory and time per step stay flat.

``pytest -s -m slow test/faults/test_long_haul.py`` prints the figures of ``docs/reliability.md``.
"""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
import torch
from support.runs import ROOT, flags
from torch import nn

from jumpstart import JumpstartRegularization
from jumpstart.extrema.torch_internals import forward_hooks
from jumpstart.monitor import StatusMonitor

STEPS, CYCLES, RUNS = 100_000, 10_000, 5_000
PARTS = 10
MEGABYTE = 2**20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read in /proc"),
]


def memory(process: int | str = "self") -> float:
    """The resident memory of a process, in MB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096 / MEGABYTE


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if int(path.read_text().rpartition(")")[2].split()[1]) == process
    ]


def objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


def say(text: str) -> None:
    sys.stdout.write(f"\n{text}\n")


def test_a_hundred_thousand_steps_take_no_more_memory_or_time() -> None:
    model, x = network(), torch.randn(32, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    seconds, sizes, counts = [], [], []
    with JumpstartRegularization(model) as jumpstart, StatusMonitor(model) as monitor:
        for _ in range(PARTS):
            begin = time.process_time()
            for _ in range(STEPS // PARTS):
                optimizer.zero_grad()
                (model(x).square().mean() + 0.01 * jumpstart.loss).backward()
                optimizer.step()
            seconds.append(time.process_time() - begin)
            counts.append(objects())
            sizes.append(memory())
        assert monitor.points == STEPS * len(x)
    micro = [1e6 * part * PARTS / STEPS for part in seconds]
    say(
        f"{STEPS:,} steps: {micro[1]:.0f} us a step in the second tenth, {micro[-1]:.0f} us in the last; "
        f"{sizes[1]:.1f} MB and {sizes[-1]:.1f} MB; {counts[1]:,} and {counts[-1]:,} objects"
    )
    assert sizes[-1] - sizes[1] < 2
    assert counts[-1] - counts[1] < 100
    assert min(micro[-3:]) < 1.2 * min(micro[:3])


def test_ten_thousand_cycles_of_attach_and_remove_leave_nothing() -> None:
    model, x = network(), torch.randn(8, 2)
    sizes, counts = [], []
    gone: list[weakref.ref[object]] = []
    for _ in range(PARTS):
        for cycle in range(CYCLES // PARTS):
            with JumpstartRegularization(model) as jumpstart, StatusMonitor(model) as monitor:
                if cycle % 2:
                    (model(x).sum() + jumpstart.loss).backward()
            dropped = [StatusMonitor(model), JumpstartRegularization(network())]  # never removed, only forgotten
            gone = [*gone[-40:], *map(weakref.ref, (jumpstart, monitor, *dropped))]
            del jumpstart, monitor, dropped
        counts.append(objects())
        sizes.append(memory())
    say(
        f"{CYCLES:,} cycles: {sizes[1]:.1f} MB after a fifth, {sizes[-1]:.1f} MB at the end; "
        f"{counts[1]:,} and {counts[-1]:,} objects"
    )
    assert not [hook for module in model.modules() for _, _, hook in forward_hooks(module)]
    assert not any(ref() is not None for ref in gone)
    assert sizes[-1] - sizes[1] < 2
    assert counts[-1] - counts[1] < 100


def test_a_sweep_of_five_thousand_runs_takes_no_more_memory(tmp_path: Path) -> None:
    changes = {"output_dir": tmp_path, "name": "long", "depth": 2, "epochs": 2, "seed": f"0..{RUNS - 1}"}
    words = [*flags(**changes), "--keep=metrics", "--workers=1", f"--max_runs={RUNS}", "--engine=compiled"]
    begin = time.monotonic()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "run_rectangular_sweep.py", *words], cwd=ROOT, stdout=log, stderr=log
        )
    samples: list[tuple[int, float, float]] = []
    while process.poll() is None:
        done = len(list(tmp_path.glob("long/runs/*")))
        with contextlib.suppress(OSError):  # a process that has just ended
            samples.append((done, memory(process.pid), sum(map(memory, children(process.pid)))))
        time.sleep(1)
    assert process.returncode == 0, (tmp_path / "log").read_text()[-2000:]
    assert len(list(tmp_path.glob("long/runs/*/summary.json"))) == RUNS
    early = [sizes for done, *sizes in samples if RUNS / 10 <= done <= RUNS * 3 / 10]
    late = [sizes for done, *sizes in samples if done >= RUNS * 4 / 5]
    parent, workers = (
        (max(part), max(end)) for part, end in zip(zip(*early, strict=True), zip(*late, strict=True), strict=True)
    )
    say(
        f"{RUNS:,} runs in {time.monotonic() - begin:.0f} s: the parent has {parent[0]:.1f} MB after a fifth of them "
        f"and {parent[1]:.1f} MB at the end, its worker {workers[0]:.1f} MB and {workers[1]:.1f} MB"
    )
    assert parent[1] - parent[0] < 0.006 * RUNS  # a row of each run, for the page and the table: some 4 kB
    assert workers[1] - workers[0] < 20
