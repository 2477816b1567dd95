"""Files of weights: a description of what is in a file, and a state dict that is loaded into a model."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from jumpstart.doctor.load import DoctorError, one_line
from jumpstart.files.checkpoints import DamagedCheckpointError, load_checkpoint
from jumpstart.words import counted, some

_NAMES = ("state_dict", "model_state_dict", "model", "net", "weights")
"""The names under which checkpoints keep a state dict, in the order in which they are tried."""
_HOW = "name the model as MODEL=package.module:name and its weights as --weights"


def description(path: Path) -> str:
    """What a file is, and what to give instead of it as MODEL.

    No object of the file is made, and no code of it runs.

    Args:
        path: A file or folder that no plugin can read.

    Example:
        >>> description(Path("jumpstart"))
        'a folder: name the model as MODEL=package.module:name'
    """
    if path.is_dir():
        return "a folder: name the model as MODEL=package.module:name"
    script = _is_script(path)
    if script:
        return f"{script}, whose modules have no hooks: name the model in Python as MODEL=package.module:name"
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
        content = None if names else torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors for a file that it did not write
        return f"no file that torch.save wrote, or a damaged one ({one_line(error):.100}): {_HOW}"
    if names:
        kind = "a whole pickled model" if any(name.startswith("torch.nn.modules.") for name in names) else "a pickle"
        return (
            f"{kind}, which can run code while it is read: save its state_dict() instead, and {_HOW} (objects of "
            f"{some(names)})"
        )
    if _is_state_dict(content):
        tensors = counted(len(content), "tensor")
        return f"a state_dict of {tensors} ({some(list(content))}), without the network: {_HOW}={path}"
    if not isinstance(content, Mapping):
        return f"no checkpoint, but {type(content).__name__}: {_HOW}"
    keys = some([str(key) for key in content], 6)
    inside = next((name for name in _NAMES if _is_state_dict(content.get(name))), None)
    if inside is None:
        return f"a checkpoint without a state_dict (keys: {keys}): {_HOW}"
    return f"a checkpoint with a state_dict (keys: {keys}), without the network: {_HOW}={path}"


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict, or that of a checkpoint, into a model.

    Args:
        model: The model.
        path: The file. The prefixes of ``DataParallel`` and ``torch.compile`` are left out of its names.

    Raises:
        DoctorError: If the file is damaged, or holds no state dict, or not that of the model.
    """
    try:
        content = load_checkpoint(path)
    except FileNotFoundError:
        raise DoctorError(f"--weights={path} does not exist.") from None
    except DamagedCheckpointError as error:
        raise DoctorError(f"--weights={path} can't be used: {error}. Restore it.") from None
    except Exception as error:  # torch raises many kinds of errors for a file that it did not write
        raise DoctorError(f"--weights={path} can't be read: it is {description(path)}.") from error
    inside = content if _is_state_dict(content) else None
    if inside is None and isinstance(content, Mapping):
        inside = next((content[name] for name in _NAMES if _is_state_dict(content.get(name))), None)
    if inside is None:
        raise DoctorError(f"--weights={path} holds no state_dict: it is {description(path)}.")
    state = dict(inside)
    for prefix in ("module.", "_orig_mod."):
        consume_prefix_in_state_dict_if_present(state, prefix)
    try:
        getattr(model, "_orig_mod", model).load_state_dict(state)
    except RuntimeError as error:
        raise DoctorError(f"--weights={path} does not fit {type(model).__name__}: {one_line(error)}") from error


def _is_state_dict(content: object) -> TypeGuard[Mapping[str, Tensor]]:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )


def _is_script(path: Path) -> str | None:
    """The kind of a compiled or exported program in a file, or None."""
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] or name for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return None
    if "constants.pkl" in names:
        return "a TorchScript model"
    if any(name.endswith(("serialized_exported_program.json", "models/model.json")) for name in names):
        return "a program of torch.export"
    return None
