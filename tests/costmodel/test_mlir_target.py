"""What the models are told of a processor."""

from __future__ import annotations

import numpy as np

from foretune import HardwareFeatures
from foretune.costmodel.mlir.correction import Columns, gather
from foretune.costmodel.mlir.encoding import EncodedProgram
from foretune.costmodel.mlir.network import LABELS
from foretune.costmodel.mlir.target import known_target, similar_target
from foretune.target import code_vector_bits, vector_bits


def test_code_uses_half_of_intels_widest_registers():
    made = {cpu: known_target(cpu) for cpu in ("rocketlake", "znver5", "skylake-avx512", "haswell", "x86-64")}
    assert {cpu: target.code_bits for cpu, target in made.items()} == {
        "rocketlake": 256,
        "znver5": 512,
        "skylake-avx512": 256,
        "haswell": 256,
        "x86-64": 128,
    }
    assert (similar_target("znver6").code_bits, similar_target("sapphirerapids").code_bits) == (512, 256)
    assert known_target().code_bits == code_vector_bits() in (vector_bits(), vector_bits() // 2)
    assert known_target("", HardwareFeatures(vector_bits=512, l1_bytes=1)).code_bits == 256  # of the bundled samples


def test_the_correction_tells_them_apart():
    intel, amd = known_target("rocketlake"), known_target("znver5")
    np.testing.assert_array_equal(intel.features, amd.features)
    program = EncodedProgram(np.ones((1, 2), np.float32), np.zeros(1, np.int64), np.zeros(1, np.int64))
    rows = gather([program, program], [intel, amd], np.zeros((2, len(LABELS))), Columns(0, 1))
    assert (rows[0] != rows[1]).sum() == 1
