"""Tables of results: from runs to pandas, Markdown, LaTeX, CSV, or lines for the terminal."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, cast

from jumpstart.choices import DEAD_NETWORK_SHARE, did_you_mean
from jumpstart.literal import escaped, latex_text, markdown_text, visible

if TYPE_CHECKING:
    import pandas as pd

Best: TypeAlias = Literal["max", "min"]
Record: TypeAlias = Mapping[str, object]
Rows: TypeAlias = "Sequence[Record] | pd.DataFrame"

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of a metric over several runs.

    Attributes:
        mean: The mean; NaN if any of the values is NaN.
        std: The sample standard deviation (divided by count - 1); NaN for fewer than two values.
        count: Number of values.

    Example:
        >>> Spread.of([0.96, 0.98])
        Spread(mean=0.97, std=0.0141..., count=2)
    """

    mean: float
    std: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The mean, the standard deviation and the number of values."""
        values = [float(value) for value in values]
        mean = fmean(values) if values else math.nan
        enough = len(values) > 1 and math.isfinite(mean)
        return cls(mean, stdev(values) if enough else math.nan, len(values))

    def text(self, digits: int, plus_minus: str = "±") -> str:
        """``0.970 ± 0.014``; the mean alone for one value, a dash for none."""
        if self.count == 0:
            return "-"
        mean = f"{self.mean:.{digits}f}"
        return mean if math.isnan(self.std) else f"{mean} {plus_minus} {self.std:.{digits}f}"


@dataclass(frozen=True, slots=True)
class _Format:
    """How a format writes words, numbers, and the best number of a row."""

    word: Callable[[str], str]
    number: Callable[[str], str]
    best: Callable[[str], str]
    plus_minus: str


def _latex_number(text: str) -> str:
    """A number in LaTeX's mathematics, where ``inf`` would be three variables."""
    return text.replace("inf", r"\infty")


_MARKDOWN = _Format(markdown_text, str, lambda text: f"**{text}**", "±")
_LATEX = _Format(
    latex_text,
    lambda text: f"${_latex_number(text)}$",
    lambda text: rf"$\mathbf{{{_latex_number(text)}}}$",
    r"\pm",
)


def results_table(
    rows: Rows,
    by: str | Sequence[str],
    values: str | Sequence[str] = "test/acc",
    columns: str | None = None,
) -> pd.DataFrame:
    """Means and standard deviations of results, each over the runs that have the same settings.

    Args:
        rows: One flat mapping per run that holds settings and results, such as the configuration of the
            run joined with its summary.
        by: The settings that identify a row of the table. Results are averaged over all other settings, such
            as the seed, so name every setting that the comparison depends on.
        values: The results to average.
        columns: A setting whose values become the columns, such as the technique. Allowed with a single
            name in ``values``.

    Returns:
        The columns of ``by``, then columns of :class:`Spread`; rows and columns in the order of first appearance.

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
    metrics = [values] if isinstance(values, str) else list(values)
    for name in (*keys, *metrics, *([columns] if columns else [])):
        _check_name(name, records)
    if columns is not None and len(metrics) != 1:
        raise ValueError(f"columns={columns!r} takes one of values, got {len(metrics)}.")

    def heads_of(record: Record) -> list[str]:
        return metrics if columns is None else [str(_setting(record.get(columns)))]

    heads = list(dict.fromkeys(head for record in records for head in heads_of(record)))
    groups: dict[tuple[Hashable, ...], dict[str, list[float]]] = {}
    for record in records:
        group = groups.setdefault(tuple(_setting(record.get(key)) for key in keys), {})
        for head, metric in zip(heads_of(record), metrics, strict=True):
            group.setdefault(head, []).append(_number(record, metric))
    cells = [[*key, *(Spread.of(group.get(head, [])) for head in heads)] for key, group in groups.items()]
    import pandas as pd

    return pd.DataFrame(cells, columns=[*keys, *heads], dtype=object)


class _Model(NamedTuple):
    """Metrics of one model, ordered so that the best model is the maximum."""

    accuracy: float
    minus_dead: float
    minus_linear: float


def key_figures(results: Rows, threshold: float = DEAD_NETWORK_SHARE) -> pd.DataFrame:
    """The paper's four key figures, which compare techniques across data sets.

    On each data set, a technique is judged by its best model: the model of the highest accuracy and, among
    several, the model with the fewest dead, then the fewest linear units.

    Args:
        results: One row per model with ``dataset``, ``technique``, ``accuracy``,
            ``unit_dead_ratio`` and ``unit_linear_ratio``, the last three in [0, 1].
        threshold: The share of dead (or linear) units above which a model counts as dead (or linear).

    Returns:
        One row per technique, in the order of first appearance:

        - ``dead_units``: share of data sets whose best model has more dead units than the
          threshold; ``dead_units_area``: area under that share as the threshold runs from 0 to 1.
        - ``linear_units``, ``linear_units_area``: the same for linear units.
        - ``trainability``: share of data sets whose best model is strictly better than the worst
          accuracy of any model of any technique.
        - ``convergence``: mean over the data sets of the technique's best accuracy minus the best
          accuracy of all techniques; 0 is best.

    Raises:
        ValueError: If a column or a technique's result on a data set is missing, or a number is not
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
    models = _models(_records(results))
    worst = {dataset: min(model.accuracy for model in every) for dataset, every in _by_dataset(models)}
    top = {dataset: max(model.accuracy for model in every) for dataset, every in _by_dataset(models)}
    best: dict[Hashable, dict[Hashable, _Model]] = {}
    for (technique, dataset), every in models.items():
        best.setdefault(technique, {})[dataset] = max(every)
    _check_complete(best, worst)
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "technique": technique,
                **_exceeding("dead_units", [-model.minus_dead for model in of_technique.values()], threshold),
                **_exceeding("linear_units", [-model.minus_linear for model in of_technique.values()], threshold),
                "trainability": fmean(of_technique[dataset].accuracy > worst[dataset] for dataset in worst),
                "convergence": fmean(of_technique[dataset].accuracy - top[dataset] for dataset in worst),
            }
            for technique, of_technique in best.items()
        ]
    )


def _models(records: Sequence[Record]) -> dict[tuple[Hashable, Hashable], list[_Model]]:
    """The models of every (technique, data set)."""
    ratios = ("accuracy", "unit_dead_ratio", "unit_linear_ratio")
    for name in ("dataset", "technique", *ratios):
        _check_name(name, records)
    models: dict[tuple[Hashable, Hashable], list[_Model]] = {}
    for record in records:
        values = [_number(record, name) for name in ratios]
        for name, value in zip(ratios, values, strict=True):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {value}.")
        pair = _setting(record.get("technique")), _setting(record.get("dataset"))
        if None in pair:
            raise ValueError(f"every row must have a technique and a data set, got {pair}.")
        accuracy, dead, linear = values
        models.setdefault(pair, []).append(_Model(accuracy, -dead, -linear))
    return models


def _by_dataset(models: Mapping[tuple[Hashable, Hashable], list[_Model]]) -> Iterator[tuple[Hashable, list[_Model]]]:
    """Every data set with its models of all techniques."""
    datasets: dict[Hashable, list[_Model]] = {}
    for (_, dataset), every in models.items():
        datasets.setdefault(dataset, []).extend(every)
    yield from datasets.items()


def _check_complete(best: Mapping[Hashable, Mapping[Hashable, _Model]], datasets: Iterable[Hashable]) -> None:
    for technique, dataset in itertools.product(best, datasets):
        if dataset not in best[technique]:
            raise ValueError(
                f"results must have every technique on every data set, {technique!r} lacks "
                f"{dataset!r}: add that run, or leave the data set out."
            )


def _exceeding(name: str, ratios: Sequence[float], threshold: float) -> dict[str, float]:
    """Share of ratios above a threshold, and the area under that share over all thresholds from 0 to 1."""
    # The integral of the share of ratios above t, for t from 0 to 1, is the mean of the ratios.
    return {name: fmean(ratio > threshold for ratio in ratios), f"{name}_area": fmean(ratios)}


def to_markdown(table: pd.DataFrame, digits: int = 3, best: Best | None = None) -> str:
    """A Markdown table, as lines without a last line break.

    Args:
        table: Any table, such as from :func:`results_table` or :func:`key_figures`; an index that has a
            name or consists of texts becomes the first columns.
        digits: Decimals of the numbers.
        best: Set the highest (``max``) or lowest (``min``) number of each row in bold; numbers that
            are equal after rounding are all in bold.

    Raises:
        ValueError: If ``best`` is not one of these.
    """
    heads, texts, numeric = _texts(table, digits, best, _MARKDOWN)
    rule = "|".join("---:" if number else ":---" for number in numeric)
    head, *body = ("| " + " | ".join(row) + " |" for row in (heads, *texts))
    return "\n".join([head, f"|{rule}|", *body])


def to_latex(table: pd.DataFrame, digits: int = 3, best: Best | None = None) -> str:
    r"""A LaTeX ``tabular``, as :func:`to_markdown`; the document needs ``\usepackage{booktabs}``.

    Args:
        table: As for :func:`to_markdown`.
        digits: Decimals of the numbers.
        best: As for :func:`to_markdown`.
    """
    heads, texts, numeric = _texts(table, digits, best, _LATEX)
    head, *body = (" & ".join(row) + r" \\" for row in (heads, *texts))
    spec = "".join("r" if number else "l" for number in numeric)
    first = [rf"\begin{{tabular}}{{{spec}}}", r"\toprule", head, r"\midrule"]
    return "\n".join([*first, *body, r"\bottomrule", r"\end{tabular}"])


def to_csv(table: pd.DataFrame) -> str:
    """Comma-separated values in full precision.

    A column of :class:`Spread` becomes three: mean, ``_std`` and ``_count``. Undefined numbers are
    left empty. Texts are written as they are, in quotes where needed; only halves of surrogate pairs, which no
    file can hold, are written as Python escapes them.
    """
    flat = _flat(table)
    heads: list[str] = []
    columns: list[list[object]] = []
    for head, cells in flat.items():
        if any(isinstance(cell, Spread) for cell in cells):
            spreads = [cell if isinstance(cell, Spread) else Spread.of([]) for cell in cells]
            heads += [str(head), f"{head}_std", f"{head}_count"]
            columns += [[s.mean for s in spreads], [s.std for s in spreads], [s.count for s in spreads]]
        else:
            heads.append(str(head))
            columns.append(list(cells))
    rows = zip(*columns, strict=True)
    return _csv_line(heads) + "".join(_csv_line(map(_setting, row)) for row in rows)


def summary_table(summary: Record) -> str:
    """The results of one run as lines for the terminal.

    Args:
        summary: Names and values. ``train/x``, ``val/x`` and ``test/x`` share a line. All other
            values follow, one line each. Names within nested mappings are joined by dots.

    Raises:
        ValueError: If there is no value.

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
        name = visible(name)
        split, _, metric = name.partition("/")
        if split in _SPLITS and metric:
            results.setdefault(metric, {})[split] = _short(value)
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
        for metric, line in results.items():
            texts = (line.get(split, "-").rjust(width) for split in splits)
            lines.append(metric.ljust(first) + "".join(texts))
    if results and rest:
        lines.append("")
    return "\n".join([*lines, *(f"{name.ljust(first)}   {text}" for name, text in rest.items())])


def _csv_line(cells: Iterable[object]) -> str:
    """A row of a CSV file. Readers take a carriage return for the end of a row, unless the cell is in quotes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow([_storable(cell) for cell in cells])
    return text.getvalue().removesuffix("\r\n") + "\n"


def _storable(cell: object) -> object:
    """The cell, as text that UTF-8 can encode."""
    if not isinstance(cell, str) or not any("\ud800" <= sign <= "\udfff" for sign in cell):
        return cell
    return "".join(escaped(sign) if "\ud800" <= sign <= "\udfff" else sign for sign in cell)


def _records(rows: Rows) -> list[Record]:
    import pandas as pd

    if isinstance(rows, pd.DataFrame):
        rows = cast("list[Record]", _flat(rows).to_dict("records"))
    records = list(rows)
    if not records:
        raise ValueError("rows must hold at least one run, got none.")
    return records


def _check_name(name: str, records: Sequence[Record]) -> None:
    if not any(name in record for record in records):
        known = sorted({key for record in records for key in record})
        listed = ", ".join(map(visible, known))
        raise ValueError(f"no run has {name!r}.{did_you_mean(name, known)} There are: {listed}.")


def _number(record: Record, name: str) -> float:
    value = record.get(name)
    if not isinstance(value, Real):
        raise ValueError(f"every run must have a number for {name!r}, got {value!r}.")
    return float(value)


def _setting(value: object) -> Hashable:
    """A setting in a form that can be compared: lists as tuples, and NaN (a gap in a DataFrame) as None."""
    if isinstance(value, list):
        return tuple(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its index as first columns, unless the index only numbers the rows."""
    import pandas as pd

    counts = pd.api.types.is_integer_dtype(table.index) and table.index.names == [None]
    return table.reset_index(drop=counts)


def _texts(
    table: pd.DataFrame, digits: int, best: Best | None, form: _Format
) -> tuple[list[str], list[list[str]], list[bool]]:
    """Heads, cells, and which columns hold numbers."""
    if best not in (None, "max", "min"):
        raise ValueError(f"best must be 'max', 'min' or None, got {best!r}.")
    flat = _flat(table)
    rows: list[tuple[object, ...]] = list(flat.itertuples(index=False, name=None))
    # In a table with spreads, plain numbers are settings.
    spreads = any(isinstance(cell, Spread) for row in rows for cell in row)
    texts = [_row_texts(row, digits, best, form, Spread if spreads else float) for row in rows]
    numeric = [all(isinstance(row[i], Spread | Real) for row in rows) for i in range(flat.shape[1])]
    return [form.word(str(head)) for head in flat.columns], texts, numeric


def _row_texts(
    row: Sequence[object], digits: int, best: Best | None, form: _Format, kind: type[Spread | float]
) -> list[str]:
    """The cells of a row as text. Cells of the given kind are numbers; the best of them is marked."""
    means = {}
    for i, cell in enumerate(row):
        mean = cell.mean if isinstance(cell, Spread) else cell
        if isinstance(cell, kind) and isinstance(mean, float) and not math.isnan(mean):
            means[i] = round(float(mean), digits)
    ranked = means.values() if best and len(means) > 1 else ()
    winner = (max if best == "max" else min)(ranked, default=None)
    texts = []
    for i, cell in enumerate(row):
        if i not in means:
            texts.append(form.word(cell.text(digits) if isinstance(cell, Spread) else str(cell)))
            continue
        text = cell.text(digits, form.plus_minus) if isinstance(cell, Spread) else f"{cell:.{digits}f}"
        texts.append(form.best(text) if means[i] == winner else form.number(text))
    return texts


def _flatten(mapping: Record, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Names and values of a mapping and of those nested in it."""
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _short(value: object) -> str:
    """A value for the terminal: real numbers with four decimals, or three significant digits if very large or small."""
    if value is None:
        return "-"
    if isinstance(value, Real) and not isinstance(value, Integral):
        number = float(value)
        readable = number == 0 or 1e-3 <= abs(number) < 1e5
        return f"{number:.4f}" if readable else f"{number:.3g}"
    return visible(value)
