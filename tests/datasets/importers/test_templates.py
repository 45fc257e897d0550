"""Loops of AutoTVM's templates: they follow from name and arguments, or are left out."""

from __future__ import annotations

import pytest

from foretune.datasets.importers.arguments import argument_graph
from foretune.datasets.programs.template_graph import template_graph

ROWS = ["TENSOR", [128, 768], "float32"]
WEIGHT = ["TENSOR", [2304, 768], "float32"]
IMAGE = ["TENSOR", [1, 64, 56, 56], "float32"]


def graph_of(template: str, arguments: list):
    return template_graph(template, arguments, argument_graph(arguments))


def extents(template: str, arguments: list) -> dict[str, int]:
    """Axis -> extent."""
    loops = [node for node in graph_of(template, arguments).nodes if node.kind == "loop"]
    return {node.name.rpartition("/")[2]: round(2 ** node.features[0]) for node in loops}


@pytest.mark.parametrize(
    ("template", "arguments", "expected"),
    [
        ("dense_nopack.x86", [ROWS, WEIGHT, None, "float32"], {"y": 128, "x": 2304, "k": 768}),
        ("dense_pack.x86", [ROWS, WEIGHT, None, "float32"], {"y": 128, "x": 2304, "k": 768}),
        ("dense_large_batch.cuda", [ROWS, WEIGHT, None, "float32"], {"x": 128, "y": 2304, "k": 768}),
        (
            "batch_matmul.cuda",
            [["TENSOR", [12, 128, 64], "float32"], ["TENSOR", [12, 96, 64], "float32"], [12, 128, 96]],
            {"n": 12, "y": 128, "x": 96, "k": 64},
        ),
        (
            "conv2d_nchw.cuda",
            [IMAGE, ["TENSOR", [128, 64, 3, 3], "float32"], [2, 2], [1, 1, 1, 1], [1, 1], "float32"],
            {"n": 1, "f": 128, "y": 28, "x": 28, "rc": 64, "ry": 3, "rx": 3},
        ),
        (
            "topi_nn_conv2d",
            [IMAGE, ["TENSOR", [128, 64, 3, 3], "float32"], [1, 1], [0, 0], "NCHW", "float32"],
            {"n": 1, "f": 128, "y": 54, "x": 54, "rc": 64, "ry": 3, "rx": 3},
        ),
        (
            "topi_x86_conv2d_NCHWc",
            [IMAGE, ["TENSOR", [128, 64, 7, 7], "float32"], 128, [7, 7], [2, 2], [3, 3], "NCHW", "NCHW", "float32"],
            {"n": 1, "f": 128, "y": 28, "x": 28, "rc": 64, "ry": 7, "rx": 7},
        ),
        (
            "depthwise_conv2d_NCHWc.x86",
            [IMAGE, ["TENSOR", [64, 1, 3, 3], "float32"], [1, 1], [1, 1, 1, 1], [2, 2], "NCHW", "NCHW", "float32"],
            {"n": 1, "f": 64, "y": 54, "x": 54, "ry": 3, "rx": 3},
        ),
    ],
)
def test_extents(template, arguments, expected):
    assert extents(template, arguments) == expected


def test_accesses_of_a_convolution():
    arguments = [IMAGE, ["TENSOR", [128, 64, 3, 3], "float32"], [2, 2], [1, 1, 1, 1], [1, 1], "float32"]
    graph = graph_of("conv2d_nchw.cuda", arguments)
    data, block = graph.index["buffer", "data"], graph.index["block", "conv2d"]
    rows = {e.src: e.features for e in graph.edges if e.kind == "access" and e.dst == data and e.features[2] == 2}
    assert rows == {
        graph.index["loop", "conv2d/y"]: (block, 0.0, 2.0, 2.0, 2 * 56.0, 1.0),
        graph.index["loop", "conv2d/ry"]: (block, 0.0, 2.0, 1.0, 56.0, 1.0),
    }


def test_a_packed_weight_has_its_columns_beside_each_other():
    for template, column_stride in (("dense_pack.x86", 1.0), ("dense_nopack.x86", 768.0)):
        graph = graph_of(template, [ROWS, WEIGHT, None, "float32"])
        block = next(node.name for node in graph.nodes if node.kind == "block")
        found = [
            e.features[4]
            for e in graph.edges
            if e.kind == "access"
            and (e.src, e.dst) == (graph.index["loop", f"{block}/x"], graph.index["buffer", "right"])
        ]
        assert found == [column_stride]


@pytest.mark.parametrize(
    ("template", "arguments"),
    [
        ("conv2d_packed.vta", [IMAGE, WEIGHT]),
        ("my_template", [ROWS, WEIGHT]),
        ("dense_nopack.x86", [ROWS, ["TENSOR", [2304, 9], "float32"]]),
        ("dense_nopack.x86", [ROWS]),
        ("dense_nopack.x86", [["TENSOR", [0, 768], "float32"], WEIGHT]),
        ("conv2d_nchw.cuda", [IMAGE, ["TENSOR", [128, 64, 99, 99], "float32"], [1, 1], [0, 0], "float32"]),
        ("conv2d_nchw.cuda", [IMAGE, ["TENSOR", [128, 64, 3, 3], "float32"], [0, 0], [0, 0], "float32"]),
        ("conv2d_nchw.cuda", [IMAGE, "kernel", {"a": 1}]),
        ("dense_nopack.x86", [["TENSOR", [1 << 50, 768], "float32"], WEIGHT]),
    ],
)
def test_what_is_not_known_keeps_its_arguments(template, arguments):
    around = argument_graph(arguments)
    assert template_graph(template, arguments, around) is around
