"""llvm-mca's cycles of the blocks that run most.

llvm-mca sees one block at a time, as a loop body that repeats. A program's cycles are the sum over blocks of runs x
steady cycles of the block (total cycles over iterations), its throughput the same with llvm-mca's block reciprocal
throughput, which knows resources but no dependences. Blocks are looked at from the most executed instructions down,
until 98 % of them or 16 blocks are covered; the rest is taken to cost as much an instruction as what was looked at.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foretune.costmodel.machine_code.assembly import Block
from foretune.errors import UnsupportedError

_COVERED, _MAX_BLOCKS = 0.98, 16
_MAX_BLOCK_INSTRUCTIONS = 3000
_ITERATIONS = 30
_TIMEOUT_SECS, _ALONE_SECS = 20.0, 6.0


@dataclass(frozen=True)
class HotBlock:
    """A block that llvm-mca shall look at.

    Attributes:
        text: its instructions, a line each.
        runs: in one run of the program.
        share: of the program's executed instructions.
    """

    text: str
    runs: float
    share: float


def hot_blocks(blocks: Sequence[Block], runs: np.ndarray) -> list[HotBlock]:
    """The blocks that llvm-mca shall see, see the module."""
    work = np.array([float(n) * len(b.instructions) for n, b in zip(runs, blocks)])
    chosen, covered = [], 0.0
    for i in np.argsort(-work, kind="stable")[:_MAX_BLOCKS]:
        if work[i] == 0 or covered >= _COVERED * work.sum():
            break
        if len(blocks[i].instructions) <= _MAX_BLOCK_INSTRUCTIONS:
            chosen.append(HotBlock(blocks[i].text, float(runs[i]), float(work[i] / work.sum())))
            covered += work[i]
    return chosen


class Mca:
    """llvm-mca for blocks of one processor, with what it said remembered.

    Args:
        tool: path of llvm-mca.
        cpu: the processor whose scheduling model is used.
    """

    def __init__(self, tool: Path, cpu: str) -> None:
        self._tool, self._cpu = tool, cpu
        self._known: dict[str, tuple[float, float] | None] = {}
        self._waiting: subprocess.Popen | None = None

    def __len__(self) -> int:
        """Blocks that are known."""
        return len(self._known)

    def prepare(self) -> None:
        """Starts llvm-mca for the next look, so that its start, nearly all of its time, is over by then."""
        if self._waiting is None or self._waiting.poll() is not None:
            self._waiting = self._start()

    def close(self) -> None:
        """Ends what `prepare` started."""
        if self._waiting is not None:
            self._waiting.kill()
            self._waiting.communicate()
            self._waiting = None

    def _start(self) -> subprocess.Popen:
        command = [
            str(self._tool),
            f"-mcpu={self._cpu}",
            f"-iterations={_ITERATIONS}",
            "-json",
            "-instruction-info=0",
            "-resource-pressure=0",
            "-skip-unsupported-instructions=any",
        ]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def look_at(self, blocks: Iterable[HotBlock]) -> None:
        """Runs llvm-mca once over all blocks that it has not seen; those that it does not come to an end with stay
        unknown.

        Raises:
            UnsupportedError: it does not know the processor, or its report cannot be read.
        """
        new = list({b.text: None for b in blocks if b.text not in self._known})
        if not new:
            return
        for text in [
            text for text in new if not _without_targets(text)
        ]:  # calls and returns alone, of which it says nothing
            num_lines = 1.0 + text.count("\n")
            self._known[text] = num_lines, num_lines
            new.remove(text)
        if not new:
            return
        try:
            self._ask(new, _TIMEOUT_SECS + len(new))
        except subprocess.TimeoutExpired:  # some blocks make it loop for ever; which ones it does not say
            for text in new:
                try:
                    self._ask([text], _ALONE_SECS)
                except subprocess.TimeoutExpired:
                    self._known[text] = None

    def _ask(self, new: list[str], limit_secs: float) -> None:
        """One llvm-mca for some blocks.

        Raises:
            subprocess.TimeoutExpired: it does not end in time.
            UnsupportedError: see `look_at`.
        """
        parts = [f"# LLVM-MCA-BEGIN b{i}\n{_without_targets(text)}\n# LLVM-MCA-END\n" for i, text in enumerate(new)]
        tool, self._waiting, said = (self._waiting or self._start()), None, ""
        try:
            out, said = tool.communicate("".join(parts), limit_secs)
            regions = json.loads(out)["CodeRegions"]
        except subprocess.TimeoutExpired:
            tool.kill()
            tool.communicate()
            raise
        except (json.JSONDecodeError, KeyError, OSError) as error:
            raise UnsupportedError(
                f"llvm-mca cannot look at code for {self._cpu}: {(said.strip().splitlines() or [str(error)])[0][:200]}"
            ) from error
        self._known.update(dict.fromkeys(new))
        for region in regions:
            view = region.get("SummaryView")
            if view:
                self._known[new[int(region["Name"][1:])]] = (
                    view["TotalCycles"] / view["Iterations"],
                    view["BlockRThroughput"],
                )

    def labels(self, blocks: Sequence[HotBlock]) -> dict[str, float]:
        """Cycles and throughput of a program whose hot blocks were looked at; NaN if none could be."""
        cycles = throughput = covered = 0.0
        for block in blocks:
            said = self._known.get(block.text)
            if said is not None:
                cycles += block.runs * said[0]
                throughput += block.runs * said[1]
                covered += block.share
        if not covered:
            return {"mca_cycles": float("nan"), "mca_throughput": float("nan")}
        return {"mca_cycles": cycles / covered, "mca_throughput": throughput / covered}


def _without_targets(text: str) -> str:
    """A block without instructions that leave it, whose targets llvm-mca would not find and whose cost it cannot know;
    jumps of loops stay.
    """
    return "\n".join(line for line in text.splitlines() if not line.startswith(("call", "ret")))
