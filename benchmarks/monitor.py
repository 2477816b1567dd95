"""Time that a StatusMonitor adds to training: ``python -m benchmarks.monitor``.

Measures a StatusMonitor on a network of 50 layers of 4 units (batches of 256, Adam) and on a ResNet-18 without
normalization (batches of 32 images of 64x64, SGD): with the Jumpstart loss, relative to training with the loss alone,
and without it, relative to plain training. Models and optimizers are those of ``benchmarks.step``, with the defaults of
torch. ``--fused`` runs Adam as one kernel, as the runs of this project do, which makes the plain step of the first
network a third shorter and every ratio larger. The ways to train take turns, one epoch each, on one thread; metrics are
read once an epoch; times are processor times. The command prints the medians of the ratios, with their quartiles.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.step import mlp, plain_resnet, sgd
from jumpstart import JumpstartRegularization
from jumpstart.monitor import StatusMonitor


def rectangular() -> tuple[nn.Module, Tensor, Tensor]:
    """A network of 50 layers of 4 units, and a batch."""
    return mlp(4, 50), torch.randn(256, 2), torch.randint(2, (256,))


def resnet() -> tuple[nn.Module, Tensor, Tensor]:
    """A ResNet-18 without normalization, and a batch."""
    return plain_resnet(18), torch.randn(32, 3, 64, 64), torch.randint(10, (32,))


def trainer(
    make: Callable[[], tuple[nn.Module, Tensor, Tensor]],
    optimize: Callable[..., torch.optim.Optimizer],
    steps: int,
    *,
    loss: bool,
    watch: bool,
) -> Callable[[], float]:
    """One way to train: a function that runs an epoch and returns its seconds.

    Args:
        make: Builds the network, and a batch of inputs and classes.
        optimize: Builds the optimizer of some parameters.
        steps: Steps of an epoch.
        loss: Add the Jumpstart loss.
        watch: Attach a monitor.
    """
    torch.manual_seed(0)
    model, x, y = make()
    jumpstart = JumpstartRegularization(model) if loss else None
    monitor = StatusMonitor(model) if watch else None
    optimizer = optimize(model.parameters())

    def epoch() -> float:
        started = time.process_time()
        for _ in range(steps):
            total = F.cross_entropy(model(x), y)
            if jumpstart is not None:
                total = total + 0.01 * jumpstart.loss
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        if monitor is not None:
            monitor.compute()
            monitor.reset()
        return time.process_time() - started

    return epoch


def main() -> None:
    """Measure both networks, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", choices=("rectangular", "resnet"))
    parser.add_argument("--fused", action="store_true", help="Adam as one kernel.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    adam = functools.partial(torch.optim.Adam, fused=arguments.fused or None)
    for name, make, optimize, steps in (("rectangular", rectangular, adam, 20), ("resnet", resnet, sgd, 2)):
        if arguments.only not in (None, name):
            continue
        for loss, words in ((True, "beside the loss"), (False, "alone")):
            plain, watched = (trainer(make, optimize, steps, loss=loss, watch=watch) for watch in (False, True))
            plain(), watched()
            ratios = []
            for round_ in range(arguments.rounds):
                # The second to run has warm caches, so the order alternates.
                order = (plain, watched) if round_ % 2 else (watched, plain)
                seconds = {run: run() for run in order}
                ratios.append(seconds[watched] / seconds[plain])
            low, middle, high = statistics.quantiles(ratios, n=4)
            sys.stdout.write(f"{name}, {words}: {middle:.3f} (quartiles {low:.3f} to {high:.3f})\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
