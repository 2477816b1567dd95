"""Time and memory that Jumpstart adds to a training step: ``python -m benchmarks.step``.

Each case is a model with its optimizer's default settings (Adam for dense networks, SGD for convolutional ones). All
ways to train the model run in turn, round after round in one process on one thread, and each round gives one ratio to
the bare step of that round. The command prints the median ratios with the middle half of the rounds, and the ratios of
the peak memory of one step. docs/cost.md explains how to read the ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import datetime
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from jumpstart import JumpstartRegularization
from jumpstart.capture.targets import is_activation
from jumpstart.extrema import kernel
from jumpstart.files import path_argument

LAMBDA = 0.01


@dataclass(frozen=True)
class Case:
    """A model with one batch and the number of steps in a round."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int
    optimizer: Callable[..., torch.optim.Optimizer]
    steps: int
    """Steps of one way in one round."""


def mlp(width: int, depth: int) -> nn.Module:
    """A rectangular network for two features and two classes."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(width if i else 2, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 2))


def plain_resnet(depth: int) -> nn.Module:
    """A residual network of torchvision without normalization."""
    model: nn.Module = getattr(torchvision.models, f"resnet{depth}")(num_classes=10, norm_layer=_no_norm)
    return model


def _no_norm(channels: int) -> nn.Module:
    return nn.Identity()


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Torch's SGD with a learning rate so small that the weights hardly change."""
    return torch.optim.SGD(parameters, lr=1e-5)


CASES = {
    case.name: case
    for case in (
        Case("mlp 50x4, batch 256", lambda: mlp(4, 50), (256, 2), 2, torch.optim.Adam, 15),
        Case("mlp 50x4, batch 4177", lambda: mlp(4, 50), (4177, 2), 2, torch.optim.Adam, 8),
        Case("mlp 120x25, batch 85", lambda: mlp(25, 120), (85, 2), 2, torch.optim.Adam, 6),
        Case("resnet18, 32x3x64x64", lambda: plain_resnet(18), (32, 3, 64, 64), 10, sgd, 1),
        Case("resnet50, 8x3x64x64", lambda: plain_resnet(50), (8, 3, 64, 64), 10, sgd, 1),
    )
}


# Ways to train ------------------------------------------------------------------------------------


class Bare:
    """A plain training step, the baseline."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    @property
    def loss(self) -> Tensor | None:
        """The term that is added to the loss of the task; None for none."""
        return None


class EmptyHooks(Bare):
    """A hook that does nothing at every activation: the least that any capture costs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        for module in model.modules():
            if is_activation(module):
                module.register_forward_pre_hook(self._hook)

    def _hook(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        pass


class Pseudocode(Bare):
    """The published pseudocode, line by line, in plain autograd."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._seen: list[Tensor] = []
        for module in model.modules():
            if is_activation(module):
                module.register_forward_pre_hook(self._hook)

    def _hook(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        self._seen.append(args[0])
        return (args[0].clone(),) if getattr(module, "inplace", False) else None

    @property
    def loss(self) -> Tensor:
        """mean(U) + mean(P)."""
        losses: dict[str, list[Tensor]] = {"unit": [], "point": []}
        for a in self._seen:
            for mode, kept in (("unit", 1), ("point", 0)):
                dims = [dim for dim in range(a.dim()) if dim != kept]
                losses[mode].append(F.relu(1 - a.amax(dims)) + F.relu(1 + a.amin(dims)))
        self._seen = []
        return torch.cat(losses["unit"]).mean() + torch.cat(losses["point"]).mean()


class Jumpstart(Bare):
    """This project's loss, with the compiled kernel or in pure PyTorch."""

    def __init__(self, model: nn.Module, *, compiled_kernel: bool) -> None:
        super().__init__(model)
        self.jumpstart = JumpstartRegularization(model)
        self.compiled_kernel = compiled_kernel

    @property
    def loss(self) -> Tensor:
        """The Jumpstart loss."""
        return self.jumpstart.loss


def ways_to_train() -> dict[str, Callable[[nn.Module], Bare]]:
    """The ways to train that are compared, by name. The first is the baseline."""
    ways: dict[str, Callable[[nn.Module], Bare]] = {
        "bare": Bare,
        "empty hooks": EmptyHooks,
        "pseudocode": Pseudocode,
        "jumpstart": lambda model: Jumpstart(model, compiled_kernel=False),
    }
    if kernel.available():
        ways["jumpstart, kernel"] = lambda model: Jumpstart(model, compiled_kernel=True)
    return ways


class Step:
    """One training step of one way to train, as a callable."""

    def __init__(self, way: Bare, case: Case, x: Tensor, y: Tensor) -> None:
        self.way, self.x, self.y = way, x, y
        self.optimizer = case.optimizer(way.model.parameters())

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss of the task plus the penalty."""
        loss = F.cross_entropy(self.way.model(x), y)
        penalty = self.way.loss
        return loss if penalty is None else loss + LAMBDA * penalty

    def __call__(self) -> None:
        """Run forward pass, backward pass and optimizer."""
        with kernel_is(getattr(self.way, "compiled_kernel", False)):
            loss = self.forward(self.x, self.y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def make_steps(case: Case) -> dict[str, Step]:
    """One training step of every way to train, all from the same weights."""
    model, x, y = _start(case)
    return {name: Step(way(copy.deepcopy(model)), case, x, y) for name, way in ways_to_train().items()}


def _start(case: Case) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    return case.make(), torch.randn(case.shape), torch.randint(case.classes, (case.shape[0],))


def kernel_is(on: bool) -> contextlib.AbstractContextManager[object]:
    """A block that runs with the compiled kernel, or without it."""
    return contextlib.nullcontext() if on or not kernel.available() else kernel.disabled()


# Measuring ----------------------------------------------------------------------------------------


def time_ratios(steps: dict[str, Step], rounds: int, repeat: int) -> dict[str, list[float]]:
    """Ratios to the first way, one for each round, of processor time, which excludes other programs on the machine."""
    for step in steps.values():
        step()
    ratios: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        seconds = dict.fromkeys(steps, 0.0)
        for _ in range(repeat):
            for name, step in steps.items():
                started = time.process_time()
                step()
                seconds[name] += time.process_time() - started
        base = next(iter(seconds.values()))
        for name, value in seconds.items():
            ratios[name].append(value / base)
    return ratios


def peak_bytes(step: Step) -> int:
    """Peak memory of the tensors of one step, without weights and the state of the optimizer."""
    step.optimizer.zero_grad()  # gradients of the step before are not counted
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    results = profile.profiler.kineto_results
    changes = sorted((event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def compiled_ratio(rounds: int) -> list[float]:
    """Ratios for the MLP of 50 layers, bare and with Jumpstart, with forward pass and loss compiled in one graph."""
    case = CASES["mlp 50x4, batch 256"]
    model, x, y = _start(case)
    steps = {}
    for name, way in (("bare", Bare), ("jumpstart", lambda model: Jumpstart(model, compiled_kernel=False))):
        steps[name] = Step(way(copy.deepcopy(model)), case, x, y)
        steps[name].forward = torch.compile(steps[name].forward, fullgraph=True)  # type: ignore[method-assign]
    return time_ratios(steps, rounds, case.steps)["jumpstart"]


# Reporting ----------------------------------------------------------------------------------------


def measure(case: Case, rounds: int) -> Iterator[dict[str, object]]:
    """One row of the table for each way to train."""
    steps = make_steps(case)
    ratios = time_ratios(steps, rounds, case.steps)
    peaks = {name: peak_bytes(step) for name, step in steps.items()}
    base = next(iter(peaks.values()))
    for name in steps:
        yield {"case": case.name, "way": name, **spread(ratios[name]), "memory": round(peaks[name] / base, 4)}


def spread(ratios: list[float]) -> dict[str, float]:
    """Median and quartiles of the ratios."""
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {"ratio": round(middle, 4), "low": round(low, 4), "high": round(high, 4)}


def line(row: Mapping[str, object]) -> str:
    """A row of the table as text."""
    memory = f"{row['memory']:.3f}" if "memory" in row else ""
    middle = f"{row['low']:.3f} to {row['high']:.3f}"
    return f"{row['case']:<24}{row['way']:<22}{row['ratio']:>7.3f}   {middle:<16}{memory:>8}\n"


def machine() -> dict[str, str]:
    """Date, processor and versions of a measurement."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((text.partition(":")[2].strip() for text in lines if text.startswith("model name")), model)
    return {
        "date": datetime.date.today().isoformat(),
        "processor": model,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def main() -> None:
    """Measure all cases, print the table, and write the rows to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="Rounds of each case (default 15).")
    parser.add_argument("--case", action="append", help="Only cases whose name contains this; may be repeated.")
    parser.add_argument("--compiled", action="store_true", help="The compiled network too (compiling takes minutes).")
    parser.add_argument(
        "--json", type=path_argument("--json", "file"), metavar="FILE", help="Write the rows to a file as well."
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # silences the profiler's messages about missing GPUs
    rows: list[dict[str, object]] = []
    sys.stdout.write(f"{'case':<24}{'way':<22}{'ratio':>7}   {'middle half':<16}{'memory':>8}\n")
    for case in CASES.values():
        if arguments.case and not any(part in case.name for part in arguments.case):
            continue
        for row in measure(case, arguments.rounds):
            rows.append(row)
            sys.stdout.write(line(row))
            sys.stdout.flush()
    if arguments.compiled:
        ratios = compiled_ratio(arguments.rounds)
        rows.append({"case": "mlp 50x4, batch 256", "way": "jumpstart, compiled", **spread(ratios)})
        sys.stdout.write(line(rows[-1]))
    if arguments.json:
        arguments.json.write_text(json.dumps({**machine(), "rounds": arguments.rounds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
