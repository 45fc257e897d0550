"""Finding a function of a module by the name that a person knows it by: as the linker has it, or demangled."""

from __future__ import annotations

import difflib
import re
import subprocess
from dataclasses import dataclass

from foretune.errors import DataError, OptionError
from foretune.passes.llvm.toolchain import find_toolchain

_TIMEOUT_SECS = 60
_SHOWN = 8
_DEFINED = re.compile(r'^define [^@\n]*@(?:"((?:[^"\\\n]|\\..)*)"|([-\w.$]+))\(', re.M)
_RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")
_SYMBOL = re.compile(r"^(.+?) \S(?: [-0-9a-f]+){0,2}$")  # name, type, and numbers that say nothing of bitcode


@dataclass(frozen=True)
class Function:
    """A function of a module.

    Attributes:
        symbol: as the linker has it.
        name: demangled.
    """

    symbol: str
    name: str

    @property
    def names(self) -> tuple[str, ...]:
        """All that a person may write for it: with and without parameters, template arguments and Rust's hash."""
        whole = _RUST_HASH.sub("", self.name)
        short = _without_parameters(whole)
        plain = _without_templates(short)
        return tuple(dict.fromkeys(map(_squeezed, (self.symbol, self.name, whole, short, plain))))


def find_function(text: str, bitcode: bytes, name: str) -> Function:
    """The function of a name.

    Args:
        text, bitcode: the module.
        name: mangled or demangled; parameters may be left out where one function alone has the name.

    Raises:
        OptionError: there is none, or there are several.
        DataError: the module's symbols cannot be read.
        UnsupportedError: llvm-nm is not installed.
    """
    defined: list[str] = [quoted or plain for quoted, plain in _DEFINED.findall(text)]
    demangled = _demangled(bitcode)
    functions = [Function(symbol, demangled.get(symbol, symbol)) for symbol in defined]
    if exact := next((one for one in functions if one.symbol == name), None):
        return exact
    wanted = _squeezed(name)
    found = [one for one in functions if wanted in one.names]
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(one.name for one in found[:_SHOWN])
        raise OptionError(f"{name} names {len(found)} functions ({shown}): write one of them with its parameters")
    known = {short: one.name for one in functions for short in one.names}
    near = [known[word] for word in difflib.get_close_matches(wanted, known, _SHOWN, 0.5)]
    shown = ", ".join(dict.fromkeys(near or [one.name for one in functions][:_SHOWN]))
    elsewhere = "; it is called, but defined elsewhere" if wanted in map(_squeezed, _declared(text)) else ""
    raise OptionError(f"the program has no function {name} whose calls could be timed{elsewhere}; it has {shown}")


def _declared(text: str) -> list[str]:
    return re.findall(r"^declare [^@\n]*@([-\w.$]+)\(", text, re.M)


def _demangled(bitcode: bytes) -> dict[str, str]:
    """Symbol -> its demangled name."""
    plain, shown = (_symbols(bitcode, *words) for words in ((), ("-C",)))
    if len(plain) != len(shown):
        raise DataError("llvm-nm tells other symbols mangled than demangled")
    return dict(zip(plain, shown))


def _symbols(bitcode: bytes, *words: str) -> list[str]:
    """Names of all symbols, in the module's order."""
    command = [str(find_toolchain().tool("llvm-nm")), "-P", "--no-sort", *words, "-"]
    done = subprocess.run(command, input=bitcode, capture_output=True, timeout=_TIMEOUT_SECS)
    if done.returncode:
        raise DataError(f"the module's symbols cannot be read: {done.stderr.decode(errors='replace').strip()[-400:]}")
    lines = done.stdout.decode(errors="replace").splitlines()
    return [match[1] for line in lines if (match := _SYMBOL.match(line.rstrip()))]


def _squeezed(name: str) -> str:
    return name.replace(" ", "")


def _without_parameters(name: str) -> str:
    """`ns::f<int>` of `void ns::f<int>(int)`; itself, where there are no parameters."""
    depth = 0
    for i, character in enumerate(name):
        if character == "(" and depth == 0 and not name.startswith(("(anonymous namespace)", "()"), i):
            name = name[:i]
            break
        depth += (character in "(<[{") - (character in ")>]}")
    depth, start = 0, 0
    for i, character in enumerate(name):  # a template's name has its result's type before it
        depth += (character in "(<[{") - (character in ")>]}")
        if character == " " and depth == 0 and not name.startswith("operator", start):
            start = i + 1
    return name[start:]


def _without_templates(name: str) -> str:
    kept, depth = [], 0
    if "operator<" in name or "operator>" in name or "operator-" in name:
        return name
    for character in name:
        depth += character == "<"
        kept.append(character if depth == 0 else "")
        depth -= character == ">"
    return "".join(kept)


__all__ = ["Function", "find_function"]
