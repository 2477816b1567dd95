"""Files of UCI: their place in the cache, their checksums, and their download.

A file is used only if its checksum is known; the checksum is verified at every load. A file that is not in the cache
is extracted from UCI's zip archive, and appears in the cache whole or not at all.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.address import Address
from data.cache import DataDir, DataError, cache_folder, folder_setting, not_writable
from data.connection import WrongContentError
from data.fetch import FAILURES, fetch_content, reason
from data.uci.archive import LARGEST, extract
from jumpstart.files import write_bytes, write_text
from jumpstart.files.drafts import remove_drafts

logger = logging.getLogger(__name__)

UCI_URL = "https://archive.ics.uci.edu/static/public"
URL_VARIABLE = "JUMPSTART_UCI_URL"


@dataclass(frozen=True)
class DataFile:
    """One file of a data set.

    Attributes:
        name: File name, in the archive and in the cache.
        sha256: Checksums of the byte forms that are known to be right.
        size: Bytes of the first of those forms.
        absent: Columns of the data set that this file lacks.
        content: Checksum of the parsed fields, for a file whose byte form at UCI is not known for certain.
        unseen: Whether UCI's own file was never available for comparison. In that case, a file in another layout than
            the known one is accepted if rows, columns and class counts are right, and a warning is logged.
        also: Further places in the cache, relative to its ``uci`` folder.
    """

    name: str
    sha256: tuple[str, ...]
    size: int
    absent: tuple[str, ...] = ()
    content: str = ""
    unseen: bool = False
    also: tuple[str, ...] = ()

    @property
    def most(self) -> int:
        """The largest size of a file that is read at all: other line ends and encodings need more than :attr:`size`."""
        return 4 * self.size + (1 << 16)


@dataclass(frozen=True)
class Content:
    """The parsed content of a file whose checksum is unknown.

    Attributes:
        digest: SHA-256 of the parsed fields.
        known_layout: Whether the file has the layout that the known checksums belong to.
        fault: The first difference from the expected structure; empty if there is none.
    """

    digest: str
    known_layout: bool
    fault: str


Inspect = Callable[[DataFile, bytes], Content]
"""Parses a file whose checksum is unknown. Raises ``ValueError`` if the file cannot be parsed."""


@dataclass(frozen=True)
class Remote:
    """A zip archive at UCI and the files to extract from it.

    Attributes:
        folder: Folder of the data set in the cache's ``uci`` folder.
        archive: Address of the archive below the base URL.
        files: Files to extract.
        inspect: Parses a file whose checksum is unknown; ``None`` refuses every such file.
    """

    folder: str
    archive: str
    files: tuple[DataFile, ...]
    inspect: Inspect | None = field(default=None, compare=False)


def archive_url(remote: Remote, base_url: str | None = None) -> Address:
    """Address of the archive; its base is the argument, else JUMPSTART_UCI_URL, else UCI.

    Raises:
        DataError: If the base is no address of http or https.
    """
    return Address.below(base_url or os.environ.get(URL_VARIABLE) or UCI_URL, remote.archive, URL_VARIABLE)


def find_cached(remote: Remote, file: DataFile, data_dir: DataDir = None) -> Path | None:
    """The cached copy of a file, in its own place or another accepted one; ``None`` if there is no copy."""
    uci = cache_folder(data_dir) / "uci"
    places = (uci / remote.folder / file.name, *(uci / other for other in file.also))
    return next((place for place in places if os.path.isfile(place)), None)


def obtain(remote: Remote, data_dir: DataDir = None, base_url: str | None = None) -> list[bytes]:
    """The checked bytes of every file, from the cache; missing files are downloaded into the cache first.

    Raises:
        DataError: If a cached file is damaged, or a file is neither cached nor reachable.
    """
    remove_drafts(cache_folder(data_dir) / "uci" / remote.folder)
    cached = [find_cached(remote, file, data_dir) for file in remote.files]
    contents = {
        file.name: _read_checked(remote, file, path, base_url)
        for file, path in zip(remote.files, cached, strict=True)
        if path is not None
    }
    missing = [file for file in remote.files if file.name not in contents]
    if missing:
        contents |= _download(remote, missing, data_dir, base_url)
    return [contents[file.name] for file in remote.files]


def cache_state(remote: Remote, data_dir: DataDir = None) -> str:
    """``"cached"``, ``"not cached"`` or ``"damaged"``. Never uses the network."""
    paths = [find_cached(remote, file, data_dir) for file in remote.files]
    try:
        for file, path in zip(remote.files, paths, strict=True):
            if path is not None:
                _read_checked(remote, file, path, None)
    except DataError:
        return "damaged"
    return "cached" if all(paths) else "not cached"


def _read_checked(remote: Remote, file: DataFile, path: Path, base_url: str | None) -> bytes:
    record = _record_of(path)
    try:
        content = _read_limited(path, file.most)
        recorded = record.read_text(encoding="ascii").split()[:1] if record.is_file() else []
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): check its permissions.") from None
    fault = _recorded_fault(file, content, recorded) or _content_fault(remote, file, content, str(path))
    if fault:
        raise DataError(
            f"{path} is damaged: {fault}. Delete it and run again, or put a good copy there; "
            f"it is in {archive_url(remote, base_url)}."
        )
    return content


def _read_limited(path: Path, most: int) -> bytes:
    """The bytes of a file, or the first of them if there are more than any good file has."""
    with path.open("rb") as stream:
        return stream.read(most + 1)


def _recorded_fault(file: DataFile, content: bytes, recorded: Sequence[str]) -> str:
    """Why the record of a download refuses the content of a file; empty if it does not.

    A record can only refuse a file that has changed since its download. What the catalog does not accept, a record does
    not accept either, because anyone can write a record.
    """
    checksum = hashlib.sha256(content).hexdigest()
    if not recorded or checksum in (*file.sha256, *recorded):
        return ""
    return f"its sha256 is {checksum}, expected {' or '.join((*file.sha256, *recorded))}"


def _content_fault(remote: Remote, file: DataFile, content: bytes, where: str) -> str:
    """Why the content of a file is refused; empty if it is accepted.

    Args:
        remote: Archive of the file.
        file: File that was read or downloaded.
        content: Its bytes.
        where: Path or address, for the log.
    """
    checksum = hashlib.sha256(content).hexdigest()
    if checksum in file.sha256:
        return ""
    fault = f"its sha256 is {checksum}, expected {' or '.join(file.sha256)}"
    if remote.inspect is None or not (file.content or file.unseen):
        return fault
    try:
        inside = remote.inspect(file, content)
    except ValueError as error:
        return f"{fault}, and {error}"
    if file.content and inside.digest == file.content:
        logger.info("%s has an unknown checksum (%s), but every value in it is as expected.", where, checksum)
        return ""
    if not file.unseen or inside.known_layout:
        return fault
    if inside.fault:
        return f"{fault}, and {inside.fault}"
    logger.warning("%s has an unknown checksum (%s): accepted for its rows, columns and class counts.", where, checksum)
    return ""


def _download(remote: Remote, files: Sequence[DataFile], data_dir: DataDir, base_url: str | None) -> dict[str, bytes]:
    """Download, check and write files; returns their bytes by name. Writes nothing unless every file is right."""
    url = archive_url(remote, base_url)
    folder = cache_folder(data_dir) / "uci" / remote.folder
    members = _fetch_members(remote, files, folder, url, data_dir)
    for file in files:
        fault = _content_fault(remote, file, members[file.name], f"{file.name} from {url}")
        if fault:
            raise DataError(
                f"{file.name} from {url} is not the expected file: {fault}. Nothing was kept; put a good copy at "
                f"{folder / file.name}."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            _write_with_record(folder / file.name, members[file.name], file.sha256)
    except OSError as error:
        raise not_writable(folder, error, data_dir) from None
    logger.info("Downloaded %s to %s.", remote.folder, folder)
    return members


def _fetch_members(
    remote: Remote, files: Sequence[DataFile], folder: Path, url: Address, data_dir: DataDir
) -> dict[str, bytes]:
    def members(archive: bytes) -> dict[str, bytes]:
        return {file.name: extract(archive, file.name, file.most) for file in files}

    try:
        return fetch_content(url, LARGEST, members)
    except (*FAILURES, WrongContentError, KeyError, ValueError) as error:
        names = " and ".join(file.name for file in files)
        places = " and ".join(str(folder / file.name) for file in files)
        raise DataError(
            f"{remote.folder} is not in the cache and could not be downloaded ({reason(error)}): "
            f"take {names} out of {url} and put it at {places}, or set {folder_setting(data_dir)} to a folder that has "
            "it."
        ) from None


def _write_with_record(path: Path, content: bytes, known: tuple[str, ...]) -> None:
    """Write a file; if its checksum is not a known one, record the checksum first, for later loads."""
    checksum = hashlib.sha256(content).hexdigest()
    if checksum not in known:
        write_text(_record_of(path), f"{checksum}  {path.name}\n")
    write_bytes(path, content)


def _record_of(path: Path) -> Path:
    """The file beside a cached file that records the checksum at download."""
    return path.with_name(f"{path.name}.sha256")
