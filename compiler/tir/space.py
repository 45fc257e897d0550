"""Design spaces of a task: MetaSchedule's own, as traces with tables of options."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

from foretune.compiler.tir import traces
from foretune.compiler.tir._tvm import intrinsics, meta_schedule, tvm
from foretune.compiler.tir.quiet import register_rules
from foretune.compiler.tir.target import architecture, tvm_target
from foretune.compiler.tir.workload import module_from_program
from foretune.errors import UnsupportedError
from foretune.space import DesignSpace, Domain, factorizations
from foretune.support.once import warn_once
from foretune.support.text import telling_line
from foretune.target import Target, num_usable_cores
from foretune.task import Task
from foretune.trace import Trace, Value

_log = logging.getLogger(__name__)
_PARALLEL = "meta_schedule.parallel"
_LOCATION_SAMPLES = 8  # replays that find which compute locations a space really offers


class ScheduleContext:
    """Space generator and post-processors of one program on one target."""

    def __init__(self, mod: tvm.IRModule, target: Target) -> None:
        intrinsics.load(target.kind, architecture(target))
        register_rules()
        self.mod = mod
        self.target = tvm_target(target)
        self.context = _tune_context(mod, self.target)

    def design_traces(self) -> list[tvm.s_tir.schedule.Trace]:
        """One sampled TVM trace for each design space."""
        with self.target:
            return [traces.tvm_trace(schedule) for schedule in self.context.generate_design_space()]

    def post_process(self, schedule: tvm.s_tir.Schedule) -> bool:
        """Applies MetaSchedule's post-processors in place; False if one of them rejects the schedule."""
        schedule.enter_postproc()
        return all(postproc.apply(schedule) for postproc in postprocs_of(self.context))

    def store_features(self, schedule: tvm.s_tir.Schedule) -> list[list[float]]:
        """MetaSchedule's 164 features for each buffer store of a finished program."""
        extractor = meta_schedule.feature_extractor.PerStoreFeature()
        candidate = meta_schedule.MeasureCandidate(schedule, [])
        return extractor.extract_from(self.context, [candidate])[0].numpy().tolist()


def postprocs_of(context: meta_schedule.TuneContext) -> list[meta_schedule.Postproc]:
    """A context's post-processors; TVM's contexts may have none, those that are generated have."""
    generator = cast("meta_schedule.SpaceGenerator", context.space_generator)
    return cast("list[meta_schedule.Postproc]", generator.postprocs)


def _tune_context(mod: tvm.IRModule, target: tvm.target.Target) -> meta_schedule.TuneContext:
    """What TuneContext's constructor makes with `post-order-apply`; that constructor would import the intrinsics of all
    targets.
    """
    tune_context: Any = meta_schedule.tune_context
    generator = meta_schedule.space_generator.SpaceGenerator.create("post-order-apply")
    context = meta_schedule.TuneContext.__new__(meta_schedule.TuneContext)
    log = tune_context.get_logging_func(tune_context.get_logger(tune_context.__name__))
    with target:  # the rules for riscv64 ask for the current target
        context.__init_handle_by_constructor__(
            tune_context._ffi_api.TuneContext, mod, target, generator, None, "task", 1, 1, log
        )
        tune_context._ffi_api.TuneContextInitialize(context)
    return context


@lru_cache(maxsize=64)
def design_spaces(task: Task) -> tuple[DesignSpace, ...]:
    """The design spaces that MetaSchedule generates for a task.

    Raises:
        UnsupportedError: MetaSchedule cannot schedule the program.
    """
    mod = module_from_program(task.workload.program)
    try:
        templates = ScheduleContext(mod, task.target).design_traces()
    except Exception as error:  # TVM raises plain RuntimeError, ScheduleError and others of its own
        raise UnsupportedError(
            f"MetaSchedule has no design space for {task.workload.name}: {telling_line(error)}"
        ) from error
    return spaces_of(mod, templates, num_cores(task.target))


@lru_cache(maxsize=64)
def rewritten_spaces(task: Task) -> tuple[DesignSpace, ...]:
    """Design spaces of the rewrites of a task's workload, where it runs on a CPU; their traces begin with the
    rewrite.
    """
    spaces: list[DesignSpace] = []
    for rewrite in task.workload.rewrites if task.target.kind == "llvm" else ():
        mod = module_from_program(task.workload.program)
        try:
            start = traces.replay(mod, rewrite.prefix)
            templates = ScheduleContext(start.mod, task.target).design_traces()
            spaces += [
                _behind(rewrite.prefix, start, space)
                for space in spaces_of(start.mod, templates, num_cores(task.target))
            ]
        except Exception as error:  # TVM raises plain RuntimeError, ScheduleError and others of its own
            warn_once(
                _log, "%s is not rewritten: %s: %s", task.workload.name, type(error).__name__, telling_line(error)
            )
    return tuple(spaces)


def _behind(prefix: Trace, start: tvm.s_tir.Schedule, space: DesignSpace) -> DesignSpace:
    """A design space of what some actions make of a program, as one of the program itself; `start` has these actions
    applied.
    """
    schedule = traces.replay(start.mod, Trace(prefix.actions + space.template.actions), start=start)
    domains = tuple(replace(domain, action=domain.action + len(prefix)) for domain in space.domains)
    return DesignSpace(traces.from_tvm(traces.tvm_trace(schedule)), domains)


def num_cores(target: Target | tvm.target.Target) -> int:
    """Cores that a target states; 0 if it states none."""
    return int(cast("Any", dict(cast("Any", target.attrs))).get("num-cores", 0))


def spaces_of(mod: tvm.IRModule, templates: Sequence[tvm.s_tir.schedule.Trace], cores: int) -> tuple[DesignSpace, ...]:
    """The design spaces of a program that sampled TVM traces are points of; unless there is one core, each of them on
    one thread, too.

    Raises:
        IllegalActionError: an action has arguments that are not plain data.
    """
    spaces = {}
    for template in templates:
        trace = traces.from_tvm(template)
        domains = _domains(mod, trace, template)
        for variant in (trace, _serial(trace)) if cores != 1 else (trace,):
            spaces.setdefault(variant.space_id, DesignSpace(variant, domains))
    return tuple(spaces.values())


def initial_features(task: Task) -> tuple[tuple[float, ...], ...]:
    """MetaSchedule's features of the unscheduled program, a row for each store; empty if it cannot be read."""
    mod = module_from_program(task.workload.program)
    try:
        rows = ScheduleContext(mod, task.target).store_features(tvm.s_tir.Schedule(mod))
    except Exception:  # TVM raises plain RuntimeError and others of its own; the program is measured all the same
        return ()
    return tuple(tuple(row) for row in rows)


def _serial(trace: Trace) -> Trace:
    """The same trace on one thread: for small kernels, waking the other threads costs more than they save."""
    actions = []
    for action in trace.actions:
        if action.op == "Annotate" and action.attrs == (_PARALLEL,):
            action = replace(action, inputs=(action.inputs[0], 1))
        actions.append(action)
    return Trace(tuple(actions))


def _domains(mod: tvm.IRModule, trace: Trace, template) -> tuple[Domain, ...]:
    locations = {i: {d} for i, d in trace.decisions if trace.actions[i].op == "SampleComputeLocation"}
    if locations:
        undecided = tvm.s_tir.schedule.Trace(template.insts, {})

        def sample(seed: int) -> dict[int, int]:
            schedule = traces.unscheduled(mod, seed)
            try:
                undecided.apply_to_schedule(schedule, True)
            except Exception:  # what was sampled before cannot be scheduled
                return {}
            found = traces.tvm_trace(schedule)
            sampled, decisions = found.insts, found.decisions
            return {i: int(decisions[sampled[i]]) for i in locations}

        with ThreadPoolExecutor(num_usable_cores()) as pool:  # TVM replays without Python's lock
            for found in pool.map(sample, range(1, _LOCATION_SAMPLES + 1)):
                for i, location in found.items():
                    locations[i].add(location)
    domains = []
    for i, decision in trace.decisions:
        action = trace.actions[i]
        domains.append(Domain(i, _options(action.op, action.attrs, decision, locations.get(i, set()))))
    return tuple(domains)


def _options(op: str, attrs: tuple[Value, ...], decision: Value, locations: set) -> tuple[Value, ...]:
    if op == "SamplePerfectTile":
        parts, max_innermost = cast("tuple[int, int]", attrs)
        extent = math.prod(cast("tuple[int, ...]", decision))
        return factorizations(extent, parts, max_innermost if max_innermost > 0 else extent)
    if op == "SampleCategorical":
        return tuple(range(len(cast("tuple[Value, ...]", attrs[0]))))
    if op == "SampleComputeLocation":
        return tuple(sorted(locations))
    return (decision,)
