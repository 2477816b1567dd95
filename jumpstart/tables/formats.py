"""Tables as Markdown, LaTeX, HTML and CSV. Names are literal text in each of them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from jumpstart.choices import check_flag
from jumpstart.literal import csv_text, html_text, latex_text, markdown_text
from jumpstart.palette import CURVE_COLORS
from jumpstart.tables.records import flat, setting_of
from jumpstart.tables.spread import Spread

if TYPE_CHECKING:
    import pandas as pd

Best: TypeAlias = Literal["max", "min"]

_STRONGEST = 0.5
"""The share of the color behind the best number; the rest is white, so that black text stays legible."""

_MOST_DIGITS = 17
"""The decimals after which a number in double precision has no more information."""


@dataclass(frozen=True, slots=True)
class _Format:
    """How a format writes words, numbers, and the best number of a row."""

    word: Callable[[str], str]
    number: Callable[[str], str]
    best: Callable[[str], str]
    plus_minus: str


class _Cell(NamedTuple):
    """A cell: its text, and how good its number is, from 0 for the worst to 1 for the best of its row, or None."""

    text: str
    goodness: float | None = None


class _Grid(NamedTuple):
    """A table in a format: heads, rows of cells, and which columns hold numbers."""

    heads: list[str]
    rows: list[list[_Cell]]
    numeric: list[bool]


def _latex_number(text: str) -> str:
    """A number in LaTeX's mathematics, where ``inf`` would be three variables."""
    return text.replace("inf", r"\infty")


_MARKDOWN = _Format(markdown_text, str, lambda text: f"**{text}**", "±")
_HTML = _Format(html_text, str, lambda text: f"<strong>{text}</strong>", "±")
_LATEX = _Format(
    latex_text,
    lambda text: f"${_latex_number(text)}$",
    lambda text: rf"$\mathbf{{{_latex_number(text)}}}$",
    r"\pm",
)


def check_best(best: object) -> None:
    """Refuse anything but ``max`` and ``min``.

    Raises:
        ValueError: If it is something else.
    """
    if best not in ("max", "min"):
        raise ValueError(f"best must be 'max' or 'min', got {best!r}.")


def check_digits(digits: object) -> None:
    """Refuse anything but a number of decimals.

    Raises:
        ValueError: If it is no whole number >= 0.
    """
    if not isinstance(digits, int) or isinstance(digits, bool) or not 0 <= digits <= _MOST_DIGITS:
        raise ValueError(f"digits must be a whole number from 0 to {_MOST_DIGITS}, got {digits!r}.")


def to_markdown(table: pd.DataFrame, digits: int = 3, best: Best | None = None) -> str:
    """A Markdown table, as lines without a last line break.

    Args:
        table: Any table, such as from :func:`results_table` or :func:`key_figures`; an index with a name
            or of words becomes the first columns.
        digits: Decimals of the numbers.
        best: Set the highest (``max``) or lowest (``min``) number of each row in bold; numbers that
            are equal at these digits are all the best.

    Raises:
        ValueError: If ``best`` is not one of these, or ``digits`` is no whole number from 0 to 17.
    """
    grid = _grid(table, digits, best, _MARKDOWN)
    rule = "|".join("---:" if number else ":---" for number in grid.numeric)
    rows = (grid.heads, *([cell.text for cell in row] for row in grid.rows))
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, f"|{rule}|", *body])


def to_latex(table: pd.DataFrame, digits: int = 3, best: Best | None = None, *, colors: bool = False) -> str:
    r"""A LaTeX ``tabular``, as :func:`to_markdown`; the document needs ``\usepackage{booktabs}``.

    Args:
        table: As for :func:`to_markdown`.
        digits: Decimals of the numbers.
        best: As for :func:`to_markdown`.
        colors: Whether to color the cells behind the numbers of each row, from white for the worst to green for the
            best. The document then needs ``\usepackage[table]{xcolor}`` too.

    Raises:
        ValueError: As :func:`to_markdown`, or if ``colors`` is set without ``best``.

    Example:
        >>> import pandas as pd
        >>> print(to_latex(pd.DataFrame({"data": ["moons"], "plain": [0.5], "ours": [0.98]}), 2, "max"))
        \begin{tabular}{lrr}
        \toprule
        data & plain & ours \\
        \midrule
        moons & $0.50$ & $\mathbf{0.98}$ \\
        \bottomrule
        \end{tabular}
    """
    grid = _grid(table, digits, best, _LATEX, colors=colors)
    body = [[_latex_color(cell.goodness) + cell.text for cell in row] for row in grid.rows]
    head, *lines = (" & ".join(row) + r" \\" for row in (grid.heads, *body))
    spec = "".join("r" if number else "l" for number in grid.numeric)
    first = [rf"\begin{{tabular}}{{{spec}}}", r"\toprule", head, r"\midrule"]
    return "\n".join([*first, *lines, r"\bottomrule", r"\end{tabular}"])


def to_html(table: pd.DataFrame, digits: int = 3, best: Best | None = None, *, colors: bool = False) -> str:
    """A ``<table>`` for a web page or a notebook, without styles except the alignment and the colors.

    Args:
        table: As for :func:`to_markdown`.
        digits: Decimals of the numbers.
        best: As for :func:`to_markdown`.
        colors: As for :func:`to_latex`.

    Raises:
        ValueError: As :func:`to_latex`.

    Example:
        >>> import pandas as pd
        >>> print(to_html(pd.DataFrame({"plain": [0.5], "ours": [0.98]}), 2, "max"))
        <table>
        <thead><tr><th style="text-align:right">plain</th><th style="text-align:right">ours</th></tr></thead>
        <tbody>
        <tr><td style="text-align:right">0.50</td><td style="text-align:right"><strong>0.98</strong></td></tr>
        </tbody>
        </table>
    """
    grid = _grid(table, digits, best, _HTML, colors=colors)
    sides = ["right" if number else "left" for number in grid.numeric]
    head = "".join(f'<th style="text-align:{side}">{text}</th>' for side, text in zip(sides, grid.heads, strict=True))
    rows = (
        "".join(
            f'<td style="text-align:{side}{_html_color(cell.goodness)}">{cell.text}</td>'
            for side, cell in zip(sides, row, strict=True)
        )
        for row in grid.rows
    )
    body = (f"<tr>{row}</tr>" for row in rows)
    return "\n".join(["<table>", f"<thead><tr>{head}</tr></thead>", "<tbody>", *body, "</tbody>", "</table>"])


def to_csv(table: pd.DataFrame) -> str:
    """Comma-separated values in full precision.

    A column of :class:`Spread` becomes three: mean, ``_std`` and ``_count``. Undefined numbers are
    left empty. Texts are written as they are, in quotes where needed, with two exceptions: a text that a spreadsheet
    would read as a formula begins with an apostrophe, and halves of surrogate pairs, which no file can hold, are
    written as Python escapes them.
    """
    heads: list[str] = []
    columns: list[list[object]] = []
    for head, cells in flat(table).items():
        if any(isinstance(cell, Spread) for cell in cells):
            spreads = [cell if isinstance(cell, Spread) else Spread.of([]) for cell in cells]
            heads += [str(head), f"{head}_std", f"{head}_count"]
            columns += [[s.mean for s in spreads], [s.std for s in spreads], [s.count for s in spreads]]
        else:
            heads.append(str(head))
            columns.append(list(cells))
    rows = zip(*columns, strict=True)
    return _csv_line(heads) + "".join(_csv_line(map(setting_of, row)) for row in rows)


def _csv_line(cells: Iterable[object]) -> str:
    """A row of a CSV file. Readers take a carriage return for the end of a row, unless the cell is in quotes."""
    text = io.StringIO()
    storable = [csv_text(cell) if isinstance(cell, str) else cell for cell in cells]
    csv.writer(text, lineterminator="\r\n").writerow(storable)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _color(goodness: float) -> str:
    """The color behind a number, as six hexadecimal digits."""
    strength = _STRONGEST * goodness
    levels = (int(CURVE_COLORS[0][i : i + 2], 16) for i in (1, 3, 5))
    return "".join(f"{round(255 + (level - 255) * strength):02X}" for level in levels)


def _latex_color(goodness: float | None) -> str:
    return "" if goodness is None else rf"\cellcolor[HTML]{{{_color(goodness)}}} "


def _html_color(goodness: float | None) -> str:
    return "" if goodness is None else f";background:#{_color(goodness)}"


def _grid(table: pd.DataFrame, digits: int, best: Best | None, form: _Format, *, colors: bool = False) -> _Grid:
    check_flag("colors", colors)
    if best is not None:
        check_best(best)
    if colors and best is None:
        raise ValueError("colors needs best='max' or best='min', got best=None.")
    check_digits(digits)
    plain = flat(table)
    rows: list[tuple[object, ...]] = list(plain.itertuples(index=False, name=None))
    # In a table with spreads, plain numbers are settings.
    spreads = any(isinstance(cell, Spread) for row in rows for cell in row)
    kind = Spread if spreads else Real
    cells = [_row(row, digits, best, form, kind, colors=colors) for row in rows]
    numeric = [all(isinstance(row[i], Spread | Real) for row in rows) for i in range(plain.shape[1])]
    return _Grid([form.word(str(head)) for head in plain.columns], cells, numeric)


def _row(
    row: Sequence[object],
    digits: int,
    best: Best | None,
    form: _Format,
    kind: type[Spread | Real],
    *,
    colors: bool,
) -> list[_Cell]:
    """The cells of a row. Cells of the given kind are numbers; the best of them is marked. Integers are settings."""
    means = {}
    for i, cell in enumerate(row):
        mean = cell.mean if isinstance(cell, Spread) else cell
        whole = isinstance(cell, Integral)
        if isinstance(cell, kind) and not whole and isinstance(mean, Real) and not math.isnan(mean):
            means[i] = round(float(mean), digits)
    compared = best is not None and len(means) > 1
    winner = (max if best == "max" else min)(means.values()) if compared else None
    loser = (min if best == "max" else max)(means.values()) if compared and colors else None
    cells = []
    for i, cell in enumerate(row):
        if i not in means:
            cells.append(_Cell(form.word(cell.text(digits) if isinstance(cell, Spread) else str(cell))))
            continue
        text = cell.text(digits, form.plus_minus) if isinstance(cell, Spread) else f"{cell:.{digits}f}"
        written = form.best(text) if means[i] == winner else form.number(text)
        cells.append(_Cell(written, _goodness(means[i], loser, winner)))
    return cells


def _goodness(mean: float, worst: float | None, best: float | None) -> float | None:
    """Where a number lies between the worst and the best of its row; None where this is undefined."""
    if worst is None or best is None or worst == best or math.isinf(worst) or math.isinf(best):
        return None
    return (mean - worst) / (best - worst)
