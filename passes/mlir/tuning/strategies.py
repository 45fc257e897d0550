"""Which search a run uses, and who suggests beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, cast

from foretune.errors import ModelError, UnsupportedError
from foretune.passes.language.llm_client import LlmClient, LlmConfig
from foretune.passes.mlir.environment.session import MlirSession
from foretune.passes.mlir.grammar.templates import Template
from foretune.passes.mlir.tuning.measure import PreparedMlir
from foretune.passes.mlir.tuning.search import STRATEGIES, MlirSearch
from foretune.passes.mlir.tuning.strategist import MlirStrategist
from foretune.support.plugins import SEARCH_STRATEGIES, check_name, load_plugin

_PLUGINS = "mlir."  # how names of plug-ins for MLIR begin

_log = logging.getLogger("foretune")


@dataclass(frozen=True)
class MlirStrategyConfig:
    """How schedules are suggested.

    Attributes:
        search: `latent`, a key of `search.STRATEGIES`, or a plug-in; the latent model ranks the proposals of a language
            model in any case.
        seed: of all that is drawn.
        llm: the language model that suggests, too; None does without.
    """

    search: str = "genetic"
    seed: int = 0
    llm: LlmConfig | None = None

    def __post_init__(self) -> None:
        check_name("search", self.search, (*STRATEGIES, "latent"), SEARCH_STRATEGIES, _PLUGINS)
        if self.search == "latent":
            self._model  # noqa: B018 - missing weights are told at once

    def make(self, session: MlirSession, prepared: PreparedMlir, template: Template) -> MlirSearch:
        """The strategy for one program."""
        if self.search == "latent":
            search: MlirSearch = self._latent(session, prepared, template)
        else:
            found = STRATEGIES.get(self.search) or load_plugin(SEARCH_STRATEGIES, _PLUGINS + self.search, MlirSearch)
            strategy = cast("Callable[..., MlirSearch]", found)
            search = strategy(template, self.seed)
        if self.llm is None:
            return search
        judge = self._judge(session, prepared, template) if search.rank is None else None
        return MlirStrategist(
            template, session.describe(prepared.program.text)["ops"], search, LlmClient(self.llm), self.seed, judge
        )

    def _latent(self, session: MlirSession, prepared: PreparedMlir, template: Template) -> MlirSearch:
        from foretune.passes.mlir.tuning.ranking import MlirLatentSearch

        return MlirLatentSearch(self._model, session, prepared, template, self.seed)

    def _judge(self, session: MlirSession, prepared: PreparedMlir, template: Template) -> MlirSearch | None:
        """The latent model for the proposals alone; None where it does not know the program, which the log says."""
        try:
            return self._latent(session, prepared, template)
        except (UnsupportedError, ModelError) as error:
            _log.warning("the latent model ranks no proposals of the language model: %s", error)
            return None

    def report(self, strategy: MlirSearch | None) -> dict[str, Any]:
        """What a strategist did, under `strategist`; nothing of others."""
        if not isinstance(strategy, MlirStrategist):
            return {}
        usage = {"llm": asdict(strategy.client.usage)} if strategy.client is not None else {}
        return {"strategist": {**strategy.report.to_json(), **usage}}

    @cached_property
    def _model(self) -> Any:
        from foretune.costmodel.mlir.model import MlirCostModel

        return MlirCostModel.bundled()
