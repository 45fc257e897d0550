"""Logs of AutoTVM and Ansor, from import to figures: the latent model trains on them and ranks workloads that it has
not seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from foretune.cli.app import app

TARGET = "llvm -keys=cpu -mcpu=core-avx2"
SIZES = [(m, n) for m in (64, 128, 256) for n in (64, 128, 256)]
RECORDS = 24
RUNNER = CliRunner()


def secs(size: tuple[int, int], rows: int, columns: int, unroll: int) -> float:
    """A made-up run time: wide tiles of a few rows are fast, and unrolling helps."""
    return (
        size[0] * size[1] * 1e-8 * (1 + abs(np.log2(columns / 16)) + 0.3 * abs(np.log2(rows / 4)) + 0.2 * (unroll == 0))
    )


def choices() -> Iterator[tuple[tuple[int, int], int, int, int]]:
    rng = np.random.default_rng(0)
    for size in SIZES:
        for _ in range(RECORDS):
            yield size, int(2 ** rng.integers(0, 6)), int(2 ** rng.integers(0, 6)), int(rng.choice([0, 16, 64]))


def autotvm_lines() -> Iterator[dict]:
    for size, rows, columns, unroll in choices():
        entity = [
            ["tile_y", "sp", [-1, rows]],
            ["tile_x", "sp", [-1, columns]],
            ["ord", "re", [0, 1, 2, 3, 4]],
            ["u", "ot", unroll],
        ]
        yield {
            "input": [TARGET, "tutorial/matmul", [*size, 128, "float32"], {}],
            "config": {"index": 1, "code_hash": None, "entity": entity},
            "result": [[secs(size, rows, columns, unroll)], 0, 1.0, 1795287625.0],
            "version": 0.2,
            "tvm_version": "0.19.0",
        }


def ansor_lines() -> Iterator[dict]:
    for size, rows, columns, unroll in choices():
        steps = [
            ["SP", 2, 0, size[0], [1, 1, rows], 1],
            ["SP", 2, 4, size[1], [1, 1, columns], 1],
            ["SP", 2, 8, 128, [4], 1],
            ["RE", 2, [0, 4, 1, 5, 8, 2, 6, 9, 3, 7]],
            ["FU", 2, [0, 1, 2, 3]],
            ["AN", 2, 0, 3],
            ["PR", 2, 0, f"auto_unroll_max_step${unroll}"],
        ]
        task = [f'["mm", {size[0]}, {size[1]}, 128]', TARGET, [1, 64, 64, 0, 0, 0, 0, 0], "", 1, []]
        yield {"i": [task, [[], steps]], "r": [[secs(size, rows, columns, unroll)], 0, 1.0, 1795287403], "v": "v0.6"}


def foretune(*arguments: object) -> str:
    result = RUNNER.invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(("name", "lines"), [("autotvm.log", autotvm_lines), ("ansor.json", ansor_lines)])
def test_the_latent_model_learns_from_logs(tmp_path: Path, name: str, lines):
    (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines()))
    data, weights = tmp_path / "data", tmp_path / "latent.safetensors"
    foretune("import", tmp_path / name, "--out", data)
    foretune("train", "--data", data, "--out", weights, "--epochs", 8)
    figures = json.loads(foretune("evaluate", "--data", data, "--models", "latent,random,lightgbm_actions", "--json"))[
        "models"
    ]
    assert figures["latent"]["pairwise"] > 0.75 > figures["random"]["pairwise"]
