"""Random programs of ATen operators, with views, mutation, reuse of values and several outputs. A seed gives one
program.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional as F

from foretune.compiler.conformance.check import Compile, Outcome, check
from foretune.compiler.conformance.hostile import fills_of
from foretune.compiler.conformance.layouts import alike
from foretune.compiler.conformance.program import Program

ROWS, COLUMNS = 4, 6
_FEWEST, _MOST = 4, 16  # steps

_UNARY: dict[str, Callable] = {
    name: getattr(torch, name)
    for name in (
        "relu",
        "tanh",
        "sigmoid",
        "exp",
        "neg",
        "abs",
        "sin",
        "cos",
        "square",
        "sqrt",
        "log",
        "sign",
        "floor",
        "round",
        "trunc",
        "reciprocal",
        "isnan",
        "isinf",
        "isfinite",
        "erf",
        "logical_not",
        "rsqrt",
        "clone",
        "atan",
    )
} | {
    name: getattr(F, name)
    for name in ("gelu", "silu", "relu6", "hardtanh", "hardsigmoid", "elu", "softplus", "leaky_relu", "softshrink")
}
_BINARY: dict[str, Callable] = {
    name: getattr(torch, name)
    for name in ("add", "sub", "mul", "div", "maximum", "minimum", "lt", "ge", "eq", "ne", "fmod", "remainder",
                 "floor_divide", "atan2", "pow", "logical_and", "logical_or")
}  # fmt: skip
_SCALARS = (0, 1, -1, 2, 0.5, -0.5, 3.0, 1e-3, 100.0)
_BY_SCALAR: dict[str, Callable] = {
    "add": torch.add, "mul": torch.mul, "sub": torch.sub, "gt": torch.gt, "ne": torch.ne,
    "clamp_min": torch.clamp_min, "clamp_max": torch.clamp_max,
}  # fmt: skip
_REDUCE: dict[str, Callable] = {
    name: getattr(torch, name)
    for name in ("sum", "mean", "amax", "amin", "argmax", "argmin", "any", "all", "std", "prod", "count_nonzero")
}
_ALONG: dict[str, Callable] = {
    "softmax": torch.softmax, "log_softmax": torch.log_softmax, "cumsum": torch.cumsum,
    "sort": lambda x, dim: torch.sort(x, dim=dim, stable=True)[0], "max": lambda x, dim: torch.max(x, dim,
    keepdim=True)[0],
    "flip": lambda x, dim: x.flip(dim), "roll": lambda x, dim: x.roll(1, dim), "logsumexp": lambda x,
    dim: x.logsumexp(dim),
}  # fmt: skip
_VIEWS: dict[str, Callable] = {
    "t": lambda x: x.transpose(0, -1), "flat": lambda x: x.reshape(-1), "first": lambda x: x[0],
    "rest": lambda x: x[1:],
    "last": lambda x: x[..., -1:], "even": lambda x: x[..., ::2], "unsqueeze": lambda x: x.unsqueeze(0),
    "diagonal": lambda x: x.diagonal(), "narrow": lambda x: x.narrow(-1, 0, x.shape[-1] - 1),
    "detach": lambda x: x.detach(),
    "unbind": lambda x: x.unbind(0)[-1], "chunk": lambda x: x.chunk(2, -1)[0], "squeeze": lambda x: x.squeeze(),
}  # fmt: skip
_SAME: dict[str, Callable] = {
    "plus 0": lambda x: x + 0, "times 1": lambda x: x * 1, "cat of one": lambda x: torch.cat([x]),
    "stack of one": lambda x: torch.stack([x])[0],
    "copy": lambda x: x.to(x.dtype, copy=True), "contiguous": lambda x: x.contiguous(),
}  # fmt: skip
_CHANGES: dict[str, Callable] = {
    "add_": lambda x: x.add_(1), "mul_": lambda x: x.mul_(2), "relu_": lambda x: x.relu_(),
    "zero_": lambda x: x.zero_(),
    "neg_": lambda x: x.neg_(), "clamp_": lambda x: x.clamp_(-1, 1), "fill first": lambda x: x[0].fill_(3),
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One line of a program: a function of earlier values, by position. A change gives no value of its own."""

    name: str
    function: Callable[..., Any]
    values: tuple[int, ...]
    changes: bool = False

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'v{i}' for i in self.values)})"


@dataclass
class RandomProgram:
    """A program as its steps.

    Attributes:
        steps: in their order; values 0, 1, ... are the inputs.
        outputs: positions of the values that it returns.
    """

    num_inputs: int
    steps: list[Step] = field(default_factory=list)
    outputs: tuple[int, ...] = ()

    def run(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Runs the steps."""
        values = list(inputs)
        for step in self.steps:
            result = step.function(*[values[i] for i in step.values])
            if not step.changes:
                values.append(result)
        return tuple([values[i] for i in self.outputs])

    def __str__(self) -> str:
        lines, position = [f"{self.num_inputs} inputs"], self.num_inputs
        for step in self.steps:
            lines.append(str(step) if step.changes else f"v{position} = {step}")
            position += not step.changes
        return "; ".join([*lines, f"return {', '.join(f'v{i}' for i in self.outputs)}"])


def random_program(seed: int) -> tuple[RandomProgram, tuple[torch.Tensor, ...]]:
    """A program that PyTorch runs, and its kind inputs."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    inputs = (
        torch.randn(ROWS, COLUMNS, generator=generator), torch.randn(ROWS, COLUMNS, generator=generator),
        torch.randn(COLUMNS, generator=generator), torch.randint(0, ROWS, (5,), generator=generator),
        torch.rand(ROWS, COLUMNS, generator=generator) > 0.5, torch.randint(1, 5, (ROWS, COLUMNS), generator=generator),
    )  # fmt: skip
    program = RandomProgram(len(inputs))
    values = [x.clone() for x in inputs]
    for _ in range(rng.randint(_FEWEST, _MOST)):
        step = _step(rng, values)
        if step is None:
            continue
        try:
            result = step.function(*[values[i] for i in step.values])
        except (RuntimeError, IndexError, TypeError):  # shapes or types that do not fit
            continue
        if (
            isinstance(result, torch.Tensor)
            and result.numel() <= 4096
            and not result.is_complex()
            and (result.numel() or step.changes)
        ):
            program.steps.append(step)
            if not step.changes:
                values.append(result)
    made = range(len(inputs), len(values)) or range(len(inputs))
    chosen = rng.sample(made, min(len(made), rng.randint(1, 4)))
    if rng.random() < 0.15:
        chosen.append(rng.choice(chosen))
    if rng.random() < 0.15:
        chosen.append(rng.randrange(len(inputs)))
    program.outputs = tuple(chosen)
    return program, inputs


def _step(rng: random.Random, values: Sequence[torch.Tensor]) -> Step | None:
    """A step whose arguments are mostly late values."""

    def pick(*dtypes: torch.dtype) -> int | None:
        fit = [i for i, x in enumerate(values) if not dtypes or x.dtype in dtypes]
        return rng.choice(fit[-5:] if rng.random() < 0.6 else fit) if fit else None

    kind = rng.choices(("unary", "binary", "scalar", "reduce", "along", "view", "same", "change", "join", "choose",
    "index", "product"),
                       (4, 6, 3, 2, 2, 4, 2, 2, 1, 2, 1, 1))[0]  # fmt: skip
    x, y = pick(), pick()
    if x is None or y is None:
        return None
    if kind == "binary":
        name = rng.choice([*_BINARY])
        return Step(name, _BINARY[name], (x, y))
    if kind == "scalar":
        name, scalar = rng.choice([*_BY_SCALAR]), rng.choice(_SCALARS)
        return Step(f"{name} {scalar}", lambda v, f=_BY_SCALAR[name], s=scalar: f(v, s), (x,))
    if kind == "reduce":
        name, dim = rng.choice([*_REDUCE]), rng.choice((0, -1))
        return Step(f"{name} {dim}", lambda v, f=_REDUCE[name], d=dim: f(v, d), (x,))
    if kind == "along":
        name, dim = rng.choice([*_ALONG]), rng.choice((0, -1))
        return Step(f"{name} {dim}", lambda v, f=_ALONG[name], d=dim: f(v, d), (x,))
    if kind == "join":
        name = rng.choice(("cat", "stack"))
        return Step(name, lambda v, w, f=getattr(torch, name): f([v, w]), (x, y))
    if kind == "choose":
        mask = pick(torch.bool)
        if mask is None:
            return None
        if rng.random() < 0.3:
            return Step("masked_fill", lambda v, m: v.masked_fill(m, -math.inf), (x, mask))
        return Step("where", torch.where, (mask, x, y))
    if kind == "index":
        index = pick(torch.int64)
        if index is None:
            return None
        if rng.random() < 0.3:
            return Step("index_add", lambda v, i: v.index_add(0, i, v[i]), (x, index))
        return Step("index", lambda v, i: v[i], (x, index))
    if kind == "product":
        return Step("product", lambda v, w: v @ w.transpose(-1, -2), (x, y))
    name, function = rng.choice([*{"unary": _UNARY, "view": _VIEWS, "same": _SAME, "change": _CHANGES}[kind].items()])
    return Step(name, function, (x,), kind == "change")


def check_random(seed: int, compile_: Compile, announce: Callable[[str], None] = lambda _: None) -> Outcome:
    """Compiles a random program once and calls it with other kind inputs, hostile ones, and such as lie differently in
    memory.
    """
    program, inputs = random_program(seed)
    rng = random.Random(seed)

    def later(kind: Sequence[torch.Tensor]) -> Iterator[tuple[str, Sequence[torch.Tensor]]]:
        yield "other kind inputs", tuple(x.flip(0) for x in kind)
        yield "hostile", tuple(_hostile(x, rng) for x in kind)
        name, inputs = rng.choice(list(alike(kind)))
        yield name, inputs

    outcome = check(Program(f"random {seed}: {program}", program.run, inputs), compile_, later, announce)
    if outcome.failures:
        outcome.failures.append(str(program))
    return outcome


def _hostile(x: torch.Tensor, rng: random.Random) -> torch.Tensor:
    fills = fills_of(x.dtype)
    return fills[rng.choice([*fills])](x)
