"""ResNets with and without their crutches: ``python -m benchmarks.resnets``.

The plain network (no normalisation, no skips) without and with Jumpstart, and the standard one (both, without
Jumpstart), on images of digits: same depth, epochs, optimiser, seeds and, unless it is given for one of them, learning
rate. Prints a row for each run and the table of means; training accuracy is that of the best epoch, in evaluation mode.
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
STANDARD = ["--use_batchnorm=True", "--use_skip_connections=True"]


def train(flags: list[str]) -> dict[str, Any]:
    """The summary of one run of the command; an empty one if it diverged."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "run_resnet_experiment_sweep.py", "--name=run", "--wandb=False", "--progress=False"]
        command += ["--plot_status=False", f"--output_dir={folder}", *flags]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode == 1 and "not finite" in done.stderr:
            return {}
        if done.returncode:
            raise SystemExit(f"{shlex.join(command)}\n{done.stderr}")
        summary: dict[str, Any] = json.loads((Path(folder) / "run" / "summary.json").read_text())
    return summary


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="Seeds 0 to N - 1 (default 3).")
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lambdas", default="0,0.01,0.1", help="Of the plain network (default 0,0.01,0.1).")
    parser.add_argument("--standard", action=argparse.BooleanOptionalAction, default=True, help="The standard network.")
    parser.add_argument("flags", nargs="*", help="Further flags of the command, after --.")
    arguments = parser.parse_args()
    shared = ["--dataset=digits", f"--depth={arguments.depth}", f"--epochs={arguments.epochs}", "--lr=0.02"]
    shared += ["--threads=1", "--gpus=0", *arguments.flags]
    variants = {f"plain, lambda {value}": [f"--lambda_={value}"] for value in arguments.lambdas.split(",")}
    if arguments.standard:
        variants["batch normalisation and skips"] = [*STANDARD, "--lambda_=0"]
    rows = []
    for name, flags in variants.items():
        found = []
        for seed in range(arguments.seeds):
            summary = train([*shared, *flags, f"--seed={seed}"])
            found.append([summary.get(f"{stage}/acc", 0.0) for stage in ("train", "test")])
            outcome = "train {:.3f}, test {:.3f}".format(*found[-1]) if summary else "diverged"
            seconds = f", {summary['seconds']:.0f} s" if summary else ""
            sys.stdout.write(f"{name}, seed {seed}: {outcome}{seconds}\n")
            sys.stdout.flush()
        train_accuracy, test_accuracy = map(statistics.mean, zip(*found, strict=True))
        worst = min(test for _, test in found)
        rows.append(f"| {name} | {train_accuracy:.3f} | {test_accuracy:.3f} | {worst:.3f} |\n")
    sys.stdout.write("| network | train accuracy | test accuracy | worst seed |\n|---|---|---|---|\n" + "".join(rows))


if __name__ == "__main__":
    main()
