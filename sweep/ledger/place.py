"""The file system of a sweep's folder: SQLite keeps several processes apart on local disks only."""

from __future__ import annotations

from pathlib import Path

_NETWORK = (
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "smb", "virtiofs",
)  # fmt: skip
"""The beginnings of the types of file systems that several machines share."""
_MOUNTS = Path("/proc/self/mounts")


def network_drive(folder: Path, mounts: str) -> str | None:
    r"""The type of the network file system that holds a folder, or None for a local one.

    Args:
        folder: The folder.
        mounts: The content of ``/proc/self/mounts``.

    Example:
        >>> table = "/dev/sda1 / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0"
        >>> network_drive(Path("/home/me/runs"), table), network_drive(Path("/tmp"), table)
        ('nfs4', None)
    """
    best, kind = Path(), ""
    for line in mounts.splitlines():
        _, place, name, *_ = line.split()
        point = Path(place.replace("\\040", " "))
        if folder.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, name
    return kind if kind.startswith(_NETWORK) else None


def network_drive_of(folder: Path) -> str | None:
    """The type of the network file system that holds a folder; None for a local one, or where that is unknown.

    Args:
        folder: The folder.
    """
    try:
        return network_drive(folder.resolve(), _MOUNTS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
