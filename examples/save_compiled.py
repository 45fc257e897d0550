"""A model compiled ahead of time into PyTorch's own file, and run from it in a fresh process.

python examples/save_compiled.py save mlp.bin --trials 16
python examples/save_compiled.py load mlp.bin
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import nn

import foretune


class Mlp(nn.Module):
    """Two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.layers(x), -1)


def save(model: nn.Module, x: torch.Tensor, path: Path, options: dict) -> None:
    """Compiles the model and writes what runs it."""
    compiled = torch.compile(model, fullgraph=True, backend="foretune", options=options)
    start = time.perf_counter()
    compiled.forward.aot_compile(((x,), {})).save_compiled_function(str(path))
    print(foretune.explain(model))
    print(f"saved after {time.perf_counter() - start:.1f} s, {path.stat().st_size / 1e3:.0f} kB")


def load(model: nn.Module, x: torch.Tensor, path: Path) -> None:
    """Reads it and runs it; nothing is measured or compiled."""
    start = time.perf_counter()
    with open(path, "rb") as file:
        run = torch.compiler.load_compiled_function(file)
    first = run(model, x)
    print(f"loaded and run after {time.perf_counter() - start:.1f} s")
    print(f"largest difference from eager: {(first - model(x)).abs().max():.1e}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=("save", "load"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--trials", type=int, default=16, help="measurements for each tuning task")
    parser.add_argument("--database", default="", help="file of measured records; by default the user's own")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model, x = Mlp().eval(), torch.randn(8, 64)
    with torch.no_grad():
        if arguments.verb == "save":
            options = {"trials": arguments.trials, "database": arguments.database}
            save(model, x, arguments.file, options)
        else:
            load(model, x, arguments.file)


if __name__ == "__main__":
    main()
