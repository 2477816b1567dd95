"""A server on 127.0.0.1 with scripted answers: files, errors, incomplete files."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable
from pathlib import Path

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]
"""Sends the answer to one request."""


class Server:
    """Answers each request with the next of ``answers``, and all further requests with the last one.

    Attributes:
        answers: Answers in the order of the requests.
        paths: Paths that were requested so far.
        url: Address of the server, with a folder.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.paths: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.paths.append(self.path)
                answer = outer.answers[min(len(outer.paths), len(outer.answers)) - 1]
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/static"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        """Stop the server and its thread."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def cut(content: bytes) -> Answer:
    """An answer that ends 20 bytes before its announced length."""
    return send(content[:-20], length=len(content))


def fail(code: int) -> Answer:
    """An answer with a status code of HTTP."""
    return lambda request: request.send_error(code)


def files_in(folder: Path) -> list[str]:
    """Paths of all files below a folder, relative to it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def send(content: bytes, *, length: int | None = None) -> Answer:
    """An answer with a file.

    Args:
        content: Bytes of the file.
        length: Announced length; ``None`` for the true one.
    """

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content) if length is None else length))
        request.end_headers()
        request.wfile.write(content)

    return answer
