"""Manifests: what a release writes is read, and what none writes is refused with the reason."""

from __future__ import annotations

import json

import pytest

from foretune.compiler.exported.manifest import SCHEMA, Manifest
from foretune.errors import DataError

OPTIONS = {
    "trials": 3,
    "target": "auto",
    "seed": 0,
    "tolerance": 1e-3,
    "guard": True,
    "freeze": False,
    "ops": ["conv2d"],
}
GOOD = {
    "schema": SCHEMA,
    "target": "abc",
    "run_by": "tvm",
    "options": OPTIONS,
    "torch": "2.13.0",
    "sha256": {"program.pt2": "1", "records.db": "2"},
}


def test_what_is_written_is_read():
    manifest = Manifest.of(
        {**OPTIONS, "seconds": float("inf"), "database": "/home/me/records.db"}, "abc", "tvm", GOOD["sha256"]
    )
    assert Manifest.from_text(manifest.to_text().encode()) == manifest and dict(manifest.chosen) == OPTIONS
    assert "home" not in manifest.to_text() and "Infinity" not in manifest.to_text()


def test_older_releases_wrote_all_options():
    older = {
        **OPTIONS,
        "database": "records.db",
        "progress": True,
        "cost_model": None,
        "seconds": float("inf"),
        "background": False,
    }
    del older["freeze"]
    manifest = Manifest.from_text(json.dumps({**GOOD, "options": older}).encode())
    assert dict(manifest.chosen) == {name: value for name, value in OPTIONS.items() if name != "freeze"}


BAD = [
    ({"schema": "foretune-artifact-9"}, "another schema"),
    ({"target": 3}, "`target` of its manifest must be text"),
    ({"run_by": None}, "`run_by` of its manifest must be text"),
    ({"torch": []}, "`torch` of its manifest must be text"),
    ({"sha256": []}, "`sha256` of its manifest must name a hash"),
    ({"sha256": {"program.pt2": 1}}, "`sha256` of its manifest must name a hash"),
    ({"options": None}, "`options` of its manifest must be an object"),
    ({"options": {"zzz": 1}}, r"unknown options \['zzz'\]"),
    ({"options": {"trials": "x"}}, "option `trials` of its manifest has the value 'x'"),
    ({"options": {"trials": True}}, "option `trials` of its manifest has the value True"),
    ({"options": {"guard": 1}}, "option `guard`"),
    ({"options": {"tolerance": float("inf")}}, "option `tolerance`"),
    ({"options": {"ops": [1]}}, "must be a list of words"),
    ({"options": {"ops": "conv2d"}}, "option `ops`"),
    ({"options": {"target": "{broken"}}, "target of its manifest cannot be used"),
    ({"options": {"target": '{"kind": "llvm", "cl-opt": ["-load=x.so"]}'}}, r"target of its manifest has \['cl-opt'\]"),
]


@pytest.mark.parametrize(("change", "reason"), BAD)
def test_values_that_no_release_writes(change, reason):
    with pytest.raises(DataError, match=reason):
        Manifest.from_text(json.dumps({**GOOD, **change}).encode())


@pytest.mark.parametrize("missing", ["schema", "target", "run_by", "options", "torch", "sha256"])
def test_missing_parts(missing):
    with pytest.raises(DataError):
        Manifest.from_text(json.dumps({name: value for name, value in GOOD.items() if name != missing}).encode())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "cannot be read"),
        (b"[]", "another schema"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"a": ' + b"9" * 400 + b"}", "more than 64 bits"),
        (b"[" * 100_000, "nested"),
        (b'{"a": ' * 500 + b"1" + b"}" * 500, "nested"),
    ],
)
def test_texts_that_are_none(text, reason):
    with pytest.raises(DataError, match=reason):
        Manifest.from_text(text)
