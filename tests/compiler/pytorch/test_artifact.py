"""Ahead of time: `foretune tune` writes, `foretune.load` runs; the report of a database; merging and pruning."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile

import pytest
import torch

import foretune
from foretune.compiler.metaschedule.html_report import write_report
from foretune.compiler.pytorch import artifact
from foretune.compiler.pytorch.backend import compile_reports
from foretune.compiler.pytorch.options import BackendOptions
from foretune.compiler.workloads.models import ResNet
from foretune.datasets.records.database import Database


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()


def model_and_inputs():
    torch.manual_seed(0)
    return ResNet(8, 2).eval(), (torch.randn(1, 3, 16, 16),)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """(artifact, database) of a model that was tuned a little, from an exported program."""
    folder = tmp_path_factory.mktemp("tuned")
    model, inputs = model_and_inputs()
    torch.export.save(torch.export.export(model, inputs), folder / "model.pt2")
    options = BackendOptions(3, folder / "records.db", progress=False, guard=False)
    report = artifact.tune(str(folder / "model.pt2"), folder / "model.foretune", options)
    assert report.graph.num_trials > 0 and json.loads(json.dumps(report.to_json()))["out"].endswith("model.foretune")
    return folder / "model.foretune", folder / "records.db"


def test_what_is_loaded_gives_the_same_and_measures_nothing(tuned):
    model, inputs = model_and_inputs()
    loaded = foretune.load(tuned[0])
    with torch.no_grad():
        torch.testing.assert_close(loaded(*inputs), model(*inputs), rtol=1e-3, atol=1e-5)
    report = compile_reports()[-1]
    assert report.num_trials == 0 and report.num_reused > 0 and report.choice.name == "tvm"


def test_it_runs_as_its_user_calls_it(tuned):
    model, [x] = model_and_inputs()
    loaded = foretune.load(tuned[0])
    num_compiled = len(compile_reports())
    assert str(foretune.explain(loaded)).startswith("graph 1: run by tvm")
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        for value in (
            x,
            x.contiguous(memory_format=torch.channels_last),
            torch.stack([x, x])[1],
            torch.cat([x, x], -1)[..., :16],
        ):
            with context():
                torch.testing.assert_close(loaded(value), model(value), rtol=1e-3, atol=1e-5, check_stride=False)
    (ours, theirs) = (x.clone().requires_grad_() for _ in range(2))
    loaded(ours).sum().backward()
    model(theirs).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    for other in (x.double(), torch.cat([x, x])):
        with pytest.raises(foretune.OptionError, match=r"the program was made for a tensor \[1, 3, 16, 16\] float32"):
            loaded(other)
    assert len(compile_reports()) == num_compiled


def test_explain_knows_the_model(tuned, tmp_path):
    model, inputs = model_and_inputs()
    compiled = torch.compile(
        model, backend="foretune", options={"trials": 3, "database": str(tuned[1]), "progress": False, "guard": False}
    )
    assert "call the compiled model first" in str(foretune.explain(compiled))
    with torch.no_grad():
        compiled(*inputs)
    text = str(foretune.explain(compiled))
    assert text.startswith("graph 1: run by tvm") and "conv2d" in text and "from the database" in text
    assert str(foretune.explain(model)) == text and json.dumps(foretune.explain(model).to_json())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.pt2", "there is no file"),
        ("no colon", "MODULE:FUNCTION or a .pt2 file"),
        ("os.path:__import__('os')", "MODULE:FUNCTION or a .pt2 file"),
        ("no_such_module:make", "cannot be imported"),
        ("json:nothing", "cannot be imported"),
        ("time:time", r"must return \(model, tuple of inputs\)"),
    ],
)
def test_sources_that_are_none(source, message, tmp_path):
    with pytest.raises(foretune.OptionError, match=message):
        artifact.tune(source, tmp_path / "out", BackendOptions(0, tmp_path / "records.db"))
    assert not (tmp_path / "out").exists()


def test_damaged_archives_are_refused(tuned, tmp_path):
    whole = tuned[0].read_bytes()
    with pytest.raises(foretune.DataError, match=r"is no file of `foretune tune`"):
        foretune.load(tmp_path / "missing")
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(foretune.DataError, match=r"is no file of `foretune tune`"):
        foretune.load(tmp_path / "cut")
    for name, change in (
        ("schema", {"schema": "another"}),
        ("hash", {"sha256": {}}),
        ("target", {"target": "of another processor"}),
    ):
        with zipfile.ZipFile(tuned[0]) as archive, zipfile.ZipFile(tmp_path / name, "w") as changed:
            for entry in archive.namelist():
                data = archive.read(entry)
                changed.writestr(
                    entry, json.dumps({**json.loads(data), **change}) if entry == "manifest.json" else data
                )
    with pytest.raises(foretune.DataError, match="another schema"):
        foretune.load(tmp_path / "schema")
    with pytest.raises(foretune.DataError, match="another hash"):
        foretune.load(tmp_path / "hash")
    with pytest.raises(foretune.TargetError, match="was tuned for of another processor"):
        foretune.load(tmp_path / "target")


def test_hostile_archives_are_refused(tuned, tmp_path):
    with zipfile.ZipFile(tuned[0]) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    for change, reason in (
        ({"run_by": "nobody"}, "'nobody' runs the program; known are"),
        ({"options": {"trials": -1}}, "the options in .* cannot be used"),
        ({"options": {"zzz": 1}}, "unknown options"),
        ({"sha256": None}, "must name a hash"),
    ):
        with zipfile.ZipFile(tuned[0]) as archive, zipfile.ZipFile(tmp_path / "hostile", "w") as changed:
            for entry in archive.namelist():
                data = archive.read(entry)
                changed.writestr(entry, json.dumps({**manifest, **change}) if entry == "manifest.json" else data)
        with pytest.raises(foretune.DataError, match=reason) as caught:
            foretune.load(tmp_path / "hostile")
        assert str(tmp_path / "hostile") in str(caught.value)
    with zipfile.ZipFile(tmp_path / "outside", "w") as archive:
        archive.writestr("../outside.txt", "x")
    with pytest.raises(foretune.DataError, match="leads out of the archive"):
        foretune.load(tmp_path / "outside")
    assert not (tmp_path.parent / "outside.txt").exists()


def test_a_program_is_not_unpickled(tuned, tmp_path):
    """Neither the one in an archive, whose hash is right, nor one to tune."""
    trap = io.BytesIO()
    torch.save(Trap(tmp_path / "sprung"), trap)
    with zipfile.ZipFile(tuned[0]) as archive:
        manifest, records = json.loads(archive.read("manifest.json")), archive.read("records.db")
        with (
            zipfile.ZipFile(io.BytesIO(archive.read("program.pt2"))) as program,
            zipfile.ZipFile(tmp_path / "evil.pt2", "w") as evil,
        ):
            for entry in program.namelist():
                evil.writestr(entry, trap.getvalue() if "sample_inputs" in entry else program.read(entry))
    manifest["sha256"]["program.pt2"] = hashlib.sha256((tmp_path / "evil.pt2").read_bytes()).hexdigest()
    with zipfile.ZipFile(tmp_path / "evil", "w") as archive:
        for name, data in (
            ("manifest.json", json.dumps(manifest)),
            ("program.pt2", (tmp_path / "evil.pt2").read_bytes()),
            ("records.db", records),
        ):
            archive.writestr(name, data)
    with pytest.raises(foretune.DataError, match=r"the program in .* is refused: its sample inputs"):
        foretune.load(tmp_path / "evil")
    with pytest.raises(foretune.DataError, match=r"evil\.pt2 is refused: its sample inputs"):
        artifact.tune(str(tmp_path / "evil.pt2"), tmp_path / "out", BackendOptions(0, tmp_path / "records.db"))
    assert not (tmp_path / "sprung").exists() and not (tmp_path / "out").exists()


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_report_page(tuned, tmp_path):
    written = write_report(tuned[1], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert written["tasks"] == page.count("<details") and written["records"] > 0
    assert (
        "conv2d" in page
        and "<polyline" in page
        and "sch.get_sblock" in page
        and "<script" not in page
        and "://" not in page
    )
    with pytest.raises(foretune.DatabaseError, match="there is no database"):
        write_report(tmp_path / "missing.db", tmp_path / "none.html")


def test_databases_merge_and_are_pruned(tuned, tmp_path):
    with Database(tmp_path / "merged.db") as merged, Database(tuned[1]) as other:
        assert merged.merge(tuned[1]) == other.num_records() and merged.merge(tuned[1]) == 0
        for task in other.tasks():
            assert [r.run_secs for r in merged.records(task)] == [r.run_secs for r in other.records(task)]
            assert merged.max_rel_error(merged.best(task)) == other.max_rel_error(other.best(task))
        best = {task.key: merged.best(task).best_secs for task in merged.tasks()}
        num = merged.num_records()
        assert merged.prune(1) == num - merged.num_records() > 0
        assert best == {task.key: merged.best(task).best_secs for task in merged.tasks()}
        with pytest.raises(foretune.OptionError, match="keep >= 1"):
            merged.prune(0)
        with pytest.raises(foretune.DatabaseError, match="there is no database"):
            merged.merge(tmp_path / "missing.db")
    shutil.copy(tuned[0], tmp_path / "records.db")
    with pytest.raises(foretune.DatabaseError), Database(tmp_path / "merged.db") as merged:
        merged.merge(tmp_path / "records.db")
