"""Programs that the database of operators does not hold: memory, indices, promotion of types, whole layers."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from foretune.compiler.conformance.hand_indices import indices, scattering
from foretune.compiler.conformance.hand_layers import attention, layers, pools
from foretune.compiler.conformance.hand_memory import changes, memory
from foretune.compiler.conformance.hand_numbers import integers, promotion, values
from foretune.compiler.conformance.hand_reductions import order, sums
from foretune.compiler.conformance.kind import i, x
from foretune.compiler.conformance.program import Program

_GROUPS = (memory, changes, indices, scattering, integers, promotion, values, order, sums, layers, attention, pools)


def hand_programs() -> list[Program]:
    """All of them, in one order."""
    torch.manual_seed(0)
    made = []
    for group in _GROUPS:
        made += [Program(f"by hand|{group.__name__}|{name}", run, tuple(inputs)) for name, run, *inputs in group()]
    weights = (
        ("linear", lambda x, w, b: F.gelu(F.linear(x, w, b)), x(3, 8), x(6, 8), x(6)),
        ("convolution", lambda x, w, b: F.relu(F.conv2d(x, w, b, padding=1)), x(1, 4, 5, 5), x(4, 4, 3, 3), x(4)),
        ("embedding", lambda i, w: F.embedding(i, w) * 2, i(0, 2, 1), x(10, 4)),
        ("layer norm", lambda x, w, b: F.layer_norm(x, (8,), w, b), x(3, 8), x(8), x(8)),
        ("two linears", lambda x, v, w: F.linear(torch.tanh(F.linear(x, v)), w), x(3, 8), x(8, 8), x(4, 8)),
    )
    for name, run, *inputs in weights:
        held = tuple(k for k in range(1, len(inputs)))
        made.append(Program(f"by hand|weights|{name}", run, tuple(inputs), weights=held))
        made.append(Program(f"by hand|gradients|{name}", run, tuple(inputs), trains=True))
    return made
