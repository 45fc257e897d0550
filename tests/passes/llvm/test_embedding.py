"""Embeddings of modules: what they see, what they do not, and the vocabulary behind them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from foretune import DataError, IllegalActionError
from foretune.passes.llvm.actions import Flag, Pass, PassSequence
from foretune.passes.llvm.embedding import DIMENSIONS, Vocabulary, add_rows, distance, learn
from foretune.passes.llvm.measure import BASELINE
from foretune.passes.llvm.program import load_programs

FLOATS = (
    "double {f}(double *{x}, int {n}) {{ double s = 0; for (int i = 0; i < {n}; i++) s += {x}[i] * 2.5; return s;"
    " }}\nint main(void) {{ double a[8] = {{0}}; return (int){f}(a, 8); }}\n"
)
BITS = (
    "unsigned f(unsigned *x, int n) { unsigned s = 0; for (int i = 0; i < n; i++) s ^= x[i] >> 3 | s << 5; return s;"
    " }\nint main(void) { unsigned a[8] = {0}; return f(a, 8); }\n"
)


def look(measurer, tmp_path, name, text, sequence=BASELINE):
    path = tmp_path / f"{name}.c"
    path.write_text(text)
    [program] = load_programs(path, tmp_path)
    return measurer.compiler.observe_steps(program, sequence)


def test_names_do_not_matter_and_what_is_done_does(measurer, tmp_path):
    first, renamed, bits = (
        look(measurer, tmp_path, f"p{i}", text)[0][0].embedding
        for i, text in enumerate(
            (FLOATS.format(f="f", x="x", n="n"), FLOATS.format(f="total", x="numbers", n="count"), BITS)
        )
    )
    np.testing.assert_array_equal(first, renamed)
    assert first.shape == (DIMENSIONS,) and distance(first, renamed) < 1e-9 < 1e-3 < distance(first, bits)


def test_each_pass_is_looked_at(measurer, tmp_path):
    looks, error = look(
        measurer, tmp_path, "p", BITS, PassSequence((Pass("sroa"), Pass("default<O3>")), (Flag("unroll-count", 4),))
    )
    assert len(looks) == 3 and not error
    assert looks[1].features != looks[0].features != looks[2].features and all(one.mca_cycles > 0 for one in looks)


def test_polly_cannot_be_looked_into(measurer, tmp_path):
    with pytest.raises(IllegalActionError, match="as a whole"):
        look(measurer, tmp_path, "p", BITS, PassSequence(BASELINE.passes, (Flag("polly", True),)))


def test_a_vocabulary_learns_what_stands_together():
    counts = Counter(
        {
            ("add", "argument0", "variable"): 90,
            ("mul", "argument0", "variable"): 90,
            ("call", "argument0", "function"): 90,
            ("add", "type", "int"): 50,
            ("mul", "type", "int"): 50,
            ("call", "type", "void"): 50,
        }
    )
    learnt = learn(counts)
    assert distance(learnt["add"], learnt["mul"]) < distance(learnt["add"], learnt["call"])
    np.testing.assert_array_equal(learnt["add"], learn(counts)["add"])
    assert not learnt["unheard-of"].any()
    with pytest.raises(DataError, match="no instruction"):
        learn({})


def test_files(tmp_path):
    path = tmp_path / "v.json"
    made = learn({("add", "type", "int"): 3})
    made.save(path)
    np.testing.assert_allclose(Vocabulary.load(path)["add"], made["add"], atol=1e-4)
    for text in ("", "[]", '{"a": [1, 2], "b": [1]}', '{"a": [NaN]}', '{"a": 3}'):
        path.write_text(text)
        with pytest.raises(DataError, match="no vocabulary"):
            Vocabulary.load(path)
    again = Counter()
    add_rows(again, [["add", "type", "int", 2], ["add", "type", "int", 1]])
    assert again == {("add", "type", "int"): 3}
