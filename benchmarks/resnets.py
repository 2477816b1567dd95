"""ResNets with and without their crutches: ``python -m benchmarks.resnets``.

The plain network (no normalization, no skips) without and with Jumpstart, and the standard one (both, without
Jumpstart), on images of digits, all from the initial weights that torch gives a layer if nobody asks for others: same
depth, epochs, optimizer, learning rate, initialization and seeds. Prints a line for each run and the table of means,
all of them of the weights of the best validation accuracy. ``-- --init=he`` takes initial weights made for ReLU, from
which plain networks of these depths train without Jumpstart too.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ["--dataset=digits", "--width_multiplier=1", "--init=torch", "--batch_size=32", "--threads=1", "--gpus=0"]
STANDARD = ["--use_batchnorm=True", "--use_skip_connections=True", "--lambda_=0"]
QUIET = ["--name=run", "--wandb=False", "--progress=False", "--plot_status=False"]
HEAD = "| network | train accuracy | test accuracy | worst seed | diverged |\n|---|---|---|---|---|\n"


def train(flags: list[str]) -> dict[str, Any] | None:
    """The summary of one run of the command; None if it diverged."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "run_resnet_experiment_sweep.py", *flags, *QUIET, f"--output_dir={folder}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode == 1 and "not finite" in done.stderr:
            return None
        if done.returncode:
            raise SystemExit(f"{shlex.join(command)}\n{done.stderr}")
        summary: dict[str, Any] = json.loads((Path(folder) / "run" / "summary.json").read_text())
    return summary


def compare(name: str, flags: list[str], seeds: int) -> str:
    """The row of the table for one network; every run is printed when it ends."""
    found = []
    for seed in range(seeds):
        summary = train([*flags, f"--seed={seed}"])
        if summary is None:
            sys.stdout.write(f"{name}, seed {seed}: diverged\n")
            continue
        found.append((summary["train/acc"], summary["test/acc"]))
        train_accuracy, test_accuracy = found[-1]
        sys.stdout.write(
            f"{name}, seed {seed}: train {train_accuracy:.3f}, test {test_accuracy:.3f}, {summary['seconds']:.0f} s\n"
        )
        sys.stdout.flush()
    figures = ["-"] * 3
    if found:
        trains, tests = zip(*found, strict=True)
        figures = [f"{value:.3f}" for value in (statistics.mean(trains), statistics.mean(tests), min(tests))]
    return f"| {' | '.join([name, *figures, str(seeds - len(found))])} |\n"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="Seeds 0 to N - 1 (default 3).")
    parser.add_argument("--depths", default="18,50", help="Default 18,50.")
    parser.add_argument("--epochs", type=int, default=80, help="Default 80.")
    parser.add_argument("--lambdas", default="0,1", help="Of the plain network (default 0,1).")
    parser.add_argument("--standard", action=argparse.BooleanOptionalAction, default=True, help="The standard network.")
    parser.add_argument("flags", nargs="*", help="Further flags of the command, after --.")
    arguments = parser.parse_args()
    variants = {f"plain, lambda {value}": [f"--lambda_={value}"] for value in arguments.lambdas.split(",") if value}
    if arguments.standard:
        variants["batch normalization and skips"] = STANDARD
    rows = [
        compare(
            f"resnet{depth}, {name}",
            [*RECIPE, f"--depth={depth}", f"--epochs={arguments.epochs}", *flags, *arguments.flags],
            arguments.seeds,
        )
        for depth in arguments.depths.split(",")
        for name, flags in variants.items()
    ]
    sys.stdout.write(HEAD + "".join(rows))


if __name__ == "__main__":
    main()
