"""The data of the user in a sweep: all runs must have the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from jumpstart.files import user_path
from model.config.experiment import ExperimentConfig
from sweep.families import data_key
from sweep.files import RunDirectoryError, write_json

if TYPE_CHECKING:
    from data.data import AnyData

FOLDER = "data"
"""The folder of a sweep that has a file for each data set of the user."""


def check_data_of_sweep(config: ExperimentConfig, data: AnyData) -> None:
    """Refuse to train a new run of a sweep with data that have changed since the first run with these data began.

    The first run writes the fingerprint of its data into the folder of the sweep, and all later ones compare theirs.
    The fingerprint of a table says which files it has, that of images also how they are split, so images are compared
    among the runs with the same split.

    Args:
        config: The run. If its directory is not in a sweep on this machine, nothing is compared.
        data: Its data, set up.

    Raises:
        RunDirectoryError: If the fingerprint differs from the one in the folder of the sweep.
    """
    from sweep.ledger.ledger import NAME

    folder = user_path(config.output_dir, "output_dir").parent
    found = data.fingerprint()
    if not found or not (folder / NAME).exists():
        return
    file = folder / FOLDER / f"{_key(config, data)}.json"
    before = _read(file)
    if before is None:
        file.parent.mkdir(exist_ok=True)
        write_json(file, {"dataset": config.dataset, "fingerprint": found})
    elif before != found:
        raise RunDirectoryError(
            f"the data changed since the first run of {folder} began: {found}, and before {before}. Restore the data, "
            "or choose another --name."
        )


def _key(config: ExperimentConfig, data: AnyData) -> str:
    """A name for the runs whose data must have the same fingerprint."""
    from data.tabular import TabularData

    if isinstance(data, TabularData):
        values: tuple[object, ...] = (config.dataset, config.val_dataset, config.test_dataset)
    else:
        split = config.seed if config.split_seed is None else config.split_seed
        values = (split, *data_key(config))
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _read(file: Path) -> str | None:
    """The fingerprint in a file; None if there is no such file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return str(content["fingerprint"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunDirectoryError(f"{file} can't be read: {error!r}. Restore it, or remove it.") from None
