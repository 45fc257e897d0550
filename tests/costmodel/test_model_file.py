"""The file format of cost models: what is written is read, damage is told, and older releases' files load."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from foretune import ModelError
from foretune.costmodel import model_file
from foretune.costmodel.evaluation import registry
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.mlir import correction, domain, model, time_model
from foretune.costmodel.mlir.correction import MlirCorrection
from foretune.costmodel.mlir.domain import MlirDomain
from foretune.costmodel.mlir.model import MlirCostModel
from foretune.costmodel.mlir.time_model import MlirTimeModel
from foretune.costmodel.model_file import read_any_model, read_model, write_model
from foretune.costmodel.passes.model import PassCostModel
from foretune.testing.cost_models import candidates_of, featurize, measured
from foretune.testing.synthetic import TASK

BUNDLED = {
    "latent": LatentCostModel.bundled_path(),
    "passes": PassCostModel.bundled_path(),
    "mlir_latent": model.WEIGHTS,
    "mlir_time": time_model.WEIGHTS,
    "mlir_domain": domain.WEIGHTS,
    "mlir_correction": correction.WEIGHTS,
}
CLASSES = {
    "latent": LatentCostModel,
    "passes": PassCostModel,
    "mlir_latent": MlirCostModel,
    "mlir_time": MlirTimeModel,
    "mlir_domain": MlirDomain,
    "mlir_correction": MlirCorrection,
}


def test_any_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "model"
    write_model(path, "some", {"a": 1}, {"x": np.arange(6, dtype=np.float32), "y": np.frombuffer(b"text", np.uint8)})
    header, arrays = read_model(path, "some")
    assert header == {"a": 1} and arrays["x"].tolist() == [0, 1, 2, 3, 4, 5] and arrays["y"].tobytes() == b"text"
    whole = path.read_bytes()
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ModelError, match="model"):
            read_model(path, "some")
    path.write_bytes(whole)
    with pytest.raises(ModelError, match="'some', not 'other'"):
        read_model(path, "other")
    path.write_bytes(whole.replace(b"foretune-model-1", b"foretune-model-9"))
    with pytest.raises(ModelError, match="schema 'foretune-model-9'"):
        read_model(path, "some")


def test_arrays_of_all_shapes_stay_what_they_are(tmp_path):
    arrays = {
        "scalar": np.array(2.5, np.float32),
        "none": np.zeros((0, 3), np.int64),
        "turned": np.arange(6, dtype=np.float16).reshape(2, 3).T,
        "truth": np.array([True, False]),
    }
    write_model(tmp_path / "m", "some", {}, arrays)
    _, found = read_model(tmp_path / "m", "some")
    assert {n: (a.shape, a.dtype) for n, a in found.items()} == {n: (a.shape, a.dtype) for n, a in arrays.items()}
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def write_raw(path: Path, schema: str, kind: str, text: str, arrays: dict[str, np.ndarray]) -> None:
    """A file with a digest that fits, whatever the header is."""
    digest = model_file._digest(schema, kind, text, arrays)
    save_file(arrays, path, {"schema": schema, "model": kind, "header": text, "digest": digest})


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"a": 1} more'])
def test_a_header_that_is_none_is_refused_though_its_digest_fits(text, tmp_path):
    write_raw(tmp_path / "m", "foretune-model-1", "some", text, {"x": np.zeros(2, np.float32)})
    with pytest.raises(ModelError, match="its header is no JSON"):
        read_model(tmp_path / "m", "some")


def test_a_rival_of_an_older_release_loads(tmp_path):
    rival = registry.make("size")
    rival.fit(measured(16, seed=0))
    rival.save(tmp_path / "new")
    found = read_any_model(tmp_path / "new")
    write_raw(tmp_path / "old", "foretune-rival-1", "size", json.dumps(found.header, sort_keys=True), found.arrays)
    candidates = candidates_of(measured(8, seed=1))
    old, new = registry.load("size", tmp_path / "old"), registry.load("size", tmp_path / "new")
    for loaded in (old, new):
        loaded.bind(featurize)
    np.testing.assert_array_equal(old.predict(TASK, candidates), new.predict(TASK, candidates))


class Harm:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


@pytest.mark.parametrize("name", CLASSES)
def test_nothing_is_unpickled_and_no_other_kind_is_taken(name, tmp_path):
    path = tmp_path / "harmful"
    path.write_bytes(pickle.dumps(Harm()))
    with pytest.raises(ModelError, match="harmful"):
        CLASSES[name].load(path)
    other = next(other for other in CLASSES if other != name)
    with pytest.raises(ModelError, match=f"holds a model of type '{other}', not '{name}'"):
        CLASSES[name].load(BUNDLED[other])
    path.unlink()
    path.mkdir()
    with pytest.raises(ModelError, match="harmful"):
        CLASSES[name].load(path)


HUGE = [
    ("latent", ("config", "latent"), 1 << 40),
    ("latent", ("config", "members"), 1 << 40),
    ("latent", ("config", "rounds"), 1 << 40),
    ("latent", ("config", "trees"), 1 << 40),
    ("latent", ("config", "bins"), 1 << 62),
    ("latent", ("config", "no_such_part"), 1),
    ("latent", ("vocabulary",), [1, 2]),
    ("latent", ("vocabulary", "symbols"), 3),
    ("passes", ("config", "latent"), 1 << 20),
    ("mlir_latent", ("members",), 1 << 40),
    ("mlir_latent", ("members",), 0),
    ("mlir_latent", ("members",), "1"),
    ("mlir_latent", ("config", "latent"), 1 << 40),
    ("mlir_latent", ("config", "rounds"), 1 << 40),
    ("mlir_latent", ("features",), ["log_runs"]),
    ("mlir_latent", ("actions",), ["x"] * 1000),
    ("mlir_latent", ("calibration",), [0.0]),
    ("mlir_latent", ("calibration",), {"a": 1}),
    ("mlir_time", ("config", "members"), 1 << 40),
    ("mlir_time", ("config", "members"), 0),
    ("mlir_time", ("config", "width"), 1 << 40),
    ("mlir_time", ("deviation",), None),
    ("mlir_correction", ("config", "members"), 1 << 40),
    ("mlir_correction", ("config", "members"), 0),
    ("mlir_correction", ("config", "width"), 1 << 40),
    ("mlir_correction", ("factors",), [1.0]),
    ("mlir_correction", ("columns",), {"runs": 1}),
    ("mlir_domain", ("names",), ["a"]),
    ("mlir_domain", ("statements",), "many"),
]


@pytest.mark.parametrize(("name", "place", "value"), HUGE, ids=[f"{n}-{'.'.join(p)}-{v!s:.12}" for n, p, v in HUGE])
def test_headers_that_do_not_fit_the_arrays_are_refused_at_once(name, place, value, tmp_path):
    """Also with a digest that fits, and before memory is taken for what they state."""
    header, arrays = read_model(BUNDLED[name], name)
    inside = header
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    write_model(tmp_path / "hostile", name, header, arrays)
    with pytest.raises(ModelError, match="hostile"):
        CLASSES[name].load(tmp_path / "hostile")
