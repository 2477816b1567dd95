"""ResNets with and without normalization and skips: ``python -m benchmarks.resnets``.

Trains the plain network (no normalization, no skips) without and with Jumpstart, and the standard network (both,
without Jumpstart), on images of digits, with the same depth, epochs, optimizer, learning rate, seeds and
initialization, which is torch's default. Prints a line for each run and a table of means, all for the weights of the
best validation accuracy. ``-- --init=he`` selects initial weights made for ReLU, from which plain networks of these
depths train without Jumpstart too.
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

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ["--dataset=digits", "--width_multiplier=1", "--init=torch", "--batch_size=32", "--threads=1", "--gpus=0"]
STANDARD = ["--use_batchnorm=True", "--use_skip_connections=True", "--lambda_=0"]
QUIET = ["--name=run", "--wandb=False", "--progress=False", "--plot_status=False"]
HEAD = "| network | train accuracy | test accuracy | worst seed | diverged |\n|---|---|---|---|---|\n"


def train(flags: list[str]) -> dict[str, float] | None:
    """Train one run with the launcher; its accuracies and seconds, or None if the run diverged."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "run_resnet_experiment_sweep.py", *flags, *QUIET, f"--output_dir={folder}"]
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if process.returncode == 1 and "not finite" in process.stderr:
            return None
        if process.returncode:
            raise SystemExit(f"{shlex.join(command)}\n{process.stderr}")
        summary: dict[str, float] = json.loads((Path(folder) / "run" / "summary.json").read_text())
    return summary


def compare(name: str, flags: list[str], seeds: int) -> str:
    """Train one network with several seeds, printing every run; its row of the table.

    Args:
        name: Name of the network.
        flags: Flags of the launcher.
        seeds: Number of seeds.
    """
    accuracies = []
    for seed in range(seeds):
        summary = train([*flags, f"--seed={seed}"])
        if summary is None:
            sys.stdout.write(f"{name}, seed {seed}: diverged\n")
            continue
        accuracies.append((summary["train/acc"], summary["test/acc"]))
        train_accuracy, test_accuracy = accuracies[-1]
        sys.stdout.write(
            f"{name}, seed {seed}: train {train_accuracy:.3f}, test {test_accuracy:.3f}, {summary['seconds']:.0f} s\n"
        )
        sys.stdout.flush()
    cells = ["-"] * 3
    if accuracies:
        trains, tests = zip(*accuracies, strict=True)
        cells = [f"{value:.3f}" for value in (statistics.mean(trains), statistics.mean(tests), min(tests))]
    return f"| {' | '.join([name, *cells, str(seeds - len(accuracies))])} |\n"


def main() -> None:
    """Train all runs, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="Seeds 0 to N - 1 (default 3).")
    parser.add_argument("--depths", default="18,50", help="Default 18,50.")
    parser.add_argument("--epochs", type=int, default=80, help="Default 80.")
    parser.add_argument("--lambdas", default="0,1", help="Lambdas of the plain network (default 0,1).")
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
