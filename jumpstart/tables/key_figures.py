"""The four key figures of the article, which compare techniques over several data sets."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from numbers import Real
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from jumpstart.choices import DEAD_NETWORK_SHARE, Part, choose
from jumpstart.tables.pairs import pairs_of
from jumpstart.tables.records import Record, Rows, check_name, number_of, records_of

if TYPE_CHECKING:
    import pandas as pd


class _Model(NamedTuple):
    """Metrics of one model, ordered so that the best model is the maximum."""

    score: float
    accuracy: float
    minus_dead: float
    minus_linear: float


def key_figures(
    results: Rows,
    threshold: float = DEAD_NETWORK_SHARE,
    *,
    part: Part | str | None = None,
    on: str | None = None,
    technique: str = "technique",
    dataset: str = "dataset",
) -> pd.DataFrame:
    """The paper's four key figures, which compare techniques across data sets.

    On each data set, a technique is judged by its best model: the model of the highest accuracy and, among
    several, the model with the fewest dead, then the fewest linear units.

    Args:
        results: One row per model with a technique, a data set, ``accuracy``, ``unit_dead_ratio`` and
            ``unit_linear_ratio``, the last three in [0, 1].
        threshold: The share of dead (or linear) units above which a model counts as dead (or linear).
        part: The part of the data whose metrics are compared, such as ``test``: the columns are then ``test/acc``,
            ``test/unit_dead_ratio`` and ``test/unit_linear_ratio``, as runs have them. None: the names above.
        on: The metric whose highest value chooses the best model, such as ``val/acc``; None: the accuracy itself.
        technique: The setting whose values are the techniques.
        dataset: The setting whose values are the data sets.

    Returns:
        One row per technique, in the order of first appearance:

        - ``dead_units``: share of data sets whose best model has more dead units than the
          threshold; ``dead_units_area``: area under that share as the threshold runs from 0 to 1.
        - ``linear_units``, ``linear_units_area``: the same for linear units.
        - ``trainability``: share of data sets whose best model is strictly better than the worst
          accuracy of any model of any technique.
        - ``convergence``: mean over the data sets of the technique's best accuracy minus the best
          accuracy of all techniques; 0 is best. With ``on``, both are those of the models that it chooses.

    Raises:
        ValueError: If a column or a technique's result on a data set is missing, or a number,
            such as ``threshold``, is not in [0, 1].

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
    import pandas as pd

    if not (isinstance(threshold, Real) and 0 <= threshold <= 1):
        raise ValueError(f"threshold must be a share in [0, 1], got {threshold!r}.")
    records = records_of(results)
    prefix = "" if part is None else f"{choose(Part, part, 'part')}/"
    names = f"{prefix}{'acc' if prefix else 'accuracy'}", f"{prefix}unit_dead_ratio", f"{prefix}unit_linear_ratio"
    pairs = pairs_of(records, technique, dataset)
    for name in (*names, on or names[0]):
        check_name(name, records)
    every = {
        name: {data: [_model(record, names, on) for record in found] for data, found in runs.items()}
        for name, runs in pairs.items()
    }
    best = {name: {data: max(models) for data, models in runs.items()} for name, runs in every.items()}
    datasets = list(next(iter(best.values())))
    worst = {data: min(model.accuracy for runs in every.values() for model in runs[data]) for data in datasets}
    top = {data: max(runs[data].accuracy for runs in best.values()) for data in datasets}
    return pd.DataFrame([_figures(technique, name, runs, threshold, worst, top) for name, runs in best.items()])


def _figures(
    technique: str,
    name: Hashable,
    best: dict[Hashable, _Model],
    threshold: float,
    worst: dict[Hashable, float],
    top: dict[Hashable, float],
) -> dict[str, object]:
    """The row of one technique, from its best model on each data set and the worst and best accuracies there."""
    return {
        technique: name,
        **_exceeding("dead_units", [-model.minus_dead for model in best.values()], threshold),
        **_exceeding("linear_units", [-model.minus_linear for model in best.values()], threshold),
        "trainability": fmean(model.accuracy > worst[data] for data, model in best.items()),
        "convergence": fmean(model.accuracy - top[data] for data, model in best.items()),
    }


def _model(record: Record, names: Sequence[str], on: str | None) -> _Model:
    values = [number_of(record, name) for name in names]
    for name, value in zip(names, values, strict=True):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} must be in [0, 1], got {value}.")
    accuracy, dead, linear = values
    score = accuracy if on is None else number_of(record, on)
    return _Model(-math.inf if math.isnan(score) else score, accuracy, -dead, -linear)


def _exceeding(name: str, ratios: Sequence[float], threshold: float) -> dict[str, float]:
    """Share of ratios above a threshold, and the area under that share over all thresholds from 0 to 1."""
    # The integral of the share of ratios above t, for t from 0 to 1, is the mean of the ratios.
    return {name: fmean(ratio > threshold for ratio in ratios), f"{name}_area": fmean(ratios)}
