"""Threads, blocks and shared memory of GPU schedules are those that TVM makes; logs of a GPU train a model of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from foretune.cli.app import app
from foretune.compiler.tir import traces
from foretune.compiler.tir._tvm import tvm
from foretune.costmodel.latent.encoding import observed_space
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.schedules import loopnest
from foretune.costmodel.schedules.template_walk import loop_nest
from tests.programs import matmul_module


def gpu_schedule(i_parts: tuple[int, ...], j_parts: tuple[int, ...], k_parts: tuple[int, ...]) -> tvm.s_tir.Schedule:
    """A product in tiles: blocks, virtual threads, threads, and both inputs in shared memory for each step of k."""
    schedule = tvm.s_tir.Schedule(matmul_module(128))
    block = schedule.get_sblock("C")
    i, j, k = schedule.get_loops(block)
    i0, i1, i2, i3 = schedule.split(i, [None, *i_parts])
    j0, j1, j2, j3 = schedule.split(j, [None, *j_parts])
    k0, k1 = schedule.split(k, [None, *k_parts])
    schedule.reorder(i0, j0, i1, j1, i2, j2, k0, k1, i3, j3)
    for pair, axis in (((i0, j0), "blockIdx.x"), ((i1, j1), "vthread.x"), ((i2, j2), "threadIdx.x")):
        schedule.bind(schedule.fuse(*pair), axis)
    for number in (0, 1):
        copy = schedule.cache_read(block, number, "shared")
        schedule.compute_at(copy, k0)
    return schedule


def state_of(schedule: tvm.s_tir.Schedule, matmul_graph) -> np.ndarray:
    """The part of the symbolic state that is a GPU's."""
    space, points = observed_space([traces.from_tvm(schedule.trace)])
    return loop_nest(space, matmul_graph).state(points, has_bindings=True)[0, loopnest.NUM_FEATURES :]


def shared_bytes(schedule: tvm.s_tir.Schedule) -> float:
    """What TVM's own schedule keeps in shared memory, by the regions that its copies write for one block."""
    total = 0.0
    for name in ("A_shared", "B_shared"):
        block = schedule.get_sblock(name)
        loops = schedule.get_loops(block)
        total += 4 * np.prod([int(schedule.get(loop).extent) for loop in loops[-2:]])
    return total


@pytest.fixture(scope="module")
def graph():
    from foretune.compiler.tir.target import detect_target
    from foretune.compiler.tir.workload import task_from_module

    return task_from_module(matmul_module(128), detect_target(), "matmul", "dense").workload.graph


@pytest.mark.parametrize("parts", [((2, 8, 2), (1, 16, 4), (16,)), ((1, 4, 8), (2, 8, 1), (4,))])
def test_as_tvm_makes_them(graph, parts):
    schedule = gpu_schedule(*parts)
    found = state_of(schedule, graph)
    (_, it, _), (_, jt, _) = parts[0], parts[1]
    assert 2 ** (8 * found[1]) == pytest.approx(it * jt)
    assert 2 ** (4 * found[6]) == pytest.approx(parts[0][0] * parts[1][0])
    assert 2 ** (8 * found[4]) == pytest.approx(128 * 128 / np.prod(parts[0]) / np.prod(parts[1]))
    assert 2 ** (8 * found[11]) == pytest.approx(shared_bytes(schedule), rel=1e-4)
    assert 2 ** (8 * found[13]) == pytest.approx(128 / parts[2][0])


def test_a_schedule_for_a_cpu_has_none(graph):
    schedule = tvm.s_tir.Schedule(matmul_module(128))
    schedule.split(schedule.get_loops(schedule.get_sblock("C"))[0], [4, None])
    assert not state_of(schedule, graph).any()


TARGET = "cuda -keys=cuda,gpu -max_num_threads=1024 -thread_warp_size=32"


def log_lines():
    """Made-up times: 256 threads with tiles of 4 by 4 are fast, too much shared memory is slow."""
    rng = np.random.default_rng(0)
    for m, n in [(m, n) for m in (128, 256, 512) for n in (256, 512, 1024)]:
        for _ in range(24):
            x = [int(2**e) for e in (rng.integers(0, 2), rng.integers(0, 5), rng.integers(0, 4))]
            y = [int(2**e) for e in (rng.integers(0, 2), rng.integers(0, 6), rng.integers(0, 4))]
            k = int(2 ** rng.integers(1, 6))
            threads, work = x[1] * y[1], x[0] * x[2] * y[0] * y[2]
            shared = (np.prod(x) + np.prod(y)) * k * 4
            secs = m * n * 1e-9 * (1 + abs(np.log2(threads / 256)) + 0.5 * abs(np.log2(work / 16)) + shared / 49152)
            arguments = [["TENSOR", [m, 512], "float32"], ["TENSOR", [n, 512], "float32"], None, "float32"]
            entity = [["tile_x", "sp", [-1, *x]], ["tile_y", "sp", [-1, *y]], ["tile_k", "sp", [-1, k, 1]]]
            yield {
                "input": [TARGET, "dense_large_batch.cuda", arguments, {}],
                "config": {"index": 1, "code_hash": None, "entity": entity},
                "result": [[float(secs)], 0, 1.0, 1.7e9 + rng.random()],
                "version": 0.2,
                "tvm_version": "0.8.dev0",
            }


def test_a_log_of_a_gpu_trains_a_model_of_a_gpu(tmp_path: Path):
    (tmp_path / "log.json").write_text("".join(json.dumps(line) + "\n" for line in log_lines()))
    data, weights = str(tmp_path / "data"), str(tmp_path / "gpu.safetensors")
    for words in (
        ("import", str(tmp_path / "log.json"), "--out", data),
        ("train", "--data", data, "--out", weights, "--epochs", "2"),
    ):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    words = ("evaluate", "--data", data, "--models", "latent,random", "--weights", f"latent={weights}", "--json")
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)["models"]
    assert figures["latent"]["pairwise"] > 0.8 > figures["random"]["pairwise"]
    model = LatentCostModel.load(Path(weights))
    assert model.network.vocabulary.target_kinds == ("cuda",) and model.network.vocabulary.has_bindings
    assert model.encoder.state_width(model.network.vocabulary) == loopnest.state_width(True)
    assert model.encoder.state_width(replace(model.network.vocabulary, target_kinds=("llvm",))) == loopnest.NUM_FEATURES
