"""Whether a model has seen anything like a task: the kind of its target, and the words of its traces."""

from __future__ import annotations

import logging

from foretune.costmodel.latent.encoding import EncodedSpace, Vocabulary
from foretune.task import Task

STRANGE_SPREAD = 3.0  # times the spread of what the model knows
_FEWEST_KNOWN = 0.5  # share of the decisions in a trace whose operation the model knows
_log = logging.getLogger(__name__)


class Familiarity:
    """Tells what a model does not know, once for each kind of strangeness.

    Args:
        vocabulary: of the model.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._told: set[str] = set()

    def spread_factor(self, task: Task, encoded: EncodedSpace) -> float:
        """By how much the spread of scores is to be widened: 1 for what the model was trained for."""
        reason = self._strangeness(task, encoded)
        if reason and reason not in self._told:
            self._told.add(reason)
            _log.warning(
                "%s: %s, so scores say little until something is measured; train a model on data of your own with"
                " `foretune train`",
                task.workload.name,
                reason,
            )
        return STRANGE_SPREAD if reason else 1.0

    def _strangeness(self, task: Task, encoded: EncodedSpace) -> str:
        kinds = self._vocabulary.target_kinds
        if task.target.kind not in kinds:
            return f"the model was trained for targets of kind {', '.join(kinds)}, not {task.target.kind}"
        decisions = encoded.table.symbols[encoded.offsets[:-1]]
        if len(decisions) and (decisions > 0).mean() < _FEWEST_KNOWN:
            operations = sorted({encoded.space.template.actions[d.action].op for d in encoded.space.domains})
            return f"the model knows few of the operations {', '.join(operations)[:80]}"
        return ""
