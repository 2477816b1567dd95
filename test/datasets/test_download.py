"""The cache and the download of UCI's files, against a server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import io
import logging
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.server import Answer, Server, cut, fail, files_in, send

from data import fetch
from data.cache import FOLDER_VARIABLE, DataError, cache_folder, folder_setting
from data.uci import files as download
from data.uci.archive import extract
from data.uci.files import Content, DataFile, Remote, cache_state, find_cached, obtain
from jumpstart.files import write_bytes

GOOD = b"1,2\n3,4\n"
MORE = b"5\n"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return stream.getvalue()


REMOTE = Remote("letters", "7/some+letters.zip", (DataFile("a.data", (sha256(GOOD),), len(GOOD)),))
PAIR = Remote("letters", REMOTE.archive, (*REMOTE.files, DataFile("b.data", (sha256(MORE),), 2)))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "BACKOFF", 0.001)
    monkeypatch.setattr(fetch, "TIMEOUT", 5.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for variable in (FOLDER_VARIABLE, download.URL_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def put(folder: Path, place: str, content: bytes) -> Path:
    path = folder / "uci" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def refused(remote: Remote, folder: Path, url: str) -> str:
    """The message of the error, which must be one line."""
    with pytest.raises(DataError) as error:
        obtain(remote, folder, url)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    server.answers = [send(zipped(a__data=GOOD, Index=b"x"))]
    assert obtain(REMOTE, tmp_path, server.url) == [GOOD]
    assert obtain(REMOTE, tmp_path, server.url) == [GOOD]
    assert server.paths == ["/static/7/some+letters.zip"]
    assert files_in(tmp_path) == ["uci/letters/a.data"]


def test_the_base_address_can_come_from_the_environment(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [send(zipped(a__data=GOOD))]
    monkeypatch.setenv(download.URL_VARIABLE, server.url + "/")
    assert obtain(REMOTE, tmp_path) == [GOOD]
    assert server.paths == ["/static/7/some+letters.zip"]


@pytest.mark.parametrize(
    "first",
    [fail(500), fail(503), fail(429), cut(zipped(a__data=GOOD)), send(zipped(a__data=GOOD)[:-9])],
    ids=["500", "503", "429", "cut short", "half an archive"],
)
def test_a_temporary_failure_is_retried(server: Server, tmp_path: Path, first: Answer) -> None:
    server.answers = [first, send(zipped(a__data=GOOD))]
    assert obtain(REMOTE, tmp_path, server.url) == [GOOD]
    assert len(server.paths) == 2


@pytest.mark.parametrize(
    ("answer", "attempts"),
    [
        (fail(500), fetch.ATTEMPTS),
        (cut(zipped(a__data=GOOD)), fetch.ATTEMPTS),
        (send(b"<html>"), fetch.ATTEMPTS),
        (fail(404), 1),
    ],
    ids=["500", "cut short", "a web page", "404"],
)
def test_a_permanent_failure_is_reported_with_the_place_of_the_file(
    server: Server, tmp_path: Path, answer: Answer, attempts: int
) -> None:
    server.answers = [answer]
    message = refused(REMOTE, tmp_path, server.url)
    assert len(server.paths) == attempts
    assert str(tmp_path / "uci" / "letters" / "a.data") in message
    assert f"{server.url}/7/some+letters.zip" in message
    assert "set data_dir to a folder that " in message
    assert files_in(tmp_path) == []


def test_a_damaged_member_of_an_archive_is_refused(server: Server, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.data", content)
    whole = stream.getvalue()
    flipped = whole.replace(content[:200], b"?" + content[1:200], 1)
    server.answers = [send(flipped)]
    assert "damaged in the archive" in refused(REMOTE, tmp_path, server.url)


def test_a_server_that_does_not_answer_times_out(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TIMEOUT", 0.1)
    released = threading.Event()

    def hang(_: http.server.BaseHTTPRequestHandler) -> None:
        released.wait(5)

    server.answers = [hang, send(zipped(a__data=GOOD))]
    begin = time.monotonic()
    assert obtain(REMOTE, tmp_path, server.url) == [GOOD]
    assert time.monotonic() - begin < 2.5
    released.set()


def test_an_address_without_a_server_is_reported(server: Server, tmp_path: Path) -> None:
    server.close()
    message = refused(REMOTE, tmp_path, server.url)
    assert "refused" in message
    assert str(tmp_path / "uci" / "letters" / "a.data") in message


def test_a_file_with_a_wrong_checksum_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.answers = [send(zipped(a__data=GOOD + b"5,6\n"))]
    message = refused(REMOTE, tmp_path, server.url)
    assert sha256(GOOD) in message
    assert sha256(GOOD + b"5,6\n") in message
    assert files_in(tmp_path) == []
    assert len(server.paths) == 1


def test_an_archive_without_the_file_is_reported(server: Server, tmp_path: Path) -> None:
    server.answers = [send(zipped(Index=b""))]
    assert "no a.data, only index" in refused(REMOTE, tmp_path, server.url)


def test_no_file_is_written_unless_all_are_right(server: Server, tmp_path: Path) -> None:
    server.answers = [send(zipped(a__data=GOOD, b__data=b"wrong"))]
    assert "b.data" in refused(PAIR, tmp_path, server.url)
    assert files_in(tmp_path) == []


def test_only_missing_files_are_written(server: Server, tmp_path: Path) -> None:
    kept = put(tmp_path, "letters/a.data", GOOD)
    before = kept.stat().st_mtime_ns
    server.answers = [send(zipped(a__data=GOOD, b__data=MORE))]
    assert obtain(PAIR, tmp_path, server.url) == [GOOD, MORE]
    assert kept.stat().st_mtime_ns == before
    assert files_in(tmp_path) == ["uci/letters/a.data", "uci/letters/b.data"]


def test_a_damaged_cached_file_is_named_with_both_checksums(server: Server, tmp_path: Path) -> None:
    path = put(tmp_path, "letters/a.data", GOOD[:-1])
    message = refused(REMOTE, tmp_path, server.url)
    assert message.startswith(str(path))
    assert sha256(GOOD[:-1]) in message
    assert sha256(GOOD) in message
    assert "Delete it" in message
    assert server.paths == []
    assert cache_state(REMOTE, tmp_path) == "damaged"


def test_the_checksum_is_verified_at_every_load(server: Server, tmp_path: Path) -> None:
    path = put(tmp_path, "letters/a.data", GOOD)
    obtain(REMOTE, tmp_path, server.url)
    path.write_bytes(b"2" + GOOD[1:])
    refused(REMOTE, tmp_path, server.url)


def test_a_file_in_another_accepted_place_is_used(tmp_path: Path) -> None:
    elsewhere = DataFile("a.data", (sha256(GOOD),), 8, also=("old name/A.txt",))
    remote = Remote("letters", "7/x.zip", (elsewhere,))
    assert find_cached(remote, elsewhere, tmp_path) is None
    assert cache_state(remote, tmp_path) == "not cached"
    path = put(tmp_path, "old name/A.txt", GOOD)
    assert find_cached(remote, elsewhere, tmp_path) == path
    assert obtain(remote, tmp_path, "http://127.0.0.1:1") == [GOOD]
    assert cache_state(remote, tmp_path) == "cached"


def test_reading_the_cache_writes_nothing(tmp_path: Path) -> None:
    put(tmp_path, "letters/a.data", GOOD)
    (tmp_path / "uci" / "letters").chmod(0o555)
    obtain(REMOTE, tmp_path, "http://127.0.0.1:1")
    (tmp_path / "uci" / "letters").chmod(0o755)
    assert files_in(tmp_path) == ["uci/letters/a.data"]


def test_a_cache_that_cannot_be_written_is_reported(server: Server, tmp_path: Path) -> None:
    (tmp_path / "uci").write_text("a file where a folder should be")
    server.answers = [send(zipped(a__data=GOOD))]
    message = refused(REMOTE, tmp_path, server.url)
    assert "cannot be written" in message
    assert "set data_dir to a folder that " in message


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.data"
    path.write_bytes(b"old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert files_in(tmp_path) == ["a.data"]


@pytest.mark.parametrize(
    "archive",
    [
        zipped(a__data=GOOD),
        zipped(A__DATA=GOOD),
        zipped(**{"some folder/a__data": GOOD}),
        zipped(inner__zip=zipped(a__data=GOOD), other=b""),
    ],
    ids=["plain", "upper case", "in a folder", "in an archive"],
)
def test_a_member_is_extracted_from_anywhere_in_the_archive(archive: bytes) -> None:
    assert extract(archive, "a.data", 100) == GOOD


def test_the_cache_folder_is_argument_then_environment_then_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert cache_folder().name == "jumpstart"
    monkeypatch.setenv(FOLDER_VARIABLE, "")
    assert cache_folder().name == "jumpstart"
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "environment"))
    assert cache_folder() == tmp_path / "environment"
    assert cache_folder(tmp_path) == tmp_path
    assert cache_folder("~/x") == Path.home() / "x"


def test_a_remedy_names_the_setting_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("", "/data"):
        monkeypatch.setenv(FOLDER_VARIABLE, variable)
        assert (folder_setting(), folder_setting("/elsewhere")) == (FOLDER_VARIABLE, "data_dir")


class TestUnknownChecksum:
    """Files whose byte form at UCI is not known for certain: their values or their structure decide."""

    FILE = DataFile("a.data", ("0" * 64,), 8, content="known", unseen=True)

    def remote(self, digest: str = "other", layout: bool = False, fault: str = "", **changes: object) -> Remote:
        def inspect(file: DataFile, content: bytes) -> Content:
            if b"?" in content:
                raise ValueError("record 1 is short")
            return Content(digest, layout, fault)

        file = DataFile(**{**self.FILE.__dict__, **changes})
        return Remote("letters", "7/x.zip", (file,), inspect)

    def test_a_file_with_the_expected_values_is_accepted(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        put(tmp_path, "letters/a.data", GOOD)
        with caplog.at_level(logging.INFO, logger="data.uci.files"):
            assert obtain(self.remote("known", layout=True), tmp_path) == [GOOD]
        assert sha256(GOOD) in caplog.text

    def test_a_file_with_the_expected_structure_is_accepted_with_a_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        put(tmp_path, "letters/a.data", GOOD)
        assert obtain(self.remote(), tmp_path) == [GOOD]
        assert "unknown checksum" in caplog.text

    @pytest.mark.parametrize(
        ("changes", "content"),
        [
            ({"fault": "it has 3 rows"}, GOOD),
            ({"layout": True}, GOOD),
            ({"unseen": False}, GOOD),
            ({}, b"?"),
        ],
        ids=["wrong structure", "known layout", "byte form is known", "not a table"],
    )
    def test_every_other_file_is_refused(self, tmp_path: Path, changes: dict[str, object], content: bytes) -> None:
        put(tmp_path, "letters/a.data", content)
        message = refused(self.remote(**changes), tmp_path, "http://127.0.0.1:1")  # type: ignore[arg-type]
        assert sha256(content) in message
        assert "0" * 64 in message

    def test_a_record_accepts_nothing_that_the_catalog_refuses(self, tmp_path: Path) -> None:
        put(tmp_path, "letters/a.data", MORE)
        put(tmp_path, "letters/a.data.sha256", f"{sha256(MORE)}  a.data\n".encode())
        for remote in (REMOTE, self.remote(fault="it has 3 rows")):
            assert sha256(MORE) in refused(remote, tmp_path, "http://127.0.0.1:1")
            assert cache_state(remote, tmp_path) == "damaged"

    def test_the_checksum_of_a_download_is_recorded(self, server: Server, tmp_path: Path) -> None:
        server.answers = [send(zipped(a__data=GOOD))]
        remote = self.remote()
        obtain(remote, tmp_path, server.url)
        assert files_in(tmp_path) == ["uci/letters/a.data", "uci/letters/a.data.sha256"]
        assert obtain(remote, tmp_path, server.url) == [GOOD]
        put(tmp_path, "letters/a.data", MORE)
        message = refused(remote, tmp_path, server.url)
        assert sha256(GOOD) in message
        assert sha256(MORE) in message
