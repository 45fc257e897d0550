"""A single function as a program: a `main` is made around it that fills its buffers, calls it, and writes what it left
there.

What is called is told in a closed grammar, for instance `saxpy(f32[4096], f32[4096], 2.5, 4096)`: numbers are passed as
they are, and `TYPE[COUNT]` is a pointer to so many numbers, the same in each run: floats in [0, 1), integers from 0 to
99. The buffers are filled once; all calls but the first see what the call before left in them.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, replace
from pathlib import Path

from foretune.errors import DataError, OptionError
from foretune.passes.llvm.actions import BASELINE
from foretune.passes.llvm.measure import PassMeasurer
from foretune.passes.llvm.program import BuildOptions, Program, load_module
from foretune.record import Status
from foretune.support.files import write_text_atomically

_BYTES = {"i8": 1, "i16": 2, "i32": 4, "i64": 8, "f32": 4, "f64": 8}
_IR_TYPES = {"i8": "i8", "i16": "i16", "i32": "i32", "i64": "i64", "f32": "float", "f64": "double"}
_MAX_BUFFER_BYTES = 1 << 30
_WANTED_SECS, _MOST_CALLS = 0.03, 1 << 24

_CALL = re.compile(r"\s*([A-Za-z_.$][\w.$]*)\s*\(([^()]*)\)\s*")
_BUFFER = re.compile(r"(i8|i16|i32|i64|f32|f64)\[(\d{1,12})\]")
_INTEGER = re.compile(r"[+-]?\d{1,19}")


@dataclass(frozen=True)
class Buffer:
    """An argument that points to numbers.

    Attributes:
        kind: of each number: i8, i16, i32, i64, f32 or f64.
        count: how many.
    """

    kind: str
    count: int

    @property
    def num_bytes(self) -> int:
        """Its size."""
        return self.count * _BYTES[self.kind]


@dataclass(frozen=True)
class FunctionCall:
    """What is called, with what.

    Attributes:
        name: of the function, as in the module.
        arguments: in order.
    """

    name: str
    arguments: tuple[int | float | Buffer, ...] = ()

    @classmethod
    def parse(cls, text: str) -> FunctionCall:
        """Reads a call.

        Raises:
            OptionError: it is not of the grammar, or a buffer is empty or too large.
        """
        found = _CALL.fullmatch(text)
        if not found:
            raise OptionError(f"a call looks like `saxpy(f32[4096], f32[4096], 2.5, 4096)`, but got {text[:200]!r}")
        words = [word.strip() for word in found[2].split(",")] if found[2].strip() else []
        call = cls(found[1], tuple(map(_argument, words)))
        size = sum(a.num_bytes for a in call.arguments if isinstance(a, Buffer))
        if size > _MAX_BUFFER_BYTES:
            raise OptionError(f"buffers of a call may have {_MAX_BUFFER_BYTES} bytes together, but got {size}")
        return call


def _argument(word: str) -> int | float | Buffer:
    if found := _BUFFER.fullmatch(word):
        if not int(found[2]):
            raise OptionError(f"a buffer needs at least one number, but got {word!r}")
        return Buffer(found[1], int(found[2]))
    if _INTEGER.fullmatch(word):
        return int(word)
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise OptionError(
            f"an argument is a number or a buffer such as f32[4096] (of {', '.join(_BYTES)}), but got {word[:80]!r}"
        )
    return number


def load_function(
    source: Path,
    folder: Path,
    options: BuildOptions,
    call: FunctionCall,
    measurer: PassMeasurer,
    num_calls: int | None = None,
) -> Program:
    """A program that calls one function of a source.

    Args:
        source: a `.c`, `.cpp`, `.ll` or `.bc` file, without a `main`.
        folder: where compiled files go.
        options: how it is compiled and linked.
        call: what to call.
        measurer: builds the `main`, and finds out how often to call.
        num_calls: how often; by default so often that `-O3` takes some 30 ms.

    Raises:
        DataError: the module has no such function, has a `main` of its own, or the arguments do not fit the function's.
    """
    module = load_module(source, folder, options)
    driver = folder / f"{source.stem}-main.ll"
    write_text_atomically(driver, driver_text(call, *_signature(measurer, module, call)))
    made = driver.with_suffix(".o")
    measurer.compiler.compile(driver, made)
    program = Program(f"{source.stem}.{call.name}", module, (made,), replace(options, arguments=(str(num_calls or 1),)))
    if num_calls is None:
        program = replace(program, options=replace(options, arguments=(str(_enough_calls(program, measurer)),)))
    return program


def _enough_calls(program: Program, measurer: PassMeasurer) -> int:
    build = measurer.build(program, BASELINE)
    if build.status is not Status.OK:
        raise DataError(f"{program.name} cannot be built: {build.error}")
    number, secs = 1, 0.0
    while number < _MOST_CALLS and secs < _WANTED_SECS / 2:
        number = min(_MOST_CALLS, max(4 * number, int(number * _WANTED_SECS / max(secs, 1e-3))) if secs else 1)
        secs = max(
            measurer.cpu_secs(replace(program, options=replace(program.options, arguments=(str(number),))), build), 1e-4
        )
    measurer.discard(build)
    return number


def _signature(measurer: PassMeasurer, module: Path, call: FunctionCall) -> tuple[str, list[str]]:
    """(type of the result, types of the parameters), as the module says them."""
    signatures = measurer.compiler.signatures(module)
    if "main" in signatures:
        raise DataError(f"{module.name} has a main of its own, which is run if no call is named")
    if call.name not in signatures:
        known = ", ".join(sorted(signatures)[:10])
        raise DataError(
            f"{module.name} has no function {call.name} that can be called from outside; it has {known or 'none'}"
        )
    result, parameters = signatures[call.name]
    if len(parameters) != len(call.arguments):
        raise DataError(
            f"{call.name} takes {len(parameters)} arguments ({', '.join(parameters)}), but got {len(call.arguments)}"
        )
    for number, (kind, argument) in enumerate(zip(parameters, call.arguments), 1):
        fits = {
            Buffer: kind == "ptr",
            int: kind in ("float", "double") or bool(re.fullmatch(r"i\d+", kind)),
            float: kind in ("float", "double"),
        }
        if not fits[type(argument)]:
            raise DataError(
                f"argument {number} of {call.name} is of type {kind}, which {_shown(argument)} does not fit"
            )
        if (
            isinstance(argument, int)
            and kind.startswith("i")
            and not -(1 << (int(kind[1:]) - 1)) <= argument < 1 << int(kind[1:])
        ):
            raise DataError(f"argument {number} of {call.name} is of type {kind}, which cannot hold {argument}")
    if result not in ("void", "float", "double", "i1", "i8", "i16", "i32", "i64", "ptr"):
        raise DataError(f"{call.name} returns {result}; only numbers, pointers and nothing can be checked")
    return result, parameters


def _shown(argument: int | float | Buffer) -> str:
    return f"{argument.kind}[{argument.count}]" if isinstance(argument, Buffer) else repr(argument)


# -- the main around it ------------------------------------------------------------------------------

_FILL = """
define internal void @foretune.fill.{kind}(ptr %to, i64 %count, i64 %seed) noinline {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %more, %loop ]
  %state = phi i64 [ %seed, %entry ], [ %stepped, %loop ]
  %product = mul i64 %state, 6364136223846793005
  %stepped = add i64 %product, 1442695040888963407
  %high = lshr i64 %stepped, 33
{convert}
  %at = getelementptr {ir}, ptr %to, i64 %i
  store {ir} %value, ptr %at
  %more = add i64 %i, 1
  %end = icmp eq i64 %more, %count
  br i1 %end, label %done, label %loop
done:
  ret void
}}
"""


def _convert(kind: str) -> str:
    ir = _IR_TYPES[kind]
    if kind.startswith("f"):
        return (
            f"  %top = and i64 %high, 8388607\n  %number = uitofp i64 %top to {ir}\n  %value = fdiv {ir} %number,"
            " 8388608.0"
        )
    hundred = "  %small = urem i64 %high, 100\n"
    return hundred + ("  %value = add i64 %small, 0" if kind == "i64" else f"  %value = trunc i64 %small to {ir}")


def driver_text(call: FunctionCall, result: str, parameters: list[str]) -> str:
    """The module with `main`, in LLVM's text; its one argument is the number of calls."""
    buffers = [(i, a) for i, a in enumerate(call.arguments) if isinstance(a, Buffer)]
    lines = [
        f"@buffer.{i} = internal global [{b.count} x {_IR_TYPES[b.kind]}] zeroinitializer, align 64" for i, b in buffers
    ]
    lines += [
        "@result = internal global [8 x i8] zeroinitializer, align 8",
        "declare i64 @strtol(ptr, ptr, i32)",
        "declare i64 @write(i32, ptr, i64)",
    ]
    lines += [f'declare {result} @"{call.name}"({", ".join(parameters)})']
    lines += [
        _FILL.format(kind=kind, ir=_IR_TYPES[kind], convert=_convert(kind))
        for kind in sorted({b.kind for _, b in buffers})
    ]
    lines += ["define internal void @foretune.write(ptr %from, i64 %count) {", "entry:", "  br label %loop", "loop:"]
    lines += [
        "  %at = phi i64 [ 0, %entry ], [ %next, %loop ]",
        "  %start = getelementptr i8, ptr %from, i64 %at",
        "  %left = sub i64 %count, %at",
    ]
    lines += [
        "  %done = call i64 @write(i32 1, ptr %start, i64 %left)",
        "  %next = add i64 %at, %done",
        "  %failed = icmp sle i64 %done, 0",
    ]
    lines += [
        "  %all = icmp sge i64 %next, %count",
        "  %end = or i1 %failed, %all",
        "  br i1 %end, label %out, label %loop",
        "out:",
        "  ret void",
        "}",
    ]
    lines += [
        "define i32 @main(i32 %argc, ptr %argv) {",
        "entry:",
        "  %slot = getelementptr ptr, ptr %argv, i64 1",
        "  %word = load ptr, ptr %slot",
    ]
    lines += ["  %calls = call i64 @strtol(ptr %word, ptr null, i32 10)"]
    lines += [f"  call void @foretune.fill.{b.kind}(ptr @buffer.{i}, i64 {b.count}, i64 {i + 1})" for i, b in buffers]
    arguments = ", ".join(f"{kind} {_value(i, kind, a)}" for i, (kind, a) in enumerate(zip(parameters, call.arguments)))
    called = f'call {result} @"{call.name}"({arguments})'
    lines += [
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [ 0, %entry ], [ %more, %loop ]",
        f"  {called}" if result == "void" else f"  %got = {called}",
    ]
    if result not in ("void", "ptr"):  # where something lies differs from run to run
        lines += [f"  store {result} %got, ptr @result"]
    lines += [
        "  %more = add i64 %i, 1",
        "  %end = icmp sge i64 %more, %calls",
        "  br i1 %end, label %done, label %loop",
        "done:",
    ]
    lines += ["  call void @foretune.write(ptr @result, i64 8)"]
    lines += [f"  call void @foretune.write(ptr @buffer.{i}, i64 {b.num_bytes})" for i, b in buffers]
    return "\n".join([*lines, "  ret i32 0", "}", ""])


def _value(position: int, kind: str, argument: int | float | Buffer) -> str:
    if isinstance(argument, Buffer):
        return f"@buffer.{position}"
    if kind == "double":
        return _bits(float(argument))
    if kind == "float":
        return _bits(_single(argument))
    return str(argument)


def _single(number: float) -> float:
    return struct.unpack("<f", struct.pack("<f", number))[0]


def _bits(number: float) -> str:
    """A floating-point constant, exactly; LLVM writes those of one word as double words, too."""
    return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
