"""Objects of TVM's as Python's own; TVM itself is not imported, since this serves its releases 0.19 and 0.27."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from foretune.target import HardwareFeatures, measure_host


def plain(value: Any) -> Any:
    """Boxed constants and containers as numbers, text, lists and dictionaries."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "items"):
        return {str(k): plain(v) for k, v in value.items()}
    return plain(value.value) if hasattr(value, "value") else [plain(v) for v in value]


def host_with(num_cores: int) -> HardwareFeatures:
    """This machine's features if only some of its cores are used."""
    host = measure_host()
    return replace(host, cores=num_cores, peak_gflops=round(host.peak_gflops * min(1.0, num_cores / host.cores), 1))
