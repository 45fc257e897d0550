"""Records of evidence: what they keep of an explanation, and their files."""

from __future__ import annotations

import pytest

from foretune.errors import DataError
from foretune.passes.llvm.actions import Flag, Pass, PassSequence
from foretune.passes.llvm.observe import FEATURES
from foretune.passes.llvm.teaching.evidence import EvidenceRecord, evidence_of, read_evidence, write_evidence
from foretune.passes.llvm.tuning.explain import SequenceExplanation, StepWorth

NEEDED = PassSequence((Pass("default<O3>"), Pass("gvn")), (Flag("unroll-count", 4),))
STEPS = (
    StepWorth("gvn", 1.1, (1.0, 1.2), True),
    StepWorth("adce", 1.5, (1.4, 1.6), False),
    StepWorth("-unroll-count=4", 1.02, (1.0, 1.04), True),
)
FOUND = tuple(float(i % 3) for i in range(len(FEATURES)))


def test_what_matters_is_kept(tmp_path):
    record = evidence_of(SequenceExplanation("md5", 1.5, STEPS, NEEDED, ()), FOUND)
    assert record.evidence == (("gvn", 1.1), ("-unroll-count=4", 1.02)) and record.decision == NEEDED
    assert record.intents == ("unroll", "memory", "simplify")
    known = evidence_of(
        SequenceExplanation("md5", 1.5, STEPS, NEEDED, ()), FOUND, ("-unroll-count=4", "default<Oz>", "gvn")
    )
    write_evidence([record, known], tmp_path / "evidence.jsonl")
    assert list(read_evidence(tmp_path / "evidence.jsonl")) == [record, known] and record.steps == ()


def test_noise_teaches_nothing():
    assert evidence_of(SequenceExplanation("md5", 1.01, STEPS, NEEDED, ()), FOUND) is None
    assert evidence_of(SequenceExplanation("md5", 1.5, STEPS[1:2], NEEDED, ()), FOUND) is None


def test_records_with_steps_that_have_left_the_grammar_are_skipped_by_name(tmp_path, caplog):
    path = tmp_path / "evidence.jsonl"
    good = EvidenceRecord("md5", FOUND, 1.5, (("gvn", 1.1),), NEEDED, ("gvn",))
    write_evidence([good, good, good], path)
    one, two, three = path.read_text().splitlines()
    path.write_text(
        "\n".join(
            [
                one.replace('"steps": ["gvn"', '"steps": ["gvn", "newgvn"'),
                two.replace('"gvn"]', '"attributor"]', 1),
                three,
            ]
        )
        + "\n"
    )
    assert list(read_evidence(path)) == [good, good]
    assert "line 2 is left out: pass attributor has left the grammar" in caplog.text


def test_damaged_files(tmp_path):
    path = tmp_path / "evidence.jsonl"
    good = EvidenceRecord("md5", FOUND, 1.5, (("gvn", 1.1),), NEEDED)
    for line, reason in (
        ("{", "line 2"),
        ("[]", "not a record"),
        (
            '{"passes": ["evil"], "flags": [], "features": {}, "evidence": [], "program": "p", "gain": 2}',
            "there is no pass 'evil'",
        ),
    ):
        write_evidence([good], path)
        path.write_text(path.read_text() + line + "\n")
        with pytest.raises(DataError, match=reason):
            list(read_evidence(path))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_evidence(tmp_path / "nothing"))
