"""Every error that Foretune raises on purpose.

A wrong use or configuration raises one of these. What goes wrong inside one candidate is not an
error but a status on its record (see `foretune.record`).
"""

from __future__ import annotations


class ForetuneError(Exception):
    """Base of all errors raised on purpose: the rule broken, the values got, the next step."""


class OptionError(ForetuneError, ValueError):
    """An option is unknown or has a value outside its domain."""


class TargetError(ForetuneError, ValueError):
    """A target description cannot be parsed or names hardware that the tool does not know."""


class IllegalActionError(ForetuneError, ValueError):
    """An action or trace is malformed, or cannot be applied to the program."""


class LeftGrammarError(IllegalActionError):
    """An action of an old record is no longer one: it was taken out of the grammar, for a reason that the message
    has.
    """


class DatabaseError(ForetuneError):
    """A database file cannot be opened, is corrupt, or has another schema version."""


class DataError(ForetuneError):
    """A data file is truncated, corrupt, of another version, or of an unknown format."""


class ModelError(ForetuneError):
    """A cost-model file is truncated, corrupt, of another schema, or does not fit the data."""


class UnsupportedError(ForetuneError, NotImplementedError):
    """Something asked for that is not built, or that the installed tools cannot do."""


class WorkerError(ForetuneError):
    """A worker process could not be started at all (not: a candidate that crashed one)."""
