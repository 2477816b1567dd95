"""The checksums of the files of a finished run, which tell whoever reads the run that a file has changed.

A digit that changes on a disk leaves a file that can be read, with a wrong number in it. The checksums are in the file
``SHA256SUMS`` of the run directory, and ``sha256sum --check SHA256SUMS`` compares them too.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from jumpstart.files import write_text

CHECKSUMS = "SHA256SUMS"
"""The file with the checksums, in a run directory."""
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\n]+)")

logger = logging.getLogger(__name__)


def checksum(source: Path | str) -> str:
    """The SHA-256 of a file or of a text.

    Args:
        source: The path of the file, or the text.

    Raises:
        OSError: If the file can't be read.
    """
    if isinstance(source, str):
        return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(directory: Path, files: Sequence[Path]) -> None:
    """Write the checksums of files, in place of those before.

    Args:
        directory: The folder of the files.
        files: The files. Missing files are left out.

    Raises:
        OSError: If a file can't be read or written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> file = folder / "metrics.csv"
        >>> _ = file.write_text("epoch,val/acc")
        >>> write_checksums(folder, [file])
        >>> changed_files(folder)
        []
        >>> _ = file.write_text("epoch,val/act")
        >>> [path.name for path in changed_files(folder)]
        ['metrics.csv']
    """
    lines = [f"{checksum(file)}  {file.name}\n" for file in files if file.is_file()]
    write_text(directory / CHECKSUMS, "".join(lines))


def keep_checksum(directory: Path, name: str) -> None:
    """Drop all checksums but one, because the other files of the run change from now on.

    Args:
        directory: The run directory, with or without checksums.
        name: The name of the file whose checksum stays.

    Raises:
        OSError: If the checksums can't be read or written.
    """
    path = directory / CHECKSUMS
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        write_text(path, "".join(line for line in lines if line.endswith(f" {name}\n")))


def changed_files(directory: Path, *names: str) -> list[Path]:
    """The files of a run that are not as they were when the run ended.

    Files that are missing or that can't be read are not among them: whoever reads them says so.

    Args:
        directory: The run directory. A directory without checksums has no changed files.
        names: The names of the files to compare; none for all files.
    """
    path = directory / CHECKSUMS
    if not path.is_file():
        return []
    try:
        lines = [_LINE.fullmatch(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return []
    except ValueError:
        return [path]
    if None in lines:
        return [path]
    before = {line[2]: line[1] for line in lines if line is not None}
    return [directory / name for name in names or before if name in before and _differs(directory / name, before[name])]


def change_of(name: Path | str) -> str:
    """A clause about a file of :func:`changed_files`.

    Args:
        name: The name of the file, or its path.
    """
    source = "" if Path(name).name == CHECKSUMS else f" or its checksum in {CHECKSUMS}"
    return f"{name}{source} has changed since the run ended"


def warn_of_changes(directory: Path) -> list[Path]:
    """Log a warning for each file of a finished run that has changed, and return these files.

    Args:
        directory: As that of :func:`changed_files`.
    """
    changed = changed_files(directory)
    for path in changed:
        logger.warning("%s: the content of the file may be wrong.", change_of(path))
    return changed


def _differs(path: Path, before: str) -> bool:
    try:
        return path.is_file() and checksum(path) != before
    except OSError:
        return False
