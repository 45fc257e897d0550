"""A library of what was best for operations, and modules that are tuned from it."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest

from foretune.errors import DataError
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.tuning.frontend import MlirProgram
from foretune.passes.mlir.tuning.search import MlirGenetic
from foretune.passes.mlir.tuning.tuning import MlirTuneConfig, tune
from foretune.passes.mlir.tuning.winners import Winner, Winners
from tests.passes.mlir import sources
from tests.passes.mlir.test_mlir_tuning import make

LARGE = """func.func @main(%A: tensor<64x64xf32>, %B: tensor<64x64xf32>) -> tensor<64x64xf32> {
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<64x64xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<64x64xf32>) -> tensor<64x64xf32>
  %C = linalg.matmul ins(%A, %B : tensor<64x64xf32>, tensor<64x64xf32>) outs(%init : tensor<64x64xf32>) -> tensor<64x64xf32>
  %y = linalg.negf ins(%C : tensor<64x64xf32>) outs(%empty : tensor<64x64xf32>) -> tensor<64x64xf32>
  return %y : tensor<64x64xf32>
}"""  # noqa: E501


def test_what_one_program_taught_another_one_begins_with(session, measurer, tmp_path):
    winners, settings = Winners(), MlirTuneConfig(6, finals=1, final_turns=3)
    small = MlirProgram.of(session, "matmul", sources.matmul(64, 64, 64))
    found = tune(small, measurer, make("random"), settings, winners=winners)
    assert found.num_taken_over == 0 and found.num_learned >= 1
    winners.save(tmp_path / "winners.json")
    library = Winners.load(tmp_path / "winners.json")
    assert library == winners and list(library.known) == [session.cpu]
    large = MlirProgram.of(session, "large", LARGE)
    again = tune(large, measurer, make("random"), settings, winners=library)
    assert again.num_taken_over >= 2
    _, answers = again.strategy.told(again.trials[0].schedule)
    [product] = [w for key, w in winners.known[session.cpu].items() if "arith.mulf" in key]
    assert product.answers.items() <= {name.partition(" ")[2]: answer for name, answer in answers.items()}.items()


class Forks:
    operations: ClassVar[dict[str, str]] = {"op0": "a product"}

    def schedule(self, choose):
        return Schedule.of(f"tile{{on=linalg:0 sizes={choose('op0 rows', (1, 2, 4))}}}")


def test_answers_that_do_not_fit_are_left_out():
    library = Winners({"cpu": {"a product": Winner({"rows": 4, "columns": 8}, 2.0, 1)}})
    strategy = MlirGenetic(Forks())
    assert strategy.open_with(library, "other cpu") == 0
    assert strategy.open_with(library, "cpu") == 2
    assert strategy.next_batch(1) == [Schedule.of("tile{on=linalg:0 sizes=4}")]


def test_what_was_found_for_an_operation_alone_is_surer():
    library = Winners()
    both = {"op0": "one", "op1": "other"}
    assert library.learn("cpu", both, {"op0 rows": 1, "op1 rows": 2, "fuse": 3}, 5.0) == 2
    assert library.learn("cpu", {"op3": "one"}, {"op3 rows": 4}, 2.0) == 1
    assert library.learn("cpu", both, {"op0 rows": 9, "op1 rows": 9}, 4.0) == 0
    assert {key: w.answers for key, w in library.known["cpu"].items()} == {"one": {"rows": 4}, "other": {"rows": 2}}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 1}', '{"version": 1, "winners": {"c": {"a": {"answers": {"x": []}}}}}']
)
def test_files_that_are_none(tmp_path, text):
    (tmp_path / "winners.json").write_text(text)
    with pytest.raises(DataError, match="is no library of winners"):
        Winners.load(tmp_path / "winners.json")
    (tmp_path / "winners.json").write_text(json.dumps({"version": 9, "winners": {}}))
    with pytest.raises(DataError, match="has version 9"):
        Winners.load(tmp_path / "winners.json")
    assert Winners.load(tmp_path / "nothing.json") == Winners()
