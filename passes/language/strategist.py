"""A language model's proposals between the suggestions of another search, for candidates of any kind.

Many proposals are asked for and few are measured: where the search ranks, its model ranks the proposals, too, together
with the search's own candidates, before anything is measured.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from foretune.passes.language.asking import StrategistReport
from foretune.passes.language.llm_client import LlmClient
from foretune.passes.language.proposals import Proposals
from foretune.tuning.search import SearchStrategy

Candidate = TypeVar("Candidate", bound=Hashable)


class ProposingStrategy(SearchStrategy[Candidate]):
    """A search with somebody's proposals in between; a domain's strategist stands before it and asks.

    Attributes:
        client: of the language model; None does without.
        report: what came of it.
    """

    name = "strategist"
    client: LlmClient | None

    def attach(
        self, search: SearchStrategy[Candidate], judge: SearchStrategy[Candidate] | None, client: LlmClient | None
    ) -> None:
        """Says between whose suggestions the proposals come.

        Args:
            search: what suggests otherwise; it learns of everything.
            judge: a search whose model ranks the proposals, where the other one has none.
            client: of the language model.
        """
        self._search, self._judge, self.client = search, judge or search, client
        self._source: dict[Candidate, str] = {}  # who had the idea
        self.report = StrategistReport()
        self._proposals: Proposals[Candidate] = self.report.proposals

    @abstractmethod
    def _ask_if_due(self) -> None:
        """Adds proposals, where it is time to ask for some."""

    def _others(self, num: int, taken: Callable[[Candidate], bool]) -> Iterable[tuple[Candidate, str]]:
        """(candidate, who had the idea) of so many others at most, which come before the search's own."""
        return ()

    def suggest(self, num: int) -> list[Candidate]:
        """Some of the proposals, as far as there are any: the best-ranked ones; half, where nothing ranks them."""
        self._ask_if_due()
        self._proposals.drop(self.costs)
        found = dict.fromkeys(self._proposals.pick(num, self._judge.rank), "model")
        for candidate, source in self._others((num + 1) // 2 - len(found), found.__contains__):
            found.setdefault(candidate, source)
        self._search.ideas = self._proposals.waiting
        for candidate in self._search.next_batch(num - len(found)) if len(found) < num else []:
            found.setdefault(candidate, "model" if candidate in self._proposals.waiting else "search")
        self._proposals.drop(found)
        self._source.update(found)
        return list(found)

    def observe(self, costs: Iterable[tuple[Candidate, float]]) -> None:
        """Learns costs, and notes who had the idea; what gave known code was not measured."""
        costs = list(costs)
        super().observe(costs)
        self._search.observe(costs)
        if self._judge is not self._search:
            self._judge.observe(costs)
        for candidate, cost in costs:
            source, is_repeat = self._source.pop(candidate, "search"), candidate in self.repeats
            if not is_repeat:
                self.report.note(source, cost)
            self._proposals.note(candidate, cost, is_repeat)
