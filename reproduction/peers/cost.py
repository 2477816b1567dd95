"""The processor time of a training step of each peer: ``python -m reproduction.peers.cost``.

All methods train in turn in one loop of PyTorch, on one thread, and each round gives one ratio to the plain network of
that round. Work before the first step, such as that of LSUV, is left out. Writes ``cost.csv``, which the page shows.
"""

from __future__ import annotations

import statistics
import sys
import time
from itertools import islice
from pathlib import Path

import pandas as pd
import torch

from jumpstart.files import write_text
from reproduction.peers.yardsticks import PEERS, RECYCLE_EVERY, Peer, Trainer
from reproduction.study import Study, study_named
from sweep.grid.expand import expand

ROUNDS = 11
"""Rounds that count; one more comes before them."""
STEPS = RECYCLE_EVERY
"""Steps of each method in a round: as many as ReDo has between two searches."""
PLAIN = "plain"
FILE = Path(__file__).parent / "cost.csv"


def measure(study: Study, rounds: int = ROUNDS, steps: int = STEPS) -> pd.DataFrame:
    """The time of a step of each method, divided by that of the plain network: median and quartiles of the rounds.

    Args:
        study: The study of the peers.
        rounds: Rounds that count, at least 2.
        steps: Steps of each method in a round.
    """
    trainers = {method: _trainer(study, method) for method in study.methods}
    ratios: dict[str, list[float]] = {method: [] for method in trainers}
    times: list[float] = []
    for turn in range(rounds + 1):
        seconds = {method: _seconds(trainer, steps, turn * steps) for method, trainer in trainers.items()}
        if turn:
            times.append(seconds[PLAIN] / steps)
            for method, value in seconds.items():
                ratios[method].append(value / seconds[PLAIN])
    rows = []
    for method, values in ratios.items():
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        rows.append({"method": method, "ratio": median, "low": low, "high": high})
    return pd.DataFrame(rows).assign(plain_us=1e6 * statistics.median(times))


def _trainer(study: Study, method: str) -> Trainer:
    (member,) = expand(study.family.config_class, study.grids(method, "0"))
    peer = PEERS[name] if (name := study.yardstick(method)) else Peer()
    return Trainer(peer, member.config)


def _seconds(trainer: Trainer, steps: int, start: int) -> float:
    spent, number = 0.0, start
    while number < start + steps:
        for x, y in islice(trainer.data.batches("train", shuffle=True), start + steps - number):
            number += 1
            begin = time.process_time()
            trainer.step(x, y, number)
            spent += time.process_time() - begin
    return spent


def main() -> None:
    """Measure, and write the file."""
    torch.set_num_threads(1)
    frame = measure(study_named("peers"))
    write_text(FILE, frame.to_csv(index=False, float_format="%.3g", lineterminator="\n"))
    sys.stdout.write(f"{frame.to_string(index=False)}\n{FILE}\n")


if __name__ == "__main__":
    main()
