"""The zoo: every model imports, and tasks know which networks they are a part of."""

from __future__ import annotations

import pytest
import torch

from foretune import OptionError, UnsupportedError
from foretune.compiler.pytorch import importer
from foretune.compiler.tir.program import Program, build
from foretune.compiler.workloads.models import ZOO_MODELS
from foretune.compiler.workloads.zoo import zoo_entries, zoo_tasks


def exported(module, inputs):
    with torch.no_grad():
        return torch.export.export(module, inputs).run_decompositions(importer.decompositions())


@pytest.mark.parametrize("case", ZOO_MODELS, ids=lambda c: c.name)
def test_every_model_imports(case, target):
    assert importer.extract_tasks(importer.import_exported(exported(case.make().eval(), case.inputs())), target)


class SelfProduct(torch.nn.Module):
    """A tensor times its own transpose, beside a product that does fuse with its transpose."""

    def forward(self, x, w):
        return torch.bmm(x, x.transpose(1, 2)) @ w.T


def test_a_product_with_its_own_transpose(target):
    inputs = (torch.randn(4, 5, 32), torch.randn(7, 5))
    mod = importer.import_exported(exported(SelfProduct(), inputs))
    assert any("NT_matmul" in gv.name_hint for gv in mod.get_global_vars())
    out = Program(build(mod, target))(inputs)[0]
    assert (out - SelfProduct()(*inputs)).abs().max() < 1e-4


def test_tasks_know_their_networks(target):
    tasks = zoo_tasks(target, ("layout", "softmax"))
    assert all(t.networks and sum(calls for _, calls in t.networks) == t.weight for t in tasks)
    names = {name for t in tasks for name, _ in t.networks}
    assert names == {e.name for e in zoo_entries(("layout", "softmax"))}
    assert len({t.workload.hash for t in tasks}) == len(tasks)


def test_unknown_families(target):
    with pytest.raises(OptionError, match="unknown workload families"):
        zoo_tasks(target, ("cats",))


def test_what_cannot_be_lowered_is_named(target):
    class Unusual(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x)

    with pytest.raises(UnsupportedError, match="TVM cannot lower the graph"):
        importer.import_exported(exported(Unusual(), (torch.randn(4, 4),)))


def test_random_workloads_follow_the_seed():
    from foretune.compiler.workloads.zoo_random import MAX_FLOPS, random_entries

    families = ("dense", "softmax", "pooling")
    first = list(random_entries(6, 3, families))
    longer = list(random_entries(9, 3, families))
    shapes = [[tuple(x.shape) for x in e.inputs] for e in first]
    assert [e.name for e in first] == [e.name for e in longer[:6]] and shapes == [
        [tuple(x.shape) for x in e.inputs] for e in longer[:6]
    ]
    assert shapes != [[tuple(x.shape) for x in e.inputs] for e in random_entries(6, 4, families)]
    assert {e.family for e in longer} <= set(families) and MAX_FLOPS > 0
    assert not list(random_entries(5, 0, ("gather",)))


def test_random_workloads_of_every_family_become_tasks(target):
    from foretune.compiler.workloads.zoo_random import _FAMILIES, random_entries

    names = {family: next(iter(random_entries(1, 0, (family,)))) for family in _FAMILIES}
    assert all(entry.family == family for family, entry in names.items())
    tasks = zoo_tasks(target, tuple(_FAMILIES), num_random=12, seed=5)
    assert len(tasks) >= 10
