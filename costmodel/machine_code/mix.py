"""What instructions are: sums over some of them, by class, width and use of memory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from foretune.costmodel.machine_code.assembly import Instruction, mnemonic, read_instruction

CLASSES = (
    "instructions",
    "fma_512",
    "fma_256",
    "fma_128",
    "fma_scalar",
    "packed",  # on floating point or integers, without multiply-adds
    "scalar",  # on floating point, without multiply-adds
    "lanes",  # elements that arithmetic is done on; two for each of a multiply-add
    "loads",  # not from the frame
    "stores",
    "reloads",  # from the frame
    "spills",
    "broadcasts",
    "gathers",
    "shuffles",
    "moves",  # between vector registers
    "converts",
    "divides",
    "addresses",  # arithmetic on general registers
    "branches",
    "calls",
    "masked",
    "bytes_read",
    "bytes_written",
)
"""What is summed; `PLACE` says where."""

PLACE = {name: i for i, name in enumerate(CLASSES)}

_FMA = re.compile(r"vfn?m(?:add|sub|addsub|subadd)\w*([sp])([sd])$")
_DOT = ("vpdpbusd", "vpdpwssd", "vpmaddwd", "vpmaddubsw", "vdpbf16ps")
_SHUFFLES = (
    "vperm", "vshuf", "vunpck", "vpunpck", "vpshuf", "vinsert", "vpinsr", "vextract", "vpextr", "vblend", "vpblend",
    "valign", "vpalign", "vmovhl", "vmovlh", "vpslldq", "vpsrldq", "vpack", "vcompress", "vexpand",
)  # fmt: skip
_ADDRESSES = (
    "lea", "add", "sub", "inc", "dec", "imul", "mul", "sh", "sa", "mov", "cmp", "test", "xor", "or", "and", "cltq",
    "cdq", "cqo", "neg", "not", "set", "cmov", "idiv", "div", "adc", "sbb", "bt", "tz", "lz",
)  # fmt: skip
_BITS = {"z": 512, "y": 256, "x": 128}
_WIDTH = re.compile(r"%([xyz])mm\d")


def mix(instructions: Iterable[Instruction]) -> np.ndarray:
    """Sums over instructions; [len(CLASSES)] float64."""
    rows = [_classes(instruction.text) for instruction in instructions]
    return np.array(rows, np.float64).sum(0) if rows else np.zeros(len(CLASSES))


@lru_cache(maxsize=1 << 16)
def _classes(text: str) -> tuple[float, ...]:
    """The classes of one instruction."""
    row: dict[str, float] = dict.fromkeys(CLASSES, 0.0)
    instruction, name = read_instruction(text), mnemonic(text)
    widths = _WIDTH.findall(text)
    bits = max((_BITS[w] for w in widths), default=0)
    row["instructions"] = 1.0
    if match := _FMA.match(name):
        is_packed, size = match[1] == "p", 32 if match[2] == "s" else 64
        row[f"fma_{bits}" if is_packed else "fma_scalar"] = 1.0
        row["lanes"] = 2.0 * (bits / size if is_packed else 1)
    elif name.startswith(_DOT):
        row[f"fma_{bits or 128}"] = 1.0
        row["lanes"] = 2.0 * (bits or 128) / 32
    elif instruction.packed:
        row["packed"] = 1.0
        row["lanes"] = (bits or 128) / (64 if name.rstrip("xyz").endswith("pd") else 32)
    elif instruction.arithmetic:
        row["scalar"] = row["lanes"] = 1.0
    _note_memory(row, instruction)
    if widths:
        _note_vector_work(row, name, text, instruction)
    elif name.startswith(_ADDRESSES):
        row["addresses"] = 1.0
    row["branches"] = float(name.startswith("j"))
    row["calls"] = float(name.startswith("call"))
    return tuple(row.values())


def _note_memory(row: dict[str, float], instruction: Instruction) -> None:
    if instruction.reads:
        row["reloads" if instruction.stack else "loads"] = 1.0
        row["bytes_read"] = float(instruction.reads)
    if instruction.writes:
        row["spills" if instruction.stack else "stores"] = 1.0
        row["bytes_written"] = float(instruction.writes)


def _note_vector_work(row: dict[str, float], name: str, text: str, instruction: Instruction) -> None:
    row["broadcasts"] = float("broadcast" in name or "{1to" in text)
    row["gathers"] = float("gather" in name or "scatter" in name)
    row["shuffles"] = float(name.startswith(_SHUFFLES))
    row["moves"] = float(instruction.move and not instruction.reads and not instruction.writes)
    row["converts"] = float("cvt" in name)
    row["divides"] = float("div" in name or "sqrt" in name)
    row["masked"] = float("{%k" in text)
