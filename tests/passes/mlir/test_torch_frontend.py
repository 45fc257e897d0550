"""PyTorch modules become MLIR programs that compute the same."""

from __future__ import annotations

import numpy as np
import pytest

from foretune.errors import OptionError
from foretune.passes.mlir.environment.signature import make_inputs
from foretune.passes.mlir.tuning.measure import MlirMeasurer
from foretune.passes.mlir.tuning.torch_frontend import from_torch
from foretune.record import Status

torch = pytest.importorskip("torch")
pytest.importorskip("torch_mlir")


class Mlp(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = torch.nn.Linear(16, 32), torch.nn.Linear(32, 8)

    def forward(self, x):
        return torch.softmax(self.outer(torch.relu(self.inner(x))), -1)


class Attention(torch.nn.Module):
    def forward(self, q, k, v):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize(
    ("module", "shapes"), [(Mlp(), [(4, 16)]), (Attention(), [(1, 2, 16, 8)] * 3)], ids=["mlp", "attention"]
)
def test_modules_compute_the_same(session, module, shapes):
    program = from_torch(session, module, [torch.zeros(shape) for shape in shapes])
    build = session.build(program.text, program.signature.name)
    kept = session.file(".npz")
    assert session.run(build, keep=kept).status is Status.OK, build.error
    inputs = [torch.from_numpy(np.array(x)) for x in make_inputs(program.signature, 0)]
    with np.load(kept) as arrays, torch.no_grad():
        assert np.allclose(arrays[f"arr_{len(shapes)}"], module.eval()(*inputs).numpy(), rtol=1e-4, atol=1e-5)
    assert MlirMeasurer(session).prepare(program).default_secs > 0


def test_what_is_no_module(session):
    with pytest.raises(OptionError, match=r"a torch\.nn\.Module is needed"):
        from_torch(session, len, [torch.zeros(1)])
    with pytest.raises(OptionError, match="inputs must be tensors"):
        from_torch(session, Mlp(), [])
