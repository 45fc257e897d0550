"""Files of Foretune's own: what is read back is what was written, or the damage is told."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from foretune.datasets.records.database import Database
from foretune.datasets.records.store import RecordStore
from foretune.errors import ForetuneError
from foretune.testing.synthetic import synthetic_trajectories
from tests.fuzz.mutations import mutate_bytes, mutate_json_text
from tests.fuzz.running import Silent, Subject, Try

_NUM = 24


@contextlib.contextmanager
def database(folder: Path) -> Iterator[Try]:
    """A file of tuned records; opened to be read, and to be written."""
    original = folder / "original.db"
    records = [t.record for t in synthetic_trajectories(_NUM, 0)]
    with Database(original) as written:
        written.add(records)
        written.set_checked(records[3], 1e-7, 1e-3)
        written._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        wanted = {r.trace.key: (r, written.max_rel_error(r)) for task in written.tasks() for r in written.records(task)}
    data = original.read_bytes()

    def try_one(rng: random.Random) -> bool:
        path = folder / f"{rng.getrandbits(64):x}.db"
        path.write_bytes(mutate_bytes(data, rng))
        try:
            with Database(path, read_only=rng.random() < 0.5) as opened:
                found = [(r, opened.max_rel_error(r)) for task in opened.tasks() for r in opened.records(task)]
                if any(wanted.get(r.trace.key) != (r, error) for r, error in found):
                    raise Silent("a record that was not written")
                if len({r.trace.key for r, _ in found}) < len(wanted) and not opened.damaged:
                    raise Silent(f"{len(wanted) - len(found)} records are missing")
                return len(found) == len(wanted)
        except ForetuneError:
            return False
        finally:
            for file in folder.glob(f"{path.name}*"):
                file.unlink()

    yield try_one


@contextlib.contextmanager
def store(folder: Path) -> Iterator[Try]:
    """A data set: its manifest, its records or its programs are damaged."""
    original = folder / "original"
    trajectories = synthetic_trajectories(_NUM, 0)
    with RecordStore(original, writable=True) as written:
        written.append_workloads(
            {t.record.candidate.task.workload.hash: t.record.candidate.task for t in trajectories}.values()
        )
        written.append(trajectories[:16])
        written.append(trajectories[16:])
    with RecordStore(original) as whole:
        wanted, manifest = list(whole.trajectories()), whole.manifest
    files = sorted(path for path in original.iterdir() if path.suffix in (".json", ".parquet"))
    work = folder / "work"
    shutil.copytree(original, work)

    def try_one(rng: random.Random) -> bool:
        path = rng.choice(files)
        data = path.read_bytes()
        (work / path.name).write_bytes(
            mutate_json_text(data, rng) if path.suffix == ".json" else mutate_bytes(data, rng)
        )
        try:
            with RecordStore(work) as opened:
                found = list(opened.trajectories())
                if found != wanted:
                    raise Silent(f"{path.name}: {len(found)} records, not the {len(wanted)} that were written")
                if opened.manifest != manifest:
                    raise Silent("a manifest that was not written")
            return True
        except ForetuneError:
            return False
        finally:
            (work / path.name).write_bytes(data)

    yield try_one


@contextlib.contextmanager
def weights(folder: Path) -> Iterator[Try]:
    """A file of weights, with its header."""
    from foretune.costmodel.latent.model import LatentCostModel
    from foretune.costmodel.latent.network import NetworkConfig
    from foretune.costmodel.latent.training import TrainConfig, train

    config = TrainConfig(epochs=1, validation_share=0, network=NetworkConfig(latent=8, rounds=1, members=1, heads=2))
    model = LatentCostModel(train(synthetic_trajectories(_NUM, 0), config).network, "0123456789abcdef")
    model.save(folder / "original.safetensors")
    wanted = LatentCostModel.load(folder / "original.safetensors")
    data = (folder / "original.safetensors").read_bytes()
    header = int.from_bytes(data[:8], "little") + 8

    def try_one(rng: random.Random) -> bool:
        path = folder / "mutated.safetensors"
        in_header = rng.random() < 0.7  # the rest is much larger
        path.write_bytes(
            mutate_bytes(data[:header], rng) + data[header:]
            if in_header
            else data[:header] + mutate_bytes(data[header:], rng)
        )
        try:
            found = LatentCostModel.load(path)
        except ForetuneError:
            return False
        same = (found.fingerprint, found.network.vocabulary, found.network.config, found.training_hash)
        if same != (wanted.fingerprint, wanted.network.vocabulary, wanted.network.config, wanted.training_hash):
            raise Silent("weights, vocabulary, sizes or training hash that were not written")
        return True

    yield try_one


@contextlib.contextmanager
def old_weights(folder: Path) -> Iterator[Try]:
    """A file of weights of a release before `foretune-model-1`."""
    from foretune.costmodel.passes.model import PassCostModel

    data = PassCostModel.bundled_path().read_bytes()
    wanted = PassCostModel.bundled()
    header = int.from_bytes(data[:8], "little") + 8

    def try_one(rng: random.Random) -> bool:
        path = folder / "mutated.safetensors"
        path.write_bytes(mutate_bytes(data[:header], rng) + data[header:])
        try:
            found = PassCostModel.load(path)
        except ForetuneError:
            return False
        if found.fingerprint != wanted.fingerprint:
            raise Silent("weights that were not written")
        return True

    yield try_one


@contextlib.contextmanager
def hostile_weights(folder: Path) -> Iterator[Try]:
    """Files of weights with a digest that fits a header that does not: whoever writes a file can write a digest."""
    from foretune.costmodel.mlir.model import WEIGHTS, MlirCostModel
    from foretune.costmodel.mlir.time_model import WEIGHTS as TIME_WEIGHTS
    from foretune.costmodel.mlir.time_model import MlirTimeModel
    from foretune.costmodel.model_file import read_model, write_model

    bundled = {MlirCostModel: WEIGHTS, MlirTimeModel: TIME_WEIGHTS}
    read = {kind: read_model(path, kind.name) for kind, path in bundled.items()}

    def try_one(rng: random.Random) -> bool:
        path, kind = folder / "hostile.safetensors", rng.choice(list(bundled))
        header, arrays = read[kind]
        try:
            mutated = json.loads(mutate_json_text(json.dumps(header).encode(), rng))
        except (ValueError, RecursionError):
            return False
        write_model(path, kind.name, mutated, arrays)
        try:
            kind.load(path)
        except ForetuneError:
            return False
        return True

    yield try_one


class _Read(Exception):
    """An artifact was read to the point where PyTorch takes over."""


@contextlib.contextmanager
def artifacts(folder: Path) -> Iterator[Try]:
    """A file of `foretune tune`, up to the reading of the exported program, which is PyTorch's."""
    import hashlib
    from dataclasses import replace

    from foretune.compiler.exported.manifest import Manifest
    from foretune.compiler.pytorch import artifact, backend
    from foretune.compiler.pytorch.options import BackendOptions

    program = bytes(range(256)) * 8
    with Database(folder / "records.db") as records:
        records.add([t.record for t in synthetic_trajectories(4, 0)])
    kept = (folder / "records.db").read_bytes()
    options = replace(BackendOptions(), database="records.db").to_json()
    hashes = {"program.pt2": hashlib.sha256(program).hexdigest(), "records.db": hashlib.sha256(kept).hexdigest()}
    manifest = Manifest.of(options, "0" * 16, "eager", hashes)
    original = folder / "original.foretune"
    with zipfile.ZipFile(original, "w") as archive:
        archive.writestr("manifest.json", manifest.to_text())
        archive.writestr("program.pt2", program)
        archive.writestr("records.db", kept)
    data = original.read_bytes()
    wanted: list[tuple] = []

    def read(given: BackendOptions, **more: object) -> None:
        raise _Read(replace(given, database=""), more)

    def load(content: bytes) -> tuple | None:
        path = folder / "mutated.foretune"
        path.write_bytes(content)
        try:
            artifact.load(path)
        except _Read as found:
            return found.args
        except ForetuneError:
            return None
        raise Silent("it was loaded, although its program is none")

    before = artifact.load_exported, backend.Backend
    artifact.load_exported, backend.Backend = lambda *_: SimpleNamespace(example_inputs=((), {})), read
    try:
        wanted.append(load(data))

        def try_one(rng: random.Random) -> bool:
            found = load(mutate_bytes(data, rng))
            if found is not None and found != wanted[0]:
                raise Silent(f"options that were not written: {found}")
            return found is not None

        yield try_one
    finally:
        artifact.load_exported, backend.Backend = before


SUBJECTS = [
    Subject("database", database),
    Subject("store", store),
    Subject("weights", weights),
    Subject("old weights", old_weights),
    Subject("hostile weights", hostile_weights),
    Subject("artifacts", artifacts),
]
