"""The worker process that counts: `python -m foretune.passes.mlir.costs.worker`.

It is MLIR's worker with one request more. Modules are compiled and run in forked children; llvm-mca is asked outside of
them, once for a batch, and the next one is started as soon as one has answered.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from foretune.errors import UnsupportedError
from foretune.passes.llvm.toolchain import find_toolchain
from foretune.passes.mlir.costs.labels import HotBlock, Mca
from foretune.passes.mlir.environment import worker

_MOST_KNOWN = 20_000  # blocks that are remembered


class CountingBuilder(worker.Builder):
    """Also answers `count`; see `worker.Builder`."""

    def __init__(self, library: Path, linker: str) -> None:
        super().__init__(library, linker)
        from foretune.passes.mlir.costs import counting

        self._counting = counting
        self._mca: dict[str, Mca] = {}
        counting.warm_up(self.llvm, self._context)

    def serve(
        self, request: dict[str, Any], in_own_child: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """`count`: a reply for each of the `sources`; anything else as before."""
        if request["op"] != "count":
            return super().serve(request, in_own_child)
        cpu = request["cpu"]
        try:
            mca = self._mca_of(cpu)
        except UnsupportedError as error:
            return {"status": "ok", "replies": [], "mca_error": str(error)}
        mca.prepare()
        replies = [in_own_child({**request, "source": source}) for source in request["sources"]]
        hot = [[HotBlock(**block) for block in reply.get("counted", {}).get("hot", ())] for reply in replies]
        try:
            mca.look_at(block for blocks in hot for block in blocks)
        except UnsupportedError as error:
            return {"status": "ok", "replies": replies, "mca_error": str(error)}
        for reply, blocks in zip(replies, hot):
            if blocks:
                reply["counted"]["labels"] |= {
                    name: value for name, value in mca.labels(blocks).items() if value == value
                }
        mca.prepare()
        return {"status": "ok", "replies": replies}

    def _mca_of(self, cpu: str) -> Mca:
        if cpu not in self._mca or len(self._mca[cpu]) > _MOST_KNOWN:
            for known in self._mca.values():
                known.close()
            made = Mca(find_toolchain().tool("llvm-mca"), cpu or self.llvm.cpu)
            if cpu:
                made.look_at(
                    [HotBlock("nop", 1.0, 1.0)]
                )  # says whether it knows the processor, before code is generated for it
            self._mca[cpu] = made
        return self._mca[cpu]

    def _count(self, request: dict[str, Any]) -> dict[str, Any]:
        """`counted`, see `counting.Counted`, of the module after `actions`, for `cpu`."""
        module = self._parse(request)
        options, _ = self._modules.transform(module, request["actions"])
        return {
            "counted": self._counting.count(
                self.llvm, module, options, request["cpu"], request["run_ms"], request["entry"], request["values"]
            ).to_json()
        }


if __name__ == "__main__":
    worker.main(CountingBuilder)
