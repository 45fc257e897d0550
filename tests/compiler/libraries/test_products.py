"""Products in PyTorch's libraries."""

from __future__ import annotations

import math

import pytest
import torch

from foretune.compiler.libraries.products import (
    AS_IT_IS,
    MKL_PACKED,
    ONEDNN,
    ONEDNN_PACKED,
    LibraryProduct,
    Product,
    ways_of,
)
from foretune.compiler.libraries.times import LibraryTimes
from foretune.compiler.pytorch.static_inputs import StaticInputs

_aten = torch.ops.aten

PRODUCTS = [
    (Product(_aten.mm.default, ()), [(5, 8), (8, 3)]),
    (Product(_aten.addmm.default, ()), [(3,), (5, 8), (8, 3)]),
    (
        Product(_aten.convolution.default, (None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)),
        [(2, 4, 9, 9), (6, 4, 3, 3)],
    ),
    (
        Product(_aten.convolution.default, ([2, 2], [1, 1], [1, 1], False, [0, 0], 2)),
        [(2, 4, 9, 9), (6, 2, 3, 3), (6,)],
    ),
]


@pytest.mark.parametrize(("product", "shapes"), PRODUCTS, ids=["mm", "addmm", "convolution", "strided convolution"])
def test_every_way_gives_the_product_and_sees_changed_weights(product, shapes):
    inputs = [torch.randn(shape) for shape in shapes]
    ways = ways_of(product, inputs, packs=True)
    assert ways[0] == AS_IT_IS and len(ways) > 1
    for way in ways:
        run = LibraryProduct(product, way, StaticInputs())
        for _ in range(2):
            torch.testing.assert_close(run(*inputs), product.target(*inputs, *product.rest), rtol=1e-5, atol=1e-5)
            inputs[product.first + 1].mul_(2)


def test_any_strides_of_both_tensors():
    product = Product(_aten.mm.default, ())
    for x in (torch.randn(5, 8), torch.randn(8, 5).t(), torch.randn(5, 16)[:, ::2]):
        for weight in (torch.randn(8, 3), torch.randn(3, 8).t(), torch.randn(8, 6)[:, 1:4]):
            found = LibraryProduct(product, ONEDNN, StaticInputs())(x, weight)
            torch.testing.assert_close(found, x @ weight)
            assert found.is_contiguous()


@pytest.mark.parametrize("way", [ONEDNN, ONEDNN_PACKED])
@pytest.mark.parametrize(
    ("post", "operator"),
    [
        (("gelu", "none"), torch.nn.functional.gelu),
        (("gelu", "tanh"), lambda x: torch.nn.functional.gelu(x, approximate="tanh")),
        (("sigmoid", ""), torch.sigmoid),
        (("swish", ""), torch.nn.functional.silu),
        (("tanh", ""), torch.tanh),
    ],
    ids=["gelu", "gelu by tanh", "sigmoid", "swish", "tanh"],
)
def test_post_operators_are_pytorchs(way, post, operator):
    """NaN and infinities as well, which oneDNN's relu loses."""
    x, weight = torch.randn(6, 16), torch.eye(16)
    x[0], x[1, :8], x[2, 0], x[3] = math.nan, 3e38, math.inf, -90.0
    run = LibraryProduct(Product(_aten.mm.default, (), post), way, StaticInputs())
    torch.testing.assert_close(run(x, weight), operator(x @ weight), equal_nan=True)


def test_weights_are_packed_only_where_there_are_any():
    product, values = Product(_aten.mm.default, ()), [torch.randn(5, 8), torch.randn(8, 3)]
    assert ways_of(product, values, packs=False) == [AS_IT_IS, ONEDNN]
    assert {ONEDNN_PACKED, MKL_PACKED} >= {*ways_of(product, values, packs=True)} - {AS_IT_IS, ONEDNN}
    assert ways_of(Product(_aten.bmm.default, ()), [torch.randn(2, 5, 8), torch.randn(2, 8, 3)], True) == [AS_IT_IS]


def test_each_product_is_measured_once():
    made = []
    times = LibraryTimes(lambda: made.append(StaticInputs()) or made[-1])
    product, values = Product(_aten.mm.default, ()), [torch.randn(5, 8), torch.randn(8, 3)]
    torch.manual_seed(3)
    first = times.of(product, values, packs=True)
    number = len(made)
    assert number == len(first) and all(secs > 0 for secs in first.values())
    assert times.of(product, [torch.zeros(5, 8), torch.ones(8, 3)], packs=True) == first
    fewer = ways_of(product, values, packs=False)
    assert times.of(product, values, packs=False) == {way: first[way] for way in fewer} and len(made) == number
    drawn = torch.randn(4)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.randn(4))  # the program's own random numbers stay
