"""Diagrams of the networks, drawn from the code: ``python -m diagrams.networks``.

The command writes ``rectangular.png`` and ``.svg``, the network of the README's command, and ``resnet.png`` and
``.svg``, the ResNet of 50 layers and its bottleneck with the widths for a multiplier of 1 and of 2. All numbers are
read from networks that the command builds; nothing is trained.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import nn

from jumpstart.capture.targets import is_activation
from jumpstart.files import path_argument
from jumpstart.plots.canvas import style
from model.rectangular import RectangularNetwork
from model.resnet import Block, ResNet
from model.resnet_conv import resnet50_conv

FOLDER = Path(__file__).resolve().parent
DPI = 110
WEIGHTS, ACTIVATION, SKIP, READ = "#DDE6EE", "#FFE8B8", "#777777", "#C2410C"
STAGES = ("layer1", "layer2", "layer3", "layer4")


def rectangular() -> Figure:
    """Draw the layers and units of the network of 50 layers with 4 units, and where Jumpstart reads."""
    network = RectangularNetwork((2,), 2, depth=50, width=4)
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    depth = sum(map(is_activation, network.modules()))
    figure, axes = _canvas(9.5, 3.0)
    columns: list[tuple[float, int, str]] = [(0.5, linear[0].in_features, "input")]
    columns += [(1.9 + 1.5 * i, linear[i].out_features, f"layer {i + 1}") for i in range(2)]
    columns += [(5.9 + 1.5 * i, linear[depth - 2 + i].out_features, f"layer {depth - 1 + i}") for i in range(2)]
    columns += [(9.0, linear[-1].out_features, "output")]
    for left, right in itertools.pairwise(columns):
        if right[0] - left[0] < 2:
            for a in _heights(left[1]):
                for b in _heights(right[1]):
                    axes.plot([left[0], right[0]], [a, b], color="#BBBBBB", linewidth=0.7, zorder=1)
    for x, units, name in columns:
        hidden = name.startswith("layer")
        for y in _heights(units):
            color = ACTIVATION if hidden else WEIGHTS
            axes.scatter([x], [y], s=230, color=color, edgecolors="#444444", linewidths=0.9, zorder=2)
        axes.text(x, 0.32, name, ha="center", va="top")
        if hidden:
            axes.annotate("", (x, 2.62), (x, 2.85), arrowprops={"arrowstyle": "->", "color": READ})
    axes.text(4.65, 1.5, f"...  {depth} layers of {linear[0].out_features} units  ...", ha="center", va="center")
    axes.text(4.65, 2.9, "Jumpstart reads what enters each activation", ha="center", va="bottom", color=READ)
    axes.set(xlim=(0, 9.5), ylim=(0, 3.25))
    return figure


def resnet() -> Figure:
    """Draw the stages of the ResNet of 50 layers, and one bottleneck."""
    with torch.device("meta"):
        standard, thin = (resnet50_conv(width_multiplier=multiplier) for multiplier in (2, 1))
    figure, axes = _canvas(9.5, 5.6)
    axes.text(0.2, 5.35, "ResNet of 50 layers", weight="bold", va="top")
    axes.text(3.35, 4.98, "multiplier 2", ha="center", va="top", fontsize=8)
    axes.text(4.55, 4.98, "multiplier 1", ha="center", va="top", fontsize=8)
    conv = standard.conv1
    assert isinstance(conv, nn.Conv2d)
    rows = [(f"{conv.kernel_size[0]}x{conv.kernel_size[1]} convolution", _units(standard.conv1), _units(thin.conv1))]
    for name in STAGES:
        both = [_blocks(network, name) for network in (standard, thin)]
        rows.append((f"{name}: {len(both[0])} bottlenecks", _widths(both[0][-1]), _widths(both[1][-1])))
    rows.append(("mean over space, output", str(standard.fc.in_features), str(thin.fc.in_features)))
    for index, (name, wide, narrow) in enumerate(rows):
        y = 4.4 - 0.78 * index
        _box(axes, 0.2, y - 0.22, 2.3, 0.44, name, WEIGHTS)
        axes.text(3.35, y, wide, ha="center", va="center")
        axes.text(4.55, y, narrow, ha="center", va="center")
        if index:
            _arrow(axes, (1.35, y + 0.56), (1.35, y + 0.22))
    _bottleneck(axes, _blocks(standard, "layer2")[1], _blocks(thin, "layer2")[1])
    axes.set(xlim=(0, 9.5), ylim=(0, 5.6))
    return figure


def _bottleneck(axes: Axes, wide: Block, narrow: Block) -> None:
    axes.text(5.7, 5.35, "a bottleneck of layer2", weight="bold", va="top")
    x, y = 5.7, 4.75
    axes.text(x + 1.05, y, "what comes in", ha="center", va="center")
    for number in range(1, wide.length + 1):
        layers = [block.get_submodule(f"conv{number}") for block in (wide, narrow)]
        conv = layers[0]
        assert isinstance(conv, nn.Conv2d)
        text = f"{conv.kernel_size[0]}x{conv.kernel_size[1]}, {_units(layers[0])} | {_units(layers[1])}"
        _arrow(axes, (x + 1.05, y - 0.12), (x + 1.05, y - 0.36))
        _box(axes, x, y - 0.76, 2.1, 0.4, text, WEIGHTS)
        last = number == wide.length
        drop = 0.95 if last else 0.55
        _arrow(axes, (x + 1.05, y - 0.76), (x + 1.05, y - 0.76 - drop + 0.3))
        axes.plot(x + 1.05, y - 0.76 - drop + 0.36, marker="o", color=READ, markersize=5)
        _box(axes, x + 0.4, y - 0.76 - drop - 0.02, 1.3, 0.32, "activation", ACTIVATION)
        if last:
            plus = y - 1.02
            axes.text(x + 1.05, plus, "+", ha="center", va="center", weight="bold", bbox={
                "boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": SKIP})  # fmt: skip
            line = [(x + 1.75, 4.75), (x + 2.75, 4.75), (x + 2.75, plus), (x + 1.25, plus)]
            axes.plot(*zip(*line, strict=True), color=SKIP, linestyle="--")
            axes.text(x + 2.82, (4.75 + plus) / 2, "skip,\nor not", color=SKIP, va="center", fontsize=8)
        y -= 0.76 + drop - 0.1
    axes.text(x + 2.4, 0.62, "units: multiplier 2 | 1", fontsize=8, va="center", ha="left")
    axes.plot(x + 2.25, 0.36, marker="o", color=READ, markersize=5)
    axes.text(x + 2.4, 0.36, "Jumpstart reads here", color=READ, fontsize=8, va="center")


def _units(layer: nn.Module) -> str:
    assert isinstance(layer, nn.Conv2d)
    return str(layer.out_channels)


def _blocks(network: ResNet, stage: str) -> list[Block]:
    return [block for block in network.get_submodule(stage).children() if isinstance(block, Block)]


def _widths(block: Block) -> str:
    return ", ".join(_units(block.get_submodule(f"conv{number}")) for number in range(1, block.length + 1))


def _heights(units: int) -> list[float]:
    return [1.5 + 0.5 * (i - (units - 1) / 2) for i in range(units)]


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    return figure, axes


def _box(axes: Axes, x: float, y: float, width: float, height: float, text: str, color: str) -> None:
    shape = "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, facecolor=color, edgecolor="#444444"))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, color="#444444", linewidth=0.9))


@style()
def main() -> None:
    """Draw and write both diagrams."""
    parser = argparse.ArgumentParser(prog="python -m diagrams.networks", description=__doc__)
    parser.add_argument(
        "--output",
        type=path_argument("--output", "folder"),
        default=FOLDER,
        help="folder of the diagrams (default: diagrams)",
    )
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    matplotlib.rcParams["svg.hashsalt"] = "networks"
    for name, draw in (("rectangular", rectangular), ("resnet", resnet)):
        figure = draw()
        figure.savefig(output / f"{name}.png", dpi=DPI, metadata={"Software": None})
        figure.savefig(output / f"{name}.svg", metadata={"Date": None, "Creator": None})
        sys.stdout.write(f"{output / name}.png and .svg\n")


if __name__ == "__main__":
    main()
