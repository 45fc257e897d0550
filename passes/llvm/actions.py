"""What can be done to an LLVM module: the closed grammar of passes, whole pipelines and flags.

A `Pass` is one element of `opt -passes=`, a `Flag` one of LLVM's own command-line flags. Both are frozen values that
print as LLVM reads them, and both can be parsed back. What is not in the tables of `tables.py` is no action, whoever
proposes it.

No action changes what a program computes, to the last bit, but `fast-math`, which needs a tolerance: a forced vector
width lets LLVM reorder floating-point sums, unless `-hints-allow-reordering=false` stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Union, cast

from foretune.errors import IllegalActionError, LeftGrammarError
from foretune.passes.llvm.pipelines import o3_with
from foretune.passes.llvm.tables import (
    CGSCC,
    FLAGS,
    FUNCTION,
    HINT,
    INTENTS,
    LEFT_FLAGS,
    LEFT_PASSES,
    LOOP,
    LOOP_MSSA,
    MODULE,
    O3_WITH,
    ORDERED,
    PASSES,
    REORDERING_HINTS,
    FlagKind,
    PassKind,
    Setting,
)
from foretune.trace import Action, Trace


@dataclass(frozen=True)
class Pass:
    """A transform pass, as `opt -passes=` reads it.

    Attributes:
        name: a key of `PASSES`.
        options: (option, its value), by name.
    """

    name: str
    options: tuple[tuple[str, Setting], ...] = ()

    def __post_init__(self) -> None:
        kind = PASSES.get(self.name) if isinstance(self.name, str) else None
        if kind is None:
            raise _no_pass(self.name)
        object.__setattr__(self, "options", tuple(sorted(self.options)))
        names = [name for name, _ in self.options]
        if len(set(names)) < len(names):
            raise IllegalActionError(f"pass {self.name} has an option twice: {names}")
        for name, value in self.options:
            if name in kind.switches:
                fits = isinstance(value, bool)
            elif name in dict(kind.numbers):
                fits = type(value) is int and 0 <= value <= max(kind.numbers[name])
            elif name in dict(kind.places):
                fits = value in kind.places[name]
            else:
                fits = name in dict(kind.words) and value in kind.words[name]
            if not fits:
                raise IllegalActionError(
                    f"pass {self.name} takes {_describe(kind)}, but got {_shown(name)}={_shown(value)}"
                )

    @property
    def kind(self) -> PassKind:
        """What LLVM knows of it."""
        return PASSES[self.name]

    def __str__(self) -> str:
        words = [_option_text(self.kind, name, value) for name, value in self.options]
        return f"{self.name}<{';'.join(words)}>" if words else self.name


@dataclass(frozen=True)
class Flag:
    """One of LLVM's command-line flags; it holds for the whole run.

    Attributes:
        name: a key of `FLAGS`.
        value: one of its kind's values.
    """

    name: str
    value: Setting

    def __post_init__(self) -> None:
        kind = FLAGS.get(self.name) if isinstance(self.name, str) else None
        if kind is None:
            raise _no_flag(self.name)
        if not any(type(self.value) is type(known) and self.value == known for known in kind.values):
            raise IllegalActionError(f"flag {self.name} takes one of {list(kind.values)}, but got {_shown(self.value)}")

    @property
    def kind(self) -> FlagKind:
        """What LLVM knows of it."""
        return FLAGS[self.name]

    def __str__(self) -> str:
        value = str(self.value).lower() if isinstance(self.value, bool) else str(self.value)
        return f"-{self.name}={value}"


Step = Union[Pass, Flag]


@dataclass(frozen=True)
class PassSequence:
    """Passes in order, and flags; what a candidate does to a module.

    Attributes:
        passes: in order.
        flags: by name, each at most once.
    """

    passes: tuple[Pass, ...] = ()
    flags: tuple[Flag, ...] = ()

    def __post_init__(self) -> None:
        flags = {flag.name: flag for flag in self.flags}  # the last one holds, as on a command line
        object.__setattr__(self, "flags", tuple(flags[name] for name in sorted(flags)))

    @property
    def pipeline(self) -> str:
        """The text for `opt -passes=`; neighbours of one level share a pass manager."""
        groups: list[tuple[str, list[str]]] = []
        for step in self.passes:
            if step.kind.level == HINT:
                continue
            if not groups or groups[-1][0] != step.kind.level or step.kind.level == MODULE:
                groups.append((step.kind.level, []))
            groups[-1][1].append(str(step) if step.name != O3_WITH else self._written_out(step))
        return ",".join(_NESTED[level].format(",".join(names)) for level, names in groups)

    def _written_out(self, step: Pass) -> str:
        """The pipeline of `-O3` under these flags, with passes inside."""
        inside = {point: _NESTED_INSIDE[PASSES[name].level].format(name) for point, name in _words(step.options)}
        features = PassSequence((), tuple(flag for flag in self.flags if flag.name != "mattr"))
        return o3_with(inside, tuple(features.flag_texts))

    @property
    def flag_texts(self) -> list[str]:
        """The flags as words of a command line."""
        words = [word for flag in self.flags for word in (str(flag), *flag.kind.needs)]
        reorders = any(name in REORDERING_HINTS for hint in self.hints for name, _ in hint.options)
        return [*words, ORDERED] if reorders and ORDERED not in words else words

    @property
    def hints(self) -> tuple[Pass, ...]:
        """What is written into the module before any pass runs."""
        return tuple(step for step in self.passes if step.kind.level == HINT)

    @property
    def relaxes(self) -> bool:
        """Whether it says what of `-ffast-math` holds."""
        return any(step.kind.relaxes for step in self.passes)

    def hints_for(self, is_relaxed: bool) -> tuple[Pass, ...]:
        """The hints for a program: of one with a tolerance, numbers are relaxed as far as the sequence says at last, or
        whole, unless no pass runs.
        """
        if not is_relaxed or not (self.passes or self.flags):
            return self.hints
        relaxing = [Pass("fast-math"), *(hint for hint in self.hints if hint.kind.relaxes)]
        return (relaxing[-1], *(hint for hint in self.hints if not hint.kind.relaxes))

    @property
    def uses_polly(self) -> bool:
        """Whether `opt` itself must run it."""
        return any(flag.kind.polly for flag in self.flags)

    @property
    def held_back(self) -> tuple[str, ...]:
        """A reason for each step that a search uses only where it is asked to; see `tables`."""
        return tuple(f"{step.name} is {step.kind.opt_in}" for step in (*self.passes, *self.flags) if step.kind.opt_in)

    def trace(self) -> Trace:
        """The sequence as a trace: flags first, then passes."""
        flags = [Action("flag", attrs=(flag.name,), decision=flag.value) for flag in self.flags]
        return Trace((*flags, *(Action(step.name, attrs=step.options) for step in self.passes)))

    @classmethod
    def from_trace(cls, trace: Trace) -> PassSequence:
        """Reads what `trace` made.

        Raises:
            IllegalActionError: an action is none of LLVM's.
        """
        flags = [a for a in trace.actions if a.op == "flag"]
        if any(len(a.attrs) != 1 for a in flags):
            raise IllegalActionError("a flag's action must have its name as the only attribute")
        options = [a.attrs for a in trace.actions if a.op != "flag"]
        if not all(isinstance(option, tuple) and len(option) == 2 for row in options for option in row):
            raise IllegalActionError("a pass's attributes must be pairs of option and value")
        passes = [Pass(a.op, cast("tuple[tuple[str, Setting], ...]", a.attrs)) for a in trace.actions if a.op != "flag"]
        return cls(tuple(passes), tuple(Flag(cast("str", a.attrs[0]), cast("Setting", a.decision)) for a in flags))

    def __str__(self) -> str:
        is_plain = all(step.name != O3_WITH and step.kind.level != HINT for step in self.passes)
        text = self.pipeline if is_plain else ",".join(map(str, self.passes))
        return " ".join([f"-passes='{text}'", *self.flag_texts])

    @property
    def command(self) -> str:
        """What follows `opt` to run it; as it prints, with pipelines written out."""
        return " ".join([f"-passes='{self.pipeline}'", *self.flag_texts])


BASELINE = PassSequence((Pass("default<O3>"),))
"""What all is compared with."""

_NESTED = {
    MODULE: "{}",
    CGSCC: "cgscc({})",
    FUNCTION: "function({})",
    LOOP: "function(loop({}))",
    LOOP_MSSA: "function(loop-mssa({}))",
}

_NESTED_INSIDE = {FUNCTION: "{}", LOOP: "loop({})", LOOP_MSSA: "loop-mssa({})"}

_MAX_STEPS, _MAX_TEXT = 256, 20_000


def parse_sequence(passes: Iterable[object], flags: Iterable[object] = ()) -> tuple[PassSequence, list[str]]:
    """Reads a proposal: what the grammar has is taken, what it does not have is refused.

    Args:
        passes: texts such as `gvn`, `simplifycfg<bonus-inst-threshold=2;no-keep-loops>` or `default<O3>`.
        flags: texts such as `-unroll-count=4`.

    Returns:
        (what was read, a reason for each refusal).
    """
    taken: list[Pass] = []
    set_flags: list[Flag] = []
    refused: list[str] = []
    readers: list[tuple[Callable[[object], Any], Iterable[object], list[Any]]] = [
        (parse_pass, passes, taken),
        (parse_flag, flags, set_flags),
    ]
    for parse, texts, into in readers:
        for number, text in enumerate(texts):
            if number >= _MAX_STEPS:
                refused.append(f"more than {_MAX_STEPS} steps")
                break
            try:
                into.append(parse(text))
            except IllegalActionError as error:
                refused.append(str(error))
    return PassSequence(tuple(taken), tuple(set_flags)), refused


def parse_step(text: object) -> Step:
    """Reads a pass or a flag as it prints.

    Raises:
        IllegalActionError: the grammar does not have it.
    """
    return parse_flag(text) if isinstance(text, str) and text.lstrip().startswith("-") else parse_pass(text)


def parse_pass(text: object) -> Pass:
    """Reads a pass as it prints.

    Raises:
        IllegalActionError: the grammar does not have it.
    """
    if not isinstance(text, str) or len(text) > _MAX_TEXT:
        raise IllegalActionError(f"a pass must be a short text, but got {_shown(text)}")
    text = text.strip()
    if text in PASSES:
        return Pass(text)
    match = re.fullmatch(r"([a-z0-9-]+)<([^<>]*)>", text)
    if match is None or match[1] not in PASSES:
        raise _no_pass(match[1] if match is not None and match[1] in LEFT_PASSES else text)
    kind = PASSES[match[1]]
    options = [_parse_option(kind, match[1], word.strip()) for word in match[2].split(";") if word.strip()]
    return Pass(match[1], tuple(options))


def parse_flag(text: object) -> Flag:
    """Reads a flag as it prints; a switch may stand alone.

    Raises:
        IllegalActionError: the grammar does not have it.
    """
    match = (
        re.fullmatch(r"\s*--?([A-Za-z0-9-]+)(?:=(\S+))?\s*", text)
        if isinstance(text, str) and len(text) <= _MAX_TEXT
        else None
    )
    if match is None or match[1] not in FLAGS:
        raise _no_flag(match[1] if match is not None and match[1] in LEFT_FLAGS else text)
    known = {str(Flag(match[1], value)).partition("=")[2]: value for value in FLAGS[match[1]].values}
    value = "true" if match[2] is None else match[2]
    if value not in known:
        raise IllegalActionError(f"flag {match[1]} takes one of {list(known)}, but got {_shown(value)}")
    return Flag(match[1], known[value])


def _no_pass(name: object) -> IllegalActionError:
    if isinstance(name, str) and name in LEFT_PASSES:
        return LeftGrammarError(f"pass {name} has left the grammar ({LEFT_PASSES[name]})")
    return IllegalActionError(f"there is no pass {_shown(name)}")


def _no_flag(name: object) -> IllegalActionError:
    if isinstance(name, str) and name in LEFT_FLAGS:
        return LeftGrammarError(f"flag {name} has left the grammar ({LEFT_FLAGS[name]})")
    return IllegalActionError(f"there is no flag {_shown(name)}")


def _parse_option(kind: PassKind, name: str, word: str) -> tuple[str, Setting]:
    if word in kind.switches:
        return word, True
    if word.startswith("no-") and word[3:] in kind.switches:
        return word[3:], False
    for option, words in dict(kind.words).items():
        if word in words:
            return option, word
    option, equals, number = word.partition("=")
    if number in dict(kind.places).get(option, ()):
        return option, number
    if equals and option in dict(kind.numbers) and re.fullmatch(r"\d{1,6}", number):
        return option, int(number)
    raise IllegalActionError(f"pass {name} takes {_describe(kind)}, but got {_shown(word)}")


def _option_text(kind: PassKind, name: str, value: Setting) -> str:
    if name in kind.switches:
        return name if value else f"no-{name}"
    return f"{name}={value}" if name in (*dict(kind.numbers), *dict(kind.places)) else str(value)


def _describe(kind: PassKind) -> str:
    known = [
        *kind.switches,
        *(f"{name}=0..{max(values)}" for name, values in dict(kind.numbers).items()),
        *(w for words in dict(kind.words).values() for w in words),
        *(f"{name}=PASS" for name in dict(kind.places)),
    ]
    return ", ".join(known) if known else "no options"


def _words(options: Iterable[tuple[str, Setting]]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in options]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


__all__ = [
    "BASELINE", "FLAGS", "INTENTS", "PASSES", "Flag", "FlagKind", "Pass", "PassKind", "PassSequence", "Setting", "Step",
    "parse_flag", "parse_pass", "parse_sequence", "parse_step",
]  # fmt: skip
