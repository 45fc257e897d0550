"""Compiles a program once, on kind values, and compares its later calls with PyTorch's."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from foretune.compiler.conformance.comparison import disagreement
from foretune.compiler.conformance.hostile import hostile_inputs
from foretune.compiler.conformance.program import Observation, Program, observe
from foretune.compiler.pytorch.graph_report import CompileReport, compile_reports

_MOST_FAILURES = 12  # kept of one program
_SUMMING = (
    "mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "convolution", "sum", "mean", "cumsum", "var", "std", "einsum",
    "native_layer_norm", "native_group_norm", "scatter_add", "index_add", "dot", "addmv", "mv", "avg_pool2d", "lstm",
    "gru",
    "_softmax_backward_data", "_adaptive_avg_pool2d", "linalg_vector_norm", "outer", "upsample_bilinear2d", "std_mean",
)  # fmt: skip

Compile = Callable[[Callable], Callable]


@dataclass
class Outcome:
    """What became of a program.

    Attributes:
        skipped: why it was not tried; empty if it was.
        num_regions: that TVM runs; with none, PyTorch runs all of it, and there are no later calls.
        num_calls: compared.
        num_wrong: of them.
        num_traced_wrong: calls that differ from eager just as PyTorch's own traced and decomposed graph does, so that
            every compiler gives that result, or gradients of equal eigenvalues, which change with the last
            bit of the inputs in eager, too.
        operators: that TVM runs.
        left: operators that stay with PyTorch, and why.
        failures: the first of the wrong calls, each as `name of the call: kind: what differs`.
        traced_failures: likewise those of PyTorch's traced graph.
    """

    skipped: str = ""
    num_regions: int = 0
    num_calls: int = 0
    num_wrong: int = 0
    num_traced_wrong: int = 0
    operators: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    traced_failures: list[str] = field(default_factory=list)

    def note(self, call: str, found: str, traced: bool = False) -> None:
        """Notes a call, what is wrong with it, and whether that is PyTorch's own doing."""
        self.num_calls += 1
        if found:
            self.num_wrong += not traced
            self.num_traced_wrong += traced
            failures = self.traced_failures if traced else self.failures
            if len(failures) < _MOST_FAILURES:
                failures.append(f"{call}: {found}")

    @property
    def sums(self) -> bool:
        """Whether elements are added up, which may be done in any order."""
        named = {name.split(".")[0] for name in (*self.operators, *(text.split(" ")[0] for text in self.left))}
        return bool(named & {*_SUMMING})

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON data."""
        return asdict(self)


class _Complaints(logging.Handler):
    """The first call of a compiled graph is checked by the backend itself, which then logs what it found."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "differs from PyTorch" in message:
            self.found.append(message)


def check(
    program: Program, compile_: Compile, later: Callable | None = None, announce: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Compiles a program, calls it again and again, and compares.

    Args:
        program: with its kind inputs.
        compile_: the compiler, as `torch.compile` with its options is.
        later: makes (name, inputs) of the later calls from the first one's inputs; hostile ones by default.
        announce: told what is done next, so that a crash can be traced to it.
    """
    outcome = Outcome()
    announce(f"PyTorch {program.name}")
    expected = observe(program.run, program.inputs, program.trains)
    if expected.error is not None:
        outcome.skipped = f"PyTorch's own run fails: {type(expected.error).__name__}"
    elif disagreement(expected, observe(program.run, program.inputs, program.trains, seed=1)):
        outcome.skipped = "two runs of PyTorch's own differ, as those of random operators do"
    elif program.trains and not expected.gradients:
        outcome.skipped = "there are no gradients"
    if outcome.skipped:
        return outcome
    torch.compiler.reset()
    torch.compiler.config.automatic_dynamic_shapes = (
        False  # other strides make another graph of fixed sizes, not one for Inductor
    )
    torch.compiler.config.recompile_limit = 1000  # beyond it, eager runs the program
    known = len(compile_reports())
    complaints = _Complaints()
    logging.getLogger("foretune").addHandler(complaints)
    calls = _Calls(program, compile_, outcome, announce)
    try:
        calls.compare("first call", program.inputs)
        for report in compile_reports()[known:]:
            _add(report, outcome)
        if complaints.found:
            outcome.note("first call", f"values: {complaints.found[0]}")
        if outcome.num_regions:
            for name, inputs in (later or hostile_inputs)(program.inputs):
                if not (outcome.sums and name.endswith(" max")):  # such sums overflow in one order and not in another
                    calls.compare(name, inputs)
            calls.compare("misaligned", program.inputs, misaligned=True)
    finally:
        logging.getLogger("foretune").removeHandler(complaints)
    return outcome


def _add(report: CompileReport, outcome: Outcome) -> None:
    outcome.num_regions += report.num_regions
    outcome.operators = sorted({*outcome.operators, *report.operators})
    outcome.left = sorted({*outcome.left, *report.eager_operators})


_OF_EIGENVALUES = ("linalg.eig", "linalg.svd", "svd", "linalg.pinv")  # operators whose gradients divide by differences


class _Calls:
    """Calls a program in three ways: eagerly, compiled, and, where these differ, as PyTorch's own traced graph."""

    def __init__(self, program: Program, compile_: Compile, outcome: Outcome, announce: Callable[[str], None]) -> None:
        self._program, self._outcome, self._announce = program, outcome, announce
        self._compiled = compile_(program.run)
        self._traced = torch.compile(lambda *inputs: program.run(*inputs), backend="aot_eager_decomp_partition")

    def compare(self, name: str, inputs: Sequence[torch.Tensor], misaligned: bool = False) -> None:
        """Compares a call, and notes it."""
        program, sums = self._program, self._outcome.sums
        self._announce(f"PyTorch {program.name}: {name}")
        expected = observe(program.run, inputs, program.trains, misaligned)
        self._announce(f"Foretune {program.name}: {name}")
        actual = observe(self._compiled, inputs, program.trains, misaligned)
        self._announce(f"PyTorch {program.name}: {name}, again")
        found, traced = disagreement(expected, actual, None, sums), False
        if found:
            exact = exact_of(program, inputs)
            found = disagreement(expected, actual, exact, sums)
            traced = bool(found) and not self._differs_from_traced(actual, exact, inputs)
            if found.startswith("values: gradient") and program.name.startswith(_OF_EIGENVALUES):
                traced = traced or self._is_undetermined(expected, inputs)
        self._outcome.note(name, found, traced)

    def _differs_from_traced(
        self, actual: Observation, exact: Observation | None, inputs: Sequence[torch.Tensor]
    ) -> str:
        traced = observe(self._traced, inputs, self._program.trains)
        return disagreement(traced, actual, exact, self._outcome.sums)

    def _is_undetermined(self, expected: Observation, inputs: Sequence[torch.Tensor]) -> bool:
        """Whether eager gives other numbers after the last bit of each input has changed."""
        up = torch.tensor(math.inf)
        moved = [torch.nextafter(x, up.to(x.dtype)) if x.is_floating_point() else x for x in inputs]
        return bool(disagreement(expected, observe(self._program.run, moved, self._program.trains), None, False))


def exact_of(program: Program, inputs: Sequence[torch.Tensor]) -> Observation | None:
    """PyTorch's run in float64, attention by its formula; None if no input is of a smaller floating-point type."""
    if not any(x.dtype in (torch.float32, torch.float16, torch.bfloat16) for x in inputs):
        return None
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernel has answers of its own to infinities
        return observe(program.run, [x.double() if x.is_floating_point() else x for x in inputs], program.trains)
