"""Checks operators of PyTorch's own database, one request a line: `{"op", "backend", "most"}`. Started by
`operators.py`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from foretune.compiler.contest.comparison import rel_error

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


def check(op: Any, compile_: Callable[[Callable], Callable], most: int) -> dict[str, Any]:
    """Runs each sample input of an operator, compiled and not.

    Returns:
        counts of `ok`, `wrong`, `crash` and `skipped` (PyTorch's own run fails, two of its runs differ, or it has no
        defined values), and up to 3 messages.
    """
    counts: dict[str, Any] = {"ok": 0, "wrong": 0, "crash": 0, "skipped": 0, "messages": []}
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
        if message and len(counts["messages"]) < 3:
            counts["messages"].append(f"sample {i}: {message[:300]}")
    return counts


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


def serve(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Answers requests."""
    hello = json.loads(next(lines))
    torch.set_num_threads(hello["threads"])
    operators = database()
    yield {"operators": sorted(operators)}
    with tempfile.TemporaryDirectory() as folder:
        backend, _, unguarded = hello["backend"].partition("-")
        options = (
            {"trials": 0, "database": f"{folder}/records.db", "progress": False, "guard": not unguarded}
            if backend == "foretune"
            else None
        )
        for line in lines:
            request = json.loads(line)
            yield check(
                operators[request["op"]], lambda f: torch.compile(f, backend=backend, options=options), request["most"]
            )


def main() -> None:
    """Serves until stdin closes."""
    warnings.simplefilter("ignore")
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for reply in serve(iter(sys.stdin.readline, "")):
        replies.write(json.dumps({"status": "ok", **reply}) + "\n")


if __name__ == "__main__":
    main()
