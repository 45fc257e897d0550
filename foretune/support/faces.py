"""Faces: packages whose names are imported when they are first used, so that importing a package stays cheap.

A face lists its names twice: under `TYPE_CHECKING`, for editors and type checkers, and in a table for `lazy_names`. A
test holds the two together.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a face.

    Args:
        package: its name, `__name__`.
        homes: public name -> module that has it, or `MODULE:NAME` where it has another name there.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, inner = homes[name].partition(":")
        return getattr(importlib.import_module(module), inner or name)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return get, names
