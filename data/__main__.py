"""``python -m data`` lists the data sets; ``python -m data NAME`` describes one."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from typing import NoReturn, Required, TypedDict

from data.cache import cache_folder
from data.dataset_info import DatasetInfo
from data.datasets import DATASETS, availability, get_info, markdown_table, places
from data.images.catalog import IMAGE_SOURCES
from data.images.folders import describe_folders
from data.images.published import addresses
from data.uci.catalog import UCI
from data.uci.files import archive_url
from jumpstart.files import PathError, path_argument

COLUMNS = ("name", "source", "rows", "features", "classes", "available", "license")
_NUMERIC = {"rows", "features", "classes"}

Values = dict[str, str | int]
"""Properties of a data set, by name."""


class FileDetails(TypedDict, total=False):
    """One file of a data set. ``path`` is its place in the cache, whether the file exists or not.

    Files of UCI have ``sha256``, a list of the accepted checksums; files of images have ``checksum``, ``"kind:..."``.
    """

    name: Required[str]
    bytes: Required[int]
    sha256: list[str]
    checksum: str
    path: Required[str]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Words of the command line; ``None`` for those of this process.

    Returns:
        The exit status: 0.

    Raises:
        SystemExit: With status 2, after one line on the standard error, if an argument is wrong.
    """
    parser = _make_parser()
    options = parser.parse_args(arguments)
    try:
        cache_folder(options.data_dir)
    except PathError as error:  # of the environment variable
        parser.error(str(error))
    if options.name is None:
        rows = [_row(info, options.data_dir) for info in DATASETS.values()]
        if options.markdown:
            _write(markdown_table())
        else:
            _write(json.dumps(rows, indent=2) if options.json else _table(rows, options.data_dir))
        return 0
    if options.markdown:
        parser.error("--markdown lists all data sets: leave NAME out, or --markdown.")
    try:
        info = get_info(options.name)
    except ValueError as error:
        parser.error(str(error))
    details, files = _details(info, options.data_dir), _files(info, options.data_dir)
    if options.json:
        _write(json.dumps({**details, **({"files": files} if files else {}), "note": info.note}, indent=2))
    else:
        _write(_paragraphs({**details, "note": info.note}, files))
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m data", description="List the data sets, or describe one.", allow_abbrev=False)
    parser.add_argument("name", nargs="?", metavar="NAME", help="data set to describe")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help="print the list as a Markdown table")
    parser.add_argument(
        "--data_dir",
        type=path_argument("--data_dir", "folder"),
        metavar="DIR",
        help="cache folder (default: JUMPSTART_DATA_DIR, else the user's cache folder)",
    )
    return parser


def _row(info: DatasetInfo, data_dir: str | None) -> Values:
    state = availability(info.name, data_dir)
    return {column: state if column == "available" else getattr(info, column) for column in COLUMNS}


def _details(info: DatasetInfo, data_dir: str | None) -> Values:
    details: Values = {"title": info.title, **_row(info, data_dir), "creators": info.creators, "url": info.url}
    source = IMAGE_SOURCES.get(info.name)
    if info.files:
        details["download"] = archive_url(UCI[info.name].remote(info.name))
    if source is not None and source.folders:
        details |= describe_folders(info.name, data_dir)
    if source is not None and source.files:
        details["download"] = " ".join(url for file in source.files for url in addresses(file))
    return details


def _files(info: DatasetInfo, data_dir: str | None) -> list[FileDetails]:
    paths = places(info.name, data_dir)
    if info.files:
        return [
            {"name": file.name, "bytes": file.size, "sha256": list(file.sha256), "path": path}
            for file, path in zip(info.files, paths, strict=True)
        ]
    if info.name not in IMAGE_SOURCES:
        return []
    return [
        {"name": file.name, "bytes": file.size, "checksum": file.digest, "path": path}
        for file, path in zip(IMAGE_SOURCES[info.name].files, paths, strict=True)
    ]


def _table(rows: Sequence[Values], data_dir: str | None) -> str:
    cells = [COLUMNS, *(tuple(str(row[column]) for column in COLUMNS) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(COLUMNS))]
    lines = [
        "  ".join(
            cell.rjust(width) if column in _NUMERIC else cell.ljust(width)
            for cell, width, column in zip(row, widths, COLUMNS, strict=True)
        ).rstrip()
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", f"cache: {cache_folder(data_dir)}", "rows of generated sets: num_points"])


def _paragraphs(details: Values, files: Sequence[FileDetails]) -> str:
    lines = [f"{details['name']}: {details['title']}"]
    for key, value in details.items():
        if key in ("name", "title") or not value:
            continue
        body = textwrap.wrap(str(value), 88, break_long_words=False, break_on_hyphens=False)
        lines += [f"  {key + ':':<11}{body[0]}", *(" " * 13 + line for line in body[1:])]
    for file in files:
        lines.append(f"  file:      {file['path']} ({file['bytes']} bytes)")
        checksums = [f"sha256 {checksum}" for checksum in file.get("sha256", [])]
        lines += [f"{'':13}{checksum}" for checksum in checksums or [file["checksum"].replace(":", " ")]]
    return "\n".join(lines)


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
