"""A graph of Dynamo's, forward and backward, compiled with TVM."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from foretune.compiler.contest.comparison import asks_for_gradients, error_of
from foretune.compiler.contest.rounding import observe_widened
from foretune.compiler.graphs.decompositions import decompositions
from foretune.compiler.libraries.times import LibraryTimes
from foretune.compiler.observed.phases import phase
from foretune.compiler.pytorch.beside import Beside
from foretune.compiler.pytorch.compile_phases import BUILD, IMPORT, LIBRARIES, LOAD, PLAN, TRACE, TUNE
from foretune.compiler.pytorch.graph_report import CompileReport
from foretune.compiler.pytorch.inductor import own_graph
from foretune.compiler.pytorch.loading import Loading
from foretune.compiler.pytorch.options import BackendOptions
from foretune.compiler.pytorch.partition import prepare
from foretune.compiler.pytorch.products import ProductTimes, measure_products
from foretune.compiler.torch_private import (
    MutationType,
    OutputType,
    PlainTensorMeta,
    TracingContext,
    aot_autograd,
    functorch_config,
    is_any_autocast_enabled,
    make_boxed_func,
    min_cut_rematerialization_partition,
    tracing,
    unset_fake_temporarily,
)
from foretune.errors import UnsupportedError
from foretune.support.once import warn_once
from foretune.support.phases import Phases
from foretune.target import Target

if TYPE_CHECKING:  # they need TVM
    from foretune.compiler.metaschedule.tuner import Progress, Tuner
    from foretune.compiler.pytorch.regions import RegionGraph

_log = logging.getLogger("foretune")

_LIGHT = "its products take so little time that TVM computes them as well"
_HEAVY_SECS = 3e-3  # of all products together; below, what is saved between kernels counts more


class TvmGraph:
    """Compiles a graph of Dynamo's: AOTAutograd makes functional ATen graphs of it, and TVM's programs take the place
    of regions.

    Args:
        gm: the graph; it stays as it is.
        inputs: example inputs.
        options: of the backend.
        target: where it runs, or what loads that with TVM.
        make_tuner: makes a tuner of the options; by name it is given what shall differ, `trials`, `looks` or `waiting`.
        report: what happens is added to it.
        library_times: of products in PyTorch's libraries.
        phases: is told how far the work is.
    """

    def __init__(
        self,
        gm: torch.fx.GraphModule,
        inputs: Sequence[Any],
        options: BackendOptions,
        target: Target | Loading,
        make_tuner: Callable[..., Tuner],
        report: CompileReport,
        library_times: LibraryTimes,
        phases: Phases | None = None,
    ) -> None:
        self._library_times, self._phases = library_times, phases or Phases()
        self._gm, self._inputs, self._trains = gm, list(inputs), asks_for_gradients(inputs)
        self._options, self._given_target, self._make_tuner, self._report = options, target, make_tuner, report
        self._tuned: list[Callable[[], list[ProductTimes]]] = []  # for each ATen graph
        self._made: list[tuple[Callable, RegionGraph]] = []
        self._begun: dict[bool, Beside | Exception] = {}  # whether it is around libraries -> who builds it
        self._is_light = False  # whether what was begun around libraries is the whole graph

    @property
    def _target(self) -> Target:
        target = self._given_target
        return target.result().target if isinstance(target, Loading) else target

    def regions(self) -> list[RegionGraph]:
        """The functional graphs with their regions, forward and backward; nothing is tuned or built."""
        from foretune.compiler.pytorch.regions import RegionGraph

        found = []

        def build(gm: torch.fx.GraphModule, static: frozenset[str]) -> Callable:
            found.append(RegionGraph(copy.deepcopy(gm), static, self._target, frozen=self._options.freeze))
            return gm.forward

        with functorch_config.patch(force_non_lazy_backward_lowering=True):
            self._with_aot(build)
        return found

    def compile(self, later: list[RegionGraph] | None = None, checks: bool = False) -> Callable:
        """All that TVM can take goes to TVM.

        Args:
            later: if there is such a list, the model alone picks for now, and what is to be tuned is added to it.
            checks: whether the first call is compared with PyTorch's.
        """
        return self._compile(None, later, checks) if False not in self._begun else self._result(False)

    def _compile(self, beside: Beside | None, later: list[RegionGraph] | None = None, checks: bool = False) -> Callable:
        self._tuned.clear()

        def build(gm: torch.fx.GraphModule, static: frozenset[str]) -> Callable:
            reference = copy.deepcopy(gm) if checks else None
            run = self._build(gm, static, self._report, (), {} if later is None else {"trials": 0}, beside, later)
            return run if reference is None else _FirstCallCheck(run, reference, self._options.tolerance)

        return self._with_aot(build)

    def compile_around_libraries(self) -> Callable:
        """The same without attention, of which PyTorch has a fused kernel, and without the heavy products that its
        libraries compute faster, or of which TVM's kernels were not measured.

        Raises:
            UnsupportedError: there are none.
        """
        if not self._options.trials:
            return self._around_unmeasured(None) if True not in self._begun else self._result(True)
        if not self._tuned:
            with contextlib.suppress(UnsupportedError):  # what fails may be a product that leaves
                self.compile()
        with self._phases.phase(LIBRARIES):
            times = [measure() for measure in self._tuned]
        self._report.products += [str(product) for products in times for product in products]
        left = [[product for product in products if product.leaves] for products in times]
        if not any(left) and not self._has_attention:
            raise UnsupportedError(
                "TVM computes every heavy product about as fast" if any(times) else "there is no heavy product"
            )
        report, graphs = CompileReport(), iter(left)
        run = self._with_aot(lambda gm, static: self._build(gm, static, report, next(graphs, ()), {}), attention=False)
        self._report.num_trials += report.num_trials
        self._report.num_looks += report.num_looks
        self._report.look_secs += report.look_secs
        known = {kernel.workload for kernel in self._report.kernels}
        self._report.kernels += [kernel for kernel in report.kernels if kernel.workload not in known]
        return run

    def begin(self, beside: Callable[..., Beside] = Beside) -> None:
        """Has kernels picked and built without measurements in a thread, while the caller does something else.

        What traces is done before it returns: it touches states of the process.

        Args:
            beside: what has the slow parts done.
        """
        if self._options.trials or self._begun:
            return
        self._begin(True, self._around_unmeasured, beside)
        if self._is_light:
            self._begun = {False: self._begun[True], True: UnsupportedError(_LIGHT)}
        elif isinstance(self._begun[True], Beside):
            self._begun[False] = UnsupportedError("TVM's kernels of heavy products would have to be measured first")
        else:
            self._begin(False, self._compile, beside)

    def regions_of(self, run: Callable) -> RegionGraph:
        """The graph with regions that something that was made here runs.

        Raises:
            UnsupportedError: it is more than that.
        """
        for made, graph in self._made:
            if made is run:
                return graph
        raise UnsupportedError(
            "what AOTAutograd does around its graph (gradients, inputs that change, outputs that share memory) cannot"
            " be written to a file"
        )

    def _begin(self, around: bool, make: Callable[[Beside], Callable], beside: Callable[..., Beside]) -> None:
        try:
            self._begun[around] = beside(make)
        except Exception as error:  # raised again where the result is wanted
            self._begun[around] = error

    def _result(self, around: bool) -> Callable:
        begun = self._begun[around]
        if isinstance(begun, Exception):
            raise begun
        return begun.result()

    def _around_unmeasured(self, beside: Beside | None) -> Callable:
        """The graph without its heavy products, of which TVM's kernels are not measured.

        Raises:
            UnsupportedError: there are none.
        """
        is_heavy = False  # a graph so far

        def build(gm: torch.fx.GraphModule, static: frozenset[str]) -> Callable:
            with self._phases.phase(LIBRARIES):
                products = measure_products(gm.graph, static, {}, {}, self._library_times)
            left = [product for product in products if product.leaves]
            nonlocal is_heavy
            secs = sum(product.secs[product.best] for product in left)
            is_heavy = is_heavy or secs >= (_HEAVY_SECS if beside else 0.0)
            if not is_heavy and beside and not self._trains and not self._has_attention:
                self._is_light = True  # this graph is the one that TVM takes whole; none need be traced for that
                return self._build(gm, static, self._report, (), {}, beside)
            if not is_heavy:
                raise UnsupportedError(_LIGHT)
            if not left and not self._has_attention:
                raise UnsupportedError("there is no heavy product")
            self._report.products += [str(product) for product in products]
            # what is left are chains, of which machine code tells little, while workers would hinder Inductor
            return self._build(gm, static, self._report, left, {"looks": 0}, beside)

        return self._with_aot(build, attention=False)

    @property
    def _has_attention(self) -> bool:
        return any(node.target is torch.nn.functional.scaled_dot_product_attention for node in self._gm.graph.nodes)

    def _with_aot(
        self, build: Callable[[torch.fx.GraphModule, frozenset[str]], Callable], attention: bool = True
    ) -> Callable:
        """Has the functional graphs built, given the placeholders that are weights: each takes a list of inputs (boxed)
        and returns a tuple.

        What AOTAutograd does around a graph in each call, 10 us and more, is left out where it has nothing to do.
        """
        source, plain = own_graph(self._gm), []
        autocast = (
            is_any_autocast_enabled()
        )  # which AOTAutograd turns off around a graph, in which its casts are written out

        def built(gm: torch.fx.GraphModule, static: frozenset[str], inference: bool = False) -> Callable:
            # the cost model computes with real tensors, and exported regions have nothing to do with this trace
            with unset_fake_temporarily(), tracing(None):
                run = build(gm, frozenset() if self._trains else static)  # weights that are trained change at each step
            if inference and not autocast and _is_plain(gm, source):
                plain.append(run)
            return make_boxed_func(run)

        compiler = aot_autograd(
            fw_compiler=lambda gm, _: built(gm, _static_placeholders(gm)),
            bw_compiler=lambda gm, _: built(gm, frozenset()),
            inference_compiler=lambda gm, _: built(gm, _static_placeholders(gm), inference=True),
            decompositions=decompositions(attention and not self._trains),
            partition_fn=min_cut_rematerialization_partition,
        )
        with (
            self._phases.phase(TRACE),
            functorch_config.patch(force_autograd_cache=False, bundled_autograd_cache=False),
        ):
            run = compiler(source, self._inputs)  # without PyTorch's cache, whose graphs are Inductor's
        return plain[0] if plain else run

    def _build(
        self,
        gm: torch.fx.GraphModule,
        static: frozenset[str],
        report: CompileReport,
        left: Sequence[ProductTimes],
        config: Mapping[str, int],
        beside: Beside | None = None,
        later: list[RegionGraph] | None = None,
    ) -> Callable:
        kernels: dict[str, str] = {}
        secs: dict[str, float] = {}
        if report is self._report:  # noted before TVM can fail: products may do without it
            self._tuned.append(lambda: measure_products(gm.graph, static, kernels, secs, self._library_times))
        prepare(gm, left, self._options.freeze)

        def go_on() -> None:
            if beside is not None:
                beside.go_on()

        def finish() -> Callable:
            with self._phases.phase(LOAD):
                target = self._target
            from foretune.compiler.pytorch.regions import RegionGraph

            with self._phases.phase(IMPORT), phase("import_regions"):
                graph = RegionGraph(gm, static, target, left, self._options.freeze, go_on)
            if graph.eager_operators:
                warn_once(_log, "left with PyTorch: %s", ", ".join(graph.eager_operators))
            tunes = self._options.trials and config.get("trials", self._options.trials)
            with (
                self._phases.phase(TUNE if tunes else PLAN) as show,
                contextlib.closing(self._make_tuner(waiting=self._phases.waiting, **config)) as tuner,
            ):

                def shown(progress: Progress) -> None:
                    go_on()
                    show(progress.done, progress.total, progress.task)

                with phase("tune"):
                    tuned = tuner.tune(graph.tasks, shown)
            kernels.update(graph.kernels_of_products)
            secs.update(tuned.secs)
            with self._phases.phase(BUILD), phase("build_regions"):
                graph.build(tuned.chosen, go_on)
            graph.report(tuned, report)
            if later is not None:
                later.append(graph)
            run = graph.runner()
            self._made.append((run, graph))
            return run

        return finish() if beside is None else beside(finish)


def _is_plain(gm: torch.fx.GraphModule, source: torch.fx.GraphModule) -> bool:
    """Whether a functional graph takes and returns just what Dynamo's graph does.

    Not so where inputs are changed, outputs are views of inputs, or weights were lifted.
    """
    metadata = getattr(TracingContext.try_get(), "fw_metadata", None)
    if metadata is None or next(source.parameters(), None) is not None or next(source.buffers(), None) is not None:
        return False
    inputs, given = ([n for n in graph.graph.nodes if n.op == "placeholder"] for graph in (gm, source))
    return (
        len(inputs) == len(given) == len(metadata.input_info)
        and all(i.mutation_type is MutationType.NOT_MUTATED for i in metadata.input_info)
        and all(o.output_type is OutputType.non_alias for o in metadata.output_info)
        and all(
            isinstance(m, PlainTensorMeta) for m in (*metadata.subclass_inp_meta, *metadata.subclass_fw_graph_out_meta)
        )
        and metadata.grad_enabled_mutation is None
        and not metadata.tokens
        and not metadata.num_intermediate_bases
        and not metadata.is_rng_op_functionalized
    )


def _static_placeholders(gm: torch.fx.GraphModule) -> frozenset[str]:
    """Names of the inputs that are parameters or buffers of the model."""
    context = TracingContext.try_get()
    metadata = getattr(context, "fw_metadata", None)
    indices = set(getattr(metadata, "static_input_indices", None) or ())
    placeholders = [n.name for n in gm.graph.nodes if n.op == "placeholder"]
    return frozenset(name for i, name in enumerate(placeholders) if i in indices)


class _FirstCallCheck:
    """Runs the compiled graph and, the first time, PyTorch's own beside it; a wrong answer keeps PyTorch's for good."""

    def __init__(self, compiled: Callable, reference: Callable, tolerance: float) -> None:
        self._run, self._reference, self._tolerance = compiled, reference, tolerance
        self._checked = False

    def __call__(self, *inputs: Any) -> Any:
        if self._checked:
            return self._run(*inputs)
        expected = self._reference(*inputs)
        actual = self._run(*inputs)
        error = self._error(expected, actual)
        if error > self._tolerance:
            exact = observe_widened(self._reference, inputs, trains=False, changed=frozenset())
            error = error if exact is None else self._error(expected, actual, exact.outputs)
        self._checked = True
        if error > self._tolerance:
            warn_once(
                _log,
                "the compiled graph differs from PyTorch's by %.3g (tolerance %.3g); PyTorch's is used instead",
                error,
                self._tolerance,
            )
            self._run = self._reference
            return expected
        return actual

    @staticmethod
    def _error(expected: Sequence[Any], actual: Sequence[Any], exact: Sequence[Any] | None = None) -> float:
        values = zip(expected, actual, exact or [None] * len(expected))
        return max((error_of(e, a, x) for e, a, x in values if isinstance(e, torch.Tensor)), default=0.0)
