"""Downloads: tried again after a failure that may pass, checked, and on the disk whole or not at all."""

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
ATTEMPTS = 3
BACKOFF = 0.5
"""Seconds before the second attempt; doubled before each further one."""

FAILURES = (OSError, http.client.HTTPException, zipfile.BadZipFile, zlib.error, EOFError)
"""What an answer that does not come, or does not come whole, is seen as."""

_BLOCK = 1 << 20


class WrongContentError(ValueError):
    """What came is whole, but not what was expected."""


def fetch(
    url: str,
    *,
    timeout: float | None = None,
    attempts: int | None = None,
    backoff: float | None = None,
) -> bytes:
    """Download one zip archive, trying again after a failure that may pass.

    Args:
        url: Address.
        timeout: Seconds of silence after which an attempt is given up; ``None`` for
            :data:`TIMEOUT`.
        attempts: Attempts in all, at least 1; ``None`` for :data:`ATTEMPTS`.
        backoff: Seconds before the second attempt, doubled each time; ``None`` for :data:`BACKOFF`.

    Returns:
        A whole zip archive.

    Raises:
        OSError: If the address cannot be reached, or answers with an error.
        http.client.HTTPException: If the answer stays incomplete.
        zipfile.BadZipFile: If the answer is not a whole archive.
    """

    def receive(answer: IO[bytes]) -> bytes:
        content = answer.read()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"{broken} is damaged in the archive")
        return content

    return _tried(url, receive, timeout, attempts, backoff)


def fetch_file(
    url: str,
    path: Path,
    *,
    digest: str,
    timeout: float | None = None,
    attempts: int | None = None,
    backoff: float | None = None,
) -> None:
    """Download one file of any size to ``path``, block by block; nothing is there before it is checked.

    Args:
        url: Address.
        path: Where it goes; its folder is made if need be.
        digest: ``"sha256:..."`` or ``"md5:..."`` of the whole file.
        timeout: As in :func:`fetch`.
        attempts: As in :func:`fetch`.
        backoff: As in :func:`fetch`.

    Raises:
        OSError: If the address cannot be reached, or answers with an error, or the file cannot be written.
        http.client.HTTPException: If the answer stays incomplete.
        WrongContentError: If it is not the file that is expected.
    """

    def receive(answer: IO[bytes]) -> None:
        kind, _, expected = digest.partition(":")
        found = hashlib.new(kind, usedforsecurity=False)
        wanted = answer.length if isinstance(answer, http.client.HTTPResponse) else None
        size = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as draft, draft.open("wb") as stream:
            while block := answer.read(_BLOCK):
                stream.write(block)
                found.update(block)
                size += len(block)
            # A read of a given length does not complain if the answer ends early.
            if wanted is not None and size < wanted:
                raise http.client.IncompleteRead(b"", wanted - size)
            if found.hexdigest() != expected:
                raise WrongContentError(f"its {kind} is {found.hexdigest()}, expected {expected}")

    _tried(url, receive, timeout, attempts, backoff)


def digest_of(path: Path, kind: str) -> str:
    """``"kind:..."`` of a file, read block by block.

    Raises:
        OSError: If it cannot be read.
    """
    found = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return f"{kind}:{found.hexdigest()}"


def reason(error: Exception) -> str:
    """Why a download failed, in one line."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    text = str(cause.args[0] if isinstance(cause, KeyError) and cause.args else cause) or type(cause).__name__
    if isinstance(error, urllib.error.HTTPError):
        text = f"HTTP {error.code} {error.reason}"
    return " ".join(text.split())


def _tried(
    url: str,
    receive: Callable[[IO[bytes]], T],
    timeout: float | None,
    attempts: int | None,
    backoff: float | None,
) -> T:
    timeout = TIMEOUT if timeout is None else timeout
    attempts = ATTEMPTS if attempts is None else attempts
    pause = BACKOFF if backoff is None else backoff
    request = urllib.request.Request(url, headers={"User-Agent": "jumpstart"})
    for attempt in range(1, attempts + 1):
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return receive(answer)
        except FAILURES as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if attempt == attempts or not _may_pass(error):
                raise
            logger.info("%s: %s; trying again in %g s.", url, reason(error), pause)
            time.sleep(pause)
            pause *= 2
    raise ValueError(f"attempts must be >= 1, got {attempts}.")


def _may_pass(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 429)
    return True
