"""What watching costs: ``python -m benchmarks.monitor``.

A StatusMonitor on a network of 50 layers of 4 units (batches of 256, Adam) and on a ResNet-18 without normalization
(batches of 32 images of 64x64, SGD): beside the Jumpstart loss, against training with the loss alone, and by itself,
against plain training. Models and optimizers are those of ``benchmarks.step``, as torch makes them; ``--fused`` takes
Adam as one kernel, as the runs of this project do, which makes the plain step of the first network a third shorter and
every ratio larger. Epochs of training, with the figures read once an epoch, follow each other in turn on one thread;
times are of the processor. Printed are the medians of the ratios, with their quartiles.
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
    """50 layers of 4 units, and a batch."""
    return mlp(4, 50), torch.randn(256, 2), torch.randint(2, (256,))


def resnet() -> tuple[nn.Module, Tensor, Tensor]:
    """ResNet-18 without normalization, and a batch."""
    return plain_resnet(18), torch.randn(32, 3, 64, 64), torch.randint(10, (32,))


def trainer(
    make: Callable[[], tuple[nn.Module, Tensor, Tensor]],
    optimize: Callable[..., torch.optim.Optimizer],
    steps: int,
    *,
    loss: bool,
    watch: bool,
) -> Callable[[], float]:
    """One way to train: a function that runs an epoch and gives its seconds."""
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
    """Measure and print."""
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
                # Whoever comes second finds warm caches: take turns.
                order = (plain, watched) if round_ % 2 else (watched, plain)
                seconds = {run: run() for run in order}
                ratios.append(seconds[watched] / seconds[plain])
            low, middle, high = statistics.quantiles(ratios, n=4)
            sys.stdout.write(f"{name}, {words}: {middle:.3f} (quartiles {low:.3f} to {high:.3f})\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
