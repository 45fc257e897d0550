"""The result part that Ansor's and AutoTVM's lines share: `[run times, error number, total secs, timestamp]`."""

from __future__ import annotations

from typing import Any

from foretune.datasets.importers.report import LineError
from foretune.datasets.importers.sink import number, positive_secs
from foretune.record import Status

_END_OF_TIME = 2.0**33  # in the year 2242
# MeasureErrorNo of tvm.auto_scheduler.measure and tvm.autotvm.measure
_STATUS = {
    0: Status.OK,
    1: Status.ILLEGAL,
    2: Status.BUILD_ERROR,
    3: Status.BUILD_ERROR,
    4: Status.RUN_ERROR,
    5: Status.WRONG_OUTPUT,
    6: Status.BUILD_TIMEOUT,
    7: Status.RUN_TIMEOUT,
    8: Status.RUN_ERROR,
}
_NAMES = {
    1: "instantiation error",
    2: "compile host error",
    3: "compile device error",
    4: "runtime device error",
    5: "wrong answer",
    6: "build timeout",
    7: "run timeout",
    8: "unknown error",
}


def read_result(result: Any) -> tuple[Status, list[float], str, float]:
    """Status, run times in seconds, error text and timestamp of a result.

    A failed measurement has no run time: the large number that these logs write in its place is dropped.

    Raises:
        LineError: the result has another shape.
    """
    if not isinstance(result, list) or len(result) < 2:
        raise LineError(
            f"a result must be [run times, error number, total secs, timestamp], but got {str(result)[:60]}"
        )
    code = result[1]
    if type(code) is not int or code not in _STATUS:
        raise LineError(f"unknown error number {str(code)[:20]}")
    timestamp = number(result[3], "the timestamp") if len(result) > 3 else 0.0
    if not 0 <= timestamp < _END_OF_TIME:
        raise LineError(
            f"the timestamp must be seconds since 1970, from 0 to {_END_OF_TIME:.0f}, but got {str(result[3])[:60]}"
        )
    if code == 0:
        return Status.OK, positive_secs(result[0]), "", timestamp
    return _STATUS[code], [], _NAMES[code], timestamp
