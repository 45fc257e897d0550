"""Tuned records in PyTorch's mega-cache: `torch.compiler.save_cache_artifacts` and `load_cache_artifacts`.

An artifact holds what the database knows of one kernel, as compressed JSON. PyTorch hands over bytes from wherever its
user has them, so that they are read as data from a stranger: nothing in them is executed, what they unpack to is
bounded, and what is damaged is told and left out.
"""

from __future__ import annotations

import json
import logging
import threading
import zlib
from collections.abc import Iterable
from pathlib import Path

from foretune.compiler.exported.json_data import parse_json
from foretune.compiler.torch_private import CacheArtifact, CacheArtifactFactory, CacheArtifactManager
from foretune.datasets.records.database import Database, default_path
from foretune.datasets.records.tuned_task import TunedTask
from foretune.errors import DatabaseError, DataError
from foretune.support.once import warn_once
from foretune.target import Target

_log = logging.getLogger("foretune")

KIND = "foretune_records"
"""What PyTorch calls this kind: `CacheInfo.foretune_records_artifacts` are the keys of those that were carried."""

_MOST_BYTES = 256 << 20  # of one kernel's records as JSON; a thousand records are about 10 MB
_LEVEL = 1  # of zlib: schedules of one kernel resemble each other

_lock = threading.Lock()
_loaded: list[TunedTask] = []
_num_brought: dict[Path, int] = {}  # database -> how many of these it was given


@CacheArtifactFactory.register
class RecordsArtifact(CacheArtifact):
    """What a database knows of one kernel; its key names the target and the program."""

    @staticmethod
    def type() -> str:
        """The name of the kind."""
        return KIND

    def populate_cache(self) -> None:
        """Takes the records over into the user's database, and into each that is opened later in this process."""
        try:
            found = unpacked(self.content)
            if (key := key_of(found.task.target, found.task.workload.hash)) != self.key:
                raise DataError(f"its records are of {key}")
            with Database(default_path()) as database:
                database.take_over(found)
        except (DataError, DatabaseError) as error:  # the caches of others are loaded all the same
            warn_once(_log, "tuned records %s of the cache are left out: %s", self.key[:80], error)
            return
        with _lock:
            _loaded.append(found)


def key_of(target: Target, workload: str) -> str:
    """The key of a kernel's artifact."""
    return f"{target.key}-{workload}"


def record_artifacts(database: Database, target: Target, workloads: Iterable[str]) -> None:
    """Has PyTorch save what a database knows of some kernels.

    Args:
        database: that they were tuned with.
        target: where they run.
        workloads: hashes of their programs.
    """
    for workload in dict.fromkeys(workloads):
        if (task := database.task(target, workload)) is not None and (found := database.tuned(task)).records:
            CacheArtifactManager.record_artifact(KIND, key_of(target, workload), packed(found))


def bring_to(database: Database) -> None:
    """Gives a database the records that PyTorch loaded, if it is another one than the user's, which has them."""
    path = database.path.resolve()
    with _lock:
        new = _loaded[_num_brought.get(path, 0) :]
        _num_brought[path] = len(_loaded)
    if path != default_path().resolve():
        for found in new:
            database.take_over(found)


def packed(found: TunedTask) -> bytes:
    """The bytes of an artifact."""
    return zlib.compress(json.dumps(found.to_json(), separators=(",", ":"), allow_nan=False).encode(), _LEVEL)


def unpacked(content: bytes) -> TunedTask:
    """What `packed` made.

    Raises:
        DataError: the bytes are damaged, unpack to more than records have, or hold something else.
    """
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(content, _MOST_BYTES)
    except zlib.error as error:
        raise DataError(f"it is damaged: {error}") from error
    if unpacker.unconsumed_tail:
        raise DataError(f"it unpacks to more than {_MOST_BYTES} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise DataError("it is cut short, or followed by something else")
    return TunedTask.from_json(parse_json(text, "its records"))
