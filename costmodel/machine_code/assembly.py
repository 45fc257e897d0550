"""x86-64 assembly in AT&T syntax as blocks of instructions, and a copy of it that counts how often each block runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from foretune.errors import UnsupportedError

_LABEL = re.compile(r"^([.\w$@]+):")
_REGISTER = re.compile(r"%(\w+)")
_MEMORY = re.compile(r"(?:%\w+:)?[-\w.$@+]*\([^)]*\)")
_STACK = re.compile(r"(-?\w*)\(%rsp\)|(-?\w*)\(%rbp\)")
_VECTOR = re.compile(r"(x|y|z)mm(\d+)")
_NUMBERED = re.compile(r"r(\d+)[dwb]?$")
_FLOAT = re.compile(
    r"^v?(?:add|sub|mul|div|max|min|sqrt|round|rsqrt|rcp|andn?|x?or|blendv?|cmp\w*|ucomi|comi|fn?m(?:add|sub)\w*|cvt\w*|hadd|range\w*|reduce\w*|getexp|scalef|rndscale)(ss|sd|ps|pd)[xyz]?$"
)
_PACKED_INT = re.compile(r"^v?p(?:add|sub|mul|max|min|and|or|xor|sll|srl|sra|cmp|abs)\w*$")
_COMMA = re.compile(r",(?![^(]*\))")  # not those within a memory operand
_FOR_DEBUGGERS = (".Ltmp", ".Lfunc_begin")  # labels that nothing jumps to
_ENDS = ("j", "ret", "ud2", "hlt")
_PREFIXES = {"rep", "repe", "repz", "repne", "repnz", "lock", "notrack", "data16"}

_LEGACY = {}
for _name, _parts in (
    ("rax", "eax ax al ah"),
    ("rbx", "ebx bx bl bh"),
    ("rcx", "ecx cx cl ch"),
    ("rdx", "edx dx dl dh"),
    ("rsi", "esi si sil"),
    ("rdi", "edi di dil"),
    ("rbp", "ebp bp bpl"),
    ("rsp", "esp sp spl"),
):
    _LEGACY.update(dict.fromkeys([_name, *_parts.split()], _name))

COUNTERS = "foretune_counts"
_SAVED = "foretune_saved"
_PAGE_BITS = 12
_PAGE = 1 << _PAGE_BITS


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        text: as it stands, without comments.
        registers: (class, name) of those it names; the class is `gpr`, `vector` or `mask`, the name that of the widest
        form. reads, writes: bytes that its memory operand is read or written with; 0 without one.
        stack: the memory operand as a slot of the frame, or empty.
        arithmetic: it computes on floating point.
        packed: it computes on more than one element.
        move: it does nothing but move a value.
    """

    text: str
    registers: frozenset[tuple[str, str]] = frozenset()
    reads: int = 0
    writes: int = 0
    stack: str = ""
    arithmetic: bool = False
    packed: bool = False
    move: bool = False


@dataclass
class Block:
    """Instructions that run one after another, whenever the first one does.

    Attributes:
        function: that it is in.
        instructions: in order.
        line, last: of the assembly that its first and its last instruction are on.
        labels: that jump to it.
    """

    function: str
    instructions: list[Instruction] = field(default_factory=list)
    line: int = 0
    last: int = 0
    labels: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Its instructions, a line each."""
        return "\n".join(i.text for i in self.instructions)


def read_blocks(assembly: str, without: tuple[str, ...] = ()) -> list[Block]:
    """The blocks of all functions of some assembly, in order.

    Args:
        assembly: a listing.
        without: functions whose names begin so are left out.

    Raises:
        UnsupportedError: it is not AT&T syntax for x86-64.
    """
    blocks: list[Block] = []
    block, function, is_code = None, "", True
    labels: list[str] = []
    functions = set(re.findall(r"\.type\s+([.\w$@]+),@function", assembly))
    for number, line in enumerate(assembly.splitlines()):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        if match := _LABEL.match(text):
            if match[1].startswith(_FOR_DEBUGGERS):
                continue
            if match[1] in functions:
                function, is_code = match[1], True
            labels.append(match[1])
            block = None
            continue
        if text.startswith("."):
            if text.startswith((".section", ".data", ".bss")):
                is_code = ".text" in text
            elif text.startswith(".text"):
                is_code = True
            continue
        if not is_code or not function or function.startswith(without):
            continue
        if block is None:
            block = Block(function, line=number, labels=tuple(labels))
            labels.clear()
            blocks.append(block)
        instruction = read_instruction(" ".join(text.split()))
        block.instructions.append(instruction)
        block.last = number
        if mnemonic(instruction.text).startswith(_ENDS):
            block = None
    if assembly.strip() and not blocks and not (without and functions):
        raise UnsupportedError("the assembly has no function with instructions in AT&T syntax")
    return blocks


def with_counters(assembly: str, blocks: list[Block]) -> str:
    """The same assembly, counting each run of a block in the array `foretune_counts` of 64-bit numbers, and behind
    those of all blocks how often each went on to the next line instead of jumping from its last instruction.

    The counters have pages of their own, so that another process can share them. Flags and registers are as without:
    `lea` adds without flags, and what it needs is saved in static memory, not on the stack, below which a leaf function
    may keep values.
    """
    lines = assembly.splitlines()
    out: list[str] = []
    starts = {block.line: i for i, block in enumerate(blocks)}
    falls = {block.last: i for i, block in enumerate(blocks) if is_conditional(block.instructions[-1].text)}
    for number, line in enumerate(lines):
        if number in starts:
            out += _counting(starts[number])
        out.append(line)
        if number in falls:
            out += _counting(len(blocks) + falls[number])
    out += [
        "\t.bss",
        f"\t.p2align {_PAGE_BITS}",
        f"\t.globl {COUNTERS}",
        f"{COUNTERS}:",
        f"\t.zero {-(-16 * len(blocks) // _PAGE) * _PAGE}",
        f"{_SAVED}:",
        "\t.zero 8",
        "",
    ]
    return "\n".join(out)


def _counting(number: int) -> list[str]:
    """Adds one to a counter."""
    return [
        f"\tmovq\t%rax, {_SAVED}(%rip)",
        f"\tmovq\t{COUNTERS}+{8 * number}(%rip), %rax",
        "\tleaq\t1(%rax), %rax",
        f"\tmovq\t%rax, {COUNTERS}+{8 * number}(%rip)",
        f"\tmovq\t{_SAVED}(%rip), %rax",
    ]


def is_conditional(text: str) -> bool:
    """Whether an instruction may jump and may not."""
    return text.startswith("j") and not text.startswith("jmp")


@lru_cache(maxsize=1 << 16)
def read_instruction(text: str) -> Instruction:
    """What an instruction does, from its mnemonic and operands."""
    name = mnemonic(text)
    registers = frozenset(filter(None, map(register, _REGISTER.findall(text))))
    memory = _MEMORY.search(text)
    match = _FLOAT.match(name)
    packed_float = bool(match and match[1] in ("ps", "pd"))
    packed = packed_float or bool(_PACKED_INT.match(name) and "mm" in text)
    common = {
        "registers": registers,
        "arithmetic": bool(match),
        "packed": packed,
        "move": "mov" in name and not name.startswith("cmov"),
    }
    if name.startswith("push"):
        return Instruction(text, writes=8, **common)
    if name.startswith("pop"):
        return Instruction(text, reads=8, **common)
    if memory is None or name.startswith(("lea", "nop", "prefetch", "call", "j")):
        return Instruction(text, **common)
    size = _memory_bytes(name, text, memory[0])
    last = text[memory.start() :].count(",") == memory[0].count(",")  # the destination is named last
    reads = writes = 0
    if name.startswith(("cmp", "test", "ucomi", "comi", "vucomi", "vcomi", "vptest", "ptest", "bt")) or not last:
        reads = size
    elif common["move"] or name.startswith(
        ("set", "vextract", "vcompress", "vpmov", "vpextr", "pextr", "vcvtps2ph", "vpscatter", "vscatter")
    ):
        writes = size
    elif name.startswith(("mul", "imul", "div", "idiv")) or (
        len(operands(text)) == 1 and not name.startswith(("inc", "dec", "neg", "not", "sh", "sa", "ro"))
    ):
        reads = size
    else:
        reads = writes = size
    stack = memory[0] if _STACK.fullmatch(memory[0]) else ""
    return Instruction(text, reads=reads, writes=writes, stack=stack, **common)


def mnemonic(text: str) -> str:
    """What an instruction is called, without prefixes such as `rep`."""
    words = text.split()
    return words[1] if words[0] in _PREFIXES and len(words) > 1 else words[0]


def operands(text: str) -> list[str]:
    """The operands of an instruction, in the order of AT&T syntax: what is written comes last."""
    name = mnemonic(text)
    return [part.strip() for part in _COMMA.split(text.partition(name)[2])]


def register(name: str) -> tuple[str, str] | None:
    """(class, name of the widest form) of a register, without its percent sign; None if it is of no class here."""
    if match := _VECTOR.fullmatch(name):
        return ("vector", match[2])
    if name in _LEGACY:
        return ("gpr", _LEGACY[name])
    if match := _NUMBERED.fullmatch(name):
        return ("gpr", f"r{match[1]}")
    if re.fullmatch(r"k[0-7]", name):
        return ("mask", name)
    return None


def _memory_bytes(name: str, text: str, operand: str) -> int:
    """Bytes that a memory operand is accessed with."""
    widths = {"x": 16, "y": 32, "z": 64}
    vectors = [widths[m[0]] for m in _VECTOR.findall(text.replace(operand, ""))]
    if "{1to" in text:
        return 8 if name.endswith(("pd", "q")) else 4
    if vectors:
        width = max(vectors)
        if "broadcast" in name:
            table = (
                ("f128", 16),
                ("i128", 16),
                ("32x4", 16),
                ("64x2", 16),
                ("64x4", 32),
                ("32x8", 32),
                ("32x2", 8),
                ("ss", 4),
                ("sd", 8),
                ("b", 1),
                ("w", 2),
                ("d", 4),
                ("q", 8),
            )
            return next((n for suffix, n in table if name.endswith(suffix)), 4)
        if name.endswith("ss") or name.endswith(("ssl", "movd", "ssz", "insrd", "extrd")):
            return 4
        if name.endswith("sd") or (
            name.endswith(("movq", "lps", "hps", "lpd", "hpd", "movddup", "insrq", "extrq")) and "mul" not in name
        ):
            return width if name.endswith("movddup") and width > 16 else 8
        if match := re.match(r"v?pmov[sz]x(\w)(\w)", name):
            sizes = {"b": 1, "w": 2, "d": 4, "q": 8}
            return width * sizes[match[1]] // sizes[match[2]]
        if match := re.search(r"cvt(dq|ps|udq)2pd", name):
            return width // 2
        if name.startswith(("vextract", "vinsert")):
            return 32 if ("x4" in name and "64" in name) or "x8" in name else 16
        return width
    suffix = name[-1]
    if name.startswith(("movz", "movs")) and len(name) > 5:
        suffix = name[-2]
    return {"q": 8, "l": 4, "w": 2, "b": 1}.get(suffix, 8)
