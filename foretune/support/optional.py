"""Packages that only some uses need: imported when they are used, and named with the next step where they are
missing.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from foretune.errors import UnsupportedError

EXTRAS = {
    "catboost": "rivals", "lightgbm": "rivals", "sklearn": "rivals", "xgboost": "rivals",
    "gguf": "finetune", "openai": "llm", "xllamacpp": "llm",
    "mlir": "mlir", "ray": "ray", "tensorboard": "tensorboard", "torch_mlir": "mlir",
    "psutil": "tvm", "tvm": "tvm", "tvm_ffi": "tvm",
}  # fmt: skip
"""Top-level module -> the extra of Foretune that installs it."""


def require(module: str, purpose: str) -> ModuleType:
    """Imports a module of an optional package.

    Args:
        module: its name; what stands before the first dot is a key of `EXTRAS`.
        purpose: what needs it, such as `the lightgbm model`.

    Raises:
        UnsupportedError: it cannot be imported; the message says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing(module, purpose, str(error)) from error


def expect(module: str, purpose: str) -> None:
    """Checks that a module of an optional package is installed, and leaves the import for later.

    Args:
        module: see `require`; without a dot.
        purpose: what needs it.

    Raises:
        UnsupportedError: it is not; the message says what to install.
    """
    if importlib.util.find_spec(module) is None:
        raise missing(module, purpose)


def missing(module: str, purpose: str, reason: str = "") -> UnsupportedError:
    """The error that tells that an optional package is missing.

    Args:
        module: what could not be imported.
        purpose: what needs it.
        reason: in the words of the import.
    """
    package = module.partition(".")[0]
    cause = f" ({reason})" if reason else ""
    return UnsupportedError(
        f"{purpose} needs the package {package}, which cannot be imported{cause}: pip install"
        f" 'foretune[{EXTRAS[package]}]'"
    )
