"""How good a language model's proposals are: how much of them the grammar accepts, and where they stand.

Nothing is measured here. Where a proposal stands among the recorded sequences of its program is an estimate of the
latent cost model's, which is adapted to those records first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foretune.costmodel.passes.model import PassCostModel
from foretune.datasets.records.store import RecordStore
from foretune.passes.llvm.actions import BASELINE
from foretune.passes.llvm.actions import PassSequence as Steps
from foretune.passes.llvm.tuning.strategist import Proposal, read_proposals
from foretune.passes.llvm.tuning.training import BUNDLED, relative_to_baseline
from foretune.record import MeasureRecord, Status
from foretune.task import Candidate


@dataclass
class Quality:
    """Figures of answers; a share of nothing is None.

    Attributes:
        num_answers, num_silent: questions that were answered, and that were not.
        num_proposals: in the answers; an answer that cannot be read counts as one.
        num_whole: of them, accepted without any refusal.
        num_new: of those, other than `-O3` itself.
        num_parts, num_refused: passes and flags that were named, and refusals.
        ranks: estimated share of the program's recorded sequences that each proposal beats, of those accepted whole and
            new; 1 is best.
        replies: program -> the text.
    """

    num_answers: int = 0
    num_silent: int = 0
    num_proposals: int = 0
    num_whole: int = 0
    num_new: int = 0
    num_parts: int = 0
    num_refused: int = 0
    ranks: list[float] = field(default_factory=list)
    replies: dict[str, str] = field(default_factory=dict)

    def add(self, program: str, reply: str | None, rank: Callable[[str, Steps], float | None]) -> None:
        """Counts an answer; None if there was none."""
        if reply is None:
            self.num_silent += 1
            return
        self.num_answers += 1
        self.replies[program] = reply
        for proposal in read_proposals(reply):
            self._add_proposal(proposal, program, rank)

    def _add_proposal(self, proposal: Proposal, program: str, rank: Callable[[str, Steps], float | None]) -> None:
        self.num_proposals += 1
        self.num_parts += proposal.num_parts
        self.num_refused += len(proposal.refused)
        if proposal.sequence is None or proposal.refused:
            return
        self.num_whole += 1
        if proposal.sequence == BASELINE:
            return
        self.num_new += 1
        if (share := rank(program, proposal.sequence)) is not None:
            self.ranks.append(share)

    def to_json(self) -> dict[str, Any]:
        """Figures and replies as JSON data."""
        return {
            "num_answers": self.num_answers,
            "num_silent": self.num_silent,
            "num_proposals": self.num_proposals,
            "accepted_whole": _share(self.num_whole, self.num_proposals),
            "accepted_whole_and_new": _share(self.num_new, self.num_proposals),
            "parts_refused": _share(self.num_refused, self.num_parts),
            "num_ranked": len(self.ranks),
            "estimated_rank_mean": float(np.mean(self.ranks)) if self.ranks else None,
            "estimated_rank_best": max(self.ranks, default=None),
            "replies": self.replies,
        }


def _share(number: int, of: int) -> float | None:
    return number / of if of else None


class EstimatedRanks:
    """Where sequences stand among the recorded ones of their program, as the latent cost model estimates.

    Args:
        folder: of the records.
    """

    def __init__(self, folder: Path = BUNDLED) -> None:
        self._model = PassCostModel.bundled()
        self._recorded: dict[str, list[MeasureRecord]] = {}
        with RecordStore(folder) as store:
            names = {key: workload.name for key, workload in store.workloads().items()}
            for trajectory in relative_to_baseline(store.trajectories()):
                record = trajectory.record
                if record.status is Status.OK:
                    self._recorded.setdefault(names[record.candidate.task.workload.hash], []).append(record)
        self._adapted: set[str] = set()

    def __call__(self, program: str, sequence: Steps) -> float | None:
        """Share of the recorded sequences that score lower; None for a program without records. 1 is best."""
        records = self._recorded.get(program)
        if not records:
            return None
        if program not in self._adapted:
            self._model.update(records)
            self._adapted.add(program)
        task = records[0].candidate.task
        *others, own = self._model.predict(task, [*(r.candidate for r in records), Candidate(task, sequence.trace())])
        return float(np.mean([score < own for score in others]))


def rank_of_first(scores: Sequence[float]) -> int:
    """Place of the first among all, by scores of which higher is better; 1 is the best place."""
    return 1 + sum(score >= scores[0] for score in scores[1:])


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of a table: what, before, after."""
    rows = (
        ("answers", "num_answers"),
        ("proposals", "num_proposals"),
        ("proposals accepted whole", "accepted_whole"),
        ("accepted whole, and not -O3 itself", "accepted_whole_and_new"),
        ("parts refused", "parts_refused"),
        ("estimated: recorded sequences that a proposal beats, mean", "estimated_rank_mean"),
        ("the same, best proposal", "estimated_rank_best"),
        ("log-likelihood of a token of the measured decision", "decision_log_likelihood"),
        ("place of the measured decision among decoys", "decision_place_mean"),
        ("the same, by chance", "decision_place_by_chance"),
    )
    return [(what, _text(before[key]), _text(after[key])) for what, key in rows]


def _text(value: float | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"
