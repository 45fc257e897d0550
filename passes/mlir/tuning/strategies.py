"""Which search a run uses, and who suggests beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from foretune.errors import OptionError
from foretune.passes.language.llm_client import LlmClient, LlmConfig
from foretune.passes.mlir.environment.session import MlirSession
from foretune.passes.mlir.grammar.templates import Template
from foretune.passes.mlir.tuning.measure import PreparedMlir
from foretune.passes.mlir.tuning.search import STRATEGIES, MlirSearch
from foretune.passes.mlir.tuning.strategist import MlirStrategist
from foretune.support.plugins import SEARCH_STRATEGIES, load_plugin, plugin_names

_PLUGINS = "mlir."  # how names of plug-ins for MLIR begin


@dataclass(frozen=True)
class MlirStrategyConfig:
    """How schedules are suggested.

    Attributes:
        search: `latent`, a key of `search.STRATEGIES`, or a plug-in.
        seed: of all that is drawn.
        llm: the language model that suggests, too; None does without.
    """

    search: str = "genetic"
    seed: int = 0
    llm: LlmConfig | None = None

    def __post_init__(self) -> None:
        known = [*STRATEGIES, "latent"]
        if self.search not in known and self.search not in (known := [*known, *plugin_names(SEARCH_STRATEGIES, _PLUGINS)]):
            raise OptionError(f"search must be one of {sorted(known)}, but got {self.search!r}")
        if self.search == "latent":
            self._model  # noqa: B018 - missing weights are told at once

    def make(self, session: MlirSession, prepared: PreparedMlir, template: Template) -> MlirSearch:
        """The strategy for one program."""
        if self.search == "latent":
            from foretune.passes.mlir.tuning.ranking import MlirLatentSearch

            search: MlirSearch = MlirLatentSearch(self._model, session, prepared, template, self.seed)
        else:
            strategy = STRATEGIES.get(self.search) or load_plugin(SEARCH_STRATEGIES, _PLUGINS + self.search, MlirSearch)
            search = strategy(template, self.seed)
        if self.llm is None:
            return search
        return MlirStrategist(template, session.describe(prepared.program.text)["ops"], search, LlmClient(self.llm), self.seed)

    def report(self, strategy: MlirSearch) -> dict[str, Any]:
        """What a strategist did, under `strategist`; nothing of others."""
        if not isinstance(strategy, MlirStrategist):
            return {}
        return {"strategist": {**strategy.report.to_json(), "llm": asdict(strategy.client.usage)}}

    @cached_property
    def _model(self) -> Any:
        from foretune.costmodel.mlir.model import MlirCostModel

        return MlirCostModel.bundled()
