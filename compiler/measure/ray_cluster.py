"""Collection on a Ray cluster: a batch is measured by whichever node of its target is free.

Ray is imported when a cluster is asked for, not before.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from foretune.compiler.measure.ray_node import RayNode
from foretune.compiler.tir.space import design_spaces, initial_features
from foretune.compiler.tir.target import tvm_target
from foretune.datasets.records import schema
from foretune.errors import TargetError, WorkerError
from foretune.record import MeasureRecord, MeasureSettings, Status, Trajectory
from foretune.space import DesignSpace
from foretune.support.text import telling_line
from foretune.target import Target
from foretune.task import Candidate, Task
from foretune.workers.ray_connection import connect

_START_SECS = 120.0
_ATTEMPTS = 3
_log = logging.getLogger(__name__)


@dataclass
class _Node:
    id: str
    name: str
    num_cpus: float
    actor: Any = None
    target: Target | None = None
    busy: bool = False


class RayEnvironment:
    """One batch at a time on each node of a cluster.

    A node has one measuring actor, which takes all the CPUs that Ray knows of, so that nothing else of Ray's disturbs
    the clock. If the actor dies, it is started again and its batch is measured elsewhere; a node whose actor cannot be
    started is left out from there on.

    Args:
        address: `local` starts a cluster here; `auto` or HOST:PORT joins one that this machine is a node of.
        settings: repeats and limits.

    Raises:
        UnsupportedError: Ray is not installed.
        OptionError: no cluster answers at the address.
        WorkerError: no node of it can measure.
    """

    def __init__(self, address: str, settings: MeasureSettings) -> None:
        self._ray = connect(address)
        self._settings = json.dumps(asdict(settings))
        self._changed = threading.Condition()
        self._interrupted = False
        nodes = [
            _Node(n["NodeID"], n["NodeManagerAddress"], n["Resources"]["CPU"])
            for n in self._ray.nodes()
            if n["Alive"] and n["Resources"].get("CPU")
        ]
        for node in nodes:
            self._launch(node)
        self._nodes = [node for node in nodes if self._comes_up(node)]
        if not self._nodes:
            self.close()
            raise WorkerError(
                f"none of the {len(nodes)} nodes of the Ray cluster at {address!r} can measure; the log above says why"
            )

    def __enter__(self) -> RayEnvironment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the cluster, and ends it if it was started here."""
        self._ray.shutdown()

    @property
    def slots(self) -> list[Target]:
        """The nodes' targets."""
        return [node.target for node in self._nodes if node.target is not None]

    def design_spaces(self, task: Task) -> Sequence[DesignSpace]:
        """The spaces to sample from."""
        return design_spaces(task)

    def initial_features(self, task: Task) -> schema.Rows:
        """Static features of the unscheduled program, a row for each store; extracted here."""
        return initial_features(task)

    def measure(self, candidates: Sequence[Candidate]) -> list[Trajectory]:
        """One trajectory for each candidate, in order; its target is that of the node that measured it."""
        task = candidates[0].task
        batch = json.dumps({"task": task.to_json(), "traces": [c.trace.to_json() for c in candidates]})
        error = ""
        for _ in range(_ATTEMPTS):
            with self._free_node(task.target.key) as node:
                try:
                    rows = json.loads(self._ray.get(node.actor.measure.remote(batch)))
                except self._ray.exceptions.RayTaskError as failure:
                    # not the batch's fault: the node cannot measure at all
                    raise WorkerError(f"Ray node {node.name} cannot measure: {telling_line(failure)}") from failure
                except self._ray.exceptions.RayError as failure:
                    error = telling_line(failure)
                    self._check_interrupted()
                    self._restart(node, error)
                    continue
            return [
                schema.trajectory_from_row(row, replace(task, target=Target.from_json(json.loads(row["target"]))))
                for row in rows
            ]
        return [
            Trajectory(
                MeasureRecord(
                    c,
                    Status.RUN_ERROR,
                    error=f"its batch ended {_ATTEMPTS} Ray workers: {error}",
                    timestamp=time.time(),
                )
            )
            for c in candidates
        ]

    def interrupt(self) -> None:
        """Ends running measurements in a WorkerError."""
        with self._changed:
            self._interrupted = True
            for node in self._nodes:
                self._ray.kill(node.actor)
            self._changed.notify_all()

    @contextlib.contextmanager
    def _free_node(self, target_key: str) -> Iterator[_Node]:
        with self._changed:
            while True:
                self._check_interrupted()
                candidates = [n for n in self._nodes if n.target is not None and n.target.key == target_key]
                if not candidates:
                    raise WorkerError("the last node of the Ray cluster with this target is gone")
                node = next((n for n in candidates if not n.busy), None)
                if node is not None:
                    break
                self._changed.wait()
            node.busy = True
        try:
            yield node
        finally:
            with self._changed:
                node.busy = False
                self._changed.notify_all()

    def _launch(self, node: _Node) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        where = NodeAffinitySchedulingStrategy(node.id, soft=False)
        node.actor = (
            self._ray.remote(RayNode).options(num_cpus=node.num_cpus, scheduling_strategy=where).remote(self._settings)
        )

    def _comes_up(self, node: _Node) -> bool:
        """Waits for a node's actor; a node that cannot measure is logged."""
        try:
            node.target = Target.from_json(json.loads(self._ray.get(node.actor.target.remote(), timeout=_START_SECS)))
            tvm_target(node.target)
        except (self._ray.exceptions.RayError, TargetError) as error:
            _log.warning("Ray node %s is left out: %s", node.name, telling_line(error))
            return False
        return True

    def _restart(self, node: _Node, error: str) -> None:
        _log.warning("the worker on Ray node %s is started again: %s", node.name, error)
        self._ray.kill(node.actor)
        self._launch(node)
        if not self._comes_up(node):
            with self._changed:
                self._nodes.remove(node)

    def _check_interrupted(self) -> None:
        if self._interrupted:
            raise WorkerError("measuring was interrupted")
