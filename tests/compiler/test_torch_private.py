"""What Foretune needs of PyTorch's private modules: each test names what a new release broke."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch

from foretune.compiler import torch_private
from foretune.errors import UnsupportedError


@pytest.mark.parametrize("name", torch_private.PLACES)
def test_pytorch_has_it(name):
    assert getattr(torch_private, name) is not None


def test_a_module_is_found_before_anything_else_imports_it():
    code = "from foretune.compiler.torch_private import inductor_ir; print(inductor_ir.__name__)"
    done = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    assert done.stdout == "torch._inductor.ir\n", done.stderr


def test_the_tables_are_complete():
    assert {"ATTRIBUTES", "PLACES", *torch_private.PLACES} == set(torch_private.__all__)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        torch_private.nothing_like_it  # noqa: B018


@pytest.mark.parametrize("place", ["torch._ops:Gone", "torch._no_such_module:Gone"])
def test_what_is_missing_is_named(monkeypatch, place):
    monkeypatch.setitem(torch_private.PLACES, "Gone", place)
    with pytest.raises(
        UnsupportedError, match=re.escape(f"PyTorch {torch.__version__} has no {place.replace(':', '.')}, ")
    ):
        from foretune.compiler.torch_private import Gone  # noqa: F401


def test_nothing_is_imported_before_it_is_asked_for():
    code = "import sys, foretune.compiler.torch_private; assert not [m for m in sys.modules if m.startswith('torch.')]"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.fixture(scope="module")
def objects():
    """One of each kind of `ATTRIBUTES`, as a compilation of PyTorch's shows it."""
    found = {
        "pytree": torch_private.pytree,
        "PyTorch's profiler": torch.autograd.profiler,
        "AOTAutograd's settings": torch_private.functorch_config,
    }

    def look(gm, inputs):
        placeholders = gm.graph.find_nodes(op="placeholder")
        found["a graph of Dynamo's"] = gm
        found["an input of a graph of Dynamo's"] = placeholders[0]
        found["a weight that Dynamo made an input of"] = next(
            value for value in inputs if isinstance(value, torch.nn.Parameter)
        )
        found["Dynamo's metrics"] = torch_private.get_metrics_context()

        def look_further(functional, _):
            context = torch_private.TracingContext.try_get()
            found["AOTAutograd's context"] = context
            found["AOTAutograd's metadata"] = context.fw_metadata
            found["AOTAutograd's facts of an input"] = context.fw_metadata.input_info[0]
            found["AOTAutograd's facts of an output"] = context.fw_metadata.output_info[0]
            operator = next(n.target for n in functional.graph.nodes if n.op == "call_function")
            found["an operator"], found["an operator with its overloads"] = operator, operator.overloadpacket
            return torch_private.make_boxed_func(functional.forward)

        return torch_private.aot_autograd(
            fw_compiler=look_further,
            inference_compiler=look_further,
            decompositions=torch_private.get_decompositions([torch.ops.aten.addmm]),
            partition_fn=torch_private.min_cut_rematerialization_partition,
        )(gm, inputs)

    torch.compiler.reset()
    model, x = torch.nn.Linear(3, 4), torch.ones(2, 3)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, backend=look)(x), model(x))
    torch.compiler.reset()
    return found


@pytest.mark.parametrize(
    ("kind", "attribute"), [(kind, name) for kind, names in torch_private.ATTRIBUTES.items() for name in names]
)
def test_pytorch_has_the_attribute(objects, kind, attribute):
    assert hasattr(objects[kind], attribute), f"in PyTorch {torch.__version__}, {kind} has no {attribute}"


def test_every_kind_of_object_was_seen(objects):
    assert set(objects) == set(torch_private.ATTRIBUTES)
    assert torch_private.MutationType.NOT_MUTATED is objects["AOTAutograd's facts of an input"].mutation_type
    assert torch_private.OutputType.non_alias is objects["AOTAutograd's facts of an output"].output_type
    metadata = objects["AOTAutograd's metadata"]
    assert all(isinstance(meta, torch_private.PlainTensorMeta) for meta in metadata.subclass_inp_meta)
