"""Accuracy of the default recipe and of plain training: ``python -m benchmarks.recipe``.

Trains five seeds of the 50x4 network on moons with the defaults of ``run_rectangular_sweep.py``, and again with
``--lambda_=0`` and all other options equal. Prints the test accuracy of the best epoch of every seed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def accuracy(flags: list[str], seed: int) -> float:
    """Train one run with the launcher; its test accuracy.

    Args:
        flags: Flags of the launcher.
        seed: Seed of the run.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "run_rectangular_sweep.py",
            f"--seed={seed}",
            "--name=run",
            "--wandb=False",
        ]
        command += ["--plot_status=False", "--progress=False", f"--output_dir={folder}", *flags]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        summary = json.loads((Path(folder) / "run" / "summary.json").read_text())
    return float(summary["test/acc"])


def main() -> None:
    """Train all runs, and print their accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="Seeds 0 to N - 1 (default 5).")
    parser.add_argument("flags", nargs="*", help="Further flags of the command, after --.")
    arguments = parser.parse_args()
    for name, flags in (("Jumpstart", []), ("plain, --lambda_=0", ["--lambda_=0"])):
        accuracies = []
        for seed in range(arguments.seeds):
            accuracies.append(accuracy([*arguments.flags, *flags], seed))
            sys.stdout.write(f"{name}, seed {seed}: {accuracies[-1]:.3f}\n")
            sys.stdout.flush()
        sys.stdout.write(f"{name}: mean {statistics.mean(accuracies):.3f}, worst {min(accuracies):.3f}\n")


if __name__ == "__main__":
    main()
