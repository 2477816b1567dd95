"""``python -m data``: every data set; ``python -m data NAME``: all about one."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

from data.cache import cache_folder
from data.dataset_info import DatasetInfo
from data.datasets import DATASETS, availability, get_info, markdown_table, places
from data.images.catalog import IMAGE_SOURCES
from data.images.folders import describe_folders
from data.images.published import addresses
from data.uci.catalog import UCI
from data.uci.files import archive_url

COLUMNS = ("name", "source", "rows", "features", "classes", "available", "license")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = _Parser(
        prog="python -m data",
        description="List the data sets, or describe one.",
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a data set to describe")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help="print the list of data sets as a Markdown table")
    parser.add_argument(
        "--data_dir",
        metavar="DIR",
        help="cache folder (default: JUMPSTART_DATA_DIR, else the user's cache folder)",
    )
    options = parser.parse_args(arguments)
    if options.markdown:
        if options.name is not None:
            parser.error("--markdown prints the whole list: leave NAME out.")
        _write(markdown_table())
        return 0
    if options.name is None:
        rows = [_row(info, options.data_dir) for info in DATASETS.values()]
        _write(json.dumps(rows, indent=2) if options.json else _table(rows, options.data_dir))
        return 0
    try:
        info = get_info(options.name)
    except ValueError as error:
        parser.error(str(error))
    details = _details(info, options.data_dir)
    _write(json.dumps(details, indent=2) if options.json else _paragraphs(details))
    return 0


def _row(info: DatasetInfo, data_dir: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {column: getattr(info, column, None) for column in COLUMNS}
    return {**values, "available": availability(info.name, data_dir)}


def _details(info: DatasetInfo, data_dir: str | None) -> dict[str, Any]:
    details = {
        "title": info.title,
        **_row(info, data_dir),
        "creators": info.creators,
        "url": info.url,
    }
    if info.files:
        details["download"] = archive_url(UCI[info.name].remote(info.name))
        details["files"] = [
            {"name": file.name, "bytes": file.size, "sha256": list(file.sha256), "path": path}
            for file, path in zip(info.files, places(info.name, data_dir), strict=True)
        ]
    if info.name in IMAGE_SOURCES and IMAGE_SOURCES[info.name].folders:
        details |= describe_folders(info.name, data_dir)
    if info.name in IMAGE_SOURCES and IMAGE_SOURCES[info.name].files:
        files = IMAGE_SOURCES[info.name].files
        details["download"] = " ".join(url for file in files for url in addresses(file))
        details["files"] = [
            {"name": file.name, "bytes": file.size, "checksum": file.digest, "path": path}
            for file, path in zip(files, places(info.name, data_dir), strict=True)
        ]
    return {**details, "note": info.note}


def _table(rows: Sequence[dict[str, Any]], data_dir: str | None) -> str:
    cells = [COLUMNS, *(tuple(str(row[column]) for column in COLUMNS) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(COLUMNS))]
    numeric = {"rows", "features", "classes"}
    lines = [
        "  ".join(
            cell.rjust(width) if column in numeric else cell.ljust(width)
            for cell, width, column in zip(row, widths, COLUMNS, strict=True)
        ).rstrip()
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", f"cache: {cache_folder(data_dir)}", "rows of generated sets: num_points"])


def _paragraphs(details: dict[str, Any]) -> str:
    lines = [f"{details['name']}: {details['title']}"]
    for key, value in details.items():
        if key in ("name", "title", "files") or not value:
            continue
        body = textwrap.wrap(str(value), 88, break_long_words=False, break_on_hyphens=False)
        lines += [f"  {key + ':':<11}{body[0]}", *(" " * 13 + line for line in body[1:])]
    for file in details.get("files", []):
        lines.append(f"  file:      {file['path']} ({file['bytes']} bytes)")
        known = [f"sha256 {checksum}" for checksum in file.get("sha256", [])] or [file["checksum"].replace(":", " ")]
        lines += [f"{'':13}{checksum}" for checksum in known]
    return "\n".join(lines)


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
