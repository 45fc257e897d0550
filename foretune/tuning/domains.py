"""Domains of other packages: found by name, and tuned with the searches of every domain.

The domains of Foretune itself, sequences of LLVM passes and schedules of MLIR, have options of their own, and so verbs
of their own: `foretune passes` and `foretune mlir`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from foretune.errors import OptionError
from foretune.support.plugins import DOMAINS, SEARCH_STRATEGIES, load_plugin, plugin_names
from foretune.tuning.callback import Callback
from foretune.tuning.domain import Domain
from foretune.tuning.loop import TuneConfig, TuneResult, tune
from foretune.tuning.search import STRATEGIES, SearchStrategy


def domain_names() -> tuple[str, ...]:
    """Names of the domains that installed packages have, in order."""
    return plugin_names(DOMAINS)


def find_domain(name: str) -> type[Domain[Any]]:
    """The domain of a name.

    Raises:
        OptionError: no installed package has it, or it is no domain.
        UnsupportedError: its package cannot be imported.
    """
    return load_plugin(DOMAINS, name, Domain)


def search_names(domain: str) -> tuple[str, ...]:
    """Names of the searches that a domain can be tuned with: those of every domain, and plug-ins for it."""
    return (*STRATEGIES, *plugin_names(SEARCH_STRATEGIES, f"{domain}."))


def tune_program(
    name: str,
    program: str,
    search: str = "genetic",
    seed: int = 0,
    config: TuneConfig = TuneConfig(),
    report: Callable[[TuneResult[Any]], None] = lambda result: None,
    callbacks: Sequence[Callback] = (),
) -> TuneResult[Any]:
    """Tunes a program of another package's domain.

    Args:
        name: of the domain.
        program: as the domain names it.
        search: of `search_names`.
        seed: of the search.
        config: budget.
        report: called after each trial.
        callbacks: follow the run.

    Raises:
        OptionError: there is no such domain, search or program.
        DataError: the program cannot be tuned.
    """
    domain = find_domain(name).open(program)
    if search not in (known := search_names(name)):
        raise OptionError(f"search must be one of {sorted(known)}, but got {search!r}")
    make = STRATEGIES.get(search) or load_plugin(SEARCH_STRATEGIES, f"{name}.{search}", SearchStrategy)
    return tune_domain(domain, program, make, seed, config, report, callbacks)


def tune_domain(
    domain: Domain[Any],
    program: str,
    search: Callable[..., SearchStrategy[Any]],
    seed: int = 0,
    config: TuneConfig = TuneConfig(),
    report: Callable[[TuneResult[Any]], None] = lambda result: None,
    callbacks: Sequence[Callback] = (),
) -> TuneResult[Any]:
    """Tunes a domain's program with a search of every domain.

    Args:
        domain: it has `moves`.
        program: its name.
        search: makes the strategy of the moves.
        seed, config, report, callbacks: as in `tune_program`.
    """
    result: TuneResult[Any] = TuneResult(program, "", None)

    def make_strategy() -> SearchStrategy[Any]:
        moves = domain.moves(np.random.default_rng(seed))
        result.best = moves.base
        return search(moves)

    return tune(domain, make_strategy, config, result, report, callbacks)
