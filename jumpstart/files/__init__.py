"""Paths that a person gives, checked by one rule; atomic file writes; YAML without repeated keys.

A write is atomic if a reader finds the old file or the new one, never a part of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jumpstart.files.drafts import draft_file
from jumpstart.words import shorten

if TYPE_CHECKING:
    from yaml import Node, SafeLoader

UserPath = str | os.PathLike[str]
"""A path that a person gives, which :func:`user_path` checks. Functions that take a ``Path`` take a checked one."""

Kind = Literal["file", "folder"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_LONGEST_NAME = 255
"""Bytes that a name may have on most file systems."""
_LONGEST_PATH = 3000
"""Bytes that a path may have: Linux takes 4,095, and the files of a run are below the path."""
_MOST_COPIED = 100_000
"""Values and characters that the aliases of a YAML document may repeat."""


class PathError(ValueError):
    """A path can't be used. The message is one line, with the parameter, the path and the remedy."""


def user_path(path: UserPath, name: str = "path", kind: Kind | None = None) -> Path:
    """The path that a person means: ``~`` and ``~user`` are home folders, and only local paths are accepted.

    Every path that this project takes from a person goes through this function: arguments of functions, flags, and
    environment variables. The result can be checked again and stays the same.

    Args:
        path: The path. A file whose name begins with ``~`` can be given as ``./~name``.
        name: The parameter or flag, for messages.
        kind: ``"file"`` refuses a folder, and ``"folder"`` a file; None accepts both. Nothing has to exist.

    Raises:
        PathError: If the path is empty, a URL, not a name that a file can have, in the home folder of an unknown
            user, or not of the kind.
        TypeError: If the path is neither a text nor a path.

    Example:
        >>> user_path("runs/a").as_posix()
        'runs/a'
        >>> user_path("~/runs") == Path.home() / "runs"
        True
        >>> user_path("s3://bucket/runs", "output_dir")
        Traceback (most recent call last):
        jumpstart.files.PathError: output_dir must be a local path, neither a URL nor with '::', got 's3://bucket/runs'.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a path, got {path!r}.")
    _check_text(text, name)
    try:
        found = Path(text).expanduser() if text.startswith("~") else Path(text)
    except RuntimeError:
        user = Path(text).parts[0]
        raise PathError(
            f"{name} must begin with the home folder of a user, got {text!r}. Write ./{user} for the name {user}."
        ) from None
    if str(found).startswith("~") or _URL.match(str(found)):  # ./~a is ~a as a Path, which must not be expanded later
        found = Path.cwd() / found
    if kind is not None:
        _check_kind(found, name, kind, ends_in_separator=text.endswith(("/", os.sep)))
    return found


def path_argument(name: str, kind: Kind | None = None) -> Callable[[str], Path]:
    """The ``type`` of an argument of ``argparse`` that is a path; see :func:`user_path`.

    Args:
        name: The parameter, for messages.
        kind: ``"file"``, ``"folder"``, or None for both.
    """
    from argparse import ArgumentTypeError

    def convert(text: str) -> Path:
        try:
            return user_path(text, name, kind)
        except PathError as error:
            raise ArgumentTypeError(str(error)) from None

    return convert


def _check_text(text: str, name: str) -> None:
    """Refuse a text that no local path can be."""
    if not text.strip():
        raise PathError(f"{name} must not be empty.")
    if _URL.match(text) or "::" in text:  # libraries read a::b as a chain of URLs
        raise PathError(f"{name} must be a local path, neither a URL nor with '::', got {text!r}.")
    try:
        names = os.fsencode(text).replace(os.fsencode(os.sep), b"/").split(b"/")
    except UnicodeEncodeError:
        names = [b"\0"]
    if any(b"\0" in part for part in names):
        raise PathError(f"{name} must not contain a character that no file name can have, got {text!r}.")
    longest = max(map(len, names))
    if longest > _LONGEST_NAME:
        raise PathError(f"{name} must have names of at most {_LONGEST_NAME} bytes, got one of {longest}.")
    length = sum(map(len, names)) + len(names) - 1
    if length > _LONGEST_PATH:
        raise PathError(f"{name} must have at most {_LONGEST_PATH} bytes, got {length}.")


def _check_kind(path: Path, name: str, kind: Kind, *, ends_in_separator: bool) -> None:
    """Refuse a folder where a file is meant, and a file where a folder is meant or on the way to the path."""
    if kind == "file" and (ends_in_separator or os.path.isdir(path)):
        raise PathError(f"{name} must name a file, got the folder {path}.")
    if kind == "folder" and os.path.exists(path) and not os.path.isdir(path):
        raise PathError(f"{name} must name a folder, got the file {path}.")
    above = next((folder for folder in path.absolute().parents if os.path.exists(folder)), None)
    if above is not None and not os.path.isdir(above):
        raise PathError(f"{name} must be in a folder, got {path}, and {above} is a file.")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that replaces it when the block ends without an error.

    The temporary file is synced to the disk before it is renamed. After an error the temporary file is removed, and
    ``path`` is unchanged; see also :func:`~jumpstart.files.drafts.draft_file`.

    Args:
        path: The file to write. Its folder must exist.

    Yields:
        The path to write to.

    Raises:
        OSError: If the folder is missing or not writable, or the disk is full.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "log.txt") as draft:
        ...     _ = draft.write_text("whole")
        >>> [path.name for path in folder.iterdir()]
        ['log.txt']
    """
    with draft_file(path) as draft:
        yield draft
        sync_file(draft)
        os.replace(draft, path)
        with suppress(OSError):  # not every file system, and no Windows, can sync a folder
            _sync(path.parent, os.O_RDONLY)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file by these bytes, atomically.

    Raises:
        OSError: As :func:`atomic_path`.
    """
    with atomic_path(path) as draft:
        draft.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replace a file by this text in UTF-8 with Unix line ends, atomically.

    Raises:
        OSError: As :func:`atomic_path`.
    """
    write_bytes(path, text.encode("utf-8"))


def sync_file(path: Path) -> None:
    """Wait until the disk has stored the content of a file.

    Raises:
        OSError: If the file is missing or not writable, or the disk is full.
    """
    _sync(path, os.O_RDWR)  # Windows refuses to sync a file that is open for reading only


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_path(text: str) -> bool:
    """Whether a text is meant as a path and not as a name: it has a separator or a dot, or begins with ``~``.

    Example:
        >>> is_path("data/flowers"), is_path("./flowers"), is_path("wine.csv"), is_path("~"), is_path("moons")
        (True, True, True, True, False)
    """
    return text.startswith("~") or any(mark in text for mark in (".", "/", os.sep))


def beginning_of_name(text: str, most: int = 100) -> str:
    """The beginning of a text that can be a part of the name of a file: characters whole, and few bytes in UTF-8.

    Args:
        text: The text.
        most: The largest number of bytes.

    Example:
        >>> beginning_of_name("flowers", 4), beginning_of_name("花花", 4)
        ('flow', '花')
    """
    return text.encode(errors="ignore")[:most].decode(errors="ignore")


def absolute_path(path: UserPath, name: str = "path") -> Path:
    """The absolute path that a person means, without ``..``; links are kept. See :func:`user_path`."""
    return Path(os.path.abspath(user_path(path, name)))


def load_yaml(text: str, *, as_text: bool = False) -> object:
    r"""The content of a YAML document, in which each mapping must name each key once.

    A key of a mapping wins over the same key of a mapping that is merged into it with ``<<``, as YAML defines.

    Args:
        text: The document. JSON is YAML too.
        as_text: Whether scalars stay text, except null: YAML reads 1e-3 as text, and 1:30 as a number.

    Raises:
        ValueError: If the text is not YAML, a key is given twice, or aliases (``*name``) repeat too much or contain
            themselves. The message is one line.

    Example:
        >>> load_yaml("lr: 0.1\nepochs: 3\nlr: 0.2")
        Traceback (most recent call last):
        jumpstart.files.RepeatedKeyError: lr is given twice, in lines 1 and 3: keep one of them.
    """
    import yaml

    try:
        loader = _yaml_loader(as_text)(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _refuse_copies(root)
        content: object = loader.construct_document(root)
        return content
    except (RepeatedKeyError, _AliasError):
        raise
    except RecursionError:
        raise ValueError("it is not YAML that can be read: its values are nested too deeply.") from None
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        # PyYAML raises the last four for a value that its tag cannot have, such as !!bool maybe.
        reason = "a value does not fit its tag" if isinstance(error, LookupError | AttributeError) else str(error)
        raise ValueError(f"it is not YAML: {shorten(' '.join(reason.split()), 300)}") from None


class _AliasError(ValueError):
    """Aliases in YAML repeat more than a document of a person does."""


def _refuse_copies(root: Node) -> None:
    """Refuse a document whose aliases repeat very much: aliases of aliases make a few lines endless.

    Raises:
        _AliasError: If they do, or if an alias contains itself.
    """
    whole: dict[int, int | None] = {}  # the size of each node with its aliases written out; None inside of the node
    own = 0

    def size(node: Node) -> int:
        nonlocal own
        key = id(node)
        if key not in whole:
            whole[key] = None
            value = node.value
            single = len(value) + 1 if isinstance(value, str) else 1
            own += single
            inner = () if isinstance(value, str) else (part if isinstance(part, tuple) else (part,) for part in value)
            whole[key] = single + sum(size(child) for part in inner for child in part)
        found = whole[key]
        if found is None:
            raise _AliasError(f"the alias in line {node.start_mark.line + 1} contains itself: write its value out.")
        return found

    copied = size(root) - own
    if copied > _MOST_COPIED:
        raise _AliasError(f"its aliases repeat more than {_MOST_COPIED:,} characters: write fewer of them.")


class RepeatedKeyError(ValueError):
    """A mapping in YAML names a key twice."""


def _yaml_loader(as_text: bool) -> type[SafeLoader]:
    """A loader that refuses repeated keys."""
    import yaml

    class Loader(yaml.SafeLoader):
        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            if id(node) not in checked:  # a mapping that was merged before holds the merged keys too
                checked.add(id(node))
                self.refuse_repeated_keys(node)
            super().flatten_mapping(node)
            # The keys of the mapping itself are the last. PyYAML merges the first ones into a third mapping.
            node.value = list({self.name_of(key): (key, value) for key, value in node.value}.values())

        def refuse_repeated_keys(self, node: yaml.MappingNode) -> None:
            lines: dict[object, int] = {}
            for key, _ in node.value:
                name, line = self.name_of(key), key.start_mark.line + 1
                if name in lines:
                    where = f"in lines {lines[name]} and {line}" if line > lines[name] else f"in line {line}"
                    raise RepeatedKeyError(f"{name} is given twice, {where}: keep one of them.")
                lines[name] = line

        def name_of(self, key: yaml.Node) -> object:
            if not isinstance(key, yaml.ScalarNode):
                return id(key)
            return key.value if key.tag.endswith(":merge") else self.construct_object(key)

    checked: set[int] = set()
    if as_text:
        Loader.yaml_implicit_resolvers = {
            first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }
    return Loader
