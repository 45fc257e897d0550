"""`foretune mlir predict`: counted or predicted, by choice or by deadline."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from foretune.cli.app import app
from foretune.errors import DataError, OptionError
from tests.passes.mlir import nests, sources


def predict(*words):
    return CliRunner().invoke(app, ["mlir", "predict", *map(str, words)])


@pytest.fixture
def scaled(tmp_path):
    path = tmp_path / "scaled.mlir"
    path.write_text(nests.BOUNDED_BY_ARGUMENT)
    return path


def test_tiers(session, scaled):
    exact, fast = (
        json.loads(predict(scaled, "--cpu", "haswell", *words, "--json").stdout)
        for words in (["--exact", "--value", 40], ["--fast"])
    )
    assert (
        exact["sources"]["mca_cycles"] == "counted"
        and exact["sources"]["secs"] == "predicted"
        and exact["spread"]["instructions"] == 0
    )
    assert not any("is taken as" in note for note in exact["notes"])
    assert set(fast["sources"].values()) == {"predicted"} and any("is taken as 200" in note for note in fast["notes"])


def test_the_table_says_what_each_number_is(session, tmp_path):
    (tmp_path / "open.mlir").write_text(sources.UNKNOWN_SIZES)
    shown = predict(tmp_path / "open.mlir", "--size", 32, "--size", 16, "--size", 16, "--deadline-ms", 60000)
    assert (
        shown.exit_code == 0
        and "counted" in shown.stdout
        and "predicted" in shown.stdout
        and "- seconds stand for the machine" in shown.stdout
    )


@pytest.mark.parametrize(
    "words, error, reason",
    [
        (["--exact", "--fast"], OptionError, "choose one of"),
        (["--unapplied", "--exact"], OptionError, "nothing to count"),
        (["--run-ms", 0], OptionError, "0 < run_ms"),
        (["--exact", "--cpu", "abacus"], OptionError, "not a recognized processor"),
        (["--size", 8], DataError, "has 0 unknown extents"),
    ],
)
def test_wrong_uses(session, scaled, words, error, reason):
    raised = predict(scaled, *words).exception
    assert isinstance(raised, error) and reason in str(raised)
