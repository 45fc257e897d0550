"""Calls of kernels by C: as TVM's virtual machine makes them."""

from __future__ import annotations

import shutil

import pytest
import torch

from foretune.compiler.pytorch import importer
from foretune.compiler.tir.program import Program, build
from foretune.compiler.tir.target import parse_target

pytestmark = pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="there is no C compiler")


class Layers(torch.nn.Module):
    """Has weights, constants, views, several outputs, and an output that is a view of another kernel's result."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = torch.nn.Linear(8, 16), torch.nn.Linear(16, 8)

    def forward(self, x, y):
        hidden = torch.relu(self.up(x).view(2, 3, 16)) + torch.arange(16.0)
        return self.down(hidden) * y, hidden.view(6, 16), (x > 0), torch.softmax(hidden.flatten(), 0)


@pytest.fixture(scope="module")
def layers():
    torch.manual_seed(0)
    return Layers().eval()


@pytest.fixture(scope="module")
def program(layers):
    inputs = (torch.randn(6, 8), torch.randn(3, 8))
    with torch.no_grad():
        exported = torch.export.export(layers, inputs).run_decompositions(importer.decompositions())
    return Program(build(importer.import_exported(exported), parse_target("auto")))


def test_the_calls_are_a_sequence(program):
    calls = program._calls
    assert calls is not None and len(calls._sequence.calls) > 3 and calls._sequence.workspace_bytes > 0


def test_results_are_those_of_pytorch_and_keep_their_memory(layers, program):
    weights = [p.detach() for p in layers.parameters()]
    kept = []
    for seed in range(3):
        torch.manual_seed(seed)
        inputs = [torch.randn(6, 8), torch.randn(3, 8)]
        kept.append((layers(*inputs), program([*inputs, *weights] if _takes(program, 6) else inputs)))
    for expected, found in kept:  # later calls have not written over earlier results
        assert all(torch.allclose(e, f, atol=1e-5) for e, f in zip(expected, found, strict=True))


def _takes(program, number: int) -> bool:
    return len(program._calls._sequence.inputs) == number


def test_other_shapes_and_types_are_refused(program):
    calls = program._calls
    inputs = [torch.zeros(shape, dtype=dtype) for shape, dtype in calls._expected]
    assert calls(inputs) is not None
    assert calls([torch.zeros(7, 8), *inputs[1:]]) is None
    assert calls([inputs[0].double(), *inputs[1:]]) is None
    assert calls(inputs[:-1]) is None


def test_the_last_inputs_are_kept(layers, program):
    calls = program._calls
    inputs = [torch.randn(shape, dtype=dtype) for shape, dtype in calls._expected]
    expected = [result.clone() for result in calls(inputs)]
    assert calls.keep_last(inputs[1:]) and calls(inputs) is None
    assert all(torch.equal(e, f) for e, f in zip(expected, calls(inputs[:1]), strict=True))
    assert not calls.keep_last([torch.zeros(1)])
    assert calls.keep_last([])
