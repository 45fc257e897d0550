"""The programs that come with Foretune, and which of them no model is trained on."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "programs"
_TAGS = re.compile(r"Tags: ([^.]*)\.")


@cache
def categories() -> dict[str, str]:
    """Name of each program -> its category."""
    found = {}
    for path in sorted(FOLDER.glob("*.c")):
        with open(path) as file:
            match = _TAGS.search(file.readline())
        found[path.stem] = match[1].split(",")[0].strip() if match else ""
    return found


@cache
def held_out() -> tuple[str, ...]:
    """Programs that are never trained on: of each category every third, in alphabetical order."""
    by_category: dict[str, list[str]] = {}
    for name, category in categories().items():
        by_category.setdefault(category, []).append(name)
    return tuple(sorted(name for names in by_category.values() for name in sorted(names)[1::3]))


def training() -> tuple[str, ...]:
    """All others."""
    return tuple(name for name in categories() if name not in held_out())
