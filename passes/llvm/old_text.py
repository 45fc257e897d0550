"""Text of older LLVM, made readable for LLVM 22: what its reader of bitcode upgrades by itself, its parser of text
refuses.

`sret` and `byval` without their type (until LLVM 11) get the one that the pointer beside them says; `inrange` before
an index (until LLVM 18), a hint that nothing depends on, goes.
"""

from __future__ import annotations

import re
from pathlib import Path

from foretune.support.files import write_atomically

_TYPE = r"%\"[^\"\n]+\"|%[\w.$-]+|i\d+|\{[^{}\n]*\}|\[[^\[\]\n]*\]"
_UNTYPED = re.compile(rf"({_TYPE})\*((?: [a-z_]+(?:\(\d+\))?)*?) (sret|byval)(?=[ ,)])")
_INRANGE = re.compile(r"\binrange (?=i\d+ )")


def upgrade(text: str) -> str:
    """The text as LLVM 22 reads it; itself, where nothing is old."""
    return _INRANGE.sub("", _UNTYPED.sub(r"\1*\2 \3(\1)", text))


def readable(path: Path, folder: Path) -> Path:
    """A module that LLVM 22 reads: the file itself, or one in a folder if its text is old."""
    if path.suffix != ".ll":
        return path.resolve()
    text = path.read_bytes().decode("latin-1")  # each byte is a character, and stays what it is
    upgraded = upgrade(text)
    if upgraded == text:
        return path.resolve()
    out = folder / f"{path.stem}.upgraded.ll"
    write_atomically(out, lambda temporary: temporary.write_bytes(upgraded.encode("latin-1")))
    return out.resolve()
