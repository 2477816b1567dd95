"""Downloads: retried after a temporary failure, checked, and written to disk whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import io
import logging
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

from jumpstart.files import atomic_path

logger = logging.getLogger(__name__)

T = TypeVar("T")

TIMEOUT = 15.0
"""Seconds without a byte after which an attempt has failed."""

ATTEMPTS = 3
"""Attempts in all."""

BACKOFF = 0.5
"""Seconds before the second attempt; doubled before each further one."""

FAILURES = (OSError, http.client.HTTPException, zipfile.BadZipFile, zlib.error, EOFError)
"""Errors that a missing, incomplete or damaged answer raises."""

_BLOCK = 1 << 20


class WrongContentError(ValueError):
    """A download is complete, but its checksum is not the expected one."""


def fetch_archive(url: str) -> bytes:
    """Download one zip archive and test each of its members.

    Args:
        url: Address.

    Returns:
        The bytes of the archive.

    Raises:
        OSError: If the address cannot be reached, or the server answers with an error.
        http.client.HTTPException: If every answer is incomplete.
        zipfile.BadZipFile: If the answer is not a zip archive, or damaged.
    """
    return _retried(url, _read_archive)


def _read_archive(answer: IO[bytes]) -> bytes:
    content = answer.read()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise zipfile.BadZipFile(f"{broken} is damaged in the archive")
    return content


def fetch_file(url: str, path: Path, *, digest: str) -> None:
    """Download one file of any size, block by block. ``path`` exists only after the checksum was verified.

    Args:
        url: Address.
        path: File to write; its folder is made if it does not exist.
        digest: ``"sha256:..."`` or ``"md5:..."`` of the whole file.

    Raises:
        OSError: If the address cannot be reached, the server answers with an error, or the file cannot be written.
        http.client.HTTPException: If every answer is incomplete.
        WrongContentError: If the checksum is not the expected one.
    """

    def receive(answer: IO[bytes]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as draft:
            _copy_checked(answer, draft, digest)

    _retried(url, receive)


def _copy_checked(answer: IO[bytes], path: Path, digest: str) -> None:
    kind, _, expected = digest.partition(":")
    checksum = hashlib.new(kind, usedforsecurity=False)
    length = answer.length if isinstance(answer, http.client.HTTPResponse) else None
    size = 0
    with path.open("wb") as stream:
        while block := answer.read(_BLOCK):
            stream.write(block)
            checksum.update(block)
            size += len(block)
    # `read` with a size does not raise if the answer ends early.
    if length is not None and size < length:
        raise http.client.IncompleteRead(b"", length - size)
    if checksum.hexdigest() != expected:
        raise WrongContentError(f"its {kind} is {checksum.hexdigest()}, expected {expected}")


def digest_of(path: Path, kind: str) -> str:
    """The digest of a file, ``"<kind>:..."``, read block by block.

    Args:
        path: File to read.
        kind: ``"sha256"`` or ``"md5"``.

    Raises:
        OSError: If the file cannot be read.
    """
    checksum = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            checksum.update(block)
    return f"{kind}:{checksum.hexdigest()}"


def reason(error: Exception) -> str:
    """Why a download failed, in one line.

    Example:
        >>> reason(urllib.error.URLError("connection refused"))
        'connection refused'
    """
    if isinstance(error, urllib.error.HTTPError):
        text = f"HTTP {error.code} {error.reason}"
    elif isinstance(error, urllib.error.URLError):
        text = str(error.reason)
    elif isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # without the quotes that a KeyError adds
    else:
        text = str(error)
    return " ".join(text.split()) or type(error).__name__


def _retried(url: str, receive: Callable[[IO[bytes]], T]) -> T:
    """The result of ``receive`` for the first answer that does not fail."""
    pause = BACKOFF
    request = urllib.request.Request(url, headers={"User-Agent": "jumpstart"})
    attempt = 1
    while True:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return receive(answer)
        except FAILURES as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if attempt >= ATTEMPTS or not _is_temporary(error):
                raise
            logger.info("%s: %s; trying again in %g s.", url, reason(error), pause)
        time.sleep(pause)
        pause *= 2
        attempt += 1


def _is_temporary(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 429)
    return True
