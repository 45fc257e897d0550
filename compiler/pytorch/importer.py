"""PyTorch graph -> Relax -> fused TIR kernels -> tuning tasks, and back to an executable.

The way is `torch.export` -> decompositions chosen so that TVM fuses well -> Relax -> legalise and fuse.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from foretune.compiler.graphs.decompositions import decompositions
from foretune.compiler.graphs.flat_program import FlatProgram
from foretune.compiler.tir import quiet, traces
from foretune.compiler.tir._tvm import meta_schedule, tvm
from foretune.compiler.tir.lowerings import lowerings
from foretune.compiler.tir.space import ScheduleContext
from foretune.compiler.tir.target import tvm_target
from foretune.compiler.tir.workload import task_from_module
from foretune.datasets.records.families import family_of
from foretune.errors import IllegalActionError, UnsupportedError
from foretune.support.once import warn_once
from foretune.support.text import telling_line
from foretune.target import Target
from foretune.task import Task
from foretune.trace import Trace

_log = logging.getLogger("foretune")

_MOST_FUSED = 32  # operators in a kernel: MetaSchedule's time grows exponentially in unrolled loops


def import_exported(
    program: torch.export.ExportedProgram | FlatProgram, static_inputs: frozenset[int] = frozenset()
) -> tvm.IRModule:
    """An exported program as a Relax module of fused kernels.

    Args:
        program: a graph with static shapes; its parameters become inputs, before the user's inputs.
        static_inputs: positions of user inputs that rarely change (weights). What depends on them alone
            is moved into a function `main_transform_params`, to be run once.

    Raises:
        UnsupportedError: Relax has no translation of an operator; it is named.
    """
    try:
        return _fuse(_lift(quiet.import_program(program, lowerings()), static_inputs))
    except Exception as error:  # the boundary to TVM, which raises built-in errors of every kind
        raise UnsupportedError(f"TVM cannot lower the graph: {telling_line(error)}") from error


def _lift(mod: tvm.IRModule, static_inputs: frozenset[int]) -> tvm.IRModule:
    """Puts the static inputs last and lifts what depends on them alone into its own function."""
    from tvm import relax

    if "params" in mod["main"].attrs:
        mod, _ = relax.frontend.detach_params(mod)
    if not static_inputs:
        return mod
    main = mod["main"]
    order = [i for i in range(len(main.params)) if i not in static_inputs] + sorted(static_inputs)
    reordered = relax.Function([main.params[i] for i in order], main.body, main.ret_ty, main.is_pure, main.attrs)
    reordered = reordered.with_attr("num_input", len(main.params) - len(static_inputs)).with_attr(
        "global_symbol", "main"
    )
    mod = tvm.IRModule({**{gv: f for gv, f in mod.functions_items() if gv.name_hint != "main"}, "main": reordered})
    return relax.transform.LiftTransformParams()(mod)


@tvm.transform.module_pass(opt_level=0, name="FuseTransposedMatmul")
def _fuse_transposed_matmul(mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
    """TVM's FuseTransposeMatmul, but for products of a tensor with its own transpose, on which that pass fails.

    Such a fused function has one parameter, where TVM's pass takes the second one of two.
    """
    from tvm import relax
    from tvm.relax.transform import fuse_transpose_matmul as tvm_pass

    product, annotations, fits = tvm_pass._pattern()

    def fits_and_differ(context: relax.transform.PatternCheckContext) -> bool:
        same = context.annotated_expr["x"].same_as(context.annotated_expr["w"])
        return not same and fits(context)

    pattern = ("transpose_matmul_fuse", product, annotations, fits_and_differ)
    mod = relax.transform.FuseOpsByPattern([pattern], bind_constants=False)(mod)
    fuser = tvm_pass._TransposeMatmulFuser(mod)
    for name, function in mod.functions_items():
        if isinstance(function, relax.Function):
            fuser.builder_.update_func(name, cast("relax.Function", fuser.visit_expr(function)))
    return fuser.builder_.get()


def _fuse(mod: tvm.IRModule) -> tvm.IRModule:
    from tvm.relax import transform

    passes = [
        transform.CanonicalizeBindings(),
        _fuse_transposed_matmul,
        transform.LegalizeOps(quiet.legalizations()),
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
        transform.DeadCodeElimination(),
        transform.RewriteDataflowReshape(),
    ]
    with tvm.transform.PassContext(opt_level=3, config={"relax.FuseOps.max_depth": _MOST_FUSED}):
        return tvm.transform.Sequential(passes)(mod)


@dataclass(frozen=True)
class GraphTask:
    """A tuning task of a graph, with the TIR module that it stands for.

    Attributes:
        task: the task.
        mod: the program.
        kernels: names of the functions in the graph's module that are this program.
    """

    task: Task
    mod: tvm.IRModule
    kernels: frozenset[str] = frozenset()


@dataclass(frozen=True)
class KernelCall:
    """A call of a kernel in a fused Relax module.

    Attributes:
        kernel: name of the function.
        inputs: names of the module's inputs that the arguments are, or are made of without another product.
    """

    kernel: str
    inputs: frozenset[str]


def module_tasks(module: torch.nn.Module, inputs: tuple, target: Target, family: str = "") -> list[GraphTask]:
    """The distinct kernels of a PyTorch module, exported for some inputs.

    Raises:
        UnsupportedError: the module cannot be imported.
    """
    with torch.no_grad(), warnings.catch_warnings(action="ignore", category=FutureWarning):
        exported = torch.export.export(module, inputs).run_decompositions(decompositions())
    return extract_tasks(import_exported(exported), target, family)


def extract_tasks(mod: tvm.IRModule, target: Target, family: str = "") -> list[GraphTask]:
    """The distinct kernels of a fused Relax module; weights count their calls in one run.

    What prepares weights ahead of time runs once, and is not worth tuning.
    """
    mod = tvm.IRModule(
        {name: function for name, function in mod.functions_items() if name.name_hint != "main_transform_params"}
    )
    found: dict[str, GraphTask] = {}
    for extracted in meta_schedule.relax_integration.extract_tasks(mod, tvm_target(target)):
        kernel = extracted.dispatched[0]
        name = str(extracted.task_name)
        try:
            task = task_from_module(kernel, target, name, family or family_of(name), float(extracted.weight))
        except UnsupportedError:
            continue  # stays at the default schedule; symbolic shapes are reported by the backend
        known = found.get(
            task.workload.hash
        )  # equal programs may name their blocks differently: the first one's names hold
        kernels = frozenset({name})
        if known is not None:
            task, kernel = Task(known.task.workload, target, task.weight + known.task.weight), known.mod
            kernels |= known.kernels
        found[task.workload.hash] = GraphTask(task, kernel, kernels)
    return list(found.values())


def first_of_equal(graph_tasks: Sequence[GraphTask]) -> list[GraphTask]:
    """Tasks of several regions without those of equal programs, whose blocks may have other names."""
    return list({t.task.workload.hash: t for t in reversed(graph_tasks)}.values())


def kernel_calls(mod: tvm.IRModule, products: Collection[str]) -> list[KernelCall]:
    """The calls of kernels in the order in which a fused Relax module makes them.

    Args:
        mod: the module.
        products: names of kernels whose results say nothing about the inputs any more.
    """
    main, prepared = mod["main"], []
    if any(name.name_hint == "main_transform_params" for name in mod.get_global_vars()):
        transform = mod["main_transform_params"]
        prepared, _ = _follow(transform, [frozenset()] * len(transform.params), frozenset())
    own = [frozenset({p.name}) for p in main.params[: len(main.params) - len(prepared)]]
    return _follow(main, [*own, *prepared], products)[1]


def _follow(
    function: tvm.relax.Function, given: Sequence[frozenset[str]], products: Collection[str]
) -> tuple[list[frozenset[str]], list[KernelCall]]:
    """(inputs that each value of the returned tuple is made of, calls of kernels)."""
    from tvm import relax

    known: dict[relax.Var, list[frozenset[str]]] = {p: [inputs] for p, inputs in zip(function.params, given)}
    calls = []

    def inputs_of(value: relax.Expr) -> list[frozenset[str]]:
        if isinstance(value, relax.Tuple):
            return [frozenset().union(*inputs_of(field)) for field in value.fields]
        return known.get(value, [frozenset()]) if isinstance(value, relax.Var) else [frozenset()]

    body = cast("Any", function.body)  # a relax.SeqExpr, whose bindings TVM's stubs do not tell apart
    for block in body.blocks:
        for binding in block.bindings:
            value = binding.value
            if isinstance(value, relax.TupleGetItem):
                whole = inputs_of(value.tuple_value)
                name = {binding.var.name} if value.tuple_value in function.params else set()
                known[binding.var] = [frozenset(name) | (whole[value.index] if len(whole) > 1 else whole[0])]
            elif isinstance(value, relax.Call):
                inputs = frozenset().union(*(part for argument in value.args for part in inputs_of(argument)))
                kernel = value.args[0].name_hint if isinstance(value.args[0], tvm.ir.GlobalVar) else ""
                if kernel:
                    calls.append(KernelCall(kernel, inputs))
                known[binding.var] = [frozenset() if kernel in products else inputs]
            else:
                known[binding.var] = inputs_of(value)
    return inputs_of(body.body), calls


def schedule_database(
    graph_tasks: list[GraphTask], chosen: Mapping[str, Trace], target: Target
) -> meta_schedule.database.Database:
    """Replays the chosen traces into a database that `apply_schedules` takes them from.

    Args:
        graph_tasks: tasks of one or several modules.
        chosen: workload hash -> trace; kernels without one keep the default schedule, and so do those whose trace does
            not apply, which says nothing about the others.
        target: the tasks' target.
    """
    database = meta_schedule.database.MemoryDatabase()
    for graph_task in graph_tasks:
        trace = chosen.get(graph_task.task.workload.hash)
        if trace is None or not len(trace):
            continue
        try:
            schedule = traces.replay(graph_task.mod, trace)
            if not ScheduleContext(graph_task.mod, target).post_process(schedule):
                raise IllegalActionError("a post-processor rejects the schedule")
        except IllegalActionError as error:
            warn_once(_log, "the kernel %s keeps the default schedule: %s", graph_task.task.workload.name, error)
            continue
        workload = database.commit_workload(graph_task.mod)
        database.commit_tuning_record(
            meta_schedule.database.TuningRecord(traces.tvm_trace(schedule), workload, [1.0], tvm_target(target), [])
        )
    return database


def apply_schedules(mod: tvm.IRModule, database: meta_schedule.database.Database, target: Target) -> tvm.IRModule:
    """Replaces the kernels of a fused Relax module by their scheduled forms."""
    from tvm.relax import transform

    with tvm_target(target), database, tvm.transform.PassContext(opt_level=3):
        return transform.MetaScheduleApplyDatabase(enable_warning=False)(mod)
