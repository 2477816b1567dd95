"""Both engines give accuracies of one distribution: over many seeds, neither is better than the other."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp, wilcoxon

from sweep import run_rectangular

SEEDS = 200
SHIFT = 0.03
"""A difference of the mean accuracy that the test must be able to see, by the power below."""


def accuracies(engine: str, folder: Path) -> np.ndarray:
    """The accuracy of each seed, after training for long enough that the rounding errors of two engines grow."""
    found = []
    for seed in range(SEEDS):
        result = run_rectangular(
            dataset="moons", num_points=300, depth=10, width=4, epochs=300, seed=seed, engine=engine, threads=1,
            plot_status=False, wandb=False, progress=False, output_dir=str(folder), name=f"{engine}-{seed}",
        )  # fmt: skip
        found.append(np.mean([result.summary[f"{part}/acc"] for part in ("train", "val", "test")]))
        shutil.rmtree(result.path)
    return np.array(found)


@pytest.mark.slow
def test_accuracies_over_many_seeds_are_of_one_distribution(tmp_path: Path) -> None:
    compiled, lightning = (accuracies(engine, tmp_path) for engine in ("compiled", "lightning"))
    pairs = wilcoxon(compiled, lightning, zero_method="zsplit").pvalue
    whole = ks_2samp(compiled, lightning).pvalue
    power = power_of_pairs(compiled - lightning)
    means, shares = (compiled.mean(), lightning.mean()), np.mean(compiled == lightning)
    print(f"means {means[0]:.4f} and {means[1]:.4f}, spread {compiled.std():.4f}, equal {shares:.2f}")  # noqa: T201
    print(f"p of pairs {pairs:.3f}, of the whole {whole:.3f}; power for {SHIFT} {power:.2f}")  # noqa: T201
    assert compiled.std() > 0.02  # else nothing could differ
    assert power > 0.8
    assert pairs > 0.01
    assert whole > 0.01


def power_of_pairs(differences: np.ndarray) -> float:
    """How often the test of pairs would see :data:`SHIFT`, over resampled seeds with random signs."""
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(200):
        signs = rng.choice([-1.0, 1.0], SEEDS)
        drawn = rng.choice(differences, SEEDS) * signs
        seen += wilcoxon(drawn + SHIFT, zero_method="zsplit").pvalue < 0.01
    return seen / 200
