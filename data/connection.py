"""Connections of HTTP with an end: an answer has a largest size and a lowest speed, and redirections have rules."""

from __future__ import annotations

import functools
import http.client
import io
import time
import urllib.request
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

_OVERHEAD = 1 << 20
"""Bytes of an answer besides its content: headers, and the sizes of chunks."""


class WrongContentError(ValueError):
    """An answer cannot be the expected file: it is too large, has another checksum, or comes from a refused address."""


class _Raw(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...
    def close(self) -> None: ...


class PacedStream(io.RawIOBase):
    """A stream of bytes with a largest size, and a lowest speed on average.

    Headers count as content does: a server that sends headers without end meets the same limits.

    Args:
        raw: Unbuffered stream that is read.
        most: Largest number of bytes.
        patience: Seconds until the speed is measured.
        slowest: Bytes per second.
    """

    def __init__(self, raw: _Raw, most: int, patience: float, slowest: float) -> None:
        self._raw, self._most, self._patience, self._slowest = raw, most, patience, slowest
        self._received, self._begin = 0, time.monotonic()

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        """Read bytes into a buffer.

        Returns:
            How many; 0 at the end.

        Raises:
            TimeoutError: If the bytes came too slowly.
            WrongContentError: If there are too many bytes.
        """
        count = self._raw.readinto(buffer)
        self._received += count or 0
        if self._received > self._most:
            raise WrongContentError(f"it is larger than {self._most:,} bytes, more than the expected file")
        seconds = time.monotonic() - self._begin
        if count and seconds > self._patience + self._received / self._slowest:
            raise TimeoutError(f"too slow: {self._received:,} bytes in {seconds:.0f} s")
        return count

    def close(self) -> None:
        """Close the stream that is read, too."""
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer whose bytes all pass through a :class:`PacedStream`."""

    def __init__(self, *arguments: Any, most: int, patience: float, slowest: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fp = io.BufferedReader(PacedStream(self.fp.detach(), most, patience, slowest))


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Redirections to http and https, but from https to https alone. A password goes to no other server."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        fp.close()  # or its content would be read, however long it is
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http") or "@" in new.netloc:
            raise WrongContentError(f"it redirects to an address of {new.scheme} that is not followed")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        authorization = req.get_header("Authorization")
        if request is not None and authorization and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.add_unredirected_header("Authorization", authorization)
        return request


class _Connections(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens connections with limits."""

    def __init__(self, **limits: Any) -> None:
        super().__init__()
        self._limits = limits

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(self._connection, http.client.HTTPConnection), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(self._connection, http.client.HTTPSConnection), req)

    def _connection(self, kind: type[http.client.HTTPConnection], host: str, **options: Any) -> Any:
        connection: Any = kind(host, **options)
        connection.response_class = functools.partial(_Response, **self._limits)
        return connection


def limited_opener(most: int, patience: float, slowest: float) -> urllib.request.OpenerDirector:
    """An opener whose answers end.

    Args:
        most: Largest size of the content, in bytes.
        patience: Seconds until the speed is measured.
        slowest: Lowest speed on average, in bytes per second.
    """
    limits = _Connections(most=most + most // 8 + _OVERHEAD, patience=patience, slowest=slowest)
    return urllib.request.build_opener(limits, _Redirections)
