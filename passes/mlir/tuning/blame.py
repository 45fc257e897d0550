"""Which actions are not tried again in a run: those that alone kill MLIR, or alone make a program give wrong outputs.

A crash does not tell which of a schedule's actions it was of. The actions that no good schedule has had are therefore
tried one by one on the untransformed program; what fails alone, as the schedule did, is to blame.
"""

from __future__ import annotations

from collections.abc import Callable

from foretune.passes.mlir.grammar.actions import MlirAction, Schedule
from foretune.record import Status

Try = Callable[[Schedule], tuple[Status, str]]
"""(how a schedule ends, why), without taking its time."""

_HARMLESS = frozenset(("lower", "canonicalize", "cse", "bufferize"))  # the default lowering does as much
_MOST_TRIES = 12  # actions of one schedule


def is_fatal(status: Status, error: str) -> bool:
    """Whether a schedule ended in a way that an action is to blame for: a crash or a hang of MLIR, or a wrong
    output.
    """
    return status in (Status.WRONG_OUTPUT, Status.BUILD_TIMEOUT) or (
        status is Status.BUILD_ERROR and "was killed by signal" in error
    )


class Blame:
    """What a run has learned of actions.

    Args:
        attempt: tries a schedule.
    """

    def __init__(self, attempt: Try) -> None:
        self._attempt = attempt
        self._cleared: set[MlirAction] = set()
        self.banned: dict[MlirAction, str] = {}

    def note(self, schedule: Schedule, status: Status, error: str = "") -> None:
        """Learns how a schedule ended."""
        if status is Status.OK:
            self._cleared.update(schedule.actions)
        elif is_fatal(status, error):
            suspects = [
                a
                for a in dict.fromkeys(schedule.actions)
                if a.name not in _HARMLESS and a not in self._cleared and a not in self.banned
            ]
            for action in suspects[:_MOST_TRIES]:
                self._judge(action)

    def _judge(self, action: MlirAction) -> None:
        status, error = self._attempt(Schedule((action,)))
        if is_fatal(status, error):
            self.banned[action] = f"{action} alone: {error or status.value}"
        else:
            self._cleared.add(action)

    def why_not(self, schedule: Schedule) -> str:
        """Why a schedule is not tried; empty where nothing speaks against it."""
        return next((self.banned[action] for action in schedule.actions if action in self.banned), "")
