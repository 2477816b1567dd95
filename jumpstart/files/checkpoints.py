"""Checkpoint files that carry a checksum of their content, written atomically and read without executing anything.

``torch.load`` verifies no checksum, so that a file with one wrong bit gives wrong weights. :func:`save_checkpoint`
stores the SHA-256 of the file in the comment of its zip archive, which every reader of such archives skips.
"""

from __future__ import annotations

import errno
import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from jumpstart.files import atomic_path

_SEAL = re.compile(rb"sha256:([0-9a-f]{64})")
_SEAL_SIZE = 71
_LENGTH = _SEAL_SIZE.to_bytes(2, "little")
"""The last two bytes of an archive before its comment: the size of the comment."""
_END_SIZE = 22
"""The size of the last record of an archive, without the comment."""
_BLOCK = 2**20
_FULL = ("PytorchStreamWriter", "unexpected pos", "iostream error")
"""What torch says, in part, when it can't write a file."""


class DamagedCheckpointError(ValueError):
    """A checkpoint is damaged. The message is the reason, in part of a line."""


def save_checkpoint(content: Mapping[str, object], path: Path) -> None:
    """Write a checkpoint and the checksum of its content, atomically.

    Args:
        content: Containers, numbers, texts and tensors.
        path: The file. Its folder must exist.

    Raises:
        OSError: If the file can't be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "last.ckpt")
        >>> save_checkpoint({"epoch": 3}, path)
        >>> load_checkpoint(path), torch.load(path)
        ({'epoch': 3}, {'epoch': 3})
    """
    with atomic_path(path) as draft:
        try:
            torch.save(dict(content), draft)
        except RuntimeError as error:  # torch's writer raises no OSError if the disk is full
            if not any(words in str(error) for words in _FULL):
                raise
            raise OSError(errno.ENOSPC, "The checkpoint can't be written, the disk may be full", str(path)) from error
        with draft.open("r+b") as file:
            file.seek(-2, 2)
            file.write(_LENGTH)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0, 2)
            file.write(f"sha256:{digest}".encode())


def load_checkpoint(path: Path, map_location: object = "cpu") -> object:
    """The content of a checkpoint, which is whole. Reading executes nothing that the file may hold.

    Args:
        path: The file.
        map_location: As that of ``torch.load``.

    Raises:
        DamagedCheckpointError: If a checksum is wrong.
        OSError: If the file can't be read.
        Exception: As ``torch.load`` with ``weights_only=True``, if the file is no checkpoint.
    """
    refuse_damage(path)
    content: object = torch.load(path, map_location=map_location, weights_only=True)  # type: ignore[arg-type]
    return content


def refuse_damage(path: Path) -> None:
    """Compare the content of a file that ``torch.save`` wrote with its checksums.

    Args:
        path: The file. A file of :func:`save_checkpoint` is compared with its SHA-256; any other archive is compared
            with the checksums of its parts, and a file that is no archive is accepted.

    Raises:
        DamagedCheckpointError: If a checksum is wrong.
        OSError: If the file can't be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - _SEAL_SIZE - 2, 0))
        tail = file.read()
        # One of the two is whole if a single place of the file is wrong.
        if tail[:2] == _LENGTH or tail[2:].startswith(b"sha256:"):
            file.seek(0)
            digest = hashlib.sha256()
            left = size - _SEAL_SIZE
            while left > 0 and (block := file.read(min(left, _BLOCK))):
                digest.update(block)
                left -= len(block)
            seal = _SEAL.fullmatch(tail[2:])
            if seal is None or seal[1] != digest.hexdigest().encode():
                raise DamagedCheckpointError("its checksum is wrong, so it is damaged")
            return
        file.seek(max(size - _SEAL_SIZE - _END_SIZE, 0))
        tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end >= 0 and len(tail) - end - _END_SIZE != int.from_bytes(tail[end + 20 : end + 22], "little"):
        raise DamagedCheckpointError("its end is missing, so it is damaged")
    if zipfile.is_zipfile(path):
        _refuse_damaged_parts(path)


def _refuse_damaged_parts(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except Exception as error:  # zipfile raises many kinds of errors for a damaged archive
        raise DamagedCheckpointError(f"it is damaged: {next(iter(str(error).splitlines()), '')}") from error
    if wrong is not None:
        raise DamagedCheckpointError(f"the checksum of its part {wrong} is wrong")
