"""What `passes tune` and `mlir tune` find with a fixed seed and a made-up clock stays as it is, and run folders of
earlier versions are gone on from.

`FORETUNE_GOLDEN=write` writes the files anew.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from foretune.cli.app import app
from foretune.datasets.records.store import RecordStore
from foretune.passes.llvm.tuning import tuning as passes_tuning
from foretune.passes.llvm.tuning.search import RankedSearch
from foretune.passes.mlir.tuning import tuning as mlir_tuning
from foretune.passes.mlir.tuning.search import MlirRanked
from tests.golden import made_up

HERE = Path(__file__).parent
COMMANDS = [
    "passes tune p.c --search random --budget 24 --no-skills --no-screening --seed 3",
    "passes tune p.c --search greedy --budget 24 --no-skills --no-screening",
    "passes tune p.c --search greedy --budget 40 --no-skills",
    "passes tune p.c --search genetic --budget 60 --no-skills --no-screening --seed 1",
    "passes tune p.c --search genetic --budget 40 --seed 2",
    "passes tune p.c --search ranked --budget 40 --no-skills",
    "passes tune p.c --search ranked --budget 12 --no-skills --no-screening --seed 5",
    "passes tune p.c --search genetic --objective size --budget 16",
    "passes tune p.c --search random --objective cycles --budget 16 --no-skills",
    "mlir tune m.mlir --search random --budget 24 --seed 3",
    "mlir tune m.mlir --search greedy --budget 40",
    "mlir tune m.mlir --search genetic --budget 40 --seed 1",
    "mlir tune m.mlir --search genetic --budget 300",
    "mlir tune m.mlir --search ranked --budget 24",
]
GOING_ON = {
    "passes": [
        "passes tune p.c --search genetic --budget 12 --no-skills",
        "passes tune p.c --search random --budget 24",
    ],
    "mlir": ["mlir tune m.mlir --search genetic --budget 12", "mlir tune m.mlir --search greedy --budget 24"],
}


@pytest.fixture
def made_up_tools(monkeypatch, tmp_path):
    """The tools are made up; what comes is the list of results."""
    results = []
    for module in (passes_tuning, mlir_tuning):
        monkeypatch.setattr(
            module, "tune", lambda *words, tune=module.tune: results.append(tune(*words)) or results[-1]
        )
    program = made_up.pass_program(tmp_path)
    monkeypatch.setattr("foretune.passes.llvm.program.load", lambda *words: [program])
    monkeypatch.setattr("foretune.passes.llvm.measure.PassMeasurer", made_up.MadeUpPassMeasurer)
    monkeypatch.setattr("foretune.cli.mlir._program", lambda *words: made_up.MLIR_PROGRAM)
    monkeypatch.setattr("foretune.passes.mlir.environment.session.MlirSession", made_up.MadeUpSession)
    monkeypatch.setattr("foretune.passes.mlir.tuning.measure.MlirMeasurer", made_up.MadeUpMlirMeasurer)
    monkeypatch.setattr(mlir_tuning, "Template", lambda *words: made_up.Forks())
    rank = lambda pool: np.array(made_up.scores(pool))  # noqa: E731
    for strategies, ranked in (
        ("foretune.passes.llvm.tuning.strategies", lambda *words, **more: RankedSearch(rank, *words, **more)),
        ("foretune.passes.mlir.tuning.strategies", lambda template, seed: MlirRanked(template, rank, seed)),
    ):
        monkeypatch.setitem(__import__(strategies, fromlist=["STRATEGIES"]).STRATEGIES, "ranked", ranked)
    return results


def run(command: str, *more: str) -> dict:
    done = CliRunner().invoke(app, [*command.split(), *more, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    return document["results"][0] if "results" in document else document


def told(document: dict, result) -> dict:
    """What is compared: the document without times and places, and the trials in short."""
    for name in (
        "secs",
        "first_secs",
        "rungs",
        "sequence",
        "timeouts",
        "build",
        "source",
        "emitted",
        "best_so_far",
        "sizes",
        "values",
    ):
        document.pop(name, None)
    document.get("screening", {}).pop("secs", None)
    document["steps"] = len(document.get("steps", ()))
    document["failed"] = sorted({row["error"] for row in document["failed"]})
    trials = [
        f"{made_up.number_of(str(getattr(t, 'sequence', None) or t.schedule)) % 16**6:06x}"
        f" {t.cost:.5f}{'' if math.isfinite(t.cost) else ' ' + t.status.value}"
        for t in result.trials
    ]
    return json.loads(json.dumps({**document, "trials": trials}), parse_float=lambda text: round(float(text), 9))


def stored(path: Path) -> list[list]:
    """What the records of a folder say, without this machine and the time of day."""
    with RecordStore(path) as store:
        return [
            [
                made_up.number_of(str(t.record.trace.key)) % 16**6,
                t.record.status.value,
                [round(s, 9) for s in t.record.run_secs],
                t.record.program_hash,
                sorted(name for name, _ in t.record.environment),
                len(t.initial),
                len(t.final),
            ]
            for t in store.trajectories()
        ]


def compare(name: str, found: object) -> None:
    path = HERE / f"{name}.json"
    if os.environ.get("FORETUNE_GOLDEN") == "write":
        path.write_text(json.dumps(found, indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n")
    assert found == json.loads(path.read_text())


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command, made_up_tools):
    document = told(run(command), made_up_tools[0])
    compare("_".join(word.strip("-") for word in command.split() if word not in ("tune", "p.c", "m.mlir")), document)


@pytest.mark.parametrize("domain", GOING_ON)
def test_going_on(domain, made_up_tools, tmp_path):
    store = tmp_path / "store"
    rows = [told(run(command, "--store", str(store)), made_up_tools[-1]) for command in GOING_ON[domain]]
    assert rows[1]["num_reused"] > 0
    compare(f"{domain}_going_on", [*rows, stored(store)])


@pytest.mark.parametrize("domain", GOING_ON)
def test_an_old_run_folder_is_gone_on_from(domain, made_up_tools, tmp_path):
    store = tmp_path / "store"
    if os.environ.get("FORETUNE_GOLDEN") == "write-folders":
        run(GOING_ON[domain][0], "--store", str(HERE / f"{domain}_run"))
    shutil.copytree(HERE / f"{domain}_run", store)
    found = told(run(GOING_ON[domain][1], "--store", str(store)), made_up_tools[-1])
    assert found == json.loads((HERE / f"{domain}_going_on.json").read_text())[1]
