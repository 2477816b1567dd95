"""Time of the README's command relative to a bare training loop: ``python -m benchmarks.main_job``.

The job is the README's command by Lightning, without plots (``--engine=lightning --plot_status=False``): training,
validation every epoch, Jumpstart, all metrics, CSV, W&B offline and checkpoints. The bare loop is hand-written for the
same epochs: forward, loss, backward and step, with the same optimizer, on one thread like the job, and nothing else.
Job and loop run in turn, each time in a new process. Times are those of the training loop and, for the job, also of the
whole process. The command prints the medians of the ratios, with their ranges.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def bare(epochs: int, optimizer: str) -> None:
    """Run the hand-written loop, and print its seconds as JSON."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from data.data import make_datamodule
    from data.datamodules import TabularDataModule

    torch.set_num_threads(1)  # as in the job; one thread is faster for both
    torch.manual_seed(42)
    data = make_datamodule("moons", batch_size=256)
    assert isinstance(data, TabularDataModule)
    data.setup()
    layers: list[nn.Module] = []
    for i in range(50):
        layers += [nn.Linear(4 if i else 2, 4), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(4, 2))
    adam = torch.optim.Adam(model.parameters(), lr=0.01, fused=optimizer == "fused" or None)
    started = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(data.x_train))
        for rows in order.split(256):
            loss = F.cross_entropy(model(data.x_train[rows]), data.y_train[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
    sys.stdout.write(json.dumps({"seconds": time.perf_counter() - started}))


def job(epochs: int) -> dict[str, float]:
    """Run the README's command as a process; seconds of its training loop and of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "run_rectangular_sweep.py", "--dataset=moons", f"--epochs={epochs}", "--plot_status=False",
             "--engine=lightning", "--progress=False", f"--output_dir={folder}", "--name=job"],
            cwd=ROOT, check=True, capture_output=True, env={**os.environ, "WANDB_MODE": "offline"},
        )  # fmt: skip
        wall = time.perf_counter() - started
        summary = json.loads((Path(folder) / "job" / "summary.json").read_text())
    return {"seconds": summary["seconds"], "wall": wall}


def main() -> None:
    """Run job and bare loop in turn, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bare", choices=("fused", "default"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        bare(arguments.epochs, arguments.bare)
        return
    rows = []
    for _ in range(arguments.rounds):
        row = job(arguments.epochs)
        for optimizer in ("fused", "default"):
            process = subprocess.run(
                [sys.executable, "-m", "benchmarks.main_job", f"--bare={optimizer}", f"--epochs={arguments.epochs}"],
                cwd=ROOT, check=True, capture_output=True, text=True,
            )  # fmt: skip
            row[optimizer] = json.loads(process.stdout)["seconds"]
        rows.append(row)
        sys.stdout.write(json.dumps({name: round(value, 2) for name, value in row.items()}) + "\n")
    for name, top, bottom in (
        ("training / bare loop, same fused Adam", "seconds", "fused"),
        ("whole process / bare loop, same fused Adam", "wall", "fused"),
        ("training / bare loop, torch's default Adam", "seconds", "default"),
        ("whole process / bare loop, torch's default Adam", "wall", "default"),
    ):
        ratios = sorted(row[top] / row[bottom] for row in rows)
        sys.stdout.write(f"{name}: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})\n")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    sys.stdout.write(f"largest resident size: {peak:.0f} MB\n")


if __name__ == "__main__":
    main()
