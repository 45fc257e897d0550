"""Plug-ins: classes of other installed packages, found by the entry points that they declare.

A package names its classes in its own `pyproject.toml`:

    [project.entry-points."foretune.cost_models"]
    neighbours = "my_package.neighbours:NeighboursModel"

    [project.entry-points."foretune.search_strategies"]
    "llvm.annealing" = "my_package.annealing:Annealing"

Names of Foretune's own come first, so that no package replaces them.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from foretune.errors import OptionError, UnsupportedError

COST_MODELS, SEARCH_STRATEGIES, DOMAINS = "foretune.cost_models", "foretune.search_strategies", "foretune.domains"
GROUPS = (COST_MODELS, SEARCH_STRATEGIES, DOMAINS)

Role = TypeVar("Role")


def plugin_names(group: str, prefix: str = "") -> tuple[str, ...]:
    """Names of the plug-ins of a group that are installed, in order.

    Args:
        group: one of `GROUPS`.
        prefix: only names that begin with it, and without it.
    """
    return tuple(
        sorted(
            {point.name.removeprefix(prefix) for point in entry_points(group=group) if point.name.startswith(prefix)}
        )
    )


def check_name(option: str, name: str, own: Iterable[str], group: str, prefix: str = "") -> None:
    """Checks an option that names one of Foretune's own or a plug-in.

    Args:
        option: what it is called.
        name: what it names.
        own: names of Foretune's; no plug-ins are looked for where it is one of them.
        group, prefix: of plug-ins, as in `plugin_names`.

    Raises:
        OptionError: there is none of that name.
    """
    known = [*own]
    if name not in known and name not in (known := [*known, *plugin_names(group, prefix)]):
        raise OptionError(f"{option} must be one of {sorted(known)}, but got {name!r}")


def load_plugin(group: str, name: str, role: type[Role]) -> type[Role]:
    """The class of a plug-in.

    Args:
        group: one of `GROUPS`.
        name: of its entry point, whole.
        role: what the class must be a subclass of.

    Raises:
        OptionError: no installed package has it, two have, or it is no such class.
        UnsupportedError: its package cannot be imported.
    """
    point = _only(group, name)
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        raise UnsupportedError(
            f"the plug-in {name!r} of {group} cannot be imported from {point.value}: {error}; mend or remove its"
            " package"
        ) from error
    if not (isinstance(found, type) and issubclass(found, role)):
        raise OptionError(
            f"the plug-in {name!r} of {group} must be a subclass of {role.__module__}.{role.__name__}, but"
            f" {point.value} is {found!r}"
        )
    return found


def _only(group: str, name: str) -> EntryPoint:
    points = {point.value: point for point in entry_points(group=group, name=name)}
    if not points:
        raise OptionError(
            f"no installed package has a plug-in {name!r} of {group}; there are {list(plugin_names(group))}"
        )
    if len(points) > 1:
        raise OptionError(
            f"several packages have a plug-in {name!r} of {group}: {sorted(points)}; keep one of them installed"
        )
    return next(iter(points.values()))
