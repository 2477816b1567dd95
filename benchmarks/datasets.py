"""One run on every data set: ``python -m benchmarks.datasets``.

Prints a table of rows, inputs and classes, of the test accuracy of the 50x4 network with the default recipe, and of the
accuracy of a constant prediction, the most frequent class. A data set that can be neither read nor downloaded has a
row with the error, which names the folder for its files.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

from data.datasets import TABLES

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Train one run on every data set, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--names", default=",".join(TABLES), help="Comma-separated (default: every table).")
    parser.add_argument("flags", nargs="*", help="Further flags of the command, after --.")
    arguments = parser.parse_args()
    sys.stdout.write("| data set | rows | inputs | classes | test accuracy | most frequent class | seconds |\n")
    sys.stdout.write("|---|---|---|---|---|---|---|\n")
    for name in arguments.names.split(","):
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable,
                "run_rectangular_sweep.py",
                f"--dataset={name}",
                "--name=run",
            ]
            command += [
                f"--epochs={arguments.epochs}",
                "--wandb=False",
                "--plot_status=False",
                "--progress=False",
            ]
            command += [f"--output_dir={folder}", *arguments.flags]
            process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if process.returncode:
                sys.stdout.write(f"| {name} | {process.stderr.strip().splitlines()[-1]} |\n")
                continue
            summary = json.loads((Path(folder) / "run" / "summary.json").read_text())
        finite = all(math.isfinite(value) for value in summary["last"].values())
        counts = summary["data"]["parts"]["test"]["class_counts"]
        row = (
            name, summary["data"]["rows"], summary["data"]["inputs"], summary["data"]["classes"],
            f"{summary['test/acc']:.3f}" + ("" if finite else " (not finite)"),
            f"{max(counts) / sum(counts):.3f}", f"{summary['seconds']:.0f}",
        )  # fmt: skip
        sys.stdout.write("| " + " | ".join(map(str, row)) + " |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
