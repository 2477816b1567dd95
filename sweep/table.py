"""``python -m sweep table``: tables and plots of the results of sweeps, run directories and W&B projects."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jumpstart.choices import Part, choose
from jumpstart.files import path_argument, user_path, write_text
from jumpstart.files.outputs import check_output, write_output
from jumpstart.report.record import KEPT
from jumpstart.table import (
    Best,
    Draw,
    best_runs,
    dataset_table,
    key_figures,
    rank_techniques,
    read_results,
    read_wandb,
    results_table,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
    wins_draws_losses,
)
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig
from sweep.grid.expand import TECHNIQUE
from sweep.ledger.ledger import NAME, Ledger
from sweep.ledger.results import NAME as RESULTS
from sweep.ledger.results import results_text
from sweep.ledger.rows import Rows

if TYPE_CHECKING:
    import pandas as pd

_WANDB = "wandb:"
_SEED = "seed"


class Show(StrEnum):
    """What a table shows."""

    RESULTS = "results"
    """Mean and standard deviation over the runs of each group."""
    WINS = "wins"
    """Wins, draws and losses of each pair of techniques over the data sets."""
    RANKS = "ranks"
    """Ranks of the techniques on each data set, with a Friedman test."""
    KEY_FIGURES = "key_figures"
    """The four key figures of each technique over the data sets."""
    DATASETS = "datasets"
    """Rows, features and classes of each data set."""


class Format(StrEnum):
    """The format of a table."""

    MARKDOWN = "markdown"
    LATEX = "latex"
    HTML = "html"
    CSV = "csv"


def add_table_options(parser: ArgumentParser) -> None:
    """Add the options of the command.

    Args:
        parser: The parser of the command.
    """
    add = parser.add_argument
    add("folders", nargs="+", metavar="DIR", help="a sweep, a run, a folder of them, or wandb:entity/project")
    add(
        "--show",
        **_choice(Show.RESULTS),
        help="what the table shows (%(default)s)",
    )
    add("--by", type=_names, metavar="OPTIONS", help="options that make a row; else technique,dataset, or what varies")
    add("--columns", type=_name, metavar="OPTION", help="the option whose values are the columns of the results")
    add("--values", type=_names, default=["test/acc"], metavar="METRICS", help="what is averaged (test/acc)")
    add("--tune", type=_names, metavar="OPTIONS", help="options whose best values are chosen on the validation part")
    add("--on", type=_name, metavar="METRIC", help="the metric that chooses: the highest, or the lowest loss (val/acc)")
    add("--best", choices=("max", "min"), default="max", help="whether high or low values win (%(default)s)")
    add(
        "--draw",
        **_choice(Draw.DIGITS),
        help="when two techniques draw (%(default)s)",
    )
    add("--alpha", type=float, default=0.05, help="the level of significance of the tests (%(default)s)")
    add("--format", **_choice(Format.MARKDOWN), help="(%(default)s)")
    add("--digits", type=int, default=3, help="decimals (%(default)s)")
    add("--colors", action="store_true", help="color the cells from worst to best, in latex and html")
    add("--output", type=path_argument("--output", "file"), metavar="FILE", help="write the table to this file")
    add(
        "--plot",
        type=path_argument("--plot", "file"),
        metavar="FILE",
        help="draw the table as FILE, which ends in .png",
    )


def _names(text: str) -> list[str]:
    """Names separated by commas."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise ArgumentTypeError(f"must name at least one, got {text!r}: give a name, or leave the option out.")
    return found


def _name(text: str) -> str:
    """One name."""
    found = _names(text)
    if len(found) > 1:
        raise ArgumentTypeError(f"must be one name, got {text!r}.")
    return found[0]


def _choice(default: StrEnum) -> dict[str, Any]:
    """How an argument is read whose values are those of the enum of its default."""
    kind = type(default)

    def convert(text: str) -> StrEnum:
        try:
            return choose(kind, text, "the value")
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return {"choices": list(kind), "type": convert, "default": default}


def write_table(options: Namespace) -> None:
    """Write the table that the options describe to the terminal or a file, and its plot if there is one.

    Args:
        options: As :func:`add_table_options` reads them.

    Raises:
        ValueError: If an option, a folder or a result does not fit the table. The message is one line.
    """
    for flag, path in (("--output", options.output), ("--plot", options.plot)):
        if path is not None:
            check_output(path, flag, KEPT)
    runs = _read(options.folders)
    if options.plot is not None and options.show not in (Show.RESULTS, Show.RANKS):
        raise ValueError(f"--plot draws --show=results and --show=ranks, not {options.show}.")
    tables: dict[Show, Callable[[pd.DataFrame, Namespace], str]] = {
        Show.RESULTS: _results,
        Show.WINS: _wins,
        Show.RANKS: _ranks,
        Show.KEY_FIGURES: _key_figures,
        Show.DATASETS: lambda rows, given: _written(dataset_table(rows), given),
    }
    text = tables[options.show](runs, options)
    if options.output is None:
        sys.stdout.write(f"{text}\n")
    else:
        with _writing("--output", options.output):
            options.output.parent.mkdir(parents=True, exist_ok=True)
            write_output(options.output, f"{text}\n")


def _read(folders: Sequence[str]) -> pd.DataFrame:
    """The finished runs of all sources; ``results.csv`` of a sweep is brought up to date first."""
    import pandas as pd

    projects = [folder.removeprefix(_WANDB) for folder in folders if folder.startswith(_WANDB)]
    paths = [user_path(folder, "DIR", "folder") for folder in folders if not folder.startswith(_WANDB)]
    for path in paths:
        if (path / NAME).is_file():
            with Ledger(path, None) as ledger:
                ledger.recover()
                _update_results(Rows(ledger))
    frames = [read_results(*paths)] if paths else []
    return pd.concat([*frames, *map(read_wandb, projects)], ignore_index=True)


def _update_results(rows: Rows) -> None:
    """Write ``results.csv`` of a sweep, if it is not up to date."""
    path, text = rows.ledger.folder / RESULTS, results_text(rows)
    if path.is_file() and path.read_bytes() == text.encode():
        return
    try:
        write_text(path, text)
    except OSError as error:
        reason = f"{path} is not up to date, and can't be written: {error.strerror}."
        raise ValueError(f"{reason} Make the folder writable, or read a copy of it.") from None


@contextmanager
def _writing(flag: str, path: Path) -> Iterator[None]:
    """Name the flag if its file can't be written."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{flag} {path} can't be written: {error.strerror}. Name another file.") from None


def _results(runs: pd.DataFrame, options: Namespace) -> str:
    columns, tuned = options.columns, options.tune or []
    by = options.by or [name for name in _varied(runs) if name not in (columns, *tuned)] or ["run"]
    chosen = _chosen(runs, [*by, *([columns] if columns else [])], options)
    table = results_table(chosen, by, options.values, columns)
    if options.plot is not None:
        _plot_results(chosen, by, options)
    return _written(table, options, best=options.best if columns else None)


def _wins(runs: pd.DataFrame, options: Namespace) -> str:
    technique, dataset = _pair(options)
    table = wins_draws_losses(
        _chosen(runs, [technique, dataset], options),
        _value(options),
        best=options.best,
        draw=options.draw,
        digits=options.digits,
        alpha=options.alpha,
        technique=technique,
        dataset=dataset,
    )
    return _written(table, options)


def _ranks(runs: pd.DataFrame, options: Namespace) -> str:
    """The ranks with their mean in the last row, and the tests below the table."""
    import pandas as pd

    technique, dataset = _pair(options)
    ranks = rank_techniques(
        _chosen(runs, [technique, dataset], options),
        _value(options),
        best=options.best,
        alpha=options.alpha,
        technique=technique,
        dataset=dataset,
    )
    if options.plot is not None:
        from jumpstart.plotting import plot_critical_difference, save_figure

        with _writing("--plot", options.plot):
            save_figure(
                plot_critical_difference(ranks.mean, ranks.pairs, options.alpha), options.plot, write=write_output
            )
    table = pd.concat([ranks.table, pd.DataFrame([{dataset: "mean", **ranks.mean}])], ignore_index=True)
    text = _written(table, options, best="min")
    around = {Format.MARKDOWN: "\n\n{}", Format.LATEX: "\n% {}", Format.HTML: "\n<p>{}</p>", Format.CSV: ""}
    return text + around[options.format].format(ranks)


def _key_figures(runs: pd.DataFrame, options: Namespace) -> str:
    technique, dataset = _pair(options)
    on = options.on or "val/acc"
    return _written(key_figures(runs, part=Part.TEST, on=on, technique=technique, dataset=dataset), options)


def _chosen(runs: pd.DataFrame, by: Sequence[str], options: Namespace) -> pd.DataFrame:
    """The runs of the best settings, if options are tuned or a metric chooses; else all runs."""
    if options.tune is None and options.on is None:
        return runs
    on = options.on or "val/acc"
    return best_runs(runs, by, on, best="min" if on.endswith("loss") else "max", tuned=options.tune)


def _pair(options: Namespace) -> tuple[str, str]:
    """The options whose values are the techniques and the data sets."""
    names = options.by or [TECHNIQUE, "dataset"]
    if len(names) != 2:
        raise ValueError(
            f"--by must name the techniques and the data sets with --show={options.show}, such as "
            f"--by=technique,dataset, got {','.join(names)}."
        )
    return names[0], names[1]


def _value(options: Namespace) -> str:
    """The only metric."""
    if len(options.values) != 1:
        raise ValueError(f"--values takes one metric with --show={options.show}, got {','.join(options.values)}.")
    return str(options.values[0])


def _varied(runs: pd.DataFrame) -> list[str]:
    """Technique and options that vary over the runs, without the seed and what the technique decides."""
    known = {field.name for config in (RectangularConfig, ResnetConfig) for field in fields(config)}
    texts = runs.astype(str)
    names = [name for name in runs.columns if name in known - {_SEED} and texts[name].nunique() > 1]
    if TECHNIQUE not in runs or texts[TECHNIQUE].nunique() < 2:
        return names
    return [TECHNIQUE, *(name for name in names if texts.groupby(TECHNIQUE)[name].nunique().max() > 1)]


def _written(table: pd.DataFrame, options: Namespace, best: Best | None = None) -> str:
    """The table in its format."""
    colors = options.colors and best is not None
    formats: dict[Format, Callable[[], str]] = {
        Format.MARKDOWN: lambda: to_markdown(table, options.digits, best),
        Format.LATEX: lambda: to_latex(table, options.digits, best, colors=colors),
        Format.HTML: lambda: to_html(table, options.digits, best, colors=colors),
        Format.CSV: lambda: to_csv(table).removesuffix("\n"),
    }
    return formats[options.format]()


def _plot_results(runs: pd.DataFrame, by: Sequence[str], options: Namespace) -> None:
    """A heat map of the means of two options, or a box for each group."""
    from jumpstart.plotting import plot_box, plot_heat_map, save_figure

    value = _value(options)
    if options.columns and len(by) == 1:
        grid = runs.pivot_table(value, by[0], options.columns)
        labels = {"row_label": by[0], "column_label": options.columns, "label": value}
        figure = plot_heat_map(grid, grid.index.tolist(), grid.columns.tolist(), **labels)
    else:
        names = runs[[*by, *([options.columns] if options.columns else [])]].astype(str).agg(", ".join, axis=1)
        groups = {name: runs[value][names == name].to_numpy() for name in dict.fromkeys(names)}
        figure = plot_box(groups, label=value)
    with _writing("--plot", options.plot):
        save_figure(figure, options.plot, write=write_output)
