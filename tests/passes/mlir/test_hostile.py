"""Malformed and mutated modules: each gives a clear error, or is taken; the calling process lives."""

from __future__ import annotations

import random

import pytest

from foretune.errors import ForetuneError
from foretune.passes.mlir.environment.session import MlirSession, SessionSettings
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.tuning.frontend import MlirProgram, load_program
from foretune.record import Status
from tests.passes.mlir import sources

_TOKENS = (
    "module",
    "func.func",
    "tensor<?x",
    "f32",
    "i1",
    "!llvm.ptr",
    "%zero",
    "{",
    "}",
    "(",
    ")",
    "->",
    "linalg.matmul",
    "scf.for",
    "0x7FC00000",
    "99999999999999999999",
    "-1",
    "\0",
    "é",
    '"',
    "affine_map<(d0) -> (d0)>",
    "loc(unknown)",
    "unknown.op",
    "#map",
    "dense<1>",
    "vector<4294967295xf32>",
    "memref<-1xf32>",
    "index",
)

HAND_MADE = {
    "empty": "",
    "no text": "\x00\xff\x01garbage",
    "half a module": sources.CONV[: len(sources.CONV) // 2],
    "unknown dialect": 'func.func @main() { "nowhere.op"() : () -> ()\n return }',
    "unknown operation": "func.func @main() { linalg.no_such_thing\n return }",
    "wrong type": sources.matmul(8, 8, 8).replace("tensor<8x8xf32>)", "tensor<8x9xf32>)", 1),
    "an element type that is none": "func.func @main(%m: memref<4xquux>) { return }",
    "huge extents": "func.func @main(%m: memref<9223372036854775807x9223372036854775807xf64>) { return }",
    "an extent that is no number": "func.func @main(%m: memref<99999999999999999999999xf32>) { return }",
    "a huge constant": (
        "func.func @main() -> tensor<3xi8> { %c = arith.constant dense<["
        + ",".join(["123456789" * 50] * 3)
        + "]> : tensor<3xi8>\n return %c : tensor<3xi8> }"
    ),
    "deep modules": "module {" * 50_000,
    "deep attributes": "module attributes {a = " + "[" * 100_000 + "]" * 100_000 + "} {}",
    "deep types": "func.func @main(%m: " + "tuple<" * 50_000 + "f32" + ">" * 50_000 + ") { return }",
    "deep loops": (
        "func.func @main() { %c = arith.constant 1 : index\n"
        + "".join(f"scf.for %i{n} = %c to %c step %c {{" for n in range(800))
        + "}" * 800
        + "return }"
    ),
    "a deep expression": (
        "func.func @main() { %0 = arith.constant 1 : i32\n"
        + "\n".join(f"%{i + 1} = arith.addi %{i}, %{i} : i32" for i in range(1_000))
        + "\nreturn }"
    ),
    "two functions of one name": sources.SCF + sources.SCF,
    "no terminator": "func.func @main() { %c = arith.constant 1 : index }",
    "a use before its definition": (
        "func.func @main() { %x = arith.addi %y, %y : i32\n %y = arith.constant 1 : i32\n return }"
    ),
    "endless recursion": "func.func @main() { call @main() : () -> ()\n return }",
    "a step of zero": sources.SCF.replace("%c1 = arith.constant 1", "%c1 = arith.constant 0"),
    "a vector that is too large": (
        "func.func @main(%m: memref<4xf32>) { %v = arith.constant dense<1.0> : vector<268435456xf32>\n %s ="
        " vector.reduction <add>, %v : vector<268435456xf32> into f32\n return }"
    ),
    "a resource that is missing": (
        "func.func @main() -> tensor<4xf32> { %c = arith.constant dense_resource<nothing> : tensor<4xf32>\n return %c :"
        " tensor<4xf32> }"
    ),
    "a resource that is damaged": 'module {}\n{-# dialect_resources: { builtin: { blob: "0x0400ZZ" } } #-}',
    "a device's operations": (
        "gpu.module @kernels { gpu.func @k() kernel { gpu.return } }\nfunc.func @main() { return }"
    ),
    "a pass in the place of a module": "builtin.module(canonicalize)",
    "LLVM IR": "define void @main() { ret void }",
}


@pytest.fixture(scope="module")
def hasty(session):
    """A session that gives up soon: some of these modules keep MLIR or LLVM busy for hours."""
    with MlirSession(SessionSettings(build_timeout_secs=5, run_timeout_secs=5, memory_bytes=4 << 30)) as made:
        yield made


def mutated(seed: int) -> str:
    """A known program with a few random changes."""
    rng = random.Random(seed)
    text = list(sources.ALL.values())[seed % len(sources.ALL)]
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(max(len(text), 1))
        end = min(len(text), at + rng.randint(1, 30))
        kind = rng.randrange(10)
        if kind == 0:
            text = text[:at]
        elif kind == 1:
            text = text[:at] + text[end:]
        elif kind == 2:
            text = text[:at] + rng.choice(_TOKENS) + text[at:]
        elif kind == 3:
            text = text[:end] + text[at:end] * rng.randint(1, 40) + text[end:]
        elif kind == 4:
            text = text[:at] + chr(rng.randrange(1, 0x250)) + text[at + 1 :]
        else:
            numbers = [i for i, c in enumerate(text) if c.isdigit()]
            at = rng.choice(numbers) if numbers else 0
            text = (
                text[:at]
                + rng.choice(("0", "-5", "1", "2", "3", "7", "1000000007", "18446744073709551616"))
                + text[at + 1 :]
            )
    return text


def survives(session, source):
    """What became of a module: the error's text, or the status of a run of it under a schedule."""
    try:
        program = MlirProgram.of(session, "hostile", source)
    except ForetuneError as error:
        assert str(error).strip() and "Traceback" not in str(error) and len(str(error)) < 2000
        return str(error)
    build = session.build(program.text, program.signature.name, Schedule.of("canonicalize"))
    assert build.status is Status.OK or build.error
    run = session.run(build)
    assert run.status is Status.OK or run.error
    return run.status


@pytest.mark.parametrize("name", HAND_MADE)
def test_malformed_modules(hasty, name):
    survives(hasty, HAND_MADE[name])


def test_messages(session):
    assert "unregistered dialect" in survives(session, HAND_MADE["unknown dialect"])
    assert "by its depth, its size or a fault of theirs: MLIR was killed by signal 11" in survives(
        session, HAND_MADE["deep modules"]
    )
    assert "no public function with a body" in survives(session, HAND_MADE["empty"])


def test_mutated_modules(hasty):
    ends = [survives(hasty, mutated(seed)) for seed in range(30)]
    assert sum(isinstance(end, str) for end in ends) > 10 and Status.OK in ends


@pytest.mark.slow
def test_a_thousand_mutated_modules(hasty):
    ends = [survives(hasty, mutated(seed)) for seed in range(1000)]
    assert sum(isinstance(end, str) for end in ends) > 500 and Status.OK in ends


def test_files_that_are_none(session, tmp_path):
    with pytest.raises(ForetuneError, match="there is no file"):
        load_program(session, tmp_path / "none.mlir")
    (tmp_path / "bytes.mlir").write_bytes(b"\xff\xfe\x00ML\xefR")
    with pytest.raises(ForetuneError, match="is no text of MLIR"):
        load_program(session, tmp_path / "bytes.mlir")
    (tmp_path / "bad.mlir").write_text("func.func @main(")
    with pytest.raises(ForetuneError, match=r"bad\.mlir: the module cannot be read"):
        load_program(session, tmp_path / "bad.mlir")
