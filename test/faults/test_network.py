"""Servers that fail, stall, lie and never end: one line, nothing in the cache, little memory, a clear end."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.server import Answer, Server, cut, fail, files_in, send

from data import fetch
from data.__main__ import main
from data.address import Address
from data.cache import DataError
from data.connection import WrongContentError, _Redirections
from data.images.published import PublishedFile, obtain_published
from data.uci.archive import extract
from data.uci.files import DataFile, Remote, obtain

GOOD = b"1,2\n3,4\n" * 100
MEBIBYTE = bytes(1 << 20)
SECRET = "S3CRET/pw"
LOGIN = "me:S3CRET%2Fpw"
Request = http.server.BaseHTTPRequestHandler


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "BACKOFF", 0.001)
    monkeypatch.setattr(fetch, "TIMEOUT", 0.1)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def zipped(content: bytes, name: str = "a.data", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def changed(at: tuple[int, int], value: int) -> bytes:
    """A good archive with one byte changed, given its places in the local and the central header."""
    archive = bytearray(zipped(GOOD))
    archive[archive.find(b"PK\x03\x04") + at[0]] = archive[archive.find(b"PK\x01\x02") + at[1]] = value
    return bytes(archive)


def from_archive(folder: Path, url: str) -> bytes:
    """The file out of a zip archive."""
    digest = hashlib.sha256(GOOD).hexdigest()
    return obtain(Remote("letters", "7/x.zip", (DataFile("a.data", (digest,), len(GOOD)),)), folder, url)[0]


def published(folder: Path, url: str) -> bytes:
    """The file as it is."""
    file = PublishedFile("a.data", "letters", len(GOOD), f"md5:{hashlib.md5(GOOD).hexdigest()}", (url,))
    return obtain_published(file, folder).read_bytes()


Obtain = Callable[[Path, str], bytes]
BOTH = pytest.mark.parametrize("get", [from_archive, published])


def body(get: Obtain) -> bytes:
    return zipped(GOOD) if get is from_archive else GOOD


def refused(get: Obtain, folder: Path, url: str) -> str:
    """The message of the error: one short line of visible characters, after which nothing is in the cache."""
    with pytest.raises(DataError) as error:
        get(folder, url)
    message = str(error.value)
    assert message.isprintable()
    assert len(message) < 2000
    assert files_in(folder) == []
    return message


def answered(*parts: bytes, head: bytes = b"HTTP/1.0 200 OK\r\n\r\n", endless: bytes = b"", pause: float = 0) -> Answer:
    """An answer of raw bytes, then of ``endless`` again and again until nobody reads it."""

    def answer(request: Request) -> None:
        try:
            for part in (head, *parts):
                request.wfile.write(part)
            while endless:
                request.wfile.write(endless)
                time.sleep(pause)
        except OSError:
            pass

    return answer


def redirected(target: str) -> Answer:
    def answer(request: Request) -> None:
        request.send_response(302)
        request.send_header("Location", target)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


@BOTH
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (fail(404), "404"),
        (fail(500), "500"),
        (cut(b"x" * 100), "20 more expected"),
        (answered(head=b""), "closed connection"),
        (answered(head=b"nonsense\r\n\r\n"), "nonsense"),
        (answered(head=b"HTTP/1.0 500 \x1b[31m" + b"long" * 5000 + b"\r\n\r\n"), r"\x1b[31mlong"),
        (redirected("file:///etc/passwd"), "not allowed"),
        (redirected("ftp://127.0.0.1/a.zip"), "an address of ftp"),
        (redirected("http://you:hidden@127.0.0.1/"), "not followed"),
        (redirected("/again"), "infinite loop"),
        (answered(endless=MEBIBYTE), "larger than"),
        (answered(head=b"HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n", endless=MEBIBYTE), "infinite loop"),
        (answered(head=b"HTTP/1.0 200 OK\r\nContent-Length: 1000000\r\n\r\n", endless=b"x", pause=0.01), "too slow"),
        (answered(head=b"HTTP/1.0 200 OK\r\n", endless=b"A: b\r\n", pause=0.01), "too slow"),
        (answered(head=b"HTTP/1.1 100 Continue\r\n\r\n", endless=b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.01), "slow"),
    ],
)
def test_every_failure_has_an_end_and_leaves_nothing(
    get: Obtain, answer: Answer, reason: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "ATTEMPTS", 2)
    server.answers = [answer]
    begin = time.monotonic()
    message = refused(get, tmp_path, server.url)
    assert reason in message
    assert "hidden" not in message
    assert "put it at" in message
    assert time.monotonic() - begin < 5


def test_no_route_is_reported(tmp_path: Path) -> None:
    for get in (from_archive, published):
        assert "refused" in refused(get, tmp_path, "http://127.0.0.1:9")


@BOTH
def test_an_answer_after_three_errors_counts(get: Obtain, server: Server, tmp_path: Path) -> None:
    server.answers = [fail(500), cut(body(get)), fail(503), send(body(get))]
    assert get(tmp_path, server.url) == GOOD
    assert len(server.paths) == 4


def test_the_pause_between_attempts_doubles(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("data.fetch.time.sleep", pauses.append)
    server.answers = [fail(500)]
    refused(published, tmp_path, server.url)
    assert pauses == [0.001, 0.002, 0.004]


def test_wrong_content_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.answers = [send(zipped(b"5,6\n"))]
    assert "expected" in refused(from_archive, tmp_path, server.url)
    server.answers = [send(GOOD[1:])]
    assert "expected" in refused(published, tmp_path, server.url)


class TestArchives:
    """Zip archives that are bombs, encrypted, of other methods, damaged."""

    BOMB = zipped(bytes(64 << 20))

    @pytest.mark.parametrize(
        ("archive", "reason"),
        [
            (BOMB, "larger than"),
            (zipped(zipped(bytes(64 << 20), "inner.data"), "a.zip"), "no a.data"),
            (zipped(bytes(64 << 20), "a.zip"), "larger than"),
            (zipped(bytes(64 << 20), method=zipfile.ZIP_BZIP2), "unknown method 12"),
            (zipped(GOOD, method=zipfile.ZIP_LZMA), "unknown method 14"),
            (changed((6, 8), 1), "is encrypted"),
            (changed((8, 10), 99), "unknown method 99"),
            (changed((4, 6), 99), "version 9.9"),
            (zipped(zipped(zipped(zipped(GOOD), "c.zip"), "b.zip"), "a.zip"), "no a.data"),
        ],
    )
    def test_it_is_refused_in_little_memory(self, archive: bytes, reason: str, server: Server, tmp_path: Path) -> None:
        server.answers = [send(archive)]
        tracemalloc.start()
        try:
            assert reason in refused(from_archive, tmp_path, server.url)
            assert tracemalloc.get_traced_memory()[1] < 40 << 20
        finally:
            tracemalloc.stop()

    def test_a_flipped_bit_is_found_or_without_effect(self) -> None:
        archive = zipped(GOOD)
        for bit in range(0, 8 * len(archive), 3):
            flipped = bytearray(archive)
            flipped[bit // 8] ^= 1 << bit % 8
            with suppress(zipfile.BadZipFile, WrongContentError, KeyError):
                assert extract(bytes(flipped), "a.data", 2 * len(GOOD)) == GOOD


class TestPasswords:
    """A user name and a password in the address of a mirror."""

    def test_they_are_sent_but_to_no_other_server(self, server: Server, tmp_path: Path) -> None:
        sent: list[str | None] = []

        def noting(answer: Answer) -> Answer:
            def note(request: Request) -> None:
                sent.append(request.headers["Authorization"])
                answer(request)

            return note

        elsewhere = server.url.replace("127.0.0.1", "localhost")
        server.answers = list(map(noting, (redirected("/moved"), redirected(elsewhere), send(GOOD))))
        assert published(tmp_path, server.url.replace("//", f"//{LOGIN}@")) == GOOD
        login = f"Basic {base64.b64encode(f'me:{SECRET}'.encode()).decode()}"
        assert sent == [login, login, None]

    @pytest.mark.parametrize("port", ["9", "0", "x", "99999"])
    @pytest.mark.parametrize("login", [LOGIN, "me:S3CRET/pw", "S3CRET?", "S3CRET#", "me:12/S3CRET"])
    def test_no_message_shows_them(
        self, login: str, port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        url = f"http://{login}@127.0.0.1:{port}/folder"
        for get in (from_archive, published):
            assert "S3CRET" not in refused(get, tmp_path, url)
        for variable in ("JUMPSTART_UCI_URL", "JUMPSTART_IMAGES_URL"):
            monkeypatch.setenv(variable, url)
        for arguments in (["abalone"], ["mnist10k", "--json"], ["abalone", "--json"], []):
            with suppress(SystemExit):
                main([*arguments, f"--data_dir={tmp_path}"])
        shown = capsys.readouterr()
        assert "S3CRET" not in shown.out + shown.err
        assert "Traceback" not in shown.err

    @pytest.mark.parametrize(
        "base", ["host/folder", "file:///folder", "ftp://host", "http://", "http://[1", "https://host?key=S3CRET"]
    )
    def test_an_address_of_another_kind_is_refused(self, base: str) -> None:
        with pytest.raises(DataError, match=r"^JUMPSTART_UCI_URL must be an address like https://host/folder") as error:
            Address.below(base, "a.zip", "JUMPSTART_UCI_URL")
        assert "S3CRET" not in str(error.value)


def test_a_redirection_never_leaves_encryption() -> None:
    request = fetch.urllib.request.Request("https://host/a.zip")
    with pytest.raises(WrongContentError, match="address of http that is not followed"):
        _Redirections().redirect_request(request, io.BytesIO(), 302, "", {}, "http://host/a.zip")


def test_an_interrupted_download_leaves_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    server.answers = [send(GOOD)]
    monkeypatch.setattr("data.fetch.hashlib.new", interrupted)
    with pytest.raises(KeyboardInterrupt):
        published(tmp_path, server.url)
    assert files_in(tmp_path) == []
