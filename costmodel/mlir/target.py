"""Processors as the MLIR cost model sees them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from foretune.errors import OptionError
from foretune.target import HardwareFeatures, code_vector_bits, measure_host


@dataclass(frozen=True)
class MlirTarget:
    """A processor that code is generated for.

    Attributes:
        cpu: as LLVM names it; empty for this machine's own.
        vector_bits: width of the registers that code may use.
        vector_registers: how many there are.
        fma: whether products and sums are fused.
        l1_bytes, l2_bytes, l3_bytes: caches of the machine.
        similar: whether the training data has no such processor, and one with as wide vectors stands for it.
        code_bits: width of the vectors that LLVM makes of loops for it; 0 for as wide as the registers.
    """

    cpu: str = ""
    vector_bits: int = 512
    vector_registers: int = 32
    fma: bool = True
    l1_bytes: int = 0
    l2_bytes: int = 0
    l3_bytes: int = 0
    similar: bool = False
    code_bits: int = 0

    @property
    def features(self) -> np.ndarray:
        """What the model is given; [NUM_TARGET_FEATURES] float32."""
        numbers = (self.vector_bits, self.vector_registers, 1 + self.fma, self.l1_bytes, self.l2_bytes, self.l3_bytes)
        return np.array([math.log2(1 + n) for n in numbers], np.float32)

    @property
    def code_features(self) -> np.ndarray:
        """As `features`, with what tells code for Intel's and AMD's processors apart; [NUM_TARGET_FEATURES + 1]
        float32.
        """
        return np.append(self.features, np.float32(math.log2(1 + (self.code_bits or self.vector_bits))))

    @property
    def has_times(self) -> bool:
        """Whether the training data has times of it, not counts alone."""
        return not self.similar and self.cpu not in _COUNTED

    def to_json(self) -> dict[str, Any]:
        """The target as JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> MlirTarget:
        """Reads what `to_json` wrote."""
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})


NUM_TARGET_FEATURES = 6
_KNOWN = {
    "": None,
    "haswell": (256, 16, True, 256),
    "x86-64": (128, 16, False, 128),
    "rocketlake": (512, 32, True, 256),
    "znver4": (512, 32, True, 512),
    "znver5": (512, 32, True, 512),
    "skylake-avx512": (256, 32, True, 256),
}
"""Processors of the training data: vector bits, vector registers, fused multiply-add, bits of the vectors that LLVM
makes of loops.
"""
_COUNTED = frozenset(("znver4", "znver5", "skylake-avx512"))
"""Of them, those whose code was counted and not timed."""


_INTEL_CODE_BITS = 256  # at most; wider registers are for those that ask
TRAINED_ON = "an Intel Xeon with AVX-512 that LLVM calls rocketlake"
_WIDE = (
    "znver4",
    "znver5",
    "znver6",
    "skylake-avx512",
    "skx",
    "cascadelake",
    "cooperlake",
    "cannonlake",
    "icelake",
    "tigerlake",
    "rocketlake",
    "sapphirerapids",
    "emeraldrapids",
    "graniterapids",
    "diamondrapids",
    "x86-64-v4",
    "knl",
    "knm",
)
_NARROW = (
    "x86-64-v2",
    "x86-64",
    "core2",
    "penryn",
    "nehalem",
    "westmere",
    "corei7",
    "bonnell",
    "silvermont",
    "goldmont",
    "tremont",
    "amdfam10",
    "barcelona",
    "btver1",
    "k8",
    "opteron",
    "atom",
    "nocona",
    "slm",
)


def similar_target(cpu: str = "", hardware: HardwareFeatures | None = None) -> MlirTarget:
    """Any processor that LLVM may know, with vectors as wide as its own; those of the training data as they are.

    Args:
        cpu: a name; empty for the machine's own. What LLVM does not know is refused where code is generated.
        hardware: of the machine; measured by default.
    """
    if cpu in _KNOWN:
        return known_target(cpu, hardware)
    bits = 512 if cpu.startswith(_WIDE) else 128 if cpu in _NARROW else 256
    like = known_target({512: "", 256: "haswell", 128: "x86-64"}[bits], hardware)
    return replace(
        like,
        cpu=cpu,
        vector_bits=bits,
        vector_registers=32 if bits == 512 else 16,
        fma=bits >= 256,
        similar=True,
        code_bits=bits if cpu.startswith("znver") else min(bits, _INTEL_CODE_BITS),
    )


def known_target(cpu: str = "", hardware: HardwareFeatures | None = None) -> MlirTarget:
    """A processor of the training data, in a machine.

    Args:
        cpu: a name; empty for the machine's own.
        hardware: of the machine; measured by default.

    Raises:
        OptionError: the model was not trained for it.
    """
    if cpu not in _KNOWN:
        raise OptionError(
            f"the MLIR cost model knows the processors {[name or 'native' for name in _KNOWN]}, but got {cpu!r}"
        )
    is_this = hardware is None or _is_this_machine(hardware)
    hardware = hardware or measure_host()
    bits = hardware.vector_bits
    bits, registers, fma, code_bits = _KNOWN[cpu] or (
        bits,
        32 if bits == 512 else 16,
        bits >= 256,
        code_vector_bits() if is_this else min(bits, _INTEL_CODE_BITS),  # the bundled samples are an Intel machine's
    )
    return MlirTarget(
        cpu, bits, registers, fma, hardware.l1_bytes, hardware.l2_bytes, hardware.l3_bytes, code_bits=code_bits
    )


def _is_this_machine(hardware: HardwareFeatures) -> bool:
    """Whether features that were stored with samples, which have no rates, are this machine's."""
    this = measure_host()
    return all(
        getattr(hardware, name) == getattr(this, name) for name in ("vector_bits", "l1_bytes", "l2_bytes", "l3_bytes")
    )
