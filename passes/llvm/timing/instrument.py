"""A program of whose runs one function's calls are timed: a function of the same name stands around it, which looks at
the clock before and after (`region.c`).

The function itself stays as it is: it is neither inlined nor specialised for its callers, nor are calls left out, in
`-O3` and in every candidate alike. What it calls may be inlined into it, and its own recursion does not pass the clock.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from foretune.errors import DataError, UnsupportedError
from foretune.passes.llvm.program import Program
from foretune.passes.llvm.sources import Unit, compile_unit
from foretune.passes.llvm.timing.symbols import Function, find_function
from foretune.passes.llvm.toolchain import find_toolchain
from foretune.support.files import write_atomically

_COUNTER = Path(__file__).with_name("region.c")
_TIMEOUT_SECS = 120
_SEEN_OUTSIDE = ("weak", "weak_odr", "external", "dso_local", "dso_preemptable", "default", "hidden", "protected")
_LOCAL = ("private", "internal", "available_externally", "linkonce", "linkonce_odr")
_BEFORE_TYPE = (*_SEEN_OUTSIDE, *_LOCAL)  # words of a definition that a call does not have
_BRACKETS = {")": "(", "]": "[", "}": "{", ">": "<"}
_STRINGS = re.compile(r'"[^"]+"(?:="[^"]*")?')
_PERSONALITY = "@__gcc_personality_v0"  # of cleanups alone, whatever threw


@dataclass(frozen=True)
class _Definition:
    """The line that begins a function, in parts.

    Attributes:
        start, end: where it stands in the text.
        linkage: words before the calling convention.
        kind: calling convention, attributes of the result and its type, as a call has them, too.
        parameters: with their types, attributes and names, as a call has them, too.
        rest: behind the parameters.
    """

    start: int
    end: int
    linkage: tuple[str, ...]
    kind: str
    parameters: str
    rest: str


def time_function(program: Program, name: str, folder: Path) -> Program:
    """A program of whose runs the calls of one function are timed; the whole program is checked beside it.

    Args:
        program: which.
        name: of the function, mangled or demangled.
        folder: for the new module.

    Raises:
        OptionError: there is no such function, or there are several.
        DataError: the module cannot be read or written.
        UnsupportedError: it is a function that cannot be wrapped, or a tool is missing.
    """
    opt = str(find_toolchain().tool("opt"))
    bitcode = _run([opt, str(program.module), "-o", "-"], program)
    text = _run([opt, "-S", "-", "-o", "-"], program, bitcode).decode("latin-1")  # each byte stays what it is
    function = find_function(text, bitcode, name)
    timed = _run([opt, "-", "-o", "-"], program, wrapped(text, function).encode("latin-1"))
    own = hashlib.sha256(function.symbol.encode()).hexdigest()[:8]
    module = folder / f"{program.name}-timed-{own}.bc"
    write_atomically(module, lambda temporary: temporary.write_bytes(timed))
    counter = compile_unit(Unit(_COUNTER), folder / "foretune-region.o", ["-fPIC"], False)
    return replace(
        program,
        module=module.resolve(),
        objects=(*program.objects, counter.resolve()),
        timed=function.name,
        whole=program,
        checked=program.checked or program,
    )


def _run(command: list[str], program: Program, given: bytes = b"") -> bytes:
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=_TIMEOUT_SECS)
    except subprocess.TimeoutExpired:
        raise DataError(f"opt takes more than {_TIMEOUT_SECS} s to read {program.name}") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["opt failed"]
        reason = next((line for line in lines if "error" in line), lines[-1])
        raise DataError(f"{program.name} cannot be read: {reason[:400]}")
    return done.stdout


def wrapped(text: str, function: Function) -> str:
    """A module's text with the clock around one of its functions.

    Raises:
        UnsupportedError: the function takes a variable number of arguments, or is told in words that are not known.
    """
    found = _definition(text, function)
    groups = dict(re.findall(r"^attributes #(\d+) = { (.*) }$", text, re.M))
    group = next(iter(re.findall(r" #(\d+)\b", found.rest)), "")
    attributes = groups.get(group, "")
    outer, inner = f"@{_quoted(function.symbol)}", f'@"foretune.timed.{function.symbol}"'
    end = text.index("\n}\n", found.end) + 3
    body = re.sub(rf"{re.escape(outer)}\(", lambda _: f"{inner}(", text[found.end : end])  # its own recursion
    before, after = text[: found.start], text[end:]
    kept, own = (max(map(int, groups), default=-1) + i for i in (1, 2))
    parts = [
        _calls_remain(before, outer, groups),
        f"define internal {found.kind} {inner}({found.parameters}){_rest_of_inner(found.rest, group, kept)}",
        _calls_remain(body, outer, groups),
        _wrapper(found, outer, inner, own, throws="nounwind" not in attributes),
        _calls_remain(after, outer, groups),
        _declarations(text),
        f"\nattributes #{kept} = {{ noinline {_without(attributes, 'alwaysinline', 'noinline')} }}",
        f"\nattributes #{own} = {{ noinline optnone {' '.join(_of_wrapper(attributes))} }}\n",
    ]
    return "".join(parts).replace(f"blockaddress({outer},", f"blockaddress({inner},")


def _definition(text: str, function: Function) -> _Definition:
    name = re.escape(f"@{_quoted(function.symbol)}(")
    match = re.search(rf"^define ([^@\n]*){name}", text, re.M)
    if match is None:
        raise UnsupportedError(f"{function.name} cannot be timed: its definition is not found in the module's text")
    words = match[1].split()
    num_linkage = next((i for i, word in enumerate(words) if word not in _BEFORE_TYPE), len(words))
    line_end = text.index("\n", match.end())
    close = _closing(text, match.end(), line_end)
    parameters, rest = text[match.end() : close], text[close + 1 : line_end]
    if parameters.rstrip().endswith("..."):
        raise UnsupportedError(
            f"{function.name} cannot be timed: it takes a variable number of arguments, which nothing can pass on; time"
            " a function that calls it"
        )
    return _Definition(
        match.start(), line_end, tuple(words[:num_linkage]), " ".join(words[num_linkage:]), parameters, rest
    )


def _closing(text: str, start: int, end: int) -> int:
    """Where the bracket closes that opened before `start`."""
    depth, is_quoted = 1, False
    for i in range(start, end):
        if text[i] == '"':
            is_quoted = not is_quoted
        elif not is_quoted:
            depth += (text[i] == "(") - (text[i] == ")")
            if depth == 0:
                return i
    raise UnsupportedError("a definition in the module's text has no end of its parameters")


def _rest_of_inner(rest: str, group: str, kept: int) -> str:
    """Behind the parameters of the function itself: not in a comdat any more, and never inlined."""
    rest = re.sub(r" comdat(?:\([^)]*\))?", "", rest)
    if group:
        return re.sub(rf"#{group}\b", f"#{kept}", rest, count=1)
    head = re.match(r"(?: (?:local_)?unnamed_addr)?(?: addrspace\(\d+\))?", rest)
    at = head.end() if head else 0
    return f"{rest[:at]} #{kept}{rest[at:]}"


def _wrapper(found: _Definition, outer: str, inner: str, group: int, throws: bool) -> str:
    """The function around it; its callers know nothing of it but its type."""
    is_local = any(word in _LOCAL for word in found.linkage)
    linkage = "internal" if is_local else " ".join(word for word in found.linkage if word in _SEEN_OUTSIDE)
    kind = _type_of(found.kind)
    result, value = ("", "void") if kind == "void" else ("%foretune.result = ", f"{kind} %foretune.result")
    call = f"{found.kind} {inner}({found.parameters})"
    lines = [
        f"\ndefine {linkage} {found.kind} {outer}({found.parameters}) #{group}"
        + (f" personality ptr {_PERSONALITY} {{" if throws else " {"),
        "foretune.entry:",
        "  call void @foretune_region_enter()",
    ]
    if throws:
        lines += [
            f"  {result}invoke {call} to label %foretune.done unwind label %foretune.thrown",
            "foretune.thrown:",
            "  %foretune.pad = landingpad { ptr, i32 } cleanup",
            "  call void @foretune_region_leave()",
            "  resume { ptr, i32 } %foretune.pad",
        ]
    else:
        lines += [f"  {result}call {call}", "  br label %foretune.done"]
    lines += ["foretune.done:", "  call void @foretune_region_leave()", f"  ret {value}", "}", ""]
    kept = f"\n@foretune.region.kept = global ptr {outer}\n"  # a function whose address is known to others stays whole
    return "\n".join(lines) + kept


def _declarations(text: str) -> str:
    names = [f"declare void @foretune_region_{which}()" for which in ("enter", "leave")]
    if f"{_PERSONALITY}(" not in text:
        names.append(f"declare i32 {_PERSONALITY}(...)")
    return "\n" + "\n".join(names) + "\n"


def _calls_remain(text: str, outer: str, groups: Mapping[str, str]) -> str:
    """Text whose calls of the function are made, whatever the compiler was told of it."""

    def mended(match: re.Match[str]) -> str:
        attributes = groups.get(match[2], "")
        if "memory(" not in attributes:
            return match[0]
        return match[1] + (" nounwind" if "nounwind" in attributes.split() else "")

    return re.sub(rf"^(.*(?:call|invoke) [^\n]*{re.escape(outer)}\([^\n]*\)) #(\d+)", mended, text, flags=re.M)


def _without(attributes: str, *names: str) -> str:
    for name in names:
        attributes = re.sub(rf"(?:^|(?<= )){name}(?: |$)", "", attributes)
    return attributes


def _of_wrapper(attributes: str) -> list[str]:
    """What a caller must share with the function: the processor's features, by which vectors are passed, and tables for
    unwinding.
    """
    words = [word for word in _STRINGS.findall(attributes) if not word.startswith('"patchable')]
    words += [match[0] for match in [re.search(r"\buwtable(?:\(\w+\))?", attributes)] if match]
    return words + (["nounwind"] if "nounwind" in attributes.split() else [])


def _type_of(kind: str) -> str:
    """The type that stands last, behind a calling convention and attributes of the result."""
    depth, is_quoted = 0, False
    for i in range(len(kind) - 1, -1, -1):
        character = kind[i]
        if character == '"':
            is_quoted = not is_quoted
        elif not is_quoted:
            depth += (character in _BRACKETS) - (character in _BRACKETS.values())
            if character == " " and depth == 0:
                return kind[i + 1 :]
    return kind


def _quoted(symbol: str) -> str:
    return symbol if re.fullmatch(r"[-a-zA-Z$._][-\w$.]*", symbol) else f'"{symbol}"'
