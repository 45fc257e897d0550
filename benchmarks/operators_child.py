"""Checks operators of PyTorch's own database, one a request. Started by `operators.py`, which imports the messages of
`operators_messages.py`.
"""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from operators_messages import CheckOperator, Counts, Start, Started

from foretune.compiler.contest.comparison import rel_error
from foretune.workers.serve import Service, serve

TOLERANCE = 1e-3
UNDEFINED = {
    "empty",
    "empty_like",
    "empty_permuted",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
}  # what stood in memory is their value


def database() -> dict[str, Any]:
    """Operators by name; variants of one have their own."""
    from torch.testing._internal.common_methods_invocations import op_db

    return {
        f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name: op
        for op in op_db
        if torch.float32 in op.dtypes
    }


def check(op: Any, compile_: Callable[[Callable], Callable], most: int) -> Counts:
    """Runs each sample input of an operator, compiled and not."""
    counts: Counter[str] = Counter()
    messages: list[str] = []
    for i, sample in enumerate(op.sample_inputs("cpu", torch.float32, requires_grad=False)):
        if i >= most:
            break

        def call(x: Any, *args: Any, **kwargs: Any) -> Any:
            return op.op(x, *args, **kwargs)

        try:
            expected, again = (seeded(call, sample) for _ in range(2))
        except Exception:
            counts["skipped"] += 1
            continue
        if op.name in UNDEFINED or differs(expected, again):
            counts["skipped"] += 1
            continue
        torch._dynamo.reset()
        try:
            outcome = differs(expected, seeded(compile_(call), sample))
        except Exception as error:  # of any kind: that is what is counted
            counts["crash"] += 1
            message = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        else:
            counts["wrong" if outcome else "ok"] += 1
            message = outcome
        if message and len(messages) < 3:
            messages.append(f"sample {i}: {message[:300]}")
    return Counts(
        ok=counts["ok"],
        wrong=counts["wrong"],
        crash=counts["crash"],
        skipped=counts["skipped"],
        messages=tuple(messages),
    )


def seeded(call: Callable, sample: Any) -> list[Any]:
    """The flat outputs of a call on copies of a sample's inputs, with the random generator as it is at first."""
    torch.manual_seed(0)
    copies = sample.transform(lambda x: x.clone() if isinstance(x, torch.Tensor) else x)
    leaves, _ = torch.utils._pytree.tree_flatten(call(copies.input, *copies.args, **copies.kwargs))
    return leaves


def differs(expected: list[Any], actual: list[Any]) -> str:
    """What is wrong with the outputs; empty if nothing is."""
    if len(expected) != len(actual):
        return f"{len(actual)} outputs instead of {len(expected)}"
    for e, a in zip(expected, actual):
        if isinstance(e, torch.Tensor) and e.layout == torch.strided:
            if not isinstance(a, torch.Tensor) or (error := rel_error(e, a)) > TOLERANCE:
                return (
                    f"differs by {error:.3g}"
                    if isinstance(a, torch.Tensor)
                    else f"{type(a).__name__} instead of a tensor"
                )
        elif type(e) is not type(a):
            return f"{type(a).__name__} instead of {type(e).__name__}"
    return ""


def start(hello: Start) -> Service:
    """The worker, with a folder for records."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(hello.threads)
    operators = database()
    folder = tempfile.TemporaryDirectory()
    backend, _, unguarded = hello.backend.partition("-")
    options = (
        {"trials": 0, "database": f"{folder.name}/records.db", "progress": False, "guard": not unguarded}
        if backend == "foretune"
        else None
    )

    def answer(request: CheckOperator) -> Counts:
        return check(
            operators[request.operator], lambda f: torch.compile(f, backend=backend, options=options), request.most
        )

    return Service(Started(operators=tuple(sorted(operators))), {CheckOperator: answer}, kept=folder)


if __name__ == "__main__":
    serve({Start: start})
