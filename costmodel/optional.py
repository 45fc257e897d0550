"""Imports of optional packages, with the next step in the error."""

from __future__ import annotations

import importlib
from types import ModuleType

from foretune.errors import UnsupportedError


def require(module: str, model: str) -> ModuleType:
    """Imports a package that only some models need.

    Raises:
        UnsupportedError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UnsupportedError(f"the {model} model needs {module.partition('.')[0]}, which cannot be imported ({error}): pip install 'foretune[rivals]'") from error
