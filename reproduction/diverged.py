"""Runs that diverged: their best weights, which a run keeps, count as any others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from jumpstart.files import load_yaml
from jumpstart.monitor import StatusMonitor
from jumpstart.table import Record
from reproduction.study import Study
from sweep.resumption import read_checkpoint
from sweep.run_directory import RunDirectory

ERROR = "NonFiniteLossError"
"""The beginning of the error of a run that diverged."""
_PARTS = ("train", "val", "test")


def diverged_row(study: Study, folder: Path) -> Record:
    """The row of a run that diverged: options and metrics of its best epoch, and of its last whole epoch.

    The accuracies, and the status in the test part, are those of the best weights. Other metrics are those that were
    measured in the best epoch.

    Args:
        study: The study.
        folder: The run directory.
    """
    directory = RunDirectory(folder)
    content = load_yaml(directory.config.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    config = study.family.config_class.from_dict(content)
    best, last = read_checkpoint(directory.best_checkpoint), read_checkpoint(directory.last_checkpoint)
    rows = {"last/": last["row"], "best_row/": best["row"]}
    ends = {begin + name: value for begin, row in rows.items() for name, value in row.items() if "/" in name}
    counts = {"best_epoch": best["epoch"], "epochs": last["row"]["epoch"] + 1}
    return {**config.to_dict(), **best["row"], **_measured(study, config, best["state_dict"]), **ends, **counts}


def _measured(study: Study, config: object, weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """The accuracy of some weights in each part of the data, and the metrics of the status in the test part."""
    family = study.family
    data = family.make_data(config)  # type: ignore[arg-type]
    data.prepare()
    data.setup()
    experiment = family.build(config, data)  # type: ignore[arg-type]
    network = experiment.network.eval()  # the monitor reads the records of the experiment's regularizer
    network.load_state_dict({name.removeprefix("network."): value for name, value in weights.items()})
    found = {}
    with torch.no_grad(), StatusMonitor(network) as monitor:
        for part in _PARTS:
            monitor.reset()
            hits = [network(x).argmax(1) == y for x, y in data.batches(part)]
            found[f"{part}/acc"] = float(torch.cat(hits).double().mean())
        return found | {f"{part}/{name}": value for name, value in monitor.numbers().items()}
