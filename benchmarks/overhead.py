"""What a call of a compiled model costs beside its kernels: `python benchmarks/overhead.py`.

The models are so small that their kernels take next to nothing, so that a call's time is its overhead: Dynamo's guards,
the hand-over of tensors, the watch over weights, and the virtual machine. Each engine runs in a process of its own, in
turns. With `foretune` the guard is off, or PyTorch would keep graphs as small as these. `nothing` is a backend that
returns the same outputs each time: PyTorch's own part, below which no backend comes.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time

from results import write_results

ENGINES = ("eager", "nothing", "inductor", "foretune")
CASES = ("relu", "mlp", "three_outputs")
_PROCESSES, _ROUNDS, _CALLS = 3, 15, 2000


def child(engine: str, case: str) -> None:
    """Prints microseconds of a call: the smallest mean of some rounds."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if case == "relu":
        model = nn.ReLU()
    elif case == "mlp":
        model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    else:

        class ThreeOutputs(nn.Module):
            def forward(self, x):
                return x + 1, x * 2, torch.tanh(x)

        model = ThreeOutputs()
    x = torch.randn(2, 8)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        options = {"trials": 0, "guard": False, "progress": False, "database": f"{folder}/records.db"}
        if engine == "nothing":
            model = torch.compile(model, backend=lambda graph, inputs: functools.partial(_return, graph(*inputs)))
        elif engine != "eager":
            model = torch.compile(model, backend=engine, **({"options": options} if engine == "foretune" else {}))
        for _ in range(200):
            model(x)
        means = []
        for _ in range(_ROUNDS):
            start = time.perf_counter()
            for _ in range(_CALLS):
                model(x)
            means.append((time.perf_counter() - start) / _CALLS)
    print(json.dumps(min(means) * 1e6))


def _return(outputs: tuple, *inputs: object) -> tuple:
    return outputs


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", nargs=2, metavar=("ENGINE", "CASE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(_PROCESSES):
        for case in CASES:
            for engine in ENGINES:
                done = subprocess.run(
                    [sys.executable, __file__, "--child", engine, case], capture_output=True, text=True, check=True
                )
                found.setdefault((case, engine), []).append(json.loads(done.stdout.strip().splitlines()[-1]))
    found_us = {key: statistics.median(values) for key, values in found.items()}
    rows = [{"case": case, "engine": engine, "us": us} for (case, engine), us in found_us.items()]
    above = [found_us[case, "foretune"] - found_us[case, "eager"] for case in CASES]
    write_results(
        "overhead",
        {"worst_us_above_eager": max(above), **{f"{row['case']}_{row['engine']}_us": row["us"] for row in rows}},
        rows,
    )


if __name__ == "__main__":
    main()
