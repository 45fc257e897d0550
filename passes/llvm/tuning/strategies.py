"""Which search a run uses, and who suggests beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from foretune.passes.language.llm_client import LlmClient, LlmConfig
from foretune.passes.llvm.measure import PassMeasurer, PreparedProgram
from foretune.passes.llvm.tuning.changes import Change
from foretune.passes.llvm.tuning.macros import applicable_macros
from foretune.passes.llvm.tuning.screening import Screening
from foretune.passes.llvm.tuning.search import STRATEGIES, SearchStrategy
from foretune.passes.llvm.tuning.strategist import Strategist
from foretune.passes.llvm.tuning.tuning import SCREENS
from foretune.support.plugins import SEARCH_STRATEGIES, check_name, load_plugin

_WORTH_SCREENING = 20  # measurements
_OPENING_SHARE, _LEAST_OPENINGS = 4, 2  # of so many measurements one is a macro at the beginning
_SLOW_SECS = 1.0  # of `-O3`; from there on what compiles quickly is measured first
_PLUGINS = "llvm."  # how names of plug-ins for pass sequences begin


@dataclass(frozen=True)
class StrategyConfig:
    """How sequences are suggested.

    Attributes:
        search: `latent`, a key of `search.STRATEGIES`, or a plug-in; the latent model ranks the proposals of a language
            model in any case.
        skills: whether the built-in skills suggest.
        llm: the language model that suggests; None does without.
        seed: of all that is drawn.
        screening: whether to compile the program with each step, too, so that the search keeps to those that change its
            code.
        experimental: whether steps that are off by default in LLVM may be used; see `tables`.
    """

    search: str = "latent"
    skills: bool = True
    llm: LlmConfig | None = None
    seed: int = 0
    screening: bool = True
    experimental: bool = False

    def __post_init__(self) -> None:
        check_name("search", self.search, (*STRATEGIES, "latent"), SEARCH_STRATEGIES, _PLUGINS)
        if self.search == "latent":
            self._model  # noqa: B018 - missing weights are told at once

    def make(
        self, prepared: PreparedProgram, measurer: PassMeasurer, budget: int = 50, store: Path | None = None
    ) -> SearchStrategy:
        """The strategy for one program and a number of measurements; so few that compiling would take longer are not
        worth a screen.

        Args:
            prepared: the program.
            measurer: compiles for the screen.
            budget: measurements.
            store: folder of records, which keeps the screen, too; None keeps nothing.
        """
        polly = measurer.has_polly
        if self.search == "latent":
            search: SearchStrategy = self._latent(prepared, polly)
        else:
            found = STRATEGIES.get(self.search) or load_plugin(
                SEARCH_STRATEGIES, _PLUGINS + self.search, SearchStrategy
            )
            made = cast("Callable[..., SearchStrategy]", found)
            search = made(self.seed, polly, experimental=self.experimental)
        macros = applicable_macros(prepared.features, polly, self.experimental)
        if prepared.baseline.secs > _SLOW_SECS:
            macros.sort(key=lambda macro: len(macro.sequence.passes))  # each pipeline takes its time once more
        search.openings = [macro.sequence for macro in macros[: max(_LEAST_OPENINGS, budget // _OPENING_SHARE)]]
        strategy = search
        if self.skills or self.llm is not None:
            client = LlmClient(self.llm) if self.llm is not None else None
            judge = self._latent(prepared, polly) if self.llm is not None and search.rank is None else None
            strategy = Strategist(
                prepared,
                search,
                client,
                self.seed,
                polly,
                8 if self.skills else 0,
                experimental=self.experimental,
                judge=judge,
            )
        if self.screening and budget >= _WORTH_SCREENING:
            strategy.follow(self._screening(prepared, measurer, search, store))
        return strategy

    def _latent(self, prepared: PreparedProgram, polly: bool) -> SearchStrategy:
        from foretune.passes.llvm.tuning.ranking import LatentSearch

        return LatentSearch(self._model, prepared, self.seed, polly, experimental=self.experimental)

    def _screening(
        self, prepared: PreparedProgram, measurer: PassMeasurer, search: SearchStrategy, store: Path | None
    ) -> Screening:
        compiler = measurer.compiler
        kept = (
            store / SCREENS / f"{prepared.program.hash}-{compiler.version}-{compiler.cpu}.json"
            if store is not None
            else None
        )
        baseline_secs = prepared.baseline.secs or None
        found = Screening(
            prepared.program,
            measurer,
            self.experimental,
            baseline_secs,
            lambda changes: _by_prior(changes, search),
            kept,
        )
        found.advance(0.0)
        return found

    def report(self, strategy: SearchStrategy | None) -> dict[str, Any]:
        """How far the screening came, under `screening`, and what a strategist did, under `strategist`."""
        screening = strategy.screening if strategy is not None else None
        told: dict[str, Any] = {"screening": screening.to_json()} if screening is not None else {}
        if not isinstance(strategy, Strategist):
            return told
        usage = {"llm": asdict(strategy.client.usage)} if strategy.client is not None else {}
        return {**told, "strategist": {**strategy.report.to_json(), **usage}}

    @cached_property
    def _model(self) -> Any:
        from foretune.costmodel.passes.model import PassCostModel

        return PassCostModel.bundled()


def _by_prior(changes: list[Change], search: SearchStrategy) -> list[Change]:
    """What the model expects most of comes first; as they stand, where there is no model."""
    if search.rank is None:
        return changes
    return [changes[i] for i in np.argsort(-search.rank([change.sequence for change in changes]), kind="stable")]
