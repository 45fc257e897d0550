"""What runs on each node of a Ray cluster: the node's own target, and a Measurer.

Only JSON text goes in and out, so nothing of a caller's is unpickled here.
"""

from __future__ import annotations

import json
from dataclasses import replace

from foretune.compiler.measure.environment import TvmEnvironment
from foretune.compiler.measure.measurer import Measurer
from foretune.compiler.tir.target import detect_target
from foretune.datasets.records import schema
from foretune.record import MeasureSettings
from foretune.task import Candidate, Task
from foretune.trace import Trace


class RayNode:
    """Measures candidates on the node that it lives on.

    Args:
        settings: JSON of the MeasureSettings.
    """

    def __init__(self, settings: str) -> None:
        self._target = detect_target()
        self._environment = TvmEnvironment(Measurer(MeasureSettings(**json.loads(settings)), store_features=True))

    def target(self) -> str:
        """The node's target with its measured hardware features, as JSON."""
        return json.dumps(self._target.to_json())

    def measure(self, batch: str) -> str:
        """Measures candidates of one task.

        Args:
            batch: JSON of {"task", "traces"}; the task's target gives way to the node's.

        Returns:
            JSON of the rows of the record schema, in order.
        """
        data = json.loads(batch)
        task = replace(Task.from_json(data["task"]), target=self._target)
        candidates = [Candidate(task, Trace.from_json(trace)) for trace in data["traces"]]
        return json.dumps([schema.record_row(t) for t in self._environment.measure(candidates)])
