"""Functions that a module declares and calls: what the C library has, and empty ones for the rest.

MLIR's tests and examples print and look at clocks through a runtime library that is not here. Nothing that they return
is an output, so that empty functions stand for them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_DECLARE = re.compile(
    r'^declare (?P<result>[^@\n]+?) @(?P<name>"[^"\n]+"|[-\w.$]+)\((?P<parameters>[^\n]*)\)', re.MULTILINE
)
_ATTRIBUTES = re.compile(
    r"\b(?:noundef|signext|zeroext|noalias|nonnull|nocapture|readonly|writeonly|local_unnamed_addr|unnamed_addr|dso_local|align"
    r" \d+|dereferenceable\(\d+\)|captures\([^)]*\))\s*"
)
_PRINTED = re.compile(
    r"(_mlir_ciface_|_mlir_runner_|mlir_)?(print(Memref\w*|F\d+|BF16|I\d+|U\d+|Newline|Open|Close|Comma|String|_?[fi]\d+|MemRef\w*|Flops|CString)|rtclock|nanoTime|rtsrand|rtrand|rtdrand|_mlir_\w*clock\w*|print_memref_\w+|printflops|print_flops)"
)  # fmt: skip
_MATH = [
    "exp", "exp2", "exp10", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan",
    "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "pow", "sqrt", "cbrt", "fma", "fmod",
    "floor", "ceil", "trunc", "round", "roundeven", "rint", "nearbyint", "fabs", "fmax", "fmin", "fmaximum",
    "fminimum", "copysign", "ldexp", "hypot", "tgamma", "lgamma", "sincos", "remainder",
]  # fmt: skip
_MEMORY = "malloc calloc realloc free aligned_alloc posix_memalign memcpy memmove memset memcmp abort"
_COMPILER = (
    "__truncsfhf2 __truncdfhf2 __extendhfsf2 __truncsfbf2 __truncdfbf2 __gnu_f2h_ieee __gnu_h2f_ieee __powisf2"
    " __powidf2 __divti3 __udivti3 __modti3 __umodti3 __multi3"
)
_HARMLESS = {*_MATH, *(f"{name}f" for name in _MATH), *_MEMORY.split(), *_COMPILER.split()}


@dataclass(frozen=True)
class External:
    """A function that is declared in LLVM IR.

    Attributes:
        name: as it is written, with quotes where it has some.
        result: type.
        parameters: their types, as they are written.
    """

    name: str
    result: str
    parameters: str

    @property
    def is_printed(self) -> bool:
        """Whether MLIR's runtime library has it, and it but prints or tells the time."""
        return bool(_PRINTED.fullmatch(self.name.strip('"')))

    @property
    def is_harmless(self) -> bool:
        """Whether the C library has it, and it touches nothing but memory that it is given."""
        return self.name.strip('"') in _HARMLESS

    def empty(self) -> str:
        """LLVM IR of a function of this name that does nothing and returns zero."""
        end = "ret void" if self.result == "void" else f"ret {self.result} zeroinitializer"
        return f"define {self.result} @{self.name}({self.parameters}) {{\n  {end}\n}}\n"


def read_externals(ir: str) -> list[External]:
    """The functions that LLVM IR declares, but for LLVM's own."""
    found = []
    for match in _DECLARE.finditer(ir):
        if not match["name"].strip('"').startswith("llvm."):
            found.append(External(match["name"], _plain(match["result"]), _plain(match["parameters"])))
    return found


def _plain(types: str) -> str:
    return _ATTRIBUTES.sub("", types).strip()


def empty_functions(externals: list[External]) -> str:
    """LLVM IR of a module with an empty function for each."""
    return "\n".join(external.empty() for external in externals)
