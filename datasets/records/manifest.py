"""The manifest of a data folder: which files count, and what is in them."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from foretune.datasets.records.schema import SCHEMA_VERSION
from foretune.errors import DataError
from foretune.support.files import write_text_atomically

FILE_NAME = "manifest.json"
_RECORD_FILE = re.compile(r"(batch|shard)-[0-9a-f-]+\.parquet")
_WORKLOAD_FILE = re.compile(r"workloads-[0-9a-f-]+\.parquet")


class ManifestChangedError(DataError):
    """A manifest can be read, but is not what was written."""


@dataclass
class Manifest:
    """What a store holds.

    Attributes:
        shards: name of a record file -> {"rows", "sha256", "statuses"}.
        workloads: name of a workload file -> {"rows", "sha256"}.
        replaced: files that compaction has merged and that may still lie about.
        tools: versions seen in records.
        targets: target text -> number of records.
        sources: key of an imported log -> what of it was read; see `importers/known.py`.
        lost: hashes of workloads whose programs were damaged, but whose records are there.
    """

    shards: dict[str, dict[str, Any]] = field(default_factory=dict)
    workloads: dict[str, dict[str, Any]] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    tools: dict[str, list[str]] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    @property
    def num_records(self) -> int:
        """Rows of all shards."""
        return sum(entry["rows"] for entry in self.shards.values())

    @property
    def content_hash(self) -> str:
        """A hash over the files' hashes: equal data, written in the same files, has equal hashes."""
        hashes = sorted(entry["sha256"] for entry in [*self.shards.values(), *self.workloads.values()])
        return hashlib.sha256("".join(hashes).encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None if there is none.

    Raises:
        DataError: it is damaged, has another schema version, or names files outside the folder.
    """
    path = folder / FILE_NAME
    try:
        data = json.loads(path.read_text())
        version = data["schema"]
        if version != SCHEMA_VERSION:
            raise DataError(f"{path} has schema version {version}, but this release reads version {SCHEMA_VERSION}")
        manifest = Manifest(
            **{name: data[name] for name in Manifest.__dataclass_fields__ if name != "lost"},
            lost=[str(h) for h in data.get("lost", [])],
        )
        names = [(n, _RECORD_FILE) for n in [*manifest.shards, *manifest.replaced]] + [
            (n, _WORKLOAD_FILE) for n in manifest.workloads
        ]
        for entry in [*manifest.shards.values(), *manifest.workloads.values()]:
            _ = int(entry["rows"]), str(entry["sha256"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    bad = [name for name, pattern in names if not isinstance(name, str) or not pattern.fullmatch(name)]
    if bad:
        raise DataError(f"{path} names a file that is not a shard of this folder: {bad[0]!r}")
    _check_digest(path, data, manifest)
    return manifest


def _check_digest(path: Path, data: dict[str, Any], manifest: Manifest) -> None:
    if ("digest" in data or "lost" in data) and data.get("digest") != _digest(data):  # older releases wrote neither
        raise ManifestChangedError(
            f"{path} is damaged: its content does not have the hash that was written with it; `foretune data repair`"
            " lists the files anew"
        )
    if (data.get("num_records"), data.get("content_hash")) != (manifest.num_records, manifest.content_hash):
        raise ManifestChangedError(
            f"{path} is damaged: its figures do not agree with its list of files; `foretune data repair` lists the"
            " files anew"
        )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest, whole or not at all."""
    data = {
        "schema": SCHEMA_VERSION,
        "num_records": manifest.num_records,
        "content_hash": manifest.content_hash,
        **asdict(manifest),
    }
    data["digest"] = _digest(data)
    write_text_atomically(folder / FILE_NAME, json.dumps(data, indent=1) + "\n")


def _digest(data: dict[str, Any]) -> str:
    """Of all that a manifest says; older releases wrote none."""
    return hashlib.sha256(
        json.dumps({k: v for k, v in data.items() if k != "digest"}, sort_keys=True).encode()
    ).hexdigest()
