"""Time of a training step by the compiled engine relative to a PyTorch loop: ``python -m benchmarks.engine``.

The loop is written by hand: forward, cross-entropy, Jumpstart (with its compiled kernel), backward, clipping, a fused
Adam, and nothing else. The engine also measures every metric of every epoch, validates after every epoch, and keeps the
best weights. Both train the same network on the same batches, on one thread. They run in turn, round after round in
one process, and each round gives one ratio of processor times. ``--crowd`` compares the cost of a member in crowds of
several sizes, on one thread and on two, and prints the memory that 1,000 members need.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from data.batches import TensorBatches
from data.data import make_data
from data.tabular import TabularData
from jumpstart import JumpstartRegularization
from jumpstart.engine.build import Build, best_build
from jumpstart.engine.member import Member
from model.compiled import make_member
from model.config.rectangular import RectangularConfig
from model.optimization import clip_gradient, make_optimizer
from model.rectangular import RectangularNetwork
from model.rectangular_network import make_network

ENOUGH_SECONDS = 0.4
"""Least processor time of one measurement."""


@dataclass(frozen=True)
class Case:
    """A network and its batch.

    Attributes:
        options: Options of the run.
        bar: The least ratio that the engine is meant to reach; None where none was set.
    """

    options: dict[str, object]
    bar: float | None = None

    @property
    def config(self) -> RectangularConfig:
        """The run."""
        rows = {"num_points": 1100, "val_size": 0.15, "test_size": 0.15}
        return RectangularConfig(**{**rows, "epochs": 100_000, "scheduler": "none", "lr": 0.001, **self.options})  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """The network in a few words."""
        config = self.config
        rest = ", batch normalization" * config.use_batchnorm + f", {config.activation}" * (config.activation != "relu")
        return f"{config.depth}x{config.width}, batch {config.batch_size}{rest}"


CASES = (
    Case({"depth": 50, "width": 4, "batch_size": 256}, 200),
    Case({"depth": 50, "width": 4, "batch_size": 700}, 100),
    Case({"depth": 120, "width": 25, "batch_size": 85}, 30),
    Case({"depth": 10, "width": 100, "batch_size": 256}, 4),
    Case({"depth": 50, "width": 4, "batch_size": 256, "use_batchnorm": True}),
    Case({"depth": 50, "width": 4, "batch_size": 256, "activation": "gelu"}),
)


def data_of(config: RectangularConfig) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The training part, cut to whole batches, and the validation part."""
    data = make_data("moons", num_points=config.num_points, seed=1)
    assert isinstance(data, TabularData)
    data.setup()
    rows = len(data.x_train) // int(config.batch_size or 1) * int(config.batch_size or 1)
    return (data.x_train[:rows], data.y_train[:rows]), (data.x_val, data.y_val)


def engine_steps(config: RectangularConfig, build: Build) -> Callable[[int], int]:
    """A function that trains epochs by the engine, and returns their steps."""
    torch.manual_seed(1)
    parts = data_of(config)
    member = make_member(config, build, make_network(config, (2,), 2), parts)

    def train(epochs: int) -> int:
        before = member.steps
        member.train(member.epoch + epochs)
        return member.steps - before

    return train


def loop_steps(config: RectangularConfig) -> Callable[[int], int]:
    """A function that trains epochs in a loop of PyTorch, and returns their steps."""
    torch.manual_seed(1)
    (x, y), _ = data_of(config)
    network: RectangularNetwork = make_network(config, (2,), 2)
    jumpstart, optimizer = JumpstartRegularization(network), make_optimizer(config, network.parameters())
    batches = TensorBatches(x, y, config.batch_size, shuffle=True, seed=1)

    def train(epochs: int) -> int:
        for _ in range(epochs):
            for batch, labels in batches:
                optimizer.zero_grad(set_to_none=True)
                loss = F.cross_entropy(network(batch), labels) + config.lambda_ * jumpstart.loss
                loss.backward()
                clip_gradient(optimizer, 1.0)
                optimizer.step()
        return epochs * len(batches)

    return train


def microseconds(train: Callable[[int], int]) -> float:
    """Processor time of one step."""
    epochs, begin = 1, time.process_time()
    steps = train(1)
    while time.process_time() - begin < ENOUGH_SECONDS:
        steps += train(epochs)
        epochs *= 2
    return (time.process_time() - begin) / steps * 1e6


def compare(case: Case, build: Build, rounds: int) -> None:
    """Print the ratio of one case."""
    engine, loop = engine_steps(case.config, build), loop_steps(case.config)
    engine(1), loop(1)
    found = [(microseconds(loop), microseconds(engine)) for _ in range(rounds)]
    ratios = sorted(eager / compiled for eager, compiled in found)
    eager, compiled = (statistics.median(column) for column in zip(*found, strict=True))
    bar = "" if case.bar is None else f"{case.bar:g}"
    sys.stdout.write(
        f"{case.name:44} {eager:9.0f} us {compiled:8.1f} us {statistics.median(ratios):7.1f}   "
        f"{ratios[0]:.1f} to {ratios[-1]:.1f}   {bar}\n"
    )
    sys.stdout.flush()


def crowd(build: Build, sizes: Sequence[int] = (1, 10, 100, 1000), epochs: int = 10) -> None:
    """Print the cost of a member in crowds of several sizes, and the memory of the largest."""
    config = dataclasses.replace(CASES[0].config, epochs=4000)
    parts = data_of(config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    members: list[Member] = []
    for size in sizes:
        while len(members) < size:
            torch.manual_seed(len(members))
            members.append(make_member(config, build, make_network(config, (2,), 2), parts))
        for threads in (1, 2):
            with ThreadPoolExecutor(threads) as pool:
                repeats = max(1, 100 // size)
                begin = time.process_time()
                for _ in range(repeats):
                    list(pool.map(lambda member: member.train(member.epoch + epochs), members))
                spent = (time.process_time() - begin) / (repeats * size * epochs)
            sys.stdout.write(f"{size:5} members, threads {threads}: {spent * 1e6:8.1f} us for each epoch of each\n")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(f"memory of {sizes[-1]} members: {(after - before) / 1024:.0f} MB\n")


def main() -> None:
    """Run all cases in turn, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--crowd", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    build = best_build()
    if build is None:
        parser.error("the engine is not built here, which needs a C++ compiler.")
    if arguments.crowd:
        crowd(build)
        return
    sys.stdout.write(f"{'network':44} {'PyTorch':>12} {build.name:>11} {'ratio':>7}   rounds   bar\n")
    for case in CASES:
        compare(case, build, arguments.rounds)


if __name__ == "__main__":
    main()
