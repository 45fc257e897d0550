"""Fine-tuning of the local language model on evidence, evaluated before and after on programs that it was not tuned on.

The model's tokens come from the server that will serve it, so that what is learnt is what is asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foretune.costmodel.language.causal_lm import CausalLm, import_gguf, read_gguf
from foretune.costmodel.language.low_rank import (
    LowRankConfig,
    TokenExample,
    adapt,
    answer_likelihoods,
    attach,
    write_adapter,
)
from foretune.errors import DataError, OptionError
from foretune.passes.language.llm_client import LlmClient, LlmConfig
from foretune.passes.language.local_model import LocalServer
from foretune.passes.language.local_server import CONTEXT_TOKENS
from foretune.passes.llvm.suite import held_out
from foretune.passes.llvm.teaching.evidence import EvidenceRecord, read_evidence
from foretune.passes.llvm.teaching.examples import Example, make_examples, split_evidence
from foretune.passes.llvm.teaching.proposal_quality import EstimatedRanks, Quality, rank_of_first
from foretune.passes.llvm.tuning.strategist import SCHEMA
from foretune.support.files import sha256_of, write_text_atomically
from foretune.target import num_usable_cores

_MAX_DECOYS = 15

Report = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class FinetuneConfig:
    """What is tuned, on what.

    Attributes:
        evidence: file of records to learn.
        out: folder of the adapter and the report; a run that was stopped goes on from it.
        model: GGUF file.
        held_out: file of records to evaluate on; None sets some programs apart.
        adaptation: how.
        eval_programs: held-out programs that the model is asked about, at most.
        reply_timeout_secs: of each of its answers.
        reply_tokens: of each of its answers, at most.
    """

    evidence: Path
    out: Path
    model: Path
    held_out: Path | None = None
    adaptation: LowRankConfig = LowRankConfig()
    eval_programs: int = 8
    reply_timeout_secs: float = 600.0
    reply_tokens: int = 900

    def __post_init__(self) -> None:
        if type(self.eval_programs) is not int or self.eval_programs < 1:
            raise OptionError(
                f"`eval_programs >= 1` must hold and be an integer, but got eval_programs={self.eval_programs!r}"
            )


def finetune(config: FinetuneConfig, report: Report = lambda what, done, total, detail: None) -> dict[str, Any]:
    """Tunes the model, and writes `adapter.gguf`, `adapter.safetensors` and `report.json`.

    Args:
        config: what.
        report: called with what goes on, how far it is, and a detail.

    Returns:
        The report: programs, losses, and the figures `before` and `after`.

    Raises:
        OptionError: the folder holds something else, or a finished run.
        DataError: there is too little evidence, or a question is too long.
        ModelError, UnsupportedError: of the model's file, the checkpoint, or packages that are missing.
    """
    import_gguf()
    learnt, evaluated, num_untold = _read(config)
    identity = _identity(config)
    run = _stored_run(config.out, identity)
    model = read_gguf(config.model)
    attach(model, config.adaptation)
    with LocalServer(config.model, num_usable_cores()) as server:
        evaluation = _Evaluation(config, evaluated, [*learnt, *evaluated], server, model)
        examples = [_tokens_of(example, server, model, config) for example in learnt]
        if run is None:
            run = {
                "identity": identity,
                "before": evaluation.figures(
                    server, model, lambda done, total: report("asking before", done, total, "")
                ),
            }
            write_text_atomically(config.out / "run.json", json.dumps(run, indent=1) + "\n")
    steps = config.adaptation.steps
    checkpoint = config.out / "checkpoint.safetensors"
    losses = adapt(
        model,
        examples,
        config.adaptation,
        checkpoint,
        lambda step, loss: report("adapting", step, steps, f"loss {loss:.3f}"),
    )
    _, adapter = write_adapter(model, config.adaptation, config.out)
    with LocalServer(config.model, num_usable_cores(), adapter) as server:
        after = evaluation.figures(server, model, lambda done, total: report("asking after", done, total, ""))
    document = {
        "model": config.model.name,
        "adapter": str(adapter),
        "adaptation": asdict(config.adaptation),
        "learnt": _names(learnt),
        "evaluated": _names(evaluated),
        "num_untold": num_untold,
        "losses": losses,
        "before": run["before"],
        "after": after,
    }
    write_text_atomically(config.out / "report.json", json.dumps(document, indent=1) + "\n")
    checkpoint.unlink()
    return document


def _read(config: FinetuneConfig) -> tuple[list[Example], list[Example], int]:
    """(examples to learn, examples to evaluate on, records that no proposal can tell)."""
    records = list(read_evidence(config.evidence))
    if not records:
        raise DataError(f"{config.evidence} holds no evidence: make some with `foretune passes explain --evidence`")
    apart: list[EvidenceRecord] = []
    if config.held_out is not None and not (apart := list(read_evidence(config.held_out))):
        raise DataError(f"{config.held_out} holds no evidence: make some with `foretune passes explain --evidence`")
    parts = split_evidence(records, apart, held_out(), config.adaptation.seed)
    learnt, evaluated = map(make_examples, parts)
    if not learnt or not evaluated:
        raise DataError(
            "no decision of the evidence to learn, or of that to evaluate on, is a proposal: passes, a level, at most"
            " six passes before and after it, at most eight flags"
        )
    return learnt, evaluated, sum(map(len, parts)) - len(learnt) - len(evaluated)


def _identity(config: FinetuneConfig) -> str:
    files = [
        sha256_of(path) if path is not None and path.is_file() else None
        for path in (config.model, config.evidence, config.held_out)
    ]
    return hashlib.sha256(
        json.dumps([*files, asdict(config.adaptation), config.eval_programs, config.reply_tokens]).encode()
    ).hexdigest()


def _stored_run(folder: Path, identity: str) -> dict[str, Any] | None:
    """What an earlier run that was stopped found out; None if there was none."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        run = json.loads((folder / "run.json").read_text())
        same = run["identity"] == identity and isinstance(run["before"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        raise OptionError(
            f"{folder} is there already, and holds no run of `foretune passes finetune`; name another folder"
        ) from None
    if not same or (folder / "report.json").exists():
        raise OptionError(
            f"{folder} holds"
            f" {'a finished run' if same else 'a run on other evidence, of another model or with other options'}; name"
            " another folder"
        )
    return run


def _tokens_of(example: Example, server: LocalServer, model: CausalLm, config: FinetuneConfig) -> TokenExample:
    """An example in the model's tokens.

    Raises:
        DataError: its question leaves no room for an answer.
    """
    found = TokenExample(server.question_tokens(example.question), (*server.tokens(example.answer), model.config.end))
    room = min(CONTEXT_TOKENS, model.config.context) - max(config.reply_tokens, len(found.answer))
    if len(found.question) > room:
        raise DataError(
            f"the question about {example.record.program} has {len(found.question)} tokens, but {config.model.name} has"
            f" room for {room}"
        )
    return found


def _names(examples: Sequence[Example]) -> list[str]:
    return sorted({example.record.program for example in examples})


class _Evaluation:
    """The same questions and decoys, before and after.

    Args:
        config: of the run.
        examples: to evaluate on; of each program the first counts, of as many programs as the configuration says.
        known: examples whose answers serve as decoys for other programs.
        server: tells tokens.
        model: that is evaluated.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        examples: Sequence[Example],
        known: Sequence[Example],
        server: LocalServer,
        model: CausalLm,
    ) -> None:
        self._config = config
        firsts = {example.record.program: example for example in reversed(examples)}
        self._examples = [firsts[name] for name in sorted(firsts)][: config.eval_programs]
        rng = np.random.default_rng(config.adaptation.seed)
        self._tokens: list[tuple[TokenExample, list[tuple[int, ...]]]] = []
        for example in self._examples:
            others = sorted({e.answer for e in known if e.record.program != example.record.program} - {example.answer})
            decoys = [(*server.tokens(others[i]), model.config.end) for i in rng.permutation(len(others))[:_MAX_DECOYS]]
            self._tokens.append((_tokens_of(example, server, model, config), decoys))
        self._rank = EstimatedRanks()

    def figures(self, server: LocalServer, model: CausalLm, report: Callable[[int, int], None]) -> dict[str, Any]:
        """Figures of the served model's answers, and of the likelihoods of the measured decisions."""
        quality = Quality()
        settings = LlmConfig(
            server.url,
            max_calls=len(self._examples),
            max_tokens=1 << 40,
            reply_tokens=self._config.reply_tokens,
            timeout_secs=self._config.reply_timeout_secs,
            retries=0,
            seed=self._config.adaptation.seed,
        )
        client = LlmClient(settings)
        places, likelihoods = [], []
        report(0, len(self._examples))
        for number, (example, (own, decoys)) in enumerate(zip(self._examples, self._tokens), 1):
            reply = client.ask(example.question, SCHEMA)
            quality.add(example.record.program, None if reply.error else reply.text, self._rank)
            scores = answer_likelihoods(model, own.question, [own.answer, *decoys])
            places.append(rank_of_first(scores))
            likelihoods.append(scores[0])
            report(number, len(self._examples))
        by_chance = np.mean([1 + len(decoys) / 2 for _, decoys in self._tokens])
        decisions = {
            "decision_log_likelihood": np.mean(likelihoods),
            "decision_place_mean": np.mean(places),
            "decision_place_by_chance": by_chance,
        }
        return {
            **quality.to_json(),
            **{name: float(value) for name, value in decisions.items()},
            "decision_places": places,
        }
