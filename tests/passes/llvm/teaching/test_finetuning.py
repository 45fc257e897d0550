"""Fine-tuning: evidence as examples, the network against llama.cpp's, the adapter's files, evaluation, and whole runs
on a tiny model.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from foretune.costmodel.language import low_rank
from foretune.costmodel.language.causal_lm import read_gguf
from foretune.costmodel.language.low_rank import (
    LowRankConfig,
    TokenExample,
    adapt,
    answer_likelihoods,
    attach,
    write_adapter,
)
from foretune.errors import DataError, ForetuneError, ModelError, OptionError, UnsupportedError
from foretune.passes.language.local_model import LocalServer
from foretune.passes.llvm.actions import BASELINE, Flag, Pass, PassSequence
from foretune.passes.llvm.observe import FEATURES
from foretune.passes.llvm.teaching.evidence import EvidenceRecord, write_evidence
from foretune.passes.llvm.teaching.examples import answer_of, make_examples, split_evidence
from foretune.passes.llvm.teaching.finetuning import FinetuneConfig, finetune
from foretune.passes.llvm.teaching.proposal_quality import EstimatedRanks, Quality, compare, rank_of_first
from foretune.passes.llvm.tuning.strategist import SCHEMA, read_proposals
from tests.passes.tiny_model import write_tiny_model

COUNTS = tuple(float(i % 3) for i in range(len(FEATURES)))
DECISION = PassSequence((Pass("gvn"), Pass("default<O3>"), Pass("licm")), (Flag("unroll-count", 4),))


def record(program="md5", decision=DECISION, **parts):
    evidence = (("gvn", 1.1), ("-unroll-count=4", 1.02))
    return EvidenceRecord(program, COUNTS, 1.5, evidence, decision, **parts)


# -- examples ---------------------------------------------------------------------------------------


def test_an_answer_is_the_decision_in_the_strategists_schema():
    answer = json.loads(answer_of(record()))
    [proposal] = answer["proposals"]
    assert proposal == {
        "intent": "unroll",
        "reason": "1.50x, 1.02x without -unroll-count=4, 1.10x without gvn",
        "before": ["gvn"],
        "level": "O3",
        "after": ["licm"],
        "flags": ["-unroll-count=4"],
    }
    assert list(proposal) == SCHEMA["properties"]["proposals"]["items"]["required"]
    [read] = read_proposals(json.dumps(answer))
    assert read.sequence == DECISION and not read.refused and read.num_parts == 3


def test_decisions_that_are_no_proposal_teach_nothing():
    many = PassSequence((*(Pass("gvn"),) * 7, Pass("default<O3>")))
    assert answer_of(record(decision=PassSequence((Pass("gvn"),)))) is None and answer_of(record(decision=many)) is None
    assert len(make_examples([record(), record(decision=many)])) == 1


def test_a_reason_is_short():
    steps = tuple((f"-unroll-threshold={n}", 1.1) for n in (50, 150, 600, 1200) for _ in range(10))
    [proposal] = json.loads(answer_of(EvidenceRecord("md5", COUNTS, 1.5, steps, DECISION)))["proposals"]
    assert 100 < len(proposal["reason"]) <= 200


def test_a_question_shows_what_was_known():
    everything, few = make_examples([record(), record(steps=("gvn", "-unroll-count=4", "default<Oz>"))])
    shown = json.loads(few.question[1]["content"])
    assert (
        shown["passes"] == ["gvn"]
        and shown["flags"] == ["-unroll-count=4"]
        and shown["measured speed relative to -O3, best first"] == [f"1.000x: {BASELINE}"]
    )
    assert len(json.loads(everything.question[1]["content"])["passes"]) > 100
    assert few.record.program not in few.question[1]["content"]


def test_programs_are_split():
    records = [record(f"p{i}") for i in range(8) for _ in range(2)]
    learnt, evaluated = split_evidence(records, [], (), 0)
    assert (
        len(evaluated) == 2 and len(learnt) == 12 and not {r.program for r in learnt} & {r.program for r in evaluated}
    )
    assert split_evidence(records, [], (), 0) == (learnt, evaluated) != split_evidence(records, [], (), 1)
    learnt, evaluated = split_evidence(records, [record("p0"), record("new")], ("p7",), 0)
    assert {r.program for r in evaluated} == {"p0", "p7", "new"} and len(learnt) == 12
    with pytest.raises(DataError, match="two programs or more"):
        split_evidence(records[:2], [], (), 0)


# -- figures ----------------------------------------------------------------------------------------


def test_what_is_accepted_is_counted():
    quality = Quality()
    proposals = [
        {"intent": "unroll", "reason": "", "before": ["gvn"], "level": "O3", "after": [], "flags": ["-unroll-count=4"]},
        {"intent": "unroll", "reason": "", "before": [], "level": "O3", "after": [], "flags": []},
        {"intent": "unroll", "reason": "", "before": ["gvn", "nonsense"], "level": "O3", "after": [], "flags": []},
    ]
    quality.add("a", json.dumps({"proposals": proposals}), lambda program, sequence: 0.75)
    quality.add("b", "no JSON", lambda program, sequence: 0.0)
    quality.add("c", None, lambda program, sequence: 0.0)
    figures = quality.to_json()
    assert (figures["num_answers"], figures["num_silent"], figures["num_proposals"]) == (2, 1, 4)
    assert (figures["accepted_whole"], figures["accepted_whole_and_new"], figures["parts_refused"]) == (0.5, 0.25, 0.4)
    assert (figures["estimated_rank_mean"], figures["num_ranked"]) == (0.75, 1)
    decision = {"decision_log_likelihood": -1.0, "decision_place_mean": 2.0, "decision_place_by_chance": 3.0}
    rows = compare({**Quality().to_json(), **decision}, {**figures, **decision})
    assert ("proposals accepted whole", "-", "0.500") in rows
    assert rank_of_first([1.0, 2.0, 0.5, 1.0]) == 3


def test_estimated_ranks_follow_the_records():
    ranks = EstimatedRanks()
    good, bad = (
        ranks(
            "gemm",
            PassSequence(BASELINE.passes, (Flag("enable-unroll-and-jam", True), Flag("allow-unroll-and-jam", True))),
        ),
        ranks("gemm", PassSequence((Pass("default<O1>"),))),
    )
    assert 0 <= bad < good <= 1 and ranks("nobody's program", BASELINE) is None


# -- the network and its adapter --------------------------------------------------------------------


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def tiny(request, tmp_path_factory):
    pytest.importorskip("gguf")
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.gguf", request.param)


def served(path, tokens, adapter=None):
    """Log-likelihoods of the likeliest next tokens, as llama.cpp sees them."""
    with LocalServer(path, 1, adapter) as server:
        body = {"prompt": list(tokens), "n_predict": 1, "n_probs": 5, "temperature": 0}
        [found] = server._post("/completion", body)["completion_probabilities"]
    return {row["id"]: row["logprob"] for row in found["top_logprobs"]}


def likeliest(model, tokens):
    with torch.no_grad():
        x, _ = model.run(model.enter(tokens))
        scores = [model.log_likelihoods(x[-1:], [token]).item() for token in range(258)]
    return {token: scores[token] for token in sorted(range(258), key=scores.__getitem__)[-5:]}


def test_the_network_is_llama_cpps(tiny):
    pytest.importorskip("xllamacpp")
    tokens = [256, *b"what is faster than this?", 257]
    assert likeliest(read_gguf(tiny), tokens) == pytest.approx(served(tiny, tokens), abs=2e-2)


def test_parts_of_a_run_agree(tiny):
    model = read_gguf(tiny)
    question, answer = (256, 7, 8, 9), (10, 11, 257)
    x, _ = model.run(model.enter((*question, *answer[:-1])))
    whole = model.log_likelihoods(x[len(question) - 1 :], answer).mean().item()
    lower, _ = model.run(model.enter((*question, *answer[:-1])), 0, 1)
    upper, _ = model.run(lower, 1)
    assert torch.equal(upper, x)
    assert answer_likelihoods(model, question, [answer, answer[-1:]])[0] == pytest.approx(whole, abs=1e-5)


CONFIG = LowRankConfig(rank=4, strength=8.0, blocks=1, steps=40, learning_rate=3e-2)
EXAMPLES = [TokenExample((256, *range(i, i + 5)), (*(b"yes" if i % 2 else b"never"), 257)) for i in range(4)]


def test_it_learns_and_what_is_served_changes(tiny, tmp_path):
    pytest.importorskip("xllamacpp")
    gguf = pytest.importorskip("gguf")
    model = read_gguf(tiny)
    attach(model, CONFIG)
    before = answer_likelihoods(model, EXAMPLES[0].question, [EXAMPLES[0].answer])
    losses = adapt(model, EXAMPLES, CONFIG)
    assert (
        losses[-1] < 0.5 * losses[0] and answer_likelihoods(model, EXAMPLES[0].question, [EXAMPLES[0].answer]) > before
    )
    tensors, adapter = write_adapter(model, CONFIG, tmp_path)
    reader = gguf.GGUFReader(adapter)
    fields = {
        name: reader.fields[name].contents()
        for name in ("general.type", "adapter.type", "adapter.lora.alpha", "general.architecture")
    }
    assert fields == {
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 8.0,
        "general.architecture": model.config.architecture,
    }
    shapes = {tensor.name: tuple(tensor.data.shape) for tensor in reader.tensors}
    assert (
        len(shapes) == 14
        and shapes["blk.1.ffn_down.weight.lora_a"] == (4, 64)
        and shapes["blk.1.ffn_down.weight.lora_b"] == (32, 4)
    )
    assert tensors.is_file()
    tokens = EXAMPLES[0].question
    after, unadapted = served(tiny, tokens, adapter), likeliest(read_gguf(tiny), tokens)
    assert after == pytest.approx(likeliest(model, tokens), abs=5e-2)
    assert after != pytest.approx(unadapted, abs=0.5)


def test_a_killed_training_goes_on(tiny, tmp_path):
    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 27:
            raise Killed

    def started():
        model = read_gguf(tiny)
        attach(model, CONFIG)
        return model

    whole, halved = started(), started()
    losses = adapt(whole, EXAMPLES, CONFIG)
    with pytest.raises(Killed):
        adapt(halved, EXAMPLES, CONFIG, tmp_path / "c.safetensors", kill)
    told = []
    resumed = started()
    assert adapt(
        resumed, EXAMPLES, CONFIG, tmp_path / "c.safetensors", lambda step, loss: told.append(step)
    ) == pytest.approx(losses, rel=1e-4)
    assert told[0] == 21 and all(
        torch.allclose(a, b, atol=1e-5) for a, b in zip(whole.parameters(), resumed.parameters())
    )
    with pytest.raises(ModelError, match="of other data"):
        adapt(started(), EXAMPLES[:2], CONFIG, tmp_path / "c.safetensors")


# -- whole runs -------------------------------------------------------------------------------------


@pytest.fixture
def evidence(tmp_path):
    """Programs of which gemm is held out."""
    steps = ("gvn", "licm", "-unroll-count=4")
    write_evidence(
        [
            record("md5", steps=steps),
            record("aes128", PassSequence(DECISION.passes), steps=steps),
            record("gemm", PassSequence(DECISION.passes[1:]), steps=steps),
        ],
        tmp_path / "e.jsonl",
    )
    return tmp_path / "e.jsonl"


def options(evidence, model, **more):
    return FinetuneConfig(
        evidence, evidence.parent / "out", model, adaptation=LowRankConfig(blocks=1, steps=3), reply_tokens=40, **more
    )


def test_a_whole_run(tiny, evidence, monkeypatch):
    pytest.importorskip("xllamacpp")
    pytest.importorskip("openai")
    document = finetune(options(evidence, tiny))
    assert (
        document["learnt"] == ["aes128", "md5"] and document["evaluated"] == ["gemm"] and len(document["losses"]) == 3
    )
    for figures in (document["before"], document["after"]):
        assert (
            figures["num_answers"] == 1
            and figures["decision_place_by_chance"] == 2.0
            and figures["decision_places"][0] in (1, 2, 3)
        )
    out = evidence.parent / "out"
    assert sorted(os.listdir(out)) == ["adapter.gguf", "adapter.safetensors", "report.json", "run.json"]
    with pytest.raises(OptionError, match="holds a finished run"):
        finetune(options(evidence, tiny))
    (out / "report.json").unlink()
    monkeypatch.setattr(low_rank, "_STEPS_BETWEEN_CHECKPOINTS", 1)
    again = finetune(options(evidence, tiny))
    assert again["before"] == document["before"] and again["losses"] == pytest.approx(document["losses"], rel=1e-4)
    (out / "report.json").unlink()
    with pytest.raises(OptionError, match="a run on other evidence"):
        finetune(options(evidence, tiny, eval_programs=3))


def test_bad_input(evidence, tmp_path):
    pytest.importorskip("gguf")
    pytest.importorskip("xllamacpp")
    model = write_tiny_model(tmp_path / "tiny.gguf")
    empty, text = tmp_path / "empty.jsonl", tmp_path / "text.gguf"
    empty.write_text("")
    text.write_text("hello")
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(model.read_bytes()[:3000])
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("")
    unusual = write_tiny_model(tmp_path / "unusual.gguf", extra="rope_freqs.weight")
    small, foreign = (
        write_tiny_model(tmp_path / "small.gguf", context=512),
        write_tiny_model(tmp_path / "foreign.gguf", "gemma"),
    )
    for config, kind, message in (
        (options(empty, model), DataError, "holds no evidence"),
        (options(text, model), DataError, "line 1"),
        (options(evidence, model, held_out=empty), DataError, "holds no evidence"),
        (options(evidence, text), ModelError, "is no GGUF file"),
        (options(evidence, tmp_path / "nothing.gguf"), ModelError, "cannot be read"),
        (options(evidence, damaged), ModelError, "is damaged"),
        (
            options(evidence, foreign),
            UnsupportedError,
            "a language model of architecture llama or qwen2 can be adapted",
        ),
        (options(evidence, unusual), UnsupportedError, "with the tensor 'rope_freqs.weight'"),
        (options(evidence, small), DataError, "tokens, but small.gguf has room for"),
        (FinetuneConfig(evidence, tmp_path / "taken", model), OptionError, "holds no run of"),
        (FinetuneConfig(evidence, tmp_path / "out", model, adaptation=LowRankConfig(blocks=3)), OptionError, "has 2"),
    ):
        with pytest.raises(kind, match=message):
            finetune(config)
    assert not (tmp_path / "out").exists()
    for wrong in ({"rank": 0}, {"steps": 2.5}, {"learning_rate": -1.0}):
        with pytest.raises(OptionError, match="must hold"):
            LowRankConfig(**wrong)


def test_without_the_package(evidence, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'foretune\[finetune\]'"):
        finetune(options(evidence, Path("model.gguf")))


def test_adapters_that_are_none(tmp_path):
    pytest.importorskip("gguf")
    pytest.importorskip("xllamacpp")
    model = write_tiny_model(tmp_path / "tiny.gguf")
    (tmp_path / "text.gguf").write_text("hello")
    for adapter in (tmp_path / "text.gguf", tmp_path / "nothing.gguf", model):
        with pytest.raises(ForetuneError):
            LocalServer(model, 1, adapter)


@pytest.mark.slow
def test_a_real_model(evidence):
    """On the model that FORETUNE_TEST_MODEL names: a small llama or qwen2 with a chat template."""
    path = os.environ.get("FORETUNE_TEST_MODEL")
    if not path:
        pytest.skip("FORETUNE_TEST_MODEL names no GGUF file")
    config = FinetuneConfig(evidence, evidence.parent / "out", Path(path), adaptation=LowRankConfig(blocks=4, steps=12))
    document = finetune(config)
    assert (
        document["losses"][-1] < document["losses"][0]
        and document["after"]["decision_log_likelihood"] > document["before"]["decision_log_likelihood"]
    )
