"""What the lowering and the code generator may be told, beside the schedule."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from foretune.errors import IllegalActionError

CONTRACTS = ("dot", "outerproduct", "parallelarith")
TRANSPOSES = ("eltwise", "flat", "shuffle1d", "shuffle16x16")
MATHS = ("libm", "libmvec")
REDUCTIONS = ("ordered", "tree")


@dataclass(frozen=True)
class LoweringOptions:
    """Choices of the default lowering.

    Attributes:
        contract: what `vector.contract` becomes.
        transpose: what `vector.transpose` becomes.
        math: whose functions compute `math.exp` and the like: libm's, or its vector library's (glibc on x86), which is
            right to 4 units in the last place.
        reductions: whether sums over a vector's elements are taken in order, or by halves, which is fast and reorders
            them.
    """

    contract: str = "outerproduct"
    transpose: str = "eltwise"
    math: str = "libm"
    reductions: str = "ordered"

    def __post_init__(self) -> None:
        for name, known in (
            ("contract", CONTRACTS),
            ("transpose", TRANSPOSES),
            ("math", MATHS),
            ("reductions", REDUCTIONS),
        ):
            if getattr(self, name) not in known:
                raise IllegalActionError(
                    f"the lowering's `{name}` must be one of {list(known)}, but got {str(getattr(self, name))[:60]!r}"
                )

    @classmethod
    def from_json(cls, data: Any) -> LoweringOptions:
        """Reads what `dataclasses.asdict` wrote."""
        if not isinstance(data, dict) or set(data) - {f.name for f in fields(cls)}:
            raise IllegalActionError(
                f"lowering options must be named {[f.name for f in fields(cls)]}, but got {str(data)[:120]}"
            )
        return cls(**data)
