"""What the statements of a graph are, in words: for explanations."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

_SHOWN = 4


def describe(ops: list[Any], chain: tuple[float, ...]) -> dict[str, Any]:
    """A statement in words.

    Args:
        ops: of the bindings, what it stands for.
        chain: extents of the loops around it, the outermost first.

    Returns:
        `operation`, `loops` and `line`, the first line of the text, 0 if the locations do not tell.
    """
    names = [op.name for op in ops]
    structured = [name for name in names if name.startswith("linalg.")]
    if structured:
        text = structured[0]
    else:
        counts = Counter(name for name in names if not name.endswith((".yield", ".constant")) or len(names) == 1)
        shown = [f"{number} {name}" if number > 1 else name for name, number in counts.most_common(_SHOWN)]
        text = ", ".join(shown) + (", ..." if len(counts) > _SHOWN else "")
    lines = [line for line in map(line_of, ops) if line]
    return {"operation": text or "loop", "loops": list(chain), "line": min(lines, default=0)}


def line_of(op: Any) -> int:
    """The line of the text that an operation stands on, from 1; 0 where its location does not tell."""
    match = re.search(r'"-":(\d+):\d+', str(op.location))
    return int(match[1]) if match else 0
