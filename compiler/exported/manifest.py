"""The manifest of a tuned program: what was tuned, for which processor, and how it runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from foretune.compiler.exported.json_data import parse_json
from foretune.errors import DataError, TargetError
from foretune.target import Target

SCHEMA = "foretune-artifact-1"
_KEPT = ("trials", "target", "seed", "tolerance", "guard", "freeze", "ops")  # options that decide what is built
_IGNORED = (
    "database",
    "progress",
    "cost_model",
    "seconds",
    "background",
)  # those of the tuning, which older releases wrote, too
_KINDS: dict[str, tuple[type, ...]] = {
    "trials": (int,),
    "target": (str,),
    "seed": (int,),
    "tolerance": (int, float),
    "guard": (bool,),
    "freeze": (bool,),
    "ops": (list,),
}
_TARGET_KEYS = frozenset(
    {"kind", "mcpu", "mattr", "mtriple", "mabi", "mfloat-abi", "num-cores", "opt-level", "vector-width", "keys"}
)
_MOST_WORDS = 1000


@dataclass(frozen=True)
class Manifest:
    """The manifest.

    Attributes:
        target: key of the processor.
        run_by: name of the contender that won.
        chosen: options of the backend that decide what is built.
        torch: version of PyTorch that wrote the program.
        sha256: file -> its hash.
    """

    target: str
    run_by: str
    chosen: Mapping[str, Any]
    torch: str
    sha256: Mapping[str, str]

    @classmethod
    def of(cls, options: Mapping[str, Any], target: str, run_by: str, sha256: Mapping[str, str]) -> Manifest:
        """That of a program that was tuned with these options of the backend, as JSON data."""
        return cls(target, run_by, {name: options[name] for name in _KEPT}, torch.__version__, sha256)

    def to_text(self) -> str:
        """The manifest as JSON text."""
        document = {
            "schema": SCHEMA,
            "target": self.target,
            "run_by": self.run_by,
            "options": dict(self.chosen),
            "torch": self.torch,
            "sha256": dict(self.sha256),
        }
        return json.dumps(document, indent=1, allow_nan=False)

    @classmethod
    def from_text(cls, data: bytes) -> Manifest:
        """Reads and checks a manifest.

        Raises:
            DataError: it is damaged, of another schema, or has a value that no release writes.
        """
        found = parse_json(data, "its manifest", infinity=True)
        if not isinstance(found, dict) or found.get("schema") != SCHEMA:
            raise DataError(f"it has another schema than {SCHEMA}; tune it again")
        texts: dict[str, str] = {}
        for name in ("target", "run_by", "torch"):
            if not isinstance(value := found.get(name), str):
                raise DataError(f"`{name}` of its manifest must be text, but is {_shown(value)}")
            texts[name] = value
        hashes, options = found.get("sha256"), found.get("options")
        if not isinstance(hashes, dict) or not all(isinstance(value, str) for value in hashes.values()):
            raise DataError(f"`sha256` of its manifest must name a hash for each file, but is {_shown(hashes)}")
        if not isinstance(options, dict):
            raise DataError(f"`options` of its manifest must be an object, but is {_shown(options)}")
        return cls(texts["target"], texts["run_by"], _checked(options), texts["torch"], hashes)


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(options.keys() - {*_KEPT, *_IGNORED})
    if unknown:
        raise DataError(f"its manifest has the unknown options {_shown(unknown)}")
    for name in _KEPT:
        value = options.get(name)
        if name in options and (
            not isinstance(value, _KINDS[name]) or (isinstance(value, bool) and bool not in _KINDS[name])
        ):
            raise DataError(f"the option `{name}` of its manifest has the value {_shown(value)}")
    words = options.get("ops", [])
    if len(words) > _MOST_WORDS or not all(isinstance(word, str) for word in words):
        raise DataError(f"the option `ops` of its manifest must be a list of words, but is {_shown(words)}")
    if not math.isfinite(options.get("tolerance", 0.0)):
        raise DataError(f"the option `tolerance` of its manifest has the value {options['tolerance']}")
    _check_target(options.get("target", "auto"))
    return {name: options[name] for name in _KEPT if name in options}


def _check_target(text: str) -> None:
    """LLVM's own flags, which `cl-opt` and others hand over, are not taken from files."""
    try:
        keys = set() if text == "auto" else set(Target.parse(text).to_dict())
    except TargetError as error:
        raise DataError(f"the target of its manifest cannot be used: {error}") from error
    if not keys <= _TARGET_KEYS:
        raise DataError(
            f"the target of its manifest has {sorted(keys - _TARGET_KEYS)}; known are {sorted(_TARGET_KEYS)}"
        )


def _shown(value: Any) -> str:
    return repr(value)[:80]
