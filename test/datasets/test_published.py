"""Files from mirrors and their cache, against a server on this machine."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.server import Server, cut, fail, files_in, send

from data import fetch
from data.cache import FOLDER_VARIABLE, DataError
from data.data import make_datamodule
from data.datasets import availability, check_available
from data.images.catalog import IMAGE_SOURCES
from data.images.folders import find_folders
from data.images.published import URL_VARIABLE, PublishedFile, obtain_published, published_state

GOOD = bytes(range(256)) * 9000
"""Content of more than one block of a download."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "BACKOFF", 0.001)
    monkeypatch.setattr(fetch, "TIMEOUT", 5.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def published(*mirrors: str, kind: str = "sha256") -> PublishedFile:
    digest = f"{kind}:{hashlib.new(kind, GOOD).hexdigest()}"
    return PublishedFile("a.gz", "letters", len(GOOD), digest, mirrors, also=("other/raw/a.gz",))


def refused(file: PublishedFile, folder: Path) -> str:
    with pytest.raises(DataError) as error:
        obtain_published(file, folder)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_file_is_downloaded_once(kind: str, server: Server, tmp_path: Path) -> None:
    server.answers = [send(GOOD)]
    file = published(server.url, kind=kind)
    assert published_state((file,), tmp_path) == "not cached"
    path = obtain_published(file, tmp_path)
    assert path.read_bytes() == GOOD
    assert obtain_published(file, tmp_path) == path
    assert server.paths == ["/static/a.gz"]
    assert files_in(tmp_path) == ["letters/a.gz"]
    assert published_state((file,), tmp_path) == "cached"


@pytest.mark.parametrize("first", [fail(503), cut(GOOD)], ids=["503", "cut short"])
def test_a_temporary_failure_is_retried(first: object, server: Server, tmp_path: Path) -> None:
    server.answers = [first, send(GOOD)]  # type: ignore[list-item]
    assert obtain_published(published(server.url), tmp_path).read_bytes() == GOOD
    assert len(server.paths) == 2


def test_the_next_mirror_is_tried(server: Server, tmp_path: Path) -> None:
    server.answers = [fail(404), send(GOOD[:-1] + b"?"), send(GOOD)]
    file = published(f"{server.url}/1", f"{server.url}/2", f"{server.url}/3/")
    assert obtain_published(file, tmp_path).read_bytes() == GOOD
    assert server.paths == ["/static/1/a.gz", "/static/2/a.gz", "/static/3/a.gz"]


@pytest.mark.parametrize(
    ("answer", "attempts", "detail"),
    [
        (fail(404), 1, "HTTP 404"),
        (fail(500), fetch.ATTEMPTS, "HTTP 500"),
        (cut(GOOD), fetch.ATTEMPTS, "20 more expected"),
        (send(b"<html>"), 1, "expected " + hashlib.sha256(GOOD).hexdigest()),
    ],
    ids=["404", "500", "cut short", "a web page"],
)
def test_a_permanent_failure_is_reported_with_the_place_of_the_file(
    answer: object, attempts: int, detail: str, server: Server, tmp_path: Path
) -> None:
    server.answers = [answer]  # type: ignore[list-item]
    message = refused(published(server.url), tmp_path)
    assert len(server.paths) == attempts
    for part in (detail, str(tmp_path / "letters" / "a.gz"), f"{server.url}/a.gz", "set data_dir to"):
        assert part in message
    assert files_in(tmp_path) == []


def test_a_damaged_file_is_reported_with_both_checksums(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "letters" / "a.gz"
    path.parent.mkdir()
    path.write_bytes(GOOD[:-1])
    message = refused(published(server.url), tmp_path)
    assert message.startswith(str(path))
    assert all(hashlib.sha256(content).hexdigest() in message for content in (GOOD, GOOD[:-1]))
    assert server.paths == []
    assert published_state((published(server.url),), tmp_path) == "damaged"


def test_a_file_in_another_accepted_place_is_used(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "other" / "raw" / "a.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(GOOD)
    assert obtain_published(published(server.url), tmp_path) == path
    assert server.paths == []


def test_a_cache_that_cannot_be_written_is_reported(server: Server, tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("a file where a folder should be")
    assert "cannot be written" in refused(published(server.url), tmp_path)
    assert server.paths == []


def test_the_address_of_the_mirror_can_come_from_the_environment(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [send(GOOD)]
    monkeypatch.setenv(URL_VARIABLE, server.url)
    assert obtain_published(published("http://127.0.0.1:1"), tmp_path).read_bytes() == GOOD


def test_every_file_has_a_checksum_and_a_mirror() -> None:
    for source in IMAGE_SOURCES.values():
        for file in source.files:
            kind, _, digest = file.digest.partition(":")
            assert len(digest) == 2 * hashlib.new(kind).digest_size
            assert file.mirrors
            assert file.size > 0


def test_every_set_of_images_is_downloaded_to_its_folder(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [fail(404)]
    monkeypatch.setenv(URL_VARIABLE, server.url)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    for name in ("mnist", "mnist10k", "cifar10", "imagenette"):
        first = IMAGE_SOURCES[name].files[0]
        with pytest.raises(DataError, match="could not be downloaded") as error:
            make_datamodule(name, batch_size=8).prepare_data()
        assert str(tmp_path / first.folder / first.name) in str(error.value)
        assert server.paths[-1] == f"/static/{first.name}"
        assert availability(name) == "not cached"


@pytest.fixture
def imagenette(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small imagenette, which the server has."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for place in ("train/n1/a.JPEG", "train/n2/b.JPEG", "val/n1/c.JPEG"):
            member = tarfile.TarInfo(f"imagenette2-320/{place}")
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
    content = stream.getvalue()
    source = IMAGE_SOURCES["imagenette"]
    file = replace(source.files[0], digest=f"sha256:{hashlib.sha256(content).hexdigest()}")
    monkeypatch.setitem(IMAGE_SOURCES, "imagenette", replace(source, train=(file,)))
    monkeypatch.setenv(URL_VARIABLE, server.url)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    server.answers = [send(content)]
    return tmp_path / "imagenette"


def test_imagenette_is_downloaded_and_unpacked_once(server: Server, imagenette: Path) -> None:
    check_available("imagenette")
    folders = find_folders("imagenette")
    assert folders.train == imagenette / "imagenette2-320" / "train"
    assert len(files_in(imagenette)) == 3
    check_available("imagenette")
    assert len(server.paths) == 1
    assert availability("imagenette") == "cached"


def test_another_process_may_unpack_imagenette_first(imagenette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract = tarfile.TarFile.extractall

    def late(*arguments: object, **options: object) -> None:
        monkeypatch.setattr(tarfile.TarFile, "extractall", extract)
        check_available("imagenette")
        extract(*arguments, **options)

    monkeypatch.setattr(tarfile.TarFile, "extractall", late)
    check_available("imagenette")
    assert len(files_in(imagenette)) == 3


def test_no_archive_stays_beside_a_set_that_was_unpacked_before_a_kill(
    imagenette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def killed(path: Path, target: Path) -> None:
        rename(path, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        check_available("imagenette")
    assert len(files_in(imagenette)) == 3
