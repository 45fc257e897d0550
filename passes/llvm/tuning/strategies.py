"""Which search a run uses, and who suggests beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from foretune.errors import OptionError
from foretune.passes.language.llm_client import LlmClient, LlmConfig
from foretune.passes.llvm.measure import PassMeasurer, PreparedProgram
from foretune.passes.llvm.tuning.screening import screen
from foretune.passes.llvm.tuning.search import STRATEGIES, SearchStrategy
from foretune.passes.llvm.tuning.strategist import Strategist
from foretune.support.plugins import SEARCH_STRATEGIES, load_plugin, plugin_names

_WORTH_SCREENING = 20  # measurements
_PLUGINS = "llvm."  # how names of plug-ins for pass sequences begin


@dataclass(frozen=True)
class StrategyConfig:
    """How sequences are suggested.

    Attributes:
        search: `latent`, a key of `search.STRATEGIES`, or a plug-in.
        skills: whether the built-in skills suggest.
        llm: the language model that suggests; None does without.
        seed: of all that is drawn.
        screening: whether to compile the program with each step first, so that the search keeps to those that change its code.
    """

    search: str = "latent"
    skills: bool = True
    llm: LlmConfig | None = None
    seed: int = 0
    screening: bool = True

    def __post_init__(self) -> None:
        known = [*STRATEGIES, "latent"]
        if self.search not in known and self.search not in (known := [*known, *plugin_names(SEARCH_STRATEGIES, _PLUGINS)]):
            raise OptionError(f"search must be one of {sorted(known)}, but got {self.search!r}")
        if self.search == "latent":
            self._model  # noqa: B018 - missing weights are told at once

    def make(self, prepared: PreparedProgram, measurer: PassMeasurer, budget: int = 50) -> SearchStrategy:
        """The strategy for one program and a number of measurements; so few that compiling would take longer are not worth a screen."""
        polly = measurer.has_polly
        found = screen(prepared.program, measurer) if self.screening and budget >= _WORTH_SCREENING else None
        if self.search == "latent":
            from foretune.passes.llvm.tuning.ranking import LatentSearch

            search: SearchStrategy = LatentSearch(self._model, prepared, self.seed, polly, found)
        else:
            strategy = STRATEGIES.get(self.search) or load_plugin(SEARCH_STRATEGIES, _PLUGINS + self.search, SearchStrategy)
            search = strategy(self.seed, polly, screen=found)
        if not self.skills and self.llm is None:
            return search
        client = LlmClient(self.llm) if self.llm is not None else None
        return Strategist(prepared, search, client, self.seed, polly, 8 if self.skills else 0, found)

    def report(self, strategy: SearchStrategy) -> dict[str, Any]:
        """What a strategist did, under `strategist`; nothing of others."""
        if not isinstance(strategy, Strategist):
            return {}
        usage = {"llm": asdict(strategy.client.usage)} if strategy.client is not None else {}
        return {"strategist": {**strategy.report.to_json(), **usage}}

    @cached_property
    def _model(self) -> Any:
        from foretune.costmodel.passes.model import PassCostModel

        return PassCostModel.bundled()
