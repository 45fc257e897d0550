"""Foretune's own loading of tensor intrinsics takes nothing away from TVM in the same process; each case is a fresh
one.
"""

import json
import subprocess
import sys

import pytest

TARGETS = {
    "x86": {"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2},
    "arm": {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "neoverse-n1", "num-cores": 4},
    "riscv": {"kind": "llvm", "mtriple": "riscv64-unknown-linux-gnu", "mcpu": "sifive-x280", "num-cores": 4},
    "cuda": {
        "kind": "cuda",
        "arch": "sm_80",
        "max_threads_per_block": 1024,
        "max_shared_memory_per_block": 49152,
        "thread_warp_size": 32,
    },
}
INTRINSICS = ["dot_16x4_vnni", "dot_4x4_i8i8s32_neon", "dp4a_s8s8s32", "wmma_load_16x16x16_f16_a_shared_dyn", "sdot4"]
PARTS = ["arm_cpu", "cuda", "hexagon", "metal", "riscv_cpu", "rocm", "x86"]

PRELUDE = f"""
import importlib, json, sys
from foretune.compiler.tir._tvm import intrinsics, meta_schedule as ms, tvm
from foretune.compiler.tir.space import ScheduleContext
from foretune.target import Target
from tvm import te
a, b, k = te.placeholder((64, 64), "int8"), te.placeholder((64, 64), "int8"), te.reduce_axis((0, 64))
mod = tvm.IRModule({{"main": te.create_prim_func([a, b, te.compute((64, 64), lambda i, j: te.sum(a[i, k].astype("int32") * b[j, k].astype("int32"), k))])}})
targets = {TARGETS!r}
out = {{"imported": [m for m in sys.modules if "tensor_intrin." in m]}}
def registered():
    return [name for name in {INTRINSICS!r} if tvm.s_tir.TensorIntrin.get(name, allow_missing=True) is not None]
"""  # noqa: E501


def run(body: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", f"{PRELUDE}{body}\nprint(json.dumps(out))"], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_load_by_target_and_leave_the_package_to_tvm():
    out = run(f"""
for name, target in targets.items():
    out[name] = len(ScheduleContext(mod, Target.from_dict(target)).design_traces())
out["left"] = [m for m in sys.modules if "tensor_intrin." in m or m.endswith(".tensor_intrin")]
import tvm.s_tir.tensor_intrin as package
import tvm.s_tir.tensor_intrin.x86 as x86
from tvm.s_tir.tensor_intrin.cuda import get_mma_intrin_group
out["file"] = package.__file__
out["same"] = x86 is package.x86
out["parts"] = [part for part in {PARTS!r} if importlib.import_module(f"tvm.s_tir.tensor_intrin.{{part}}").__file__.endswith(f"/{{part}}.py")]
out["registered"] = registered()
""")  # noqa: E501
    assert out["imported"] == out["left"] == []
    assert {name: out[name] for name in TARGETS} == {"x86": 3, "arm": 3, "riscv": 3, "cuda": 2}
    assert out["file"].endswith("/tensor_intrin/__init__.py")
    assert out["same"]
    assert out["parts"] == PARTS
    assert out["registered"] == INTRINSICS


def test_tvms_own_tuning_contexts_have_every_target():
    out = run("""
for name in ("x86", "arm", "cuda"):
    context = ms.TuneContext(mod, target=tvm.target.Target(targets[name]), space_generator="post-order-apply", num_threads=1)
    out[name] = len(context.generate_design_space())
ScheduleContext(mod, Target.from_dict(targets["arm"]))
out["registered"] = registered()
""")  # noqa: E501
    assert {name: out[name] for name in ("x86", "arm", "cuda")} == {"x86": 3, "arm": 3, "cuda": 2}
    assert out["registered"] == INTRINSICS


def test_two_threads_load_and_import_at_the_same_time():
    out = run("""
from concurrent.futures import ThreadPoolExecutor
jobs = [lambda kind=kind: intrinsics.load(kind, "x86_64") for kind in ("llvm", "cuda", "rocm", "hexagon")]
jobs.insert(2, lambda: importlib.import_module("tvm.s_tir.tensor_intrin"))
with ThreadPoolExecutor(5) as pool:
    [future.result() for future in [pool.submit(job) for job in jobs]]
out["registered"] = registered()
""")
    assert out["registered"] == INTRINSICS


@pytest.mark.parametrize(
    ("kind", "architecture", "parts"),
    [
        ("llvm", "x86_64", ("x86",)),
        ("llvm", "aarch64", ("dot_product_common", "arm_cpu")),
        ("opencl", "", ()),
        ("llvm", "sparc", None),
        ("trn", "", None),
    ],
)
def test_parts_of_a_target(kind: str, architecture: str, parts: tuple[str, ...] | None):
    from foretune.compiler.tir._tvm import intrinsics

    assert intrinsics.parts_of(kind, architecture) == parts
