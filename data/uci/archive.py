"""Members of zip archives, read within limits: an archive from a server may be damaged, or a bomb."""

from __future__ import annotations

import io
import zipfile

from data.connection import WrongContentError
from jumpstart.words import some

LARGEST = 16 << 20
"""Bytes of an archive that is opened: many times the largest one of a data set described here."""

_DEPTH, _INNER = 2, 10
"""How many archives within one another, and side by side, are opened."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Methods of compression that can be read piece by piece; UCI's archives have no other."""

_ENCRYPTED = 0x1


def extract(archive: bytes, name: str, most: int, depth: int = _DEPTH) -> bytes:
    """One member of a zip archive, in any folder, with any case, also inside an inner zip archive.

    Args:
        archive: Bytes of the archive.
        name: File name of the member.
        most: Largest size of the member, in bytes.
        depth: How many archives within one another are opened.

    Raises:
        KeyError: If there is no such member.
        WrongContentError: If the member is larger, encrypted, or compressed by a method that is not read.
        zipfile.BadZipFile: If the archive is damaged.
    """
    opened = _opened(archive)
    members = {info.filename.rsplit("/", 1)[-1].casefold(): info for info in opened.infolist()}
    if name.casefold() in members:
        return _read(opened, members[name.casefold()], most)
    for inner in sorted(member for member in members if member.endswith(".zip") and depth > 0)[:_INNER]:
        try:
            return extract(_read(opened, members[inner], LARGEST), name, most, depth - 1)
        except KeyError:
            continue
    raise KeyError(f"the archive has no {name}, only {some(sorted(members), most=20) or 'nothing'}")


def _opened(archive: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(archive))
    except zipfile.BadZipFile:
        raise
    except Exception as error:  # zipfile raises many kinds of errors for a damaged directory
        raise zipfile.BadZipFile(f"the archive is damaged: {error}") from None


def _read(opened: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    name = member.filename
    if member.flag_bits & _ENCRYPTED:
        raise WrongContentError(f"{name} is encrypted in the archive")
    if member.compress_type not in _METHODS:
        raise WrongContentError(f"{name} is compressed by the unknown method {member.compress_type} in the archive")
    try:
        with opened.open(member) as stream:
            content = stream.read(most + 1)
    except Exception as error:  # as above
        raise zipfile.BadZipFile(f"{name} is damaged in the archive: {error}") from None
    if len(content) > most:
        raise WrongContentError(f"{name} is larger than {most:,} bytes, more than the expected file")
    return content
