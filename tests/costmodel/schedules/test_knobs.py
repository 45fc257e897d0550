"""AutoTVM's knobs as loops: extents multiply to the operator's, threads and shared memory are exact."""

from __future__ import annotations

import numpy as np
import pytest

from foretune.costmodel.latent.encoding import Vocabulary, encode_space, observed_space
from foretune.costmodel.schedules import bindings, loopnest
from foretune.costmodel.schedules.template_walk import loop_nest
from foretune.datasets.importers.arguments import argument_graph
from foretune.datasets.programs.template_graph import template_graph
from foretune.trace import Action, Trace

DENSE = [["TENSOR", [128, 768], "float32"], ["TENSOR", [2304, 768], "float32"], None, "float32"]


def graph_of(template: str, arguments: list):
    return template_graph(template, arguments, argument_graph(arguments))


def configuration(**knobs) -> Trace:
    """Knobs by name; a tuple is a split, a number another kind of knob."""
    return Trace(
        tuple(
            Action("sp" if isinstance(value, tuple) else "ot", (), (name,), (), value) for name, value in knobs.items()
        )
    )


def nest_of(template: str, arguments: list, *traces: Trace):
    space, points = observed_space(traces)
    return loop_nest(space, graph_of(template, arguments)), points


def test_parts_multiply_to_the_extents():
    nest, points = nest_of(
        "dense_pack.x86",
        DENSE,
        configuration(tile_y=(-1, 2, 4), tile_x=(-1, 4, 16), tile_k=(-1, 16)),
        configuration(tile_y=(-1, 1, 5), tile_x=(36, 8, 8), tile_k=(-1, 1)),
    )
    extents = nest.extents_of(nest.main.loops, points)
    assert extents.tolist() == [[16, 36, 2, 4, 48, 16, 4, 16], [26, 36, 1, 8, 768, 1, 5, 8]]
    assert [loop.is_reduce for loop in nest.main.loops] == [False] * 4 + [True] * 2 + [False] * 2
    features = nest.features(points)
    assert np.isfinite(features).all() and (features[0] != features[1]).sum() > 20
    assert nest.state(points, has_bindings=False).shape == (2, loopnest.NUM_FEATURES)


def test_lanes_of_a_schedule_that_vectorizes_the_reduction():
    nest, points = nest_of("dense_nopack.x86", DENSE, configuration(tile_y=(-1, 8), tile_x=(-1, 192), tile_k=(-1, 4)))
    assert nest.extents_of(nest.main.loops, points).tolist() == [[16, 12, 192, 8, 192, 4]]
    assert not nest.main.loops[-1].is_reduce and nest.main.loops[2].is_reduce


def test_threads_and_shared_memory():
    trace = configuration(tile_x=(-1, 2, 8, 4), tile_y=(-1, 1, 32, 3), tile_k=(-1, 4, 2))
    nest, points = nest_of("dense_large_batch.cuda", DENSE, trace)
    state = nest.state(points, has_bindings=True)[0]
    found = state[loopnest.NUM_FEATURES :]
    assert len(state) == loopnest.state_width(True) and len(found) == bindings.NUM_FEATURES
    assert found[0] == 1 and 2 ** (8 * found[1]) == pytest.approx(8 * 32)
    assert 2 ** (8 * found[4]) == pytest.approx(128 / 64 * 2304 / 96)
    assert 2 ** (4 * found[6]) == pytest.approx(2)
    assert 2 ** (4 * found[8]) == pytest.approx(2 * 4 * 3)  # results of a thread
    assert 2 ** (8 * found[11]) == pytest.approx((64 + 96) * 8 * 4)  # two tiles of 8 reduced elements
    assert 2 ** (8 * found[13]) == pytest.approx(768 / 8)


def test_a_reduction_across_threads():
    nest, points = nest_of("dense_small_batch.cuda", DENSE, configuration(tile_k=(-1, 64)))
    found = nest.state(points, has_bindings=True)[0, loopnest.NUM_FEATURES :]
    assert 2 ** (8 * found[1]) == pytest.approx(64) and 2 ** (8 * found[4]) == pytest.approx(128 * 2304, rel=1e-4)


def test_other_names_and_numbers():
    arguments = [
        ["TENSOR", [1, 64, 56, 56], "float32"], ["TENSOR", [128, 64, 3, 3], "float32"], [1, 1], [1, 1, 1, 1], [1, 1],
        "NCHW", "NCHW", "float32",
    ]  # fmt: skip
    trace = configuration(tile_ic=(4, 16), tile_oc=(8, 16), tile_ow=(7, 8), tile_oh=2, unroll_kw=True)
    nest, points = nest_of("conv2d_NCHWc.x86", arguments, trace)
    total = np.prod(nest.extents_of(nest.main.loops, points))
    assert total == 128 * 56 * 56 * 64 * 9
    values = dict(zip([loop.parts[0][1:] for loop in nest.main.loops], nest.extents_of(nest.main.loops, points)[0]))
    assert values[3, 1] == 2 and values[0, 1] == 16


@pytest.mark.parametrize(
    "trace",
    [
        configuration(tile_y=(-1, 4), tile_x=(-1, 8)),
        configuration(tile_y=("a", 4)),
        configuration(other=3),
        configuration(tile_y=(0, 4)),
        configuration(tile_y=()),
        configuration(auto_unroll_max_step=512, tile_k=(4, 2)),
    ],
)
def test_of_an_unknown_template_the_numbers_alone_are_the_loops(trace):
    nest, points = nest_of("my_template", ["a"], trace)
    assert np.isfinite(nest.state(points, has_bindings=True)).all()


def test_the_width_follows_from_the_targets_that_a_model_is_for():
    trace = configuration(tile_y=(-1, 2), tile_x=(-1, 4), tile_k=(-1, 8))
    graph = graph_of("dense_nopack.x86", DENSE)
    space, points = observed_space([trace])
    for kinds, has_bindings in ((("llvm",), False), (("cuda", "llvm"), True)):
        encoded = encode_space(space, graph, Vocabulary((), (), (), kinds))
        assert encoded.state(points).shape == (1, loopnest.state_width(has_bindings))
