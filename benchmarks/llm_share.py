"""What the latent model's choice among proposals is worth: `python benchmarks/llm_share.py [--programs 10] [--seeds 3]
[--proposer local]`.

Held-out programs are tuned with a language model's proposals, of which the latent model picks those that are measured.
Afterwards as many are drawn at random from all accepted ones and measured in the same way: the mean gain of the chosen
is told beside theirs, with an interval over programs. Where the local language model is not installed, combinations of
the built-in skills and macros take its place, and the figures say so (`proposer`). A run's row is in
`benchmarks/results/llm_share/`, so that the same command goes on where it was stopped. Needs a quiet core.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from passes_sets import CANNOT, OURS, Case, cases, keep_row
from results import FOLDER, write_results

from foretune.errors import UnsupportedError
from foretune.passes.language import local_model
from foretune.passes.language.llm_client import LlmClient, LlmConfig, LlmUsage, Message, Reply
from foretune.passes.llvm.actions import INTENTS, PassSequence
from foretune.passes.llvm.measure import PassMeasurer, PreparedProgram
from foretune.passes.llvm.program import Program
from foretune.passes.llvm.tuning.macros import MACROS, applicable_macros
from foretune.passes.llvm.tuning.skills import applicable
from foretune.passes.llvm.tuning.strategies import StrategyConfig
from foretune.passes.llvm.tuning.strategist import Strategist
from foretune.passes.llvm.tuning.tuning import PassTuneConfig, tune
from foretune.record import Status
from foretune.support.optional import require
from foretune.target import num_usable_cores

BUDGET = 40
LOCAL, SKILLS = "local", "skills"
ROWS = FOLDER / "llm_share"
_ANSWER = 12  # proposals of the skills at once, as many as a language model is asked for
_RESAMPLES = 4000


@dataclass
class SkillProposer:
    """Combinations of skills and macros in the form of a language model's answers, read and ranked as these are.

    Attributes:
        prepared: the program.
        seed: of what is combined.
        polly: whether Polly may be used.
    """

    prepared: PreparedProgram
    seed: int
    polly: bool
    usage: LlmUsage = field(default_factory=LlmUsage)

    def ask(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Reply:
        """One answer, to whatever question."""
        rng = np.random.default_rng([self.seed, self.usage.calls])
        self.usage.calls += 1
        skills = applicable(self.prepared.features, self.polly)
        levels = ["O3", "O3", *(macro.name for macro in applicable_macros(self.prepared.features, self.polly))]
        rows = []
        for _ in range(_ANSWER):
            chosen = [skills[i] for i in rng.choice(len(skills), min(len(skills), int(rng.integers(1, 4))), False)]
            level = levels[int(rng.integers(len(levels)))]
            parts = [_around_level(skill.steps) for skill in chosen]
            rows.append(
                {
                    "intent": chosen[0].intent if chosen else INTENTS[0],
                    "reason": "skills",
                    "before": [text for before, _ in parts for text in before],
                    "level": level if level in MACROS else "O3",
                    "after": [text for _, after in parts for text in after],
                    "flags": [str(flag) for skill in chosen for flag in skill.steps.flags],
                }
            )
        return Reply(json.dumps({"proposals": rows}))


def _around_level(steps: PassSequence) -> tuple[list[str], list[str]]:
    """Passes before the level of a skill, and those after it."""
    at = next((i for i, step in enumerate(steps.passes) if step.name.startswith("default<")), len(steps.passes))
    return [str(step) for step in steps.passes[:at]], [str(step) for step in steps.passes[at + 1 :]]


@contextmanager
def proposer_of(wanted: str, model: Path | None, cache: Path | None, timeout_secs: float) -> Iterator[LlmConfig | None]:
    """The local language model while it is served; None where skills take its place, with the reason printed."""
    server = _server(model) if wanted == LOCAL else None
    if server is None:
        yield None
        return
    with server:
        yield LlmConfig(server.url, local_model.NAME, timeout_secs=timeout_secs, cache=cache)


def _server(model: Path | None) -> local_model.LocalServer | None:
    try:
        require("openai", "asking a language model")
        return local_model.LocalServer(model or local_model.model_path(), num_usable_cores())
    except UnsupportedError as error:
        print(f"skills propose in place of the local language model: {error}", flush=True)
        return None


def run(program: Program, seed: int, measurer: PassMeasurer, asked: LlmConfig | None, budget: int) -> dict[str, Any]:
    """Tunes a program, and measures proposals that are drawn at random beside those that were chosen."""
    config = StrategyConfig("latent", skills=False, llm=asked, seed=seed)

    def strategist(prepared: PreparedProgram) -> Strategist:
        made = config.make(prepared, measurer, budget)
        if isinstance(made, Strategist):
            return made
        client = cast("LlmClient", SkillProposer(prepared, seed, measurer.has_polly))  # it asks as a client does
        found = Strategist(prepared, made, client, seed, measurer.has_polly, num_skills=0)
        if made.screening is not None:
            found.follow(made.screening)
        return found

    result = tune(program, measurer, strategist, PassTuneConfig(budget))
    proposals = result.strategy.report.proposals
    told = [row for _, row in proposals.accepted]
    chosen = [row.gain for row in told if row.gain is not None and not row.known_code]
    drawn = np.random.default_rng([seed, 1]).permutation(len(told))[: len(chosen)]
    prepared = measurer.prepare(program)
    return {
        "program": program.name,
        "proposer": LOCAL if asked is not None else SKILLS,
        "seed": seed,
        "accepted": len(told),
        "measured": len(chosen),
        "known_code": sum(row.known_code for row in told),
        "chosen": chosen,
        "random": [_gain_of(*proposals.accepted[i], prepared, measurer) for i in drawn],
        "gain": result.gain,
        "secs": result.secs,
    }


def _gain_of(sequence: PassSequence, told: Any, prepared: PreparedProgram, measurer: PassMeasurer) -> float:
    """The gain of a proposal, measured now if it was not; 0 if it fails."""
    if told.gain is not None:
        return told.gain
    build = measurer.build(prepared.program, sequence)
    if build.status is not Status.OK:
        return 0.0
    try:
        return measurer.time(prepared, [build])[0].speedup
    finally:
        measurer.discard(build)


def figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Share of accepted proposals that were measured, and mean gains of the chosen and of a random choice, both without
    those that failed, whose shares are told apart; the ratio has a 95 % interval by bootstrap over programs.
    """
    rows = [row for row in rows if row["measured"]]
    if not rows:
        return {"num_runs": 0}
    found: dict[str, Any] = {
        "num_runs": len(rows),
        "num_programs": len({row["program"] for row in rows}),
        "proposer": "+".join(sorted({row["proposer"] for row in rows})),
        "llm_share": sum(row["measured"] for row in rows) / sum(row["accepted"] for row in rows),
        "known_code_share": sum(row["known_code"] for row in rows) / sum(row["accepted"] for row in rows),
    }
    for name in ("chosen", "random"):
        gains = [gain for row in rows for gain in row[name]]
        found[f"mean_gain_{name}"] = _mean(gains)
        found[f"failed_{name}"] = sum(gain == 0 for gain in gains) / len(gains)
    programs = sorted({row["program"] for row in rows})
    ratios = []
    for name in programs:
        own = [row for row in rows if row["program"] == name]
        means = [_mean([gain for row in own for gain in row[which]]) for which in ("chosen", "random")]
        if all(means):
            ratios.append(means[0] / means[1])
    if ratios:
        drawn = np.random.default_rng(0).choice(np.log(ratios), (_RESAMPLES, len(ratios)))
        found["chosen_vs_random"] = float(np.exp(np.mean(np.log(ratios))))
        found["chosen_vs_random_interval"] = np.exp(np.quantile(drawn.mean(1), [0.025, 0.975])).tolist()
    return found


def _mean(gains: Sequence[float]) -> float:
    """Geometric mean of those that did not fail; 0 where all did."""
    kept = [gain for gain in gains if gain > 0]
    return float(np.exp(np.mean(np.log(kept)))) if kept else 0.0


def spread(found: Sequence[Case], num: int) -> list[Case]:
    """So many of the programs, evenly spread over their list."""
    return [found[i] for i in sorted({int(i) for i in np.linspace(0, len(found) - 1, min(num, len(found)))})]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proposer", choices=(LOCAL, SKILLS), default=LOCAL)
    parser.add_argument("--model", type=Path, help="GGUF file; by default that of `foretune passes fetch-model`")
    parser.add_argument("--cache", type=Path, help="folder of recorded replies")
    parser.add_argument("--reply-timeout", type=float, default=300.0)
    parser.add_argument("--programs", type=int, default=10, help="of those that no model is trained on")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="programs, by name")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--report-only", action="store_true", help="figures of the rows that there are")
    options = parser.parse_args()
    every = cases(OURS)
    chosen = [case for case in every if case.name in options.only] if options.only else spread(every, options.programs)
    if not options.report_only:
        _run_all(chosen, options)
    rows = [json.loads(path.read_text()) for path in sorted(ROWS.glob("*.json"))]
    rows = [row for row in rows if CANNOT not in row and row["proposer"] in (options.proposer, SKILLS)]
    if any(row["proposer"] == LOCAL for row in rows):  # figures are of one kind of proposals
        rows = [row for row in rows if row["proposer"] == LOCAL]
    write_results("llm_share", figures(rows), rows)


def _run_all(chosen: Sequence[Case], options: argparse.Namespace) -> None:
    ROWS.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        PassMeasurer() as measurer,
        proposer_of(options.proposer, options.model, options.cache, options.reply_timeout) as asked,
    ):
        kind = LOCAL if asked is not None else SKILLS
        for seed in range(options.seeds):
            for case in chosen:
                keep_row(
                    ROWS / f"{case.name}-{kind}-{seed}.json",
                    lambda case=case, seed=seed: run(case.load(Path(folder)), seed, measurer, asked, options.budget),
                    f"{case.name} {kind} {seed}",
                    "{measured} of {accepted} proposals measured, {secs:.0f} s",
                )


if __name__ == "__main__":
    main()
