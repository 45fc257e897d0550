"""Reading in constant memory, and importing logs: `python benchmarks/data.py [--records 1000000]`.

Writes synthetic records, reads 1 % and all of them, each in a process of its own, and compares the peaks of
memory. Then imports logs of each format, repeated with other decisions, on one core.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from results import write_results

from foretune.datasets.importers import import_logs
from foretune.datasets.records import schema
from foretune.datasets.records.store import BUNDLED, RecordStore

LOGS = Path(__file__).parents[1] / "tests" / "datasets" / "logs"
_CHUNK = 1 << 14


def write_synthetic(folder: Path, count: int) -> None:
    """Records of the bundled data over and over, each with a time and a key of its own."""
    rng = random.Random(0)
    with RecordStore(BUNDLED) as bundled, RecordStore(folder, writable=True) as store:
        entries = bundled.entries()
        rows = [row for row, _ in zip(bundled.rows(), range(2000))]
        from foretune.target import Target

        target = Target.from_json(json.loads(rows[0]["target"]))
        store.append_workloads(entry.task(target) for entry in entries.values())
        for start in range(0, count, _CHUNK):
            chunk = [
                {
                    **rows[(start + i) % len(rows)],
                    "trace_key": f"{start + i:016x}",
                    "status": "ok",
                    "error": "",
                    "run_secs": [rng.uniform(1e-6, 1e-3)],
                }
                for i in range(min(_CHUNK, count - start))
            ]
            store.append_table(pa.Table.from_pylist(chunk, schema.RECORDS))


def read(folder: Path, count: int) -> dict[str, float]:
    """Reads trajectories in this process."""
    start = time.perf_counter()
    total = 0
    for _ in RecordStore(folder).trajectories():
        total += 1
        if total == count:
            break
    secs = time.perf_counter() - start
    return {
        "records": total,
        "secs": secs,
        "per_sec": total / secs,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def read_apart(folder: Path, count: int) -> dict[str, float]:
    """Reads trajectories in a process of its own, for its peak of memory."""
    command = [sys.executable, __file__, "--read", str(folder), "--records", str(count)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def logs(folder: Path, count: int) -> Iterator[tuple[str, list[Path]]]:
    """A log of each format with `count` lines."""
    rng = random.Random(0)
    factors = (1, 2, 4, 8, 16)

    def vary(line: str) -> str:
        data = json.loads(line)
        if isinstance(data, list):
            for decision in data[1][0][1]:
                if isinstance(decision[1], list):
                    decision[1] = [rng.choice(factors) for _ in decision[1]]
        elif "input" in data:
            for knob in data["config"]["entity"]:
                if knob[1] == "sp":
                    knob[2] = [-1, *(rng.choice(factors) for _ in knob[2][1:])]
        else:
            for step in data["i"][1][1]:
                if step[0] == "SP":
                    step[4] = [rng.choice(factors) for _ in step[4]]
        return json.dumps(data, separators=(",", ":"))

    for name, source in (
        ("ansor", "ansor.json"),
        ("autotvm", "autotvm.log"),
        ("metaschedule", "tvm019_database_tuning_record.json.gz"),
    ):
        data = (LOGS / source).read_bytes()
        lines = (gzip.decompress(data) if source.endswith(".gz") else data).decode().splitlines()
        path = folder / f"{name}_tuning_record.json"
        with open(path, "w") as file:
            for i in range(count):
                file.write(vary(lines[i % len(lines)]) + "\n")
        yield name, [path]


def main() -> None:
    """Parses the options and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--read", type=Path, help="only read this folder, and print figures")
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.read, options.records)))
        return
    rows, figures = [], {}
    folder = Path(tempfile.mkdtemp(prefix="foretune-data-"))
    try:
        write_synthetic(folder / "synthetic", options.records)
        for name, count in (("1_percent", options.records // 100), ("all", options.records)):
            result = read_apart(folder / "synthetic", count)
            rows.append({"what": f"read {name}", **result})
            figures[f"peak_mb_{name}"] = round(result["peak_mb"], 1)
        figures["num_records"] = int(rows[-1]["records"])
        figures["trajectories_per_sec"] = round(rows[-1]["per_sec"])
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        for name, paths in logs(folder, options.lines):
            with RecordStore(folder / f"from_{name}", writable=True) as store:
                cpu = time.process_time()
                report = import_logs(
                    paths,
                    store,
                    name,
                    workloads=LOGS / "tvm019_database_workload.json.gz" if name == "metaschedule" else None,
                )
                cpu = time.process_time() - cpu
            rows.append(
                {
                    "what": f"import {name}",
                    "lines": report.num_lines,
                    "secs": report.secs,
                    "cpu_secs": cpu,
                    "bad": report.num_bad,
                }
            )
            figures[f"{name}_lines_per_sec"] = round(report.lines_per_sec)
            figures[f"{name}_lines_per_cpu_sec"] = round(report.num_lines / cpu)
        write_results("data", figures, rows)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
