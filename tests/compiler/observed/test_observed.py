"""PyTorch's own tools show what Foretune does: traces, logs, compile times, the profiler."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from foretune.compiler.observed import phases, ranges
from foretune.compiler.observed.graph_trace import ARTIFACT, trace_graph
from foretune.compiler.pytorch import region


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def traced():
    """What goes into PyTorch's structured trace."""
    log, kept = logging.getLogger("torch.__trace"), Kept()
    log.addHandler(kept)
    yield kept.records
    log.removeHandler(kept)


@pytest.fixture
def compiled(tmp_path):
    torch.compiler.reset()
    torch.manual_seed(0)
    options = {"trials": 0, "looks": 0, "guard": False, "progress": False, "database": str(tmp_path / "records.db")}
    model = nn.Sequential(nn.Linear(24, 24), nn.GELU(), nn.Linear(24, 24)).eval()
    return torch.compile(model, backend="foretune", options=options)


def test_a_graph_is_told_to_trace_log_times_and_profiler(compiled, traced, caplog, monkeypatch):
    torch._dynamo.utils.compilation_time_metrics.clear()
    x = torch.randn(8, 24)
    with torch.no_grad(), caplog.at_level(logging.DEBUG, "foretune"):
        compiled(x)
    [record] = [r for r in traced if r.metadata.get("artifact", {}).get("name") == ARTIFACT]
    assert record.metadata["artifact"]["encoding"] == "json" and record.metadata["frame_id"] is not None
    told = json.loads(record.payload)
    assert told["choice"]["name"] == "tvm" and len(told["regions"]) == told["num_regions"] == 1
    assert set(told["regions"][0]["kernels"]) == {kernel["workload"] for kernel in told["kernels"]}
    assert "gelu.default" in told["regions"][0]["operators"]
    assert any("GetSBlock" in line for kernel in told["kernels"] for line in kernel["schedule"])

    lines = [r.getMessage() for r in caplog.records if r.name == "foretune"]
    assert any("run by tvm, compiled in" in line for line in lines) and any(
        "left with" in line or "TVM:" in line for line in lines
    )
    assert not [r for r in caplog.records if "not in stack" in r.getMessage()]

    names, _ = torch._dynamo.utils.compile_times(repr="csv", aggregate=True)
    assert {f"foretune.{name}" for name in ("import_regions", "tune", "build_regions")} <= set(names)

    with torch.no_grad(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        compiled(x)
    seen = {event.key: event.count for event in profile.key_averages()}
    [whole] = [name for name in seen if name.startswith("foretune::region (")]
    assert "gelu.default" in whole and [name for name in seen if name.startswith("foretune::kernel (")]

    monkeypatch.setattr(region, "profiled", None)  # nothing asks for a range where no profiler looks on
    with torch.no_grad():
        compiled(x)


def test_kernels_give_the_same_under_a_profiler(compiled):
    x = torch.randn(8, 24)
    with torch.no_grad():
        expected = compiled(x)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
            torch.testing.assert_close(compiled(x), expected, rtol=0, atol=0)


def test_a_trace_is_strict_json(traced):
    trace_graph({"seconds": float("inf"), "names": ("<b>", '"', "\n")})
    assert json.loads(traced[-1].payload) == {"seconds": "inf", "names": ["<b>", '"', "\n"]}


def test_phases_are_known():
    with pytest.raises(ValueError, match=r"a phase must be one of .* but got 'lunch'"):
        phases.phase("lunch")


def test_names_of_ranges_are_short():
    name = ranges.range_name("region", ["add.Tensor"] * 100)
    assert len(name) == 160 and name.endswith("…)")
    assert ranges.range_name("kernel", ["fused_add"]) == "foretune::kernel (fused_add)"


SAY = "import torch; from foretune.compiler.observed.logs import LOG, register; register(); {}LOG.debug('told')"
BY_CALL = "import logging; torch._logging.set_logs(modules={'foretune': logging.DEBUG}); "


@pytest.mark.parametrize(
    ("setting", "code", "is_told"),
    [("+foretune", SAY.format(""), True), ("", SAY.format(BY_CALL), True), ("", SAY.format(""), False)],
)
def test_logs_are_turned_on_as_those_of_pytorch(setting, code, is_told):
    environment = {**os.environ, "TORCH_LOGS": setting}
    if not setting:
        del environment["TORCH_LOGS"]
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert ("told" in done.stderr and "V" in done.stderr[:1]) == is_told, done.stderr
