"""Results as tables: runs in; pandas, Markdown, LaTeX, CSV or lines for the terminal out."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from statistics import fmean, stdev
from typing import Any, Literal

import pandas as pd

from jumpstart.words import did_you_mean

Best = Literal["max", "min"]
Rows = Sequence[Mapping[str, Any]] | pd.DataFrame

_SPLITS = ("train", "val", "test")
_TEX = {**{sign: rf"\{sign}" for sign in "&%$#_{}"}, "\\": r"\textbackslash{}"}


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several runs.

    Attributes:
        mean: The mean; NaN if any of the runs has NaN.
        std: The standard deviation of a sample (divided by count - 1); NaN for fewer than two runs.
        count: Number of runs.

    Example:
        >>> Spread.of([0.96, 0.98])
        Spread(mean=0.97, std=0.0141..., count=2)
    """

    mean: float
    std: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of some values."""
        values = [float(value) for value in values]
        mean = fmean(values) if values else math.nan
        enough = len(values) > 1 and math.isfinite(mean)
        return cls(mean, stdev(values) if enough else math.nan, len(values))

    def text(self, digits: int, plus_minus: str = "±") -> str:
        """``0.970 ± 0.014``; the mean alone for one run, a dash for none."""
        if self.count == 0:
            return "-"
        mean = f"{self.mean:.{digits}f}"
        return mean if math.isnan(self.std) else f"{mean} {plus_minus} {self.std:.{digits}f}"


@dataclass(frozen=True, slots=True)
class _Look:
    """How a format writes words, figures, and the best figure."""

    word: Callable[[str], str]
    figure: Callable[[str], str]
    best: Callable[[str], str]
    plus_minus: str


_MARKDOWN = _Look(lambda t: t.replace("|", r"\|"), str, lambda t: f"**{t}**", "±")
_LATEX = _Look(
    lambda t: "".join(_TEX.get(sign, sign) for sign in t),
    lambda t: f"${t}$",
    lambda t: rf"$\mathbf{{{t}}}$",
    r"\pm",
)


def results_table(
    rows: Rows,
    by: str | Sequence[str],
    values: str | Sequence[str] = "test/acc",
    columns: str | None = None,
) -> pd.DataFrame:
    """Mean and deviation of runs that share some settings, over everything else they differ in.

    Args:
        rows: One flat mapping per run, with settings and results, such as its configuration and its
            summary together.
        by: The settings that make a row of the table. Whatever is left out here, such as the seed,
            is averaged over: name all that a comparison depends on.
        values: The results to average.
        columns: A setting whose values become the columns, such as the technique. It takes one of
            ``values``.

    Returns:
        The columns of ``by``, then cells of :class:`Spread`, both in the order of first appearance.

    Raises:
        ValueError: If there are no rows, a name is in none of them, a run lacks one of ``values``,
            or ``columns`` is given with several ``values``.

    Example:
        >>> runs = [
        ...     {"dataset": "moons", "lambda_": 0.0, "seed": 1, "test/acc": 0.5},
        ...     {"dataset": "moons", "lambda_": 0.01, "seed": 1, "test/acc": 0.96},
        ...     {"dataset": "moons", "lambda_": 0.01, "seed": 2, "test/acc": 0.98},
        ... ]
        >>> print(to_markdown(results_table(runs, "dataset", columns="lambda_"), best="max"))
        | dataset | 0.0 | 0.01 |
        |:---|---:|---:|
        | moons | 0.500 | **0.970 ± 0.014** |
    """
    records = _records(rows)
    keys = [by] if isinstance(by, str) else list(by)
    figures = [values] if isinstance(values, str) else list(values)
    for name in (*keys, *figures, *([columns] if columns else [])):
        _check_name(name, records)
    if columns is not None and len(figures) != 1:
        raise ValueError(f"columns={columns!r} takes one of values, got {len(figures)}.")
    groups: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    heads = dict.fromkeys(figures)
    if columns is not None:
        heads = dict.fromkeys(str(_plain(record.get(columns))) for record in records)
    for record in records:
        group = groups.setdefault(tuple(_plain(record.get(key)) for key in keys), {})
        for figure in figures:
            head = figure if columns is None else str(_plain(record.get(columns)))
            group.setdefault(head, []).append(_figure(record, figure))
    cells = [[*key, *(Spread.of(g.get(head, [])) for head in heads)] for key, g in groups.items()]
    return pd.DataFrame(cells, columns=[*keys, *heads], dtype=object)


def key_figures(results: Rows, threshold: float = 0.2) -> pd.DataFrame:
    """The four figures that compare techniques across data sets.

    For each data set, a technique is judged by its best model: the one of the highest accuracy (of
    several, the one with the fewest dead, then the fewest linear units).

    Args:
        results: One row per model with ``dataset``, ``technique``, ``accuracy``,
            ``unit_dead_ratio`` and ``unit_linear_ratio``, all in [0, 1].
        threshold: The share of units above which a model counts.

    Returns:
        One row per technique, in the order of first appearance:

        - ``dead_units``: share of data sets whose best model has more dead units than the
          threshold; ``dead_units_area``: area under that share as the threshold goes from 0 to 1.
        - ``linear_units``, ``linear_units_area``: the same for linear units.
        - ``trainability``: share of data sets whose best model is strictly better than the worst
          accuracy of any model of any technique.
        - ``convergence``: mean over the data sets of the technique's best accuracy minus the best
          of all techniques; 0 is best.

    Raises:
        ValueError: If a column or a technique's result on a data set is missing, or a figure is not
            in [0, 1].

    Source:
        *Unit-Centric Regularization for Efficient Deep Neural Networks*, global metrics.

    Example:
        >>> row = {"dataset": "moons", "unit_linear_ratio": 0.0}
        >>> plain = {"technique": "plain", "accuracy": 0.5, "unit_dead_ratio": 0.6, **row}
        >>> ours = {"technique": "jumpstart", "accuracy": 1.0, "unit_dead_ratio": 0.0, **row}
        >>> key_figures([plain, ours])[["technique", "dead_units", "convergence"]]
           technique  dead_units  convergence
        0      plain         1.0         -0.5
        1  jumpstart         0.0          0.0
    """
    records = _records(results)
    ratios = ("accuracy", "unit_dead_ratio", "unit_linear_ratio")
    for name in ("dataset", "technique", *ratios):
        _check_name(name, records)
    best: dict[tuple[Any, Any], tuple[float, float, float]] = {}
    worst: dict[Any, float] = {}
    for record in records:
        accuracy, dead, linear = (_figure(record, name) for name in ratios)
        for name, value in zip(ratios, (accuracy, dead, linear), strict=True):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {value}.")
        pair = _plain(record.get("technique")), _plain(record.get("dataset"))
        if None in pair:
            raise ValueError(f"every row must have a technique and a data set, got {pair}.")
        model = accuracy, -dead, -linear
        best[pair] = max(model, best.get(pair, model))
        worst[pair[1]] = min(accuracy, worst.get(pair[1], accuracy))
    techniques = list(dict.fromkeys(technique for technique, _ in best))
    for technique in techniques:
        for dataset in worst:
            if (technique, dataset) not in best:
                raise ValueError(
                    f"results must have every technique on every data set, {technique!r} lacks "
                    f"{dataset!r}: add that run, or leave the data set out."
                )
    top = {d: max(best[technique, d][0] for technique in techniques) for d in worst}
    table = []
    for technique in techniques:
        models = {dataset: best[technique, dataset] for dataset in worst}
        accuracies = {dataset: accuracy for dataset, (accuracy, _, _) in models.items()}
        dead_ratios = [-dead for _, dead, _ in models.values()]
        linear_ratios = [-linear for _, _, linear in models.values()]
        table.append(
            {
                "technique": technique,
                "dead_units": fmean(ratio > threshold for ratio in dead_ratios),
                # The area under the share of ratios above t, for t from 0 to 1, is their mean.
                "dead_units_area": fmean(dead_ratios),
                "linear_units": fmean(ratio > threshold for ratio in linear_ratios),
                "linear_units_area": fmean(linear_ratios),
                "trainability": fmean(accuracies[d] > worst[d] for d in worst),
                "convergence": fmean(accuracies[d] - top[d] for d in worst),
            }
        )
    return pd.DataFrame(table)


def to_markdown(table: pd.DataFrame, digits: int = 3, best: Best | None = None) -> str:
    """A Markdown table, as lines without a last line break.

    Args:
        table: From :func:`results_table`, :func:`key_figures`, or any other; an index with a name
            or of words becomes the first columns.
        digits: Decimals of the figures.
        best: Set the highest (``max``) or lowest (``min``) figure of each row in bold; figures that
            look the same at these digits are all the best.
    """
    heads, texts, numeric = _texts(table, digits, best, _MARKDOWN)
    rule = "|".join("---:" if number else ":---" for number in numeric)
    head, *body = ("| " + " | ".join(row) + " |" for row in (heads, *texts))
    return "\n".join([head, f"|{rule}|", *body])


def to_latex(table: pd.DataFrame, digits: int = 3, best: Best | None = None) -> str:
    r"""A LaTeX ``tabular``, as :func:`to_markdown`; the document needs ``\usepackage{booktabs}``.

    Args:
        table: As for :func:`to_markdown`.
        digits: Decimals of the figures.
        best: As for :func:`to_markdown`.
    """
    heads, texts, numeric = _texts(table, digits, best, _LATEX)
    head, *body = (" & ".join(row) + r" \\" for row in (heads, *texts))
    spec = "".join("r" if number else "l" for number in numeric)
    first = [rf"\begin{{tabular}}{{{spec}}}", r"\toprule", head, r"\midrule"]
    return "\n".join([*first, *body, r"\bottomrule", r"\end{tabular}"])


def to_csv(table: pd.DataFrame) -> str:
    """Comma-separated values in full precision.

    A column of :class:`Spread` becomes three: mean, ``_std`` and ``_count``; an undefined figure is
    left empty.
    """
    flat = _flat(table)
    heads: list[str] = []
    columns: list[list[Any]] = []
    for head, cells in flat.items():
        if any(isinstance(cell, Spread) for cell in cells):
            spreads = [cell if isinstance(cell, Spread) else Spread.of([]) for cell in cells]
            heads += [str(head), f"{head}_std", f"{head}_count"]
            columns += [[s.mean for s in spreads], [s.std for s in spreads]]
            columns += [[s.count for s in spreads]]
        else:
            heads.append(str(head))
            columns.append(list(cells))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    for row in zip(*columns, strict=True):
        writer.writerow([_plain(cell) for cell in row])
    return text.getvalue()


def summary_table(summary: Mapping[str, Any]) -> str:
    """One run's result as lines for the terminal.

    Args:
        summary: Names and values. ``train/x``, ``val/x`` and ``test/x`` share a line; everything
            else follows, one line each, the names within nested mappings joined by dots.

    Example:
        >>> print(summary_table({"train/acc": 1.0, "test/acc": 0.975, "epochs": 4000}))
                  train     test
        acc      1.0000   0.9750
        <BLANKLINE>
        epochs   4000
    """
    results: dict[str, dict[str, str]] = {}
    rest: dict[str, str] = {}
    for name, value in _flatten(summary):
        split, _, figure = name.partition("/")
        if split in _SPLITS and figure:
            results.setdefault(figure, {})[split] = _short(value)
        else:
            rest[name] = _short(value)
    if not results and not rest:
        raise ValueError("summary must hold at least one value, got none.")
    first = max(map(len, (*results, *rest)))
    splits = [split for split in _SPLITS if any(split in line for line in results.values())]
    lines = []
    if results:
        cells = [text for line in results.values() for text in line.values()]
        width = max(map(len, (*cells, *splits))) + 3
        lines.append(" " * first + "".join(split.rjust(width) for split in splits))
        for figure, line in results.items():
            texts = (line.get(split, "-").rjust(width) for split in splits)
            lines.append(figure.ljust(first) + "".join(texts))
    if results and rest:
        lines.append("")
    return "\n".join([*lines, *(f"{name.ljust(first)}   {text}" for name, text in rest.items())])


def _records(rows: Rows) -> list[Mapping[str, Any]]:
    records: list[Any] = _flat(rows).to_dict("records") if isinstance(rows, pd.DataFrame) else list(rows)
    if not records:
        raise ValueError("rows must hold at least one run, got none.")
    return records


def _check_name(name: str, records: Sequence[Mapping[str, Any]]) -> None:
    if not any(name in record for record in records):
        known = sorted({key for record in records for key in record})
        raise ValueError(f"no run has {name!r}.{did_you_mean(name, known)} There are: {', '.join(known)}.")


def _figure(record: Mapping[str, Any], name: str) -> float:
    value = record.get(name)
    if not isinstance(value, Real):
        raise ValueError(f"every run must have a number for {name!r}, got {value!r}.")
    return float(value)


def _plain(value: Any) -> Any:
    """A setting that can be compared: lists as tuples, and NaN (a gap in a DataFrame) as None."""
    if isinstance(value, list):
        return tuple(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an index that means something as its first columns."""
    counts = pd.api.types.is_integer_dtype(table.index) and table.index.names == [None]
    return table.reset_index(drop=counts)


def _texts(
    table: pd.DataFrame, digits: int, best: Best | None, look: _Look
) -> tuple[list[str], list[list[str]], list[bool]]:
    """Heads, cells, and which columns hold numbers."""
    if best not in (None, "max", "min"):
        raise ValueError(f"best must be 'max', 'min' or None, got {best!r}.")
    flat = _flat(table)
    rows = list(flat.itertuples(index=False, name=None))
    # Beside spreads, a plain number is a setting.
    kind = Spread if any(isinstance(cell, Spread) for row in rows for cell in row) else float
    texts = []
    for row in rows:
        means = {}
        for i, cell in enumerate(row):
            mean = cell.mean if isinstance(cell, Spread) else cell
            if isinstance(cell, kind) and not math.isnan(mean):
                means[i] = round(float(mean), digits)
        ranked = means.values() if best and len(means) > 1 else ()
        winner = (max if best == "max" else min)(ranked, default=None)
        line = []
        for i, cell in enumerate(row):
            if i not in means:
                line.append(look.word(cell.text(digits) if isinstance(cell, Spread) else str(cell)))
                continue
            text = cell.text(digits, look.plus_minus) if kind is Spread else f"{cell:.{digits}f}"
            line.append(look.best(text) if means[i] == winner else look.figure(text))
        texts.append(line)
    numeric = [all(isinstance(row[i], Spread | Real) for row in rows) for i in range(flat.shape[1])]
    return [look.word(str(head)) for head in flat.columns], texts, numeric


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _short(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Real) and not isinstance(value, Integral):
        number = float(value)
        readable = number == 0 or 1e-3 <= abs(number) < 1e5
        return f"{number:.4f}" if readable else f"{number:.3g}"
    return str(value)
