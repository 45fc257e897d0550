"""Writes the reference of the command line from the command line itself, where a page asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page."""
    return markdown.replace(MARK, "\n".join(_pages())) if MARK in markdown else markdown


def _pages() -> Iterator[str]:
    from foretune.cli.app import app

    yield from _described(typer.main.get_command(app), ["foretune"])


def _described(command: Any, names: list[str]) -> Iterator[str]:
    title = " ".join(names)
    if hasattr(command, "commands"):
        if len(names) > 1:
            yield f"## {title}\n\n{_text(command.help)}\n"
        for name, inner in command.commands.items():
            yield from _described(inner, [*names, name])
        return
    context = typer.Context(command, info_name=title)
    usage = " ".join(piece.upper().replace("{", "").replace("}", "") for piece in command.collect_usage_pieces(context))
    yield f"### {title}\n\n{_text(command.help)}\n\n```\n{title} {usage}\n```\n"
    rows = [record for parameter in command.params if (record := _row(parameter)) is not None]
    if rows:
        yield "| | |\n|---|---|\n" + "\n".join(rows) + "\n"


def _row(parameter: Any) -> str | None:
    if getattr(parameter, "hidden", False):
        return None
    option = parameter.param_type_name == "option"
    flags = (*parameter.opts, *parameter.secondary_opts) if option else ((parameter.metavar or parameter.name).upper(),)
    names = ", ".join(f"`{name}`" for name in flags)
    default = parameter.default
    shown = (
        f" Default: `{default}`."
        if option and default not in (None, "", [], (), False, True) and not callable(default)
        else ""
    )
    return f"| {names} | {_text(getattr(parameter, 'help', ''))}{shown} |"


def _text(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
