"""Words that a user chooses from a list."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from foretune.errors import OptionError


def each_once(words: Iterable[str], known: Collection[str], what: str) -> tuple[str, ...]:
    """The words, each once.

    Args:
        words: of a user.
        known: that they may be.
        what: they are, for the message.

    Raises:
        OptionError: a word is not known.
    """
    found = tuple(dict.fromkeys(words))
    for word in found:
        if word not in known:
            raise OptionError(f"{what} must be one of {list(known)}, but got {word!r}")
    return found
