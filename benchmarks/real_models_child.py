"""The process of one engine and one model of `real_models.py`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from real_models_cases import REAL_MODELS

from foretune.compiler.workloads.engine import CompileModels, start
from foretune.compiler.workloads.models import ModelCase
from foretune.workers.serve import serve

if __name__ == "__main__":
    cases = [
        ModelCase(f"{case.name}-{batch}", case.make, lambda case=case, batch=batch: (case.make_input(batch),))
        for case in REAL_MODELS
        for batch in (1, 8)
    ]
    serve({CompileModels: lambda hello: start(hello, cases)})
