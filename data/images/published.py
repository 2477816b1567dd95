"""Files that publishers offer for download: fetched from one of several mirrors, and verified at every load."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from data.address import Address
from data.cache import DataDir, DataError, cache_folder, folder_setting, not_writable
from data.connection import WrongContentError
from data.fetch import FAILURES, digest_of, fetch_file, reason
from jumpstart.files.drafts import remove_drafts

logger = logging.getLogger(__name__)

URL_VARIABLE = "JUMPSTART_IMAGES_URL"


@dataclass(frozen=True)
class PublishedFile:
    """A file with a published checksum.

    Attributes:
        name: File name, at the mirrors and in the cache.
        folder: Folder of the file in the cache.
        size: Bytes.
        digest: ``"sha256:..."`` of a file that was downloaded and checked, or ``"md5:..."`` as its publisher gives it.
        mirrors: Addresses of the folders that hold the file, in the order in which they are tried.
        also: Further places in the cache.
    """

    name: str
    folder: str
    size: int
    digest: str
    mirrors: tuple[str, ...]
    also: tuple[str, ...] = ()


def addresses(file: PublishedFile, base_url: str | None = None) -> tuple[Address, ...]:
    """Addresses of a file: below the argument, else below JUMPSTART_IMAGES_URL, else at its mirrors.

    Raises:
        DataError: If the base is no address of http or https.

    Example:
        >>> print(*addresses(PublishedFile("a.gz", "letters", 1, "md5:0", ("https://one/x/",))))
        https://one/x/a.gz
    """
    base = base_url or os.environ.get(URL_VARIABLE)
    return tuple(Address.below(mirror, file.name, URL_VARIABLE) for mirror in ((base,) if base else file.mirrors))


def place(file: PublishedFile, data_dir: DataDir = None) -> Path:
    """The cached file, in its own place or another accepted one; its own place if it is not cached."""
    cache = cache_folder(data_dir)
    own = cache / file.folder / file.name
    return next((path for path in (own, *(cache / other for other in file.also)) if path.is_file()), own)


def obtain_published(file: PublishedFile, data_dir: DataDir = None, base_url: str | None = None) -> Path:
    """The path of the verified file in the cache; the file is downloaded first if it is missing.

    Raises:
        DataError: If the cached file is damaged, or the file is neither cached nor reachable.
    """
    path = place(file, data_dir)
    urls = addresses(file, base_url)
    remove_drafts(cache_folder(data_dir) / file.folder)
    if path.is_file():
        fault = _checksum_fault(file, path)
        if fault:
            source = f", from {urls[0]}" if urls else ""
            raise DataError(f"{path} is damaged: {fault}. Delete it and run again, or put a good copy there{source}.")
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(path.parent, error, data_dir) from None
    failures = []
    for url in urls:
        try:
            fetch_file(url, path, size=file.size, digest=file.digest)
        except (*FAILURES, WrongContentError, ValueError) as error:
            failures.append(f"{url}: {reason(error)}")
            continue
        logger.info("Downloaded %s to %s.", file.name, path.parent)
        return path
    raise DataError(
        f"{file.name} is not in the cache and could not be downloaded ({'; '.join(failures)}): put it at {path}, or "
        f"set {folder_setting(data_dir)} to a folder that has it."
    )


def published_state(files: tuple[PublishedFile, ...], data_dir: DataDir = None) -> str:
    """``"cached"``, ``"not cached"`` or ``"damaged"``. Never uses the network."""
    paths = [place(file, data_dir) for file in files]
    if any(path.is_file() and _checksum_fault(file, path) for file, path in zip(files, paths, strict=True)):
        return "damaged"
    return "cached" if all(path.is_file() for path in paths) else "not cached"


def _checksum_fault(file: PublishedFile, path: Path) -> str:
    """Why the file is refused; empty if its checksum is the expected one."""
    kind, _, expected = file.digest.partition(":")
    try:
        checksum = digest_of(path, kind).partition(":")[2]
    except OSError as error:
        return reason(error)
    return "" if checksum == expected else f"its {kind} is {checksum}, expected {expected}"
