"""How long products take in PyTorch's libraries."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import torch

from foretune.compiler.contest.race import mean_secs
from foretune.compiler.libraries.products import LibraryProduct, Product, Watch, ways_of

_ROUNDS, _BURST_SECS = 5, 2e-3
_HOPELESS = 2.0  # times as slow as the fastest: no more of it


class LibraryTimes:
    """Seconds of products, each measured once.

    Args:
        make_watch: makes what says whether packed weights are out of date, which is part of a call.
    """

    def __init__(self, make_watch: Callable[[], Watch]) -> None:
        self._make_watch = make_watch
        self._known: dict[str, dict[str, float]] = {}

    def of(self, product: Product, values: Sequence[torch.Tensor], packs: bool) -> Mapping[str, float]:
        """Way -> median seconds over rounds in turns.

        Args:
            product: what is computed.
            values: tensors of the sizes and strides; their numbers do not matter.
            packs: whether the second of the two is a weight, and may be packed.
        """
        key = f"{product.words(values)} {[v.stride() for v in values]} {product.rest}"
        ways = ways_of(product, values, packs)
        if not {*ways} <= self._known.get(key, {}).keys():  # with packed weights there are more
            self._known[key] = self._measure(product, values, ways)
        return {way: self._known[key][way] for way in ways}

    def _measure(self, product: Product, values: Sequence[torch.Tensor], ways: Sequence[str]) -> dict[str, float]:
        numbers = torch.Generator().manual_seed(0)  # the program's own stay as they are
        with torch.no_grad():
            inputs = [torch.empty_strided(v.shape, v.stride()).normal_(generator=numbers) for v in values]
            runs = {way: LibraryProduct(product, way, self._make_watch()) for way in ways}
            times: dict[str, list[float]] = {way: [] for way in runs}
            for _ in range(_ROUNDS if len(runs) > 1 else 1):
                fastest = min((min(burst) for burst in times.values() if burst), default=math.inf)
                for way, run in runs.items():
                    if not times[way] or min(times[way]) <= _HOPELESS * fastest:
                        times[way].append(mean_secs(run, inputs, False, _BURST_SECS))
        return {way: statistics.median(burst) for way, burst in times.items()}
