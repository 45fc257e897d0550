"""The one file format of all cost models, `foretune-model-1`: safetensors, with a JSON header and a digest over
everything.

The metadata of the safetensors file are four texts: `schema`; `model`, the kind of the model; `header`, JSON data of
the model's own; `digest`, SHA-256 of the others and of all arrays. Nothing is unpickled, and any flipped or missing
byte is noticed. The digest finds damage; it does not tell who wrote the file.

Older releases wrote three formats, which `read_model` reads, too: `foretune-rival-1`, which is the same under another
name, and those of the latent models, `foretune-latent-5` and `foretune-latent-passes-2`, whose metadata are the header.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foretune.errors import ModelError
from foretune.support.files import write_atomically

SCHEMA = "foretune-model-1"
_RIVAL_SCHEMA = "foretune-rival-1"
_LATENT_SCHEMAS = {"foretune-latent-5": "latent", "foretune-latent-passes-2": "passes"}


@dataclass(frozen=True)
class ModelFile:
    """What a file holds.

    Attributes:
        kind: of the model.
        header: JSON data.
        arrays: numbers, and text as UTF-8 bytes.
    """

    kind: str
    header: dict[str, Any]
    arrays: dict[str, np.ndarray]


def write_model(path: Path, kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a model, whole or not at all.

    Args:
        path: where.
        kind: of the model.
        header: JSON data.
        arrays: numbers, and text as UTF-8 bytes.
    """
    from safetensors.numpy import save_file

    text = json.dumps(header, sort_keys=True)
    kept = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {"schema": SCHEMA, "model": kind, "header": text, "digest": _digest(SCHEMA, kind, text, kept)}
    write_atomically(path, lambda temporary: save_file(kept, temporary, metadata))


def read_model(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads what `write_model` wrote, or a release before it.

    Returns:
        The header and the arrays.

    Raises:
        ModelError: the file is missing, damaged, of another schema or of another kind of model.
    """
    found = read_any_model(path)
    if found.kind != kind:
        raise ModelError(f"{path} holds a model of type {found.kind!r}, not {kind!r}")
    return found.header, found.arrays


def read_any_model(path: Path) -> ModelFile:
    """As `read_model`, of whatever kind the file is."""
    metadata, arrays = _read(path)
    schema = metadata.get("schema")
    if schema in _LATENT_SCHEMAS:
        return _of_latent_release(path, schema, metadata, arrays)
    if schema not in (SCHEMA, _RIVAL_SCHEMA):
        raise ModelError(f"{path} has schema {schema!r}, but this release reads {SCHEMA!r}")
    kind, text = metadata.get("model", ""), metadata.get("header", "")
    if metadata.get("digest") != _digest(schema, kind, text, arrays):
        raise _damaged(path, "its content does not have the digest that it states")
    return ModelFile(kind, _parse(path, text), arrays)


def text_array(text: str | bytes) -> np.ndarray:
    """Text as bytes, for `write_model`; uint8."""
    return np.frombuffer(text.encode() if isinstance(text, str) else bytes(text), np.uint8)


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, MemoryError) as error:
        raise ModelError(f"{path} is truncated or not a safetensors file: {error}") from error


def _of_latent_release(
    path: Path, schema: str, metadata: Mapping[str, str], arrays: dict[str, np.ndarray]
) -> ModelFile:
    """A latent model of a release before `foretune-model-1`; the first of them wrote no digest of the header."""
    rest = {name: value for name, value in metadata.items() if name != "digest"}
    stated = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    if metadata.get("digest", stated) != stated:
        raise _damaged(path, "its header does not have the digest that it states")
    if missing := {"vocabulary", "config", "training_hash", "fingerprint"} - set(rest):
        raise _damaged(path, f"its header lacks {sorted(missing)}")
    header = {"layout": schema, "training_hash": rest["training_hash"], "fingerprint": rest["fingerprint"]}
    header |= {name: _parse(path, rest[name]) for name in ("vocabulary", "config")}
    return ModelFile(_LATENT_SCHEMAS[schema], header, arrays)


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise _damaged(path, "its header is no JSON object")
    return data


def _damaged(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} is damaged: {reason}")


def _digest(schema: str, kind: str, header: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps([schema, kind, header]).encode())
    for name in sorted(arrays):
        digest.update(json.dumps([name, arrays[name].dtype.str, arrays[name].shape]).encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
