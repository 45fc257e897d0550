"""The one file format of all rivals: safetensors, with a JSON header and a digest over everything.

Nothing is unpickled, and any flipped or missing byte is noticed. The digest finds damage; it does not
tell who wrote the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foretune.errors import ModelError
from foretune.support.files import write_atomically

SCHEMA = "foretune-rival-1"


def write_model(path: Path, name: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a model, whole or not at all.

    Args:
        path: where.
        name: of the model.
        header: JSON data.
        arrays: numbers, and text as UTF-8 bytes.
    """
    from safetensors.numpy import save_file

    text = json.dumps(header, sort_keys=True)
    kept = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    metadata = {"schema": SCHEMA, "model": name, "header": text, "digest": _digest(name, text, kept)}
    write_atomically(path, lambda temporary: save_file(kept, temporary, metadata))


def read_model(path: Path, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads what `write_model` wrote.

    Returns:
        The header and the arrays.

    Raises:
        ModelError: the file is missing, damaged, of another schema or of another model.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - not a mapping
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except (SafetensorError, ValueError, TypeError) as error:
        raise ModelError(f"{path} is truncated or not a safetensors file: {error}") from error
    if metadata.get("schema") != SCHEMA:
        raise ModelError(f"{path} has schema {metadata.get('schema')!r}, but this release reads {SCHEMA!r}")
    if metadata.get("model") != name:
        raise ModelError(f"{path} holds a model of type {metadata.get('model')!r}, not {name!r}")
    if metadata.get("digest") != _digest(name, metadata.get("header", ""), arrays):
        raise ModelError(f"{path} is damaged: its content does not have the digest that it states")
    return json.loads(metadata["header"]), arrays


def text_array(text: str | bytes) -> np.ndarray:
    """Text as bytes, for `write_model`; uint8."""
    return np.frombuffer(text.encode() if isinstance(text, str) else bytes(text), np.uint8)


def _digest(name: str, header: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps([SCHEMA, name, header]).encode())
    for key in sorted(arrays):
        digest.update(json.dumps([key, arrays[key].dtype.str, arrays[key].shape]).encode())
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    return digest.hexdigest()
