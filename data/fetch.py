"""Downloads: retried after a temporary failure, limited, checked, and written to disk whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import logging
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

from data.address import Address
from data.connection import WrongContentError, limited_opener
from jumpstart.files import atomic_path
from jumpstart.words import shorten

logger = logging.getLogger(__name__)

T = TypeVar("T")

TIMEOUT = 15.0
"""Seconds without a byte after which an attempt has failed, and seconds until its speed counts."""

SLOWEST = 10_000.0
"""Bytes per second, on average: a slower attempt has failed."""

ATTEMPTS = 4
"""Attempts in all."""

BACKOFF = 0.5
"""Seconds before the second attempt; doubled before each further one."""

FAILURES = (OSError, http.client.HTTPException, zipfile.BadZipFile, zlib.error, EOFError)
"""Errors that a missing, incomplete or damaged answer raises."""

_BLOCK = 1 << 20
_LONGEST_REASON = 300


def fetch_content(address: Address, most: int, read: Callable[[bytes], T]) -> T:
    """Download one file into memory, and read it.

    Args:
        address: Address.
        most: The largest size of the file, in bytes.
        read: Makes the result of the bytes. An error of :data:`FAILURES` means that the bytes are damaged.

    Returns:
        The result.

    Raises:
        OSError: If the address cannot be reached, is too slow, or the server answers with an error.
        http.client.HTTPException: If every answer is incomplete.
        WrongContentError: If the file is too large.
    """
    return _retried(address, most, lambda answer: read(answer.read()))


def fetch_file(address: Address, path: Path, *, size: int, digest: str) -> None:
    """Download one file of any size, block by block. ``path`` exists only after the checksum was verified.

    Args:
        address: Address.
        path: File to write; its folder is made if it does not exist.
        size: Bytes of the file.
        digest: ``"sha256:..."`` or ``"md5:..."`` of the whole file.

    Raises:
        OSError: If the address cannot be reached, is too slow, the server answers with an error, or the file cannot be
            written.
        http.client.HTTPException: If every answer is incomplete.
        WrongContentError: If the file is too large, or its checksum is not the expected one.
    """

    def receive(answer: IO[bytes]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as draft:
            _copy_checked(answer, draft, digest)

    _retried(address, size, receive)


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
    line = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in " ".join(text.split()))
    return shorten(line, _LONGEST_REASON) or type(error).__name__


def _retried(address: Address, most: int, receive: Callable[[IO[bytes]], T]) -> T:
    """The result of ``receive`` for the first answer that does not fail."""
    pause = BACKOFF
    request = urllib.request.Request(address.url, headers={"User-Agent": "jumpstart"})
    if address.authorization:
        request.add_unredirected_header("Authorization", address.authorization)
    opener = limited_opener(most, TIMEOUT, SLOWEST)
    attempt = 1
    while True:
        try:
            with opener.open(request, timeout=TIMEOUT) as answer:
                return receive(answer)
        except FAILURES as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if attempt >= ATTEMPTS or not _is_temporary(error):
                raise
            logger.info("%s: %s; trying again in %g s.", address, reason(error), pause)
        time.sleep(pause)
        pause *= 2
        attempt += 1


def _is_temporary(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 429)
    return True
