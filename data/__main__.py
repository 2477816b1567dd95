"""``python -m data`` lists the data sets; ``python -m data NAME`` describes one, or data of the user at a path."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from typing import Required, TypedDict

from data.cache import DataError, cache_folder
from data.dataset_info import DatasetInfo
from data.datasets import DATASETS, availability, get_info, markdown_table, places
from data.images.arrays import files_of
from data.images.catalog import IMAGE_SOURCES
from data.images.folders import describe_folders
from data.images.published import addresses
from data.uci.catalog import UCI
from data.uci.files import archive_url
from jumpstart.files import PathError, is_path, path_argument
from jumpstart.files.streams import command
from jumpstart.words import CommandParser

COLUMNS = ("name", "source", "rows", "features", "classes", "available", "license")
_NUMERIC = {"rows", "features", "classes"}
_OWN = {
    "target": "column of the classes in a file of your own: its name or position",
    "drop_columns": "columns of the file that are left out, separated by commas",
    "category_columns": "columns of the file whose numbers are categories, separated by commas",
    "val_dataset": "path of a validation part of your own",
    "test_dataset": "path of a test part of your own",
}
"""Options for a file of the user, and their help."""

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


@command
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
    if is_path(options.name):
        try:
            _write(_describe_own(options))
        except (ValueError, DataError) as error:
            parser.error(" ".join(str(error).split()))
        return 0
    for option in _OWN:
        if getattr(options, option) is not None:
            parser.error(f"--{option} has an effect for a file of your own only: leave it out.")
    try:
        info = get_info(options.name)
        details, files = _details(info, options.data_dir), _files(info, options.data_dir)
    except (ValueError, DataError) as error:
        parser.error(str(error))
    if options.json:
        _write(json.dumps({**details, **({"files": files} if files else {}), "note": info.note}, indent=2))
    else:
        _write(_paragraphs({**details, "note": info.note}, files))
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m data", description="List the data sets, or describe one.", allow_abbrev=False
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="data set to describe, or a path to data of your own")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help="print the list as a Markdown table")
    parser.add_argument(
        "--data_dir",
        type=path_argument("--data_dir", "folder"),
        metavar="DIR",
        help="cache folder (default: JUMPSTART_DATA_DIR, else the user's cache folder)",
    )
    for option, text in _OWN.items():
        parser.add_argument(f"--{option}", metavar=option.upper().removesuffix("_COLUMNS"), help=text)
    return parser


def _describe_own(options: argparse.Namespace) -> str:
    """A description of the user's data at a path, split as in a run with default options."""
    from data.data import make_datamodule

    module = make_datamodule(
        options.name,
        data_dir=options.data_dir,
        target=options.target,
        drop_columns=options.drop_columns or (),
        category_columns=options.category_columns or (),
        val=options.val_dataset,
        test=options.test_dataset,
    )
    module.setup()
    return json.dumps(module.describe(), indent=2) if options.json else module.found()


def _row(info: DatasetInfo, data_dir: str | None) -> Values:
    state = availability(info.name, data_dir)
    return {column: state if column == "available" else getattr(info, column) for column in COLUMNS}


def _details(info: DatasetInfo, data_dir: str | None) -> Values:
    details: Values = {"title": info.title, **_row(info, data_dir), "creators": info.creators, "url": info.url}
    source = IMAGE_SOURCES.get(info.name)
    if info.files:
        details["download"] = str(archive_url(UCI[info.name].remote(info.name)))
    if source is not None and source.folders:
        details |= describe_folders(info.name, data_dir)
    if source is not None and source.files:
        details["download"] = " ".join(str(url) for file in source.files for url in addresses(file))
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
        for file, path in zip(files_of(info.name, data_dir), paths, strict=True)
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
