"""Blocks of machine code in the assembly that llc writes with `-basic-block-address-map -pgo-analysis-map=bb-freq`.

Each block stands between two labels there, and the map at the end of each function has the blocks in order, with
their frequencies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_MAP = ".section\t.llvm_bb_addr_map"
_END = re.compile(r"^\.LBB_END(\d+_\d+):")
_FUNCTION = re.compile(r"^\s*\.type\s+\"?([^\",\s]+)\"?,\s*[@%]function")
_LOCAL = re.compile(r"^\.L(.+)\$local$")  # another name of a function, within its file
_BEGINS = re.compile(r"^\.Lfunc_begin\d+:")
_PUBLIC = re.compile(r"^\s*\.(?:globl|weak)\s+\"?([^\",\s]+)", re.M)
_COMMENT = re.compile(r"\s+(?:#|//)\s.*$")  # `#` before a number is one, for some processors
_FREQUENCY = re.compile(r"^\s*\.(byte|ascii|asciz)\s+(\S.*?)\s*(?:#|//) basic block frequency")
_CALL = re.compile(r"^(?:call\w*|jmp\w*|bl|b)\s+\"?([A-Za-z_.$][\w.$]*)\"?(?:@PLT)?$")
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|(.))", re.S)
_NAMED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f"}


@dataclass(frozen=True)
class MachineBlock:
    """One block of code.

    Attributes:
        instructions: as assembly.
        frequency: how often it runs each time that its function is entered.
        calls: names that it calls, or jumps to out of the function.
    """

    instructions: tuple[str, ...]
    frequency: float
    calls: tuple[str, ...] = ()


@dataclass
class _Reading:
    name: str = ""
    blocks: list[list[str]] = field(default_factory=list)
    frequencies: list[int] = field(default_factory=list)
    is_inside: bool = False


def read_functions(text: str) -> dict[str, list[MachineBlock]]:
    """Name of each function -> its blocks, the entry first."""
    return {reading.name: list(_blocks(reading)) for reading in _read(text) if reading.blocks}


def public_names(text: str) -> frozenset[str]:
    """The names that other modules can use."""
    return frozenset(_PUBLIC.findall(text))


def _read(text: str) -> Iterator[_Reading]:
    reading, in_map, name = _Reading(), False, ""
    for line in text.splitlines():
        if found := _FUNCTION.match(line):
            name = name if _LOCAL.match(found[1]) else found[1]
        elif _BEGINS.match(line):
            yield reading
            reading, in_map = _Reading(name, [[]], is_inside=True), False
        elif _MAP in line:
            reading.is_inside, in_map = False, True
        elif in_map and (found := _FREQUENCY.match(line)):
            reading.frequencies.append(_number(found[1], found[2]))
        elif reading.is_inside and _END.match(line):
            reading.blocks.append([])
        elif reading.is_inside and line.startswith("\t") and not line.startswith(("\t.", "\t#")):
            reading.blocks[-1].append(line.strip())
    yield reading


def _blocks(reading: _Reading) -> Iterator[MachineBlock]:
    """What stands behind the last label that ends a block, such as a jump table, is no block."""
    entry = max(reading.frequencies[:1], default=0) or 1
    for instructions, frequency in zip(reading.blocks, reading.frequencies):
        bare = [_COMMENT.sub("", text).strip() for text in instructions]
        targets = [_LOCAL.sub(r"\1", found[1]) for text in bare if (found := _CALL.match(text))]
        calls = tuple(target for target in targets if not target.startswith(".L"))
        yield MachineBlock(tuple(filter(None, bare)), frequency / entry, calls)


def _number(kind: str, text: str) -> int:
    """A ULEB128 number, as bytes or as a string of them."""
    if kind == "byte":
        parts = [int(part, 0) for part in text.split(",")]
    else:
        parts = list(_ESCAPE.sub(_unescaped, text.strip().strip('"').encode("latin-1")))
        parts += [0] if kind == "asciz" else []
    return sum((part & 0x7F) << (7 * i) for i, part in enumerate(parts))


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return bytes([int(match[1], 8)])
    return _NAMED.get(match[2], match[2])
