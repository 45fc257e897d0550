"""Target: where code runs, as the tool writes it, plus what was measured of the hardware."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import re
import time
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from foretune.errors import IllegalActionError, TargetError
from foretune.support.files import write_atomically
from foretune.trace import Value, freeze


@dataclass(frozen=True)
class HardwareFeatures:
    """Measured or read off the machine; zero means unknown or not applicable.

    Attributes:
        cores: processors that this process may use.
        vector_bits: width of the widest vector register.
        l1_bytes, l2_bytes, l3_bytes: data cache of one core (L3: of the socket).
        peak_gflops: highest float32 rate seen in a large matrix product, all cores.
        memory_gb_per_sec: rate of a copy much larger than a core's own caches, bytes read plus written.
        sms, shared_bytes, registers: of a GPU.
    """

    cores: int = 0
    vector_bits: int = 0
    l1_bytes: int = 0
    l2_bytes: int = 0
    l3_bytes: int = 0
    peak_gflops: float = 0.0
    memory_gb_per_sec: float = 0.0
    sms: int = 0
    shared_bytes: int = 0
    registers: int = 0

    def to_json(self) -> dict[str, Any]:
        """The features as JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> HardwareFeatures:
        """Reads what `to_json` wrote; unknown keys are refused."""
        unknown = set(data) - {f.name for f in fields(cls)}
        if unknown:
            raise TargetError(f"unknown hardware features {sorted(unknown)}; known are {[f.name for f in fields(cls)]}")
        return cls(**data)


@dataclass(frozen=True)
class Target:
    """A compilation target.

    Attributes:
        kind: code generator (`llvm`, `cuda`, ...).
        attrs: its options, sorted by name.
        hardware: features of the device; not part of the identity.
    """

    kind: str
    attrs: tuple[tuple[str, Value], ...] = ()
    hardware: HardwareFeatures = HardwareFeatures()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z_][\w.-]*", self.kind):
            raise TargetError(f"a target kind must be a word such as 'llvm', but got {self.kind!r}")

    @classmethod
    def parse(cls, text: str, hardware: HardwareFeatures = HardwareFeatures()) -> Target:
        """Parses a target from a tool's own text.

        Args:
            text: TVM's JSON form `{"kind": "llvm", "mcpu": ...}`, the command-line form of older
                versions `llvm -keys=cpu -mcpu=core-avx2`, or a bare kind.
            hardware: features of the device, if known.

        Raises:
            TargetError: the text has neither form.
        """
        text = text.strip()
        if text.startswith("{"):
            try:
                data = json.loads(text)
            except json.JSONDecodeError as error:
                raise TargetError(f"target is not valid JSON ({error}): {text[:120]}") from error
            return cls.from_dict(data, hardware)
        words = text.split()
        if not words:
            raise TargetError("a target must not be empty")
        attrs: dict[str, Any] = {}
        for word in words[1:]:
            match = re.fullmatch(r"-{1,2}([\w.-]+?)(?:=(.*))?", word)
            if not match:
                raise TargetError(f"expected -option=value in target {text[:120]!r}, but got {word!r}")
            name, value = match.group(1), match.group(2)
            attrs[name] = True if value is None else int(value) if re.fullmatch(r"-?\d+", value) else value
        return cls(words[0], _sorted_attrs(words[0], attrs), hardware)

    @classmethod
    def from_dict(cls, data: dict[str, Any], hardware: HardwareFeatures = HardwareFeatures()) -> Target:
        """Builds a target from a dict with the key `kind`."""
        if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
            raise TargetError(f"a target must have a 'kind', but got {str(data)[:120]}")
        return cls(data["kind"], _sorted_attrs(data["kind"], {k: v for k, v in data.items() if k != "kind"}), hardware)

    def to_dict(self) -> dict[str, Any]:
        """The target as the dict that TVM takes."""
        return {"kind": self.kind, **{k: _plain_attr(v) for k, v in self.attrs}}

    @property
    def key(self) -> str:
        """A hash of kind and options, 16 hex digits."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """The target with its hardware features as JSON data."""
        return {"target": self.to_dict(), "hardware": self.hardware.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Target:
        """Reads what `to_json` wrote."""
        return cls.from_dict(data["target"], HardwareFeatures.from_json(data["hardware"]))

    def __str__(self) -> str:
        return json.dumps(self.to_dict())


# what TVM writes out although it follows from the kind; a target is the same with and without it
_IMPLIED = {"llvm": {"keys": ("cpu",), "tag": "", "link-params": 0}, "cuda": {"keys": ("cuda", "gpu"), "tag": ""}}


def _sorted_attrs(kind: str, attrs: dict[str, Any]) -> tuple[tuple[str, Value], ...]:
    frozen: dict[str, Value] = {}
    for name, value in attrs.items():
        if isinstance(value, dict):  # a host: kept as text
            value = json.dumps(value, sort_keys=True)
        elif name == "keys" and isinstance(value, str):
            value = value.split(",")
        try:
            frozen[str(name)] = freeze(value)
        except IllegalActionError as error:
            raise TargetError(
                f"target option {name!r} has a value that is not plain data: {str(value)[:60]}"
            ) from error
    implied = _IMPLIED.get(kind, {"tag": ""})
    return tuple(sorted((name, value) for name, value in frozen.items() if implied.get(name, frozen) != value))


def _plain_attr(value: Value) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return json.loads(value) if isinstance(value, str) and value.startswith('{"') else value


_RATES = ("peak_gflops", "memory_gb_per_sec")
_MOST_SLOWDOWN = 100  # of a machine by its load; what was more before is no measurement
_ENOUGH = 20  # processes that measured a machine; one of them found it quiet


def num_usable_cores() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def measure_host() -> HardwareFeatures:
    """Reads and measures this machine's CPU; about half a second, once a process, until a few processes have.

    The best rates seen are kept in the user's cache folder: on a busy machine they come out at a third, and a cost
    model that is told another machine chooses otherwise.
    """
    path, host = Path.home() / ".cache" / "foretune" / "host.json", _read_host()
    return known_well(host, path) or at_its_best(_measured(host), path)


def known_well(host: HardwareFeatures, path: Path) -> HardwareFeatures | None:
    """The features with the best rates, if enough processes have measured this machine.

    Args:
        host: without rates.
        path: see `at_its_best`.
    """
    kept, times = _kept_in(path)
    is_same = kept is not None and times >= _ENOUGH and replace(kept, **dict.fromkeys(_RATES, 0.0)) == host
    return kept if is_same and all(_is_rate(getattr(kept, name)) for name in _RATES) else None


def at_its_best(measured: HardwareFeatures, path: Path) -> HardwareFeatures:
    """The measured features with the best rates of this machine so far; these change only where they grow by a
    twentieth.

    Args:
        measured: just now.
        path: file with those so far; written anew where they change, and left alone where that is not possible.
    """
    kept, times = _kept_in(path)
    rates = {name: getattr(measured, name) for name in _RATES}
    is_same = kept is not None and replace(kept, **rates) == measured  # the same processors of the same machine
    if is_same:
        rates = {name: _grown(getattr(kept, name), rate) for name, rate in rates.items()}
    best = replace(measured, **rates)
    times = times + 1 if is_same else 1
    if best != kept or times <= _ENOUGH:
        text = json.dumps({"cpu": _cpu_name(), "hardware": best.to_json(), "times": times})
        with contextlib.suppress(OSError):
            write_atomically(path, lambda temporary: temporary.write_text(text))
    return best


def _kept_in(path: Path) -> tuple[HardwareFeatures | None, int]:
    """(features with the best rates so far, how often they were measured)."""
    try:
        known = json.loads(path.read_text())
        kept = HardwareFeatures.from_json(known["hardware"]) if known["cpu"] == _cpu_name() else None
        return kept, int(known.get("times", 0))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, TargetError):
        return None, 0  # it is written anew


def _grown(kept: float, measured: float) -> float:
    is_plausible = _is_rate(kept) and kept <= _MOST_SLOWDOWN * measured
    return measured if not is_plausible or measured > 1.05 * kept else kept


def _is_rate(value: object) -> bool:
    return isinstance(value, float | int) and 0 < value < math.inf


def _cpu_name() -> str:
    try:
        return re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[0]
    except (OSError, IndexError):
        return platform.processor()


def _read_host() -> HardwareFeatures:
    """What the system says of this machine."""
    return HardwareFeatures(
        cores=num_usable_cores(),
        vector_bits=vector_bits(),
        l1_bytes=_cache_bytes(1),
        l2_bytes=_cache_bytes(2),
        l3_bytes=_cache_bytes(3),
    )


def _measured(host: HardwareFeatures) -> HardwareFeatures:
    """The features with rates as they are now."""
    import numpy as np

    def best(function, repeats: int) -> float:
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
        return min(times)

    n = 768
    a, b = np.ones((n, n), np.float32), np.ones((n, n), np.float32)
    matmul_secs = best(lambda: a @ b, 6)
    source = np.ones(1 << 24, np.float32)
    copy = np.empty_like(source)
    copy_secs = best(lambda: np.copyto(copy, source), 4)
    return replace(
        host,
        peak_gflops=round(2 * n**3 / matmul_secs / 1e9, 1),
        memory_gb_per_sec=round(2 * source.nbytes / copy_secs / 1e9, 1),
    )


def vector_bits() -> int:
    """Width of this machine's widest vector register; 0 if it cannot be told."""
    flags = _cpu_flags()
    return (512 if "avx512f" in flags else 256 if "avx" in flags else 128) if flags else 0


def code_vector_bits() -> int:
    """Width of the vectors that LLVM makes of loops for this machine: of Intel's registers of 512 bits it uses half."""
    bits = vector_bits()
    with contextlib.suppress(OSError):
        if bits == 512 and "GenuineIntel" in Path("/proc/cpuinfo").read_text():
            return 256
    return bits


def dot_product_instructions() -> tuple[str, ...]:
    """Instructions of this machine that sum products of narrow numbers into lanes of 32 bits, on its widest vector
    registers; none if it cannot be told.
    """
    flags, bits = _cpu_flags(), vector_bits()
    needed = {
        "vpdpbusd": {512: {"avx512_vnni"}, 256: {"avx_vnni"}},
        "vpmaddwd": {512: {"avx512bw"}, 256: {"avx2"}, 128: {"sse2"}},
        "vdpbf16ps": {512: {"avx512_bf16"}},
    }
    return tuple(name for name, by_width in needed.items() if bits in by_width and by_width[bits] <= flags)


def _cpu_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0]
    except (OSError, IndexError):
        return frozenset()
    return frozenset(re.findall(r"\w+", text))


def _cache_bytes(level: int) -> int:
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            if int((folder / "level").read_text()) != level or (folder / "type").read_text().strip() == "Instruction":
                continue
            size = (folder / "size").read_text().strip()
            return int(size.rstrip("KMG")) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(size[-1], 1)
        except (OSError, ValueError):
            continue
    return 0
