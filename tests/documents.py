"""Commands and programs that README and documents show, read out of their Markdown."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)
_SPAN = re.compile(r"(?<!`)`((?:foretune|make|python|pip) [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and where it stands."""

    path: Path
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}: {self.text.strip().splitlines()[0][:60]}"


def blocks(path: Path, language: str) -> list[Block]:
    """The fenced blocks of a language."""
    found = _FENCE.finditer(path.read_text())
    return [
        Block(path, m["language"], re.sub(rf"^{m['indent']}", "", m["text"], flags=re.MULTILINE))
        for m in found
        if m["language"] == language
    ]


def commands(path: Path) -> list[list[str]]:
    """The words of each command of the fenced shell blocks, in order."""
    found = []
    for block in blocks(path, "bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while "&&" in words:
                found.append(words[: words.index("&&")])
                words = words[words.index("&&") + 1 :]
            if words:
                found.append(words)
    return found


def spans(path: Path) -> list[list[str]]:
    """The words of commands within sentences; they may be cut short, with an ellipsis or words in capitals."""
    text = _FENCE.sub("", path.read_text())
    return [shlex.split(span.replace("…", "...")) for span in _SPAN.findall(text)]
