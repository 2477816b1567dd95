"""Techniques against one another over several data sets: wins, draws and losses; ranks and their tests."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from jumpstart.choices import choose
from jumpstart.tables.formats import Best, check_best, check_digits
from jumpstart.tables.pairs import Pairs, pairs_of
from jumpstart.tables.records import Rows, check_name, number_of, records_of
from jumpstart.tables.spread import Spread

if TYPE_CHECKING:
    import pandas as pd


class Draw(StrEnum):
    """When two techniques draw on a data set."""

    DIGITS = "digits"
    """Their means are equal at the digits shown, as in tables of published results."""
    TEST = "test"
    """Welch's t-test over the runs, such as seeds, finds no significant difference of the means."""


def wins_draws_losses(
    rows: Rows,
    value: str = "test/acc",
    *,
    best: Best = "max",
    draw: Draw | str = Draw.DIGITS,
    digits: int = 3,
    alpha: float = 0.05,
    technique: str = "technique",
    dataset: str = "dataset",
) -> pd.DataFrame:
    """On how many data sets each technique wins, draws and loses against each other technique.

    Args:
        rows: One row per run. On each data set, the means over all runs of a technique are compared, so give the runs
            of one setting per technique and data set, as :func:`best_runs` returns them.
        value: The metric.
        best: Whether the highest (``max``) or the lowest (``min``) mean wins.
        draw: The rule for a draw. ``digits``: the means are equal at ``digits`` decimals. ``test``: Welch's t-test has
            a p-value of at least ``alpha``; each technique then needs two runs on each data set.
        digits: Decimals of the means.
        alpha: The level of significance.
        technique: The setting whose values are the techniques.
        dataset: The setting whose values are the data sets.

    Returns:
        One row for each ordered pair: the technique, the one that it is compared ``against``, ``wins``, ``draws``
        and ``losses``.

    Raises:
        ValueError: If there are fewer than two techniques, a technique has no run on a data set, a run lacks the metric
            or has NaN, or an argument is not one of the above.

    Example:
        >>> runs = [
        ...     {"technique": name, "dataset": data, "test/acc": acc}
        ...     for name, accuracies in {"plain": (0.5, 0.91, 0.3), "ours": (0.9, 0.9104, 0.2)}.items()
        ...     for data, acc in zip(("moons", "iris", "wine"), accuracies)
        ... ]
        >>> wins_draws_losses(runs)
          technique against  wins  draws  losses
        0     plain    ours     1      1       1
        1      ours   plain     1      1       1
    """
    import pandas as pd

    check_best(best)
    check_digits(digits)
    _check_alpha(alpha)
    rule = choose(Draw, draw, "draw")
    spreads = _spreads(rows, value, technique, dataset, at_least=2)
    if rule is Draw.TEST:
        _check_counts(spreads)
    table = []
    for one, other in itertools.permutations(spreads, 2):
        both = [(spreads[one][data], spreads[other][data]) for data in spreads[one]]
        drawn = [_is_draw(first, second, rule, digits, alpha) for first, second in both]
        better = [(first.mean > second.mean) == (best == "max") for first, second in both]
        wins = sum(won and not equal for won, equal in zip(better, drawn, strict=True))
        draws = sum(drawn)
        table.append((one, other, wins, draws, len(both) - wins - draws))
    return pd.DataFrame(table, columns=[technique, "against", "wins", "draws", "losses"])


def _is_draw(one: Spread, other: Spread, rule: Draw, digits: int, alpha: float) -> bool:
    if rule is Draw.DIGITS:
        return round(one.mean, digits) == round(other.mean, digits)
    if one.std == other.std == 0:  # the test would divide by zero
        return one.mean == other.mean
    from scipy.stats import ttest_ind_from_stats

    sides = (one.mean, one.std, one.count, other.mean, other.std, other.count)
    return bool(ttest_ind_from_stats(*sides, equal_var=False).pvalue >= alpha)


@dataclass(frozen=True)
class Ranks:
    """The ranks of techniques over several data sets, and whether they differ.

    Attributes:
        table: One row per data set with the rank of each technique: 1 is best, and equal means share their mean rank.
        mean: The mean rank of each technique, the best first.
        statistic: The statistic of the Friedman test, with the correction for ties.
        p_value: Its p-value, for the hypothesis that all techniques are equally good.
        pairs: (techniques, techniques) p-values of the Nemenyi test, in the order of ``mean``.
        critical_difference: The difference of mean ranks from which two techniques differ, by the Nemenyi test.
        alpha: The level of significance.
    """

    table: pd.DataFrame
    mean: Mapping[Hashable, float]
    statistic: float
    p_value: float
    pairs: pd.DataFrame
    critical_difference: float
    alpha: float

    def __str__(self) -> str:
        """The tests in a sentence."""
        freedom = len(self.mean) - 1
        return (
            f"Friedman test over {len(self.table)} data sets: chi-squared({freedom}) = {self.statistic:.3f}, "
            f"p = {self.p_value:.3g}. Critical difference of mean ranks at alpha = {self.alpha:g}, by Nemenyi's test: "
            f"{self.critical_difference:.3f}."
        )


def rank_techniques(
    rows: Rows,
    value: str = "test/acc",
    *,
    best: Best = "max",
    alpha: float = 0.05,
    technique: str = "technique",
    dataset: str = "dataset",
) -> Ranks:
    """Rank techniques on every data set, with a Friedman test and the Nemenyi test of all pairs.

    Args:
        rows: As for :func:`wins_draws_losses`.
        value: The metric.
        best: Whether the highest (``max``) or the lowest (``min``) mean has rank 1.
        alpha: The level of significance.
        technique: The setting whose values are the techniques.
        dataset: The setting whose values are the data sets.

    Returns:
        The ranks. :func:`~jumpstart.plotting.plot_critical_difference` draws them.

    Raises:
        ValueError: If there are fewer than three techniques or two data sets, a technique has no run on a data set, or
            a run lacks the metric or has NaN.
        ImportError: If scikit-posthocs, of the extra ``ranks``, is not installed.

    Source:
        J. Demšar, *Statistical Comparisons of Classifiers over Multiple Data Sets*, JMLR 7, 2006.

    Example:
        >>> runs = [
        ...     {"technique": name, "dataset": number, "test/acc": accuracy}
        ...     for number in range(12)
        ...     for name, accuracy in {"plain": 0.5, "skip": 0.7, "ours": 0.9}.items()
        ... ]
        >>> ranks = rank_techniques(runs)
        >>> ranks.mean, round(ranks.critical_difference, 3)
        ({'ours': 1.0, 'skip': 2.0, 'plain': 3.0}, 0.957)
    """
    import pandas as pd
    from scipy.stats import studentized_range

    check_best(best)
    _check_alpha(alpha)
    spreads = _spreads(rows, value, technique, dataset, at_least=3)
    means = pd.DataFrame({name: {data: one.mean for data, one in runs.items()} for name, runs in spreads.items()})
    count, techniques = means.shape
    if count < 2:
        raise ValueError(f"rows must have at least 2 data sets to rank techniques over, got {count}.")
    table = means.rank(axis=1, ascending=best == "min")
    mean = table.mean().sort_values(kind="stable")
    statistic, p_value = _friedman(table)
    quantile = studentized_range.ppf(1 - alpha, techniques, math.inf) / math.sqrt(2)
    return Ranks(
        table=table.rename_axis(dataset).reset_index(),
        mean={name: float(rank) for name, rank in mean.items()},
        statistic=statistic,
        p_value=p_value,
        pairs=_nemenyi(table)[list(mean.index)].loc[list(mean.index)],
        critical_difference=float(quantile * math.sqrt(techniques * (techniques + 1) / (6 * count))),
        alpha=alpha,
    )


def _friedman(table: pd.DataFrame) -> tuple[float, float]:
    """Statistic and p-value; without any difference of ranks, the statistic is 0 / 0."""
    from scipy.stats import friedmanchisquare

    if (table.nunique(axis=1) == 1).all():
        return 0.0, 1.0
    result = friedmanchisquare(*table.to_numpy().T)
    return float(result.statistic), float(result.pvalue)


def _nemenyi(table: pd.DataFrame) -> pd.DataFrame:
    """P-values of all pairs of columns."""
    from scikit_posthocs import posthoc_nemenyi_friedman

    pairs: pd.DataFrame = posthoc_nemenyi_friedman(table.to_numpy())
    return pairs.set_axis(table.columns, axis=0).set_axis(table.columns, axis=1)


def _spreads(
    rows: Rows, value: str, technique: str, dataset: str, *, at_least: int
) -> dict[Hashable, dict[Hashable, Spread]]:
    """The spread of the metric for every technique and data set."""
    records = records_of(rows)
    pairs: Pairs = pairs_of(records, technique, dataset)
    check_name(value, records)
    if len(pairs) < at_least:
        raise ValueError(
            f"rows must have at least {at_least} techniques to compare, got {len(pairs)} under {technique!r}."
        )
    spreads = {
        name: {data: Spread.of(number_of(run, value) for run in found) for data, found in runs.items()}
        for name, runs in pairs.items()
    }
    for name, runs in spreads.items():
        for data, spread in runs.items():
            if math.isnan(spread.mean):
                raise ValueError(
                    f"{value} must not be NaN, got NaN for {name!r} on {data!r}: leave the data set out, or set the "
                    "value that such a run counts."
                )
    return spreads


def _check_counts(spreads: Mapping[Hashable, Mapping[Hashable, Spread]]) -> None:
    for name, runs in spreads.items():
        for data, spread in runs.items():
            if spread.count < 2:
                raise ValueError(
                    f"draw='test' needs at least 2 runs of each technique on each data set, got 1 of {name!r} on "
                    f"{data!r}: use draw='digits', or add seeds."
                )


def _check_alpha(alpha: float) -> None:
    if not (isinstance(alpha, int | float) and 0 < alpha < 1):
        raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}. Usual is 0.05.")
