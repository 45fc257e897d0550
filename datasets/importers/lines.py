"""Lines of a log, plain or compressed, one at a time."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foretune.datasets.importers.report import LineError

MAX_LINE_BYTES = 64 << 20
_GZIP, _XZ, _BOM = b"\x1f\x8b", b"\xfd7zXZ\x00", b"\xef\xbb\xbf"


def read_lines(path: Path) -> Iterator[tuple[int, bytes | LineError]]:
    """Yields (line number from 1, line) of a file; gzip and xz are recognised by their content.

    Empty lines and lines that begin with `#` are left out. Damage in the compressed data, and lines beyond
    `MAX_LINE_BYTES`, come as an error in the place of the line.

    Raises:
        OSError: the file cannot be opened or read.
    """
    with open(path, "rb", buffering=0) as raw:
        unpacked = _unpack(raw)
        file = io.BufferedReader(unpacked or raw, 1 << 20)
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if unpacked is not None and unpacked.damage and not line.endswith(b"\n"):
                number -= 1
                break
            if len(line) > MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = file.readline(1 << 20)
                yield number, LineError(f"the line is longer than {MAX_LINE_BYTES >> 20} MiB")
                continue
            line = line.removeprefix(_BOM) if number == 1 else line
            line = line.strip()
            if line and not line.startswith(b"#"):
                yield number, line
        if unpacked is not None and unpacked.damage:
            yield number + 1, LineError(f"the compressed data is damaged or cut off here: {unpacked.damage}")


class _Unpacked(io.RawIOBase):
    """Decompressed bytes up to the end or to the first damage, which is kept in `damage`."""

    def __init__(self, file: gzip.GzipFile | lzma.LZMAFile) -> None:
        self._file = file
        self.damage = ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read1(len(buffer))
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            self.damage = str(error)
            return 0
        buffer[: len(data)] = data
        return len(data)


def _unpack(raw: io.FileIO) -> _Unpacked | None:
    start = raw.read(6)
    raw.seek(0)
    if start.startswith(_GZIP):
        return _Unpacked(gzip.GzipFile(fileobj=raw))
    return _Unpacked(lzma.LZMAFile(raw)) if start == _XZ else None
