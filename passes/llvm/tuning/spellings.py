"""Harmless spellings of steps: what people and language models write for what the grammar has.

`-mllvm -unroll-count=4`, `--unroll-count 4`, `loop(licm)`, `-licm`, `O3`: each becomes the text that the closed
grammar of `actions.py` reads, and is read there, or refused. Nothing is guessed: a name or a value that LLVM does not
have stays as it is.
"""

from __future__ import annotations

import re

from foretune.passes.llvm.tables import FLAGS, LEFT_PASSES, PASSES

_MAX_TEXT, _MAX_WORDS, _MAX_DEPTH = 2_000, 64, 8
_MANAGER = re.compile(r"(?:module|cgscc|function|loop|loop-mssa)(?:<[^<>()]*>)?\((.*)\)", re.S)
_PIPELINE = re.compile(r"--?passes=(.*)", re.S)
_LEVEL = re.compile(r"-?(O[123sz])")
_LEGACY = {  # names of the pass manager that LLVM had before
    "early-cse-memssa": "early-cse<memssa>",
    "functionattrs": "function-attrs",
    "loop-unswitch": "simple-loop-unswitch",
    "simplify-cfg": "simplifycfg",
    "tail-call-elim": "tailcallelim",
}
_BEFORE_FLAGS = ("-mllvm", "-Xclang", "-Xopt")


def spell_passes(texts: list[object]) -> tuple[list[object], list[object]]:
    """(passes, flags that stood among them), as the grammar writes them."""
    passes: list[object] = []
    flags: list[object] = []
    for text in texts:
        if not isinstance(text, str) or len(text) > _MAX_TEXT:
            passes.append(text)
            continue
        for part in _unnested(text, 0):
            name = part.lstrip("-")
            if part.startswith("-") and name.partition("=")[0] in FLAGS and name not in PASSES:
                flags.append(part)
            else:
                passes.append(_pass_text(part))
    return passes, flags


def _unnested(text: str, depth: int) -> list[str]:
    """The passes in a text, in order, whatever pass managers stand around them."""
    text = text.strip()
    if whole := _PIPELINE.fullmatch(text):
        text = whole[1].strip("'\" ")
    parts = _split(text)
    if len(parts) > 1:
        return (
            [inner for part in parts[:_MAX_WORDS] for inner in _unnested(part, depth + 1)]
            if depth < _MAX_DEPTH
            else [text]
        )
    if depth < _MAX_DEPTH and (managed := _MANAGER.fullmatch(text)) and managed[1].strip():
        return _unnested(managed[1], depth + 1)
    return [text]


def _split(text: str) -> list[str]:
    """Parts between the commas that stand in no brackets."""
    parts, level, start = [], 0, 0
    for i, character in enumerate(text):
        level += (character in "(<") - (character in ")>")
        if character == "," and level == 0:
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]]


def _pass_text(text: str) -> str:
    if level := _LEVEL.fullmatch(text):
        return f"default<{level[1]}>"
    name, _, rest = text.partition("<")
    options = f"<{rest}" if rest else ""
    for known in (name, name.lstrip("-"), name.lower().lstrip("-")):
        if known in _LEGACY and not options:
            return _LEGACY[known]
        if known in PASSES or known in LEFT_PASSES:
            return known + options
    return text


def spell_flags(texts: list[object]) -> list[object]:
    """Flags as the grammar writes them."""
    words: list[object] = []
    for text in texts:
        words += text.split()[:_MAX_WORDS] or [text] if isinstance(text, str) and len(text) <= _MAX_TEXT else [text]
    found: list[object] = []
    while words:
        word = words.pop(0)
        if not isinstance(word, str) or len(word) > _MAX_TEXT:
            found.append(word)
        elif word not in _BEFORE_FLAGS:
            name, equals, value = word.lstrip("-").partition("=")
            if word.startswith("-") and not equals and words and _is_value(name, words[0]):
                value, equals = str(words.pop(0)), "="
            found.append(
                f"-{name}{equals}{_value_text(name, value)}" if word.startswith("-") or name in FLAGS else word
            )
    return found


def _is_value(name: str, word: object) -> bool:
    """Whether a word that follows a flag is its value: it begins with no dash, unless it is one of the flag's."""
    if not isinstance(word, str):
        return False
    return not word.startswith("-") or (name in FLAGS and word in map(str, FLAGS[name].values))


def _value_text(name: str, value: str) -> str:
    if name in FLAGS and any(isinstance(known, bool) for known in FLAGS[name].values):
        return {"1": "true", "0": "false", "on": "true", "off": "false"}.get(value.lower(), value.lower())
    return value
