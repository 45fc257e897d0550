"""The worker process that counts: `python -m foretune.passes.mlir.costs.worker`.

It is MLIR's worker with one request more. Modules are compiled and run in forked children; llvm-mca is asked outside of
them, once for a batch, and the next one is started as soon as one has answered.
"""

from __future__ import annotations

from foretune.costmodel.machine_code.mca import HotBlock, Mca
from foretune.errors import UnsupportedError
from foretune.passes.llvm.toolchain import find_toolchain
from foretune.passes.mlir.costs.messages import Count, CountedAll, CountedOne, CountOne
from foretune.passes.mlir.environment.messages import StartBuilder
from foretune.passes.mlir.environment.worker import Builder
from foretune.workers.descendants import become_subreaper
from foretune.workers.serve import Handlers, Service, serve

_MOST_KNOWN = 20_000  # blocks that are remembered


class CountingBuilder(Builder):
    """Also answers `Count`; see `Builder`."""

    def __init__(self, hello: StartBuilder) -> None:
        super().__init__(hello)
        from foretune.passes.mlir.costs import counting

        self._counting = counting
        self._mca: dict[str, Mca] = {}
        counting.warm_up(self.llvm, self._context)

    @property
    def handlers(self) -> Handlers:
        """What answers each kind of request."""
        return {**super().handlers, Count: self._count}

    def _count(self, request: Count) -> CountedAll:
        try:
            mca = self._mca_of(request.cpu)
        except UnsupportedError as error:
            return CountedAll(mca_error=str(error))
        mca.prepare()
        replies = [self.in_own_child(self._count_one, request.one(source)) for source in request.sources]
        hot = [[HotBlock(**block) for block in (reply.counted or {}).get("hot", ())] for reply in replies]
        try:
            mca.look_at(block for blocks in hot for block in blocks)
        except UnsupportedError as error:
            return CountedAll(replies=tuple(replies), mca_error=str(error))
        for reply, blocks in zip(replies, hot):
            if blocks and reply.counted:
                known = {name: value for name, value in mca.labels(blocks).items() if value == value}
                reply.counted["labels"] |= known
        mca.prepare()
        return CountedAll(replies=tuple(replies))

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

    def _count_one(self, request: CountOne) -> CountedOne:
        module = self._parse(request)
        options, _ = self._modules.transform(module, request.actions)
        counted = self._counting.count(
            self.llvm, module, options, request.cpu, request.run_ms, request.entry, list(request.values)
        )
        return CountedOne(counted=counted.to_json())


def start(hello: StartBuilder) -> Service:
    """The process that works on modules and counts."""
    become_subreaper()
    return CountingBuilder(hello).service


if __name__ == "__main__":
    serve({StartBuilder: start})
