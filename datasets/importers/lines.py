"""Lines of a log, plain or compressed, one at a time."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foretune.datasets.importers.report import LineError

MAX_LINE_BYTES = 64 << 20
_GZIP, _XZ, _BOM = b"\x1f\x8b", b"\xfd7zXZ\x00", b"\xef\xbb\xbf"


@dataclass
class LineCount:
    """How far a reading has come.

    Attributes:
        whole: lines that were read to their end; the last line of a log that is still being written has none.
    """

    whole: int = 0


def read_lines(path: Path, skip: int = 0, count: LineCount | None = None) -> Iterator[tuple[int, bytes | LineError]]:
    """Yields (line number from 1, line) of a file; gzip and xz are recognised by their content.

    Empty lines and lines that begin with `#` are left out. Damage in the compressed data, and lines beyond
    `MAX_LINE_BYTES`, come as an error in the place of the line.

    Args:
        path: the file.
        skip: lines at its beginning that are left out.
        count: follows the reading.

    Raises:
        OSError: the file cannot be opened or read.
    """
    count = count if count is not None else LineCount()
    with open(path, "rb", buffering=0) as raw:
        unpacked = _unpack(raw)
        file = io.BufferedReader(unpacked or raw, 1 << 20)
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if unpacked is not None and unpacked.damage and not line.endswith(b"\n"):
                number -= 1
                break
            too_long = len(line) > MAX_LINE_BYTES
            while too_long and line and not line.endswith(b"\n"):
                line = file.readline(1 << 20)
            if line.endswith(b"\n"):
                count.whole = number
            if number <= skip:
                continue
            if too_long:
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
