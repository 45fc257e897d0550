"""The line of an error that tells what is wrong: tools surround it by stacks, hints and addresses."""

from __future__ import annotations

import re

_MOST_CHARACTERS = 400
_NOISE = re.compile(
    r"Traceback|File \"|During handling|The above exception|Stack trace|Stack dump|Set TORCH|For (even )?more|You can"
    r" suppress|from user code|Hint:"
    r"|PLEASE |Original exception|Command:|Output:|\[bt\]|\d+[.:]\s|#\d+\s|at"
    r" /|[\^~\s]+$|Explanation:\s*$|0x[0-9a-f]+|\.\.\. |\(most recent call"
)
_OF_COMPILER = re.compile(r"(^|[\s:])(fatal )?error: \S|^LLVM ERROR: \S|Assertion [`'\"].*failed")
_OF_EXCEPTION = re.compile(r"^(?:[\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Failed|Exit): \S")
_CHECK = re.compile(r"Check failed: ")
_NAME_ALONE = re.compile(r"^(?:[\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt):?$")
_INTRODUCTION = re.compile(r"raised:$|^C\+\+ compile error$|:$")


def telling_line(error: BaseException | str) -> str:
    """The one line of an error's text that says what is wrong.

    A compiler's first `error:` counts, then the last exception of a traceback, then a failed check, then the first line
    that is neither a stack nor a hint.

    Args:
        error: an exception, or what a tool wrote to its standard error.

    Returns:
        At most 400 characters; the name of the exception's type if it has no text.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not _NOISE.match(line)]
    found = (
        next(filter(_OF_COMPILER.search, lines), None)
        or next(filter(_OF_EXCEPTION.search, reversed(lines)), None)
        or next(filter(_CHECK.search, lines), None)
        or next((line for line in lines if not _NAME_ALONE.search(line) and not _INTRODUCTION.search(line)), None)
        or next(iter(lines), None)
    )
    return (found or ("" if isinstance(error, str) else type(error).__name__))[:_MOST_CHARACTERS]
