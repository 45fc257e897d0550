"""Zip archives from elsewhere: what may be in them, before anything is read."""

from __future__ import annotations

import stat
import zipfile
from pathlib import PurePosixPath

from foretune.errors import DataError

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_MOST_MEMBERS = 200_000
_MOST_RATIO, _FREE_BYTES = (
    100,
    64 << 20,
)  # a member may be so many times as long as its compressed form, and more if it is small
_ENCRYPTED = 0x1


def members_of(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files in an archive, by name; folders are left out.

    Raises:
        DataError: a name leaves the archive or stands twice, a member is a link or encrypted, or the whole is a zip
            bomb.
    """
    infos = archive.infolist()
    if len(infos) > _MOST_MEMBERS:
        raise DataError(f"it has {len(infos)} members, more than the {_MOST_MEMBERS} that are read")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        _check(info)
        if info.filename in found:
            raise DataError(f"its member {info.filename!r} stands twice")
        found[info.filename] = info
    size, packed = sum(i.file_size for i in infos), sum(i.compress_size for i in infos)
    if size > _FREE_BYTES + _MOST_RATIO * packed:
        raise DataError(
            f"its members are {size} bytes long when unpacked, and only {packed} before: more than {_MOST_RATIO} times"
            " as long"
        )
    return {name: info for name, info in found.items() if not info.is_dir()}


def _check(info: zipfile.ZipInfo) -> None:
    path = PurePosixPath(info.filename)
    if (
        not info.filename
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in info.filename
        or "\0" in info.orig_filename
        or ":" in path.parts[0]
    ):
        raise DataError(f"its member {info.orig_filename[:200]!r} has a name that leads out of the archive")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(f"its member {info.filename!r} is a link or another special file")
    if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
        raise DataError(f"its member {info.filename!r} is encrypted, or packed in a way that is not read")
