"""Replies of language models, and the text of MLIR modules."""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from foretune.errors import ForetuneError
from tests.fuzz.mutations import mutate_bytes, mutate_json_text
from tests.fuzz.running import Silent, Subject, Try

PASS_REPLY = {
    "proposals": [
        {
            "before": ["sroa", "simplifycfg<bonus-inst-threshold=2>"],
            "level": "O3",
            "after": ["loop-unroll", "gvn"],
            "flags": ["-unroll-count=4"],
            "intent": "unroll",
        },
        {"before": [], "level": "O2", "after": ["default<O3>"], "flags": []},
    ]
}
SCHEDULE_REPLY = {
    "proposals": [{"answers": [{"fork": "tile", "answer": 8}, {"fork": "vectorise", "answer": True}]}, {"answers": []}]
}
FORKS = {"tile": (4, 8, 16), "vectorise": (True, False), "name": ("inner", "outer")}
_TOKENS = (
    b"default<O3>",
    b"rm -rf /",
    b"`id`",
    b"-unroll-count=99999999999999999999",
    b"<",
    b">",
    b"\\u0000",
    b"NaN",
    b"Infinity",
    b"[" * 2000,
    b"```json",
    b"licm<",
)


@contextlib.contextmanager
def replies(folder: Path) -> Iterator[Try]:
    """What is taken of a reply stands in it, and in the grammar."""
    from foretune.passes.llvm.actions import parse_sequence
    from foretune.passes.llvm.tuning import strategist as passes
    from foretune.passes.mlir.tuning import strategist as schedules

    texts = [json.dumps(PASS_REPLY).encode(), json.dumps(SCHEDULE_REPLY).encode()]

    def try_one(rng: random.Random) -> bool:
        of_passes = rng.random() < 0.7
        text = mutate_json_text(texts[0 if of_passes else 1], rng, _TOKENS).decode(errors="replace")
        taken = False
        for proposal in passes.read_proposals(text) if of_passes else schedules.read_proposals(text, FORKS):
            taken = True
            if not of_passes:
                if any(
                    answer not in FORKS[fork] or type(answer) not in map(type, FORKS[fork])
                    for fork, answer in proposal.answers
                ):
                    raise Silent(f"an answer that its fork does not have: {proposal.answers}")
            elif proposal.sequence is not None:
                steps = (
                    [str(step) for step in proposal.sequence.passes],
                    [str(flag) for flag in proposal.sequence.flags],
                )
                if parse_sequence(*steps) != (proposal.sequence, []):
                    raise Silent(f"a sequence that the grammar does not have: {steps}")
                if strange := [
                    s.name for s in proposal.sequence.passes if s.name not in text and not s.name.startswith("default<")
                ]:
                    raise Silent(f"passes that the reply does not name: {strange}")
        return taken

    yield try_one


def _other_number(text: bytes, rng: random.Random) -> bytes:
    """The text with another number somewhere: often still a module."""
    numbers = list(re.finditer(rb"[0-9]+", text))
    chosen = rng.choice(numbers)
    return text[: chosen.start()] + str(rng.choice((0, 1, 2, 3, 7, 8, 64, 2**31))).encode() + text[chosen.end() :]


@contextlib.contextmanager
def mlir_text(folder: Path) -> Iterator[Try]:
    """What MLIR takes of a module, it prints so that it is the same when it is read again."""
    from foretune.passes.mlir.environment.session import MlirSession, SessionSettings
    from tests.passes.mlir import sources

    texts = [text.encode() for text in sources.ALL.values()]
    tokens = (
        b"tensor<?x",
        b"f32",
        b"i1",
        b"%zero",
        b"{",
        b"}",
        b"99999999999999999999",
        b"affine_map<(d0) -> (d0)>",
        b"memref<-1xf32>",
        b"unknown.op",
        b"dense<1>",
    )

    with MlirSession(SessionSettings(build_timeout_secs=5, memory_bytes=4 << 30)) as session:

        def try_one(rng: random.Random) -> bool:
            text = rng.choice(texts)
            text = _other_number(text, rng) if rng.random() < 0.4 else mutate_bytes(text, rng, tokens)
            text = text.decode(errors="replace")
            try:
                found = session.inspect(text)
            except ForetuneError:
                return False
            again = session.inspect(found.text)
            if (again.text, again.entries) != (found.text, found.entries):
                raise Silent("a module that is another one when it is read again")
            return True

        yield try_one


SUBJECTS = [Subject("replies", replies), Subject("MLIR", mlir_text)]
