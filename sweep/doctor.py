"""The plugin of ``python -m jumpstart doctor`` for this project: its checkpoints, run directories and data sets.

``pyproject.toml`` names this module; :mod:`jumpstart.doctor.plugins` imports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data.cache import DataError
from data.data import make_datamodule
from jumpstart.doctor.load import CaptureOptions, DoctorError, LoadedModel
from jumpstart.files.checkpoints import DamagedCheckpointError, load_checkpoint
from model.rectangular_experiment import RectangularExperiment
from model.resnet_experiment import ResnetExperiment
from sweep.run_directory import BEST_CHECKPOINT, LAST_CHECKPOINT

EXPERIMENTS: tuple[type[RectangularExperiment] | type[ResnetExperiment], ...] = (
    RectangularExperiment,
    ResnetExperiment,
)
"""The experiments whose checkpoints can be read."""


def load_model(path: Path) -> LoadedModel | None:
    """The network of an experiment, in evaluation mode; None if there is no checkpoint of an experiment.

    Args:
        path: A checkpoint, or a run directory, whose best checkpoint is read, or else its last one.

    Raises:
        DoctorError: If the checkpoint is damaged or fits no experiment, or a folder has none.
    """
    file = path
    if path.is_dir():
        files = [path / name for name in (BEST_CHECKPOINT, LAST_CHECKPOINT) if (path / name).is_file()]
        if not files:
            raise DoctorError(f"{path} has no checkpoint: neither {BEST_CHECKPOINT} nor {LAST_CHECKPOINT}.")
        file = files[0]
    read = _read(file)
    if read is None:
        return None
    options, state = read
    reasons = []
    for kind in EXPERIMENTS:
        try:
            experiment = kind(**options)
            experiment.load_state_dict(state)
        except (TypeError, ValueError, RuntimeError) as error:
            reasons.append(f"{kind.__name__}: {' '.join(str(error).split()):.120}")
            continue
        experiment.jumpstart.remove()
        config, shape = experiment.config, options.get("input_shape")
        capture = CaptureOptions(capture=config.capture, skip_last=config.skip_last, unit_dim=config.unit_dim)
        name = f"{path}, {config.network}"
        return LoadedModel(experiment.network.eval(), name, tuple(shape) if shape else None, capture)
    raise DoctorError(
        f"{file} fits no experiment ({'; '.join(reasons)}): for a model of your own, name MODEL=package.module:name "
        f"and --weights={file}."
    )


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """The arguments of the experiment and its weights; None if the file has no such parts."""
    try:
        content = load_checkpoint(file)
    except DamagedCheckpointError as error:
        raise DoctorError(f"{file} can't be used: {error}. Restore it.") from None
    except Exception:  # torch raises many kinds of errors for a file that is no checkpoint
        return None
    if not isinstance(content, dict):
        return None
    options, state = content.get("hyper_parameters"), content.get("state_dict")
    return (options, state) if isinstance(options, dict) and isinstance(state, dict) else None


def load_batch(name: str, model: nn.Module, batch_size: int, seed: int, target: str | None = None) -> Tensor:
    """The first training batch of a data set.

    Args:
        name: The name of the data set, as ``python -m data`` lists it, or the path of data of the user.
        model: The model. A model whose first layer is a convolution gets images, any other model gets rows.
        batch_size: Samples in the batch.
        seed: The seed of the split and of the order.
        target: The column of the classes, if the data set is a table of the user.

    Raises:
        DoctorError: If there is no such data set, or it can't be read.
    """
    first = next((module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)), None)
    try:
        images = isinstance(first, nn.Conv2d)
        data = make_datamodule(name, batch_size=batch_size, seed=seed, as_images=images, target=target)
        data.prepare_data()
        data.setup("fit")
        batch = next(iter(data.train_dataloader()))[0]
    except (DataError, ValueError, OSError, TypeError) as error:
        raise DoctorError(f"--data={name}: {error}") from error
    return torch.as_tensor(batch).to(next(model.parameters(), torch.empty(0)))
