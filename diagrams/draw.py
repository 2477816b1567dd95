"""The graphical abstract of the README, drawn from two runs: ``python -m diagrams.draw``.

Without arguments, the command trains both runs: the network of the README's command with ``--seed=0`` for ``--epochs``
epochs, once with ``--lambda_=0`` and once with Jumpstart, with all other options equal. Otherwise, give two run
directories, the plain run first. The status of units and points, and the classes of the plane, are those of the best
weights; the status is taken over the training part. The command writes ``graphical_abstract.png`` and ``.svg``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from data.data import make_datamodule
from data.datamodules import TabularDataModule
from jumpstart.files import path_argument
from jumpstart.metrics import NetworkStatus, point_status
from jumpstart.palette import COLORS, LABELS
from jumpstart.plots.arrays import point_order
from jumpstart.plots.canvas import style
from jumpstart.status.codes import Status
from model.config.rectangular import RectangularConfig
from model.rectangular_experiment import RectangularExperiment
from sweep.metrics_csv import MetricsCsv
from sweep.run_directory import RunDirectory

FOLDER = Path(__file__).resolve().parent
NAME = "graphical_abstract"
DPI = 110
CURVES = {"train": "#009E73", "val": "#CC79A7"}
CLASSES = ("#D55E00", "#56B4E9")
STATUS = ListedColormap([COLORS[code] for code in Status])


@dataclass(frozen=True)
class Drawn:
    """The data of one run that the diagram shows.

    Attributes:
        config: The options of the run.
        summary: The content of ``summary.json``.
        curves: The content of ``metrics.csv``, one array per column.
        units: (units, layers) codes of :class:`Status` over the training part.
        points: (points, layers) codes, ordered from top to bottom.
        starts: The first row of each class in ``points``.
        plane: (rows, columns) the probability of class 1, lowest row first.
        extent: Left, right, bottom and top of ``plane``.
        x: (rows, 2) test points.
        y: (rows,) classes of the test points.
    """

    config: RectangularConfig
    summary: dict[str, float]
    curves: dict[str, np.ndarray]
    units: np.ndarray
    points: np.ndarray
    starts: np.ndarray
    plane: np.ndarray
    extent: tuple[float, float, float, float]
    x: np.ndarray
    y: np.ndarray


def train(folder: Path, name: str, epochs: int, lambda_: float) -> Path:
    """Train one run with the launcher, and return its run directory.

    Args:
        folder: Folder of the run directory.
        name: Name of the run.
        epochs: Epochs of training.
        lambda_: Weight of the Jumpstart loss.
    """
    flags = ["--dataset=moons", "--depth=50", "--width=4", "--seed=0", f"--epochs={epochs}"]
    flags += [f"--lambda_={lambda_}", "--plot_status=False", "--wandb=False", "--gpus=0"]
    flags += [f"--output_dir={folder}", f"--name={name}"]
    command = [sys.executable, "run_rectangular_sweep.py", *flags]
    subprocess.run(command, cwd=FOLDER.parent, check=True)
    return folder / name


def read(path: Path) -> Drawn:
    """Read a run directory, and compute the status and the classes of its best weights.

    Args:
        path: A finished run on a data set of two features and two classes.

    Raises:
        RunDirectoryError: If there is no run.
        ValueError: If the data set is not points of two classes in the plane.
    """
    run = RunDirectory.open(path)
    config = RectangularConfig.from_dict(run.read_config())
    data = make_datamodule(
        config.dataset,
        seed=config.seed,
        val_size=config.val_size,
        test_size=config.test_size,
        num_points=config.num_points,
        noise=config.noise,
        data_dir=config.data_dir,
    )
    data.setup()
    if data.input_shape != (2,) or data.num_classes != 2:
        raise ValueError(f"{path} must be a run on points of two classes in the plane, got {config.dataset}.")
    experiment = RectangularExperiment.load_from_checkpoint(run.best_checkpoint, map_location="cpu")
    experiment.eval()
    table = MetricsCsv(run.metrics).read()
    status = NetworkStatus(*config.margins)
    with torch.no_grad():
        experiment(data.x_train)
        records = experiment.jumpstart.extrema
        status.update(records)
        plane, extent = classify(experiment, data)
    points, labels = point_status(records).numpy(), data.y_train.numpy()
    return Drawn(
        config=config,
        summary=json.loads(run.summary.read_text(encoding="utf-8")),
        curves={str(name): table[name].to_numpy() for name in table},
        units=np.stack([codes.numpy() for codes in status.unit_status.values()], axis=1),
        points=points[point_order(points, labels)],
        starts=np.searchsorted(np.sort(labels), np.unique(labels)),
        plane=plane,
        extent=extent,
        x=data.x_test.numpy(),
        y=data.y_test.numpy(),
    )


def classify(
    experiment: RectangularExperiment, data: TabularDataModule, side: int = 160
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """(side, side) probabilities of class 1 over the plane; left, right, bottom and top of the plane."""
    low, high = data.x_train.amin(0) - 0.3, data.x_train.amax(0) + 0.3
    axes = [torch.linspace(float(a), float(b), side) for a, b in zip(low, high, strict=True)]
    rows, columns = torch.meshgrid(axes[1], axes[0], indexing="ij")
    logits = experiment(torch.stack([columns.flatten(), rows.flatten()], 1))
    plane = logits.softmax(1)[:, 1].view(side, side).numpy()
    return plane, (float(low[0]), float(high[0]), float(low[1]), float(high[1]))


def draw(runs: Sequence[Drawn]) -> Figure:
    """Draw the diagram, with one column per run."""
    figure = Figure(figsize=(12.6, 6.3), dpi=DPI, facecolor="white")
    handles = [Patch(color=COLORS[code], label=LABELS[code]) for code in Status]
    figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False, fontsize=10)
    columns = figure.subfigures(1, len(runs), wspace=0.0, squeeze=False)[0]
    for column, run in zip(columns, runs, strict=True):
        draw_run(column, run)
    return figure


def draw_run(figure: SubFigure, run: Drawn) -> None:
    """Draw one column: title, units, points, plane, accuracy and shares of a run."""
    config = run.config
    name = f"with Jumpstart, lambda {config.lambda_:g}" if config.lambda_ else "plain, lambda 0"
    title = f"{config.depth} layers of {config.width} units on {config.dataset}, {name}"
    figure.text(0.075, 0.965, title, size=12, weight="bold", va="center", color="#222222")
    result = f"test accuracy {run.summary['test/acc']:.1%}"
    result = f"{run.summary['epochs']} epochs, seed {config.seed}: {result}"
    figure.text(0.075, 0.927, result, size=10.5, va="center", color="#222222")
    units = figure.add_axes((0.075, 0.755, 0.9, 0.115))
    draw_map(units, run.units)
    units.set_title(f"units: {shares(run.units)}", loc="left", size=9.5)
    units.set_yticks([])
    units.set_ylabel("unit", labelpad=12)
    points = figure.add_axes((0.075, 0.475, 0.9, 0.21))
    draw_map(points, run.points)
    dead = (run.points == Status.DEAD).any(1).mean()
    points.set_title(f"points: {dead:.1%} die on the way through the layers", loc="left", size=9.5)
    points.set_xlabel("layer", labelpad=1)
    points.set_ylabel("class")
    ends = np.append(run.starts[1:], len(run.points))
    points.set_yticks((run.starts + ends) / 2 - 0.5, [str(n) for n in range(len(ends))])
    points.hlines(run.starts[1:] - 0.5, *points.get_xlim(), colors="white", linewidths=1.2)
    draw_plane(figure.add_axes((0.075, 0.095, 0.25, 0.265)), run)
    draw_accuracy(figure.add_axes((0.41, 0.12, 0.245, 0.24)), run)
    draw_shares(figure.add_axes((0.73, 0.12, 0.245, 0.24)), run)


def shares(codes: np.ndarray) -> str:
    """The share of each status as text."""
    return ", ".join(f"{(codes == code).mean():.1%} {LABELS[code]}" for code in Status)


def draw_map(axes: Axes, codes: np.ndarray) -> None:
    """Draw codes as cells, with one column per layer."""
    rows, layers = codes.shape
    axes.imshow(
        codes, cmap=STATUS, vmin=-0.5, vmax=2.5, aspect="auto", interpolation="nearest",
        extent=(0.5, layers + 0.5, rows - 0.5, -0.5),
    )  # fmt: skip
    if rows < 10:
        axes.vlines(np.arange(1, layers) + 0.5, -0.5, rows - 0.5, colors="white", linewidths=0.8)
        axes.hlines(np.arange(1, rows) - 0.5, 0.5, layers + 0.5, colors="white", linewidths=0.8)
    axes.set_xticks([1, *range(10, layers + 1, 10)])
    axes.tick_params(length=2.5)
    axes.spines[:].set_visible(False)


def draw_plane(axes: Axes, run: Drawn) -> None:
    """Draw the predicted class of every place of the plane, and the test points."""
    shades = ListedColormap([blend(*CLASSES, share) for share in np.linspace(0, 1, 33)])
    axes.imshow(
        run.plane, cmap=shades, vmin=0, vmax=1, alpha=0.45, interpolation="none", origin="lower",
        aspect="auto", extent=run.extent,
    )  # fmt: skip
    for label, color in enumerate(CLASSES):
        x, y = run.x[run.y == label].T
        axes.plot(
            x, y, ".", color=color, markersize=4, markeredgecolor="#333333", markeredgewidth=0.3,
            rasterized=True,
        )  # fmt: skip
    axes.set(xlim=run.extent[:2], ylim=run.extent[2:], xticks=[], yticks=[])
    axes.set_title("prediction, test points", loc="left", size=9.5)


def blend(first: str, second: str, share: float) -> tuple[float, ...]:
    """A color between two others: the first at share 0, white at 0.5, the second at 1."""
    color, strength = (first, 1 - 2 * share) if share < 0.5 else (second, 2 * share - 1)
    return tuple(1 - strength * (1 - int(color[i : i + 2], 16) / 255) for i in (1, 3, 5))


def draw_accuracy(axes: Axes, run: Drawn) -> None:
    """Draw the accuracy over the epochs."""
    epochs = run.curves["epoch"]
    for stage, color in CURVES.items():
        axes.plot(epochs, run.curves[f"{stage}/acc"], color=color, linewidth=1, label=stage)
    axes.set(ylim=(0.38, 1.02), xlabel="epoch", xlim=(0, epochs[-1]))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center right", frameon=False, borderpad=0.1)
    axes.set_title("accuracy", loc="left", size=9.5)


def draw_shares(axes: Axes, run: Drawn) -> None:
    """Draw the shares of dead, linear and non-linear units over the epochs."""
    epochs = run.curves["epoch"]
    # matplotlib does not simplify filled areas, so a point for every epoch would make a large SVG.
    some = np.unique(np.linspace(0, len(epochs) - 1, 250).astype(int))
    columns = [f"train/unit_{status}_ratio" for status in ("dead", "linear", "nonlinear")]
    axes.stackplot(
        epochs[some],
        [run.curves[column][some] for column in columns],
        colors=[COLORS[code] for code in Status],
        linewidth=0,
    )
    axes.set(xlim=(0, epochs[-1]), ylim=(0, 1), xlabel="epoch")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_title("units over training", loc="left", size=9.5)


def save(figure: Figure, folder: Path) -> list[Path]:
    """Write the PNG and the SVG. Equal figures give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{NAME}.png", folder / f"{NAME}.svg"]
    figure.savefig(paths[0], dpi=DPI, metadata={"Software": None})
    figure.savefig(paths[1], dpi=2 * DPI, metadata={"Date": None, "Creator": None})
    return paths


@style()
def main(arguments: Sequence[str] | None = None) -> None:
    """Train or read both runs, then draw and write the diagram."""
    parser = argparse.ArgumentParser(
        prog="python -m diagrams.draw",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "runs",
        nargs="*",
        type=path_argument("RUN_DIRECTORY", "folder"),
        metavar="RUN_DIRECTORY",
        help="the plain run, then the run with Jumpstart",
    )
    add("--epochs", type=int, default=500, help="epochs of the runs that are trained here (default 500)")
    add(
        "--output",
        type=path_argument("--output", "folder"),
        default=FOLDER,
        help="folder of the diagram (default: diagrams)",
    )
    options = parser.parse_args(arguments)
    if len(options.runs) not in (0, 2):
        parser.error(f"give two run directories or none, got {len(options.runs)}.")
    with tempfile.TemporaryDirectory() as folder:
        paths = options.runs or [
            train(Path(folder), "plain", options.epochs, 0.0),
            train(Path(folder), "jumpstart", options.epochs, RectangularConfig().lambda_),
        ]
        runs = [read(path) for path in paths]
    matplotlib.rcParams["svg.hashsalt"] = NAME
    for path in save(draw(runs), options.output):
        sys.stdout.write(f"{path} ({path.stat().st_size / 1000:.0f} kB)\n")


if __name__ == "__main__":
    main()
