"""The process of one engine and one model of `real_models.py`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from real_models_cases import cases

from foretune.compiler.workloads.engine import CompileModels, start
from foretune.workers.serve import serve

if __name__ == "__main__":
    serve({CompileModels: lambda hello: start(hello, cases())})
