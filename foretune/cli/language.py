"""What the verbs that ask a language model share: where it is, and the key that it gets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from foretune.errors import OptionError

Llm = Annotated[
    str,
    typer.Option(
        help=(
            "Who suggests beside the search: URL of an OpenAI-compatible endpoint, local, replay (recorded replies"
            " alone) or none."
        )
    ),
]
LlmKeyEnv = Annotated[
    str,
    typer.Option(
        help=(
            "Environment variable with the endpoint's key; none is sent without it, and only to https or to this"
            " machine."
        )
    ),
]


def api_key(name: str) -> str:
    """The key in an environment variable; `none` if no variable is named.

    Raises:
        OptionError: there is no such variable.
    """
    if not name:
        return "none"
    key = os.environ.get(name, "")
    if not key:
        raise OptionError(f"--llm-key-env names the environment variable {name}, which is not set")
    return key


@contextmanager
def endpoint(llm: str, model: Path | None = None, adapter: Path | None = None) -> Iterator[str]:
    """The URL to ask, while the local server runs if it is that; empty for none."""
    if llm != "local":
        if model is not None or adapter is not None:
            raise OptionError("--local-model and --adapter go with --llm local")
        yield "" if llm == "none" else llm
        return
    from foretune.passes.language import local_model
    from foretune.target import num_usable_cores

    with local_model.LocalServer(model or local_model.model_path(), num_usable_cores(), adapter) as server:
        yield server.url
