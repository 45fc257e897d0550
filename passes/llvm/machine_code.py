"""Machine code in ELF object files: its hash and its size."""

from __future__ import annotations

import hashlib
import struct

_CODE = 0x2 | 0x4  # sections that are loaded and executed


def code_hash(machine_code: bytes) -> str:
    """Equal for equal machine code; 16 hexadecimal digits."""
    return hashlib.sha256(machine_code).hexdigest()[:16]


def text_bytes(machine_code: bytes) -> int:
    """Bytes of code in an ELF object file; the size of the whole file, if it is none of 64 bits."""
    if machine_code[:5] != b"\x7fELF\x02":
        return len(machine_code)
    start, size, number = (
        struct.unpack_from("<Q", machine_code, 0x28)[0],
        *struct.unpack_from("<HH", machine_code, 0x3A),
    )
    sections = [struct.unpack_from("<IIQQQQ", machine_code, start + i * size) for i in range(number)]
    return sum(length for _, _, flags, _, _, length in sections if flags & _CODE == _CODE)
