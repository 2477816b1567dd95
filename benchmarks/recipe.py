"""The default recipe against plain training: ``python -m benchmarks.recipe``.

Five seeds of the 50x4 network on moons with the defaults of ``run_rectangular_sweep.py``, and the same with
``--lambda_=0``: same budget, same everything else. Prints the held-out (test) accuracy of the best epoch by seed.
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
    """The test accuracy of one run of the command."""
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
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="Seeds 0 to N - 1 (default 5).")
    parser.add_argument("flags", nargs="*", help="Further flags of the command, after --.")
    arguments = parser.parse_args()
    for name, flags in (("Jumpstart", []), ("plain, --lambda_=0", ["--lambda_=0"])):
        found = []
        for seed in range(arguments.seeds):
            found.append(accuracy([*arguments.flags, *flags], seed))
            sys.stdout.write(f"{name}, seed {seed}: {found[-1]:.3f}\n")
            sys.stdout.flush()
        sys.stdout.write(f"{name}: mean {statistics.mean(found):.3f}, worst {min(found):.3f}\n")


if __name__ == "__main__":
    main()
