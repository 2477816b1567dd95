"""Runs grouped by technique and data set, with every technique on every data set."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeAlias

from jumpstart.tables.records import Record, check_name, setting_of

Pairs: TypeAlias = dict[Hashable, dict[Hashable, list[Record]]]
"""The runs by technique, then by data set. All techniques have the same data sets in the same order."""


def pairs_of(records: Sequence[Record], technique: str, dataset: str) -> Pairs:
    """Group the runs.

    Args:
        records: The runs.
        technique: The name of the setting whose values are the techniques.
        dataset: The name of the setting whose values are the data sets.

    Raises:
        ValueError: If a name is in none of the records, a run has no technique or no data set, or a technique has no
            run on a data set.

    Example:
        >>> runs = [{"technique": "a", "dataset": "moons"}, {"technique": "b", "dataset": "moons"}]
        >>> pairs_of(runs, "technique", "dataset")["b"]
        {'moons': [{'technique': 'b', 'dataset': 'moons'}]}
    """
    check_name(technique, records)
    check_name(dataset, records)
    found: Pairs = {}
    for record in records:
        pair = setting_of(record.get(technique)), setting_of(record.get(dataset))
        if None in pair:
            raise ValueError(f"every row must have a {technique} and a {dataset}, got {pair}.")
        found.setdefault(pair[0], {}).setdefault(pair[1], []).append(record)
    datasets = dict.fromkeys(name for runs in found.values() for name in runs)
    for name, runs in found.items():
        lacking = [other for other in datasets if other not in runs]
        if lacking:
            raise ValueError(
                f"rows must have every technique on every data set, {name!r} lacks {lacking[0]!r}: add that run, "
                "or leave the data set out."
            )
    return {name: {dataset: runs[dataset] for dataset in datasets} for name, runs in found.items()}
