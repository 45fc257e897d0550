"""One small client for language models behind any OpenAI-compatible endpoint.

Replies are asked for under a JSON schema, and read with limits on time and size, since a server may hang, fail or
stream garbage. Every reply is kept on disk under the hash of its request, so that a conversation can be replayed
exactly, without a server.
"""

from __future__ import annotations

import hashlib
import json
import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from foretune.errors import OptionError
from foretune.support.files import write_text_atomically
from foretune.support.optional import require

_log = logging.getLogger("foretune")

MAX_REPLY_BYTES = 1 << 20
_GRACE_SECS = 1.0

Message = dict[str, str]


@dataclass(frozen=True)
class LlmConfig:
    """Which model, and how much of it.

    Attributes:
        url: of the endpoint, up to and without `/chat/completions`; `replay` for recorded conversations alone.
        model: its name there.
        max_calls, max_tokens: budget of a run; tokens are those of prompts and replies together.
        reply_tokens: most tokens of one reply.
        timeout_secs: of one call, whole.
        retries: of a call that failed.
        cache: folder of recorded replies; None keeps none.
        api_key: sent to the endpoint, and kept nowhere; it goes to https or to this machine alone.
        seed: sent to the endpoint.
    """

    url: str
    model: str = "default"
    max_calls: int = 8
    max_tokens: int = 60_000
    reply_tokens: int = 900
    timeout_secs: float = 120.0
    retries: int = 1
    cache: Path | None = None
    api_key: str = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.url != "replay" and not self.url.startswith(("http://", "https://")):
            raise OptionError(
                "the language model must be `replay`, `none`, `local` or a URL that begins with http:// or https://,"
                f" but got {self.url!r}"
            )
        if self.api_key != "none" and self.url != "replay" and not _is_safe(self.url):
            raise OptionError(
                f"a key is sent to https or to this machine alone, but the language model is at {self.url!r}: use"
                " https, or leave out --llm-key-env"
            )
        if self.url == "replay" and self.cache is None:
            raise OptionError("replay needs a folder of recorded replies")
        for name in ("max_calls", "max_tokens", "reply_tokens", "timeout_secs"):
            if not getattr(self, name) > 0:
                raise OptionError(f"`{name} > 0` must hold, but got {name}={getattr(self, name)}")


def _is_safe(url: str) -> bool:
    """Whether nobody on the way can read what is sent."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return True
    try:
        return parts.hostname == "localhost" or ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        text: of the model; empty if there is an error.
        error: why there is none.
        tokens: of prompt and reply, as the server counted them, or four characters each.
        secs: that it took.
        recorded: whether it came from disk.
    """

    text: str = ""
    error: str = ""
    tokens: int = 0
    secs: float = 0.0
    recorded: bool = False


@dataclass
class LlmUsage:
    """What a run has used so far."""

    calls: int = 0
    recorded: int = 0
    tokens: int = 0
    secs: float = 0.0
    errors: list[str] = field(default_factory=list)


class _Refused(Exception):
    """A call failed; the message says why."""


class LlmClient:
    """Asks a model, within a budget.

    Args:
        config: which one.

    Raises:
        UnsupportedError: the `openai` package is missing.
    """

    def __init__(self, config: LlmConfig) -> None:
        self.config, self.usage = config, LlmUsage()
        self._client = None if config.url == "replay" else _connect(config)

    def ask(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Reply:
        """One answer, as JSON text under a schema; what goes wrong is told in the reply, and never raised.

        Args:
            messages: `role` and `content` of each.
            schema: JSON schema of the answer.
        """
        path = self._path(messages, schema)
        if path is not None and path.exists():
            return self._from_disk(path)
        if self._client is None:
            return self._note(Reply(error="no recorded reply to this question"))
        if self.usage.calls >= self.config.max_calls:
            return Reply(error=f"the budget of {self.config.max_calls} calls is used up")
        if self.usage.tokens >= self.config.max_tokens:
            return Reply(error=f"the budget of {self.config.max_tokens} tokens is used up")
        error = ""
        for _ in range(1 + self.config.retries):
            if self.usage.calls >= self.config.max_calls:
                break
            self.usage.calls += 1
            start = time.monotonic()
            try:
                text, tokens = self._call(messages, schema)
            except _Refused as failure:
                error = str(failure)
                self.usage.secs += time.monotonic() - start
                continue
            reply = Reply(text, "", tokens, time.monotonic() - start)
            if path is not None:
                record = {"model": self.config.model, "messages": list(messages), "text": text, "tokens": tokens}
                write_text_atomically(path, json.dumps(record, indent=1) + "\n")
            return self._note(reply)
        return self._note(Reply(error=error))

    def _note(self, reply: Reply) -> Reply:
        self.usage.tokens += reply.tokens
        self.usage.secs += reply.secs
        if reply.error:
            self.usage.errors.append(reply.error)
            _log.warning("the language model gave no answer: %s; the search goes on without it", reply.error)
        return reply

    def _path(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Path | None:
        if self.config.cache is None:
            return None
        question = json.dumps(
            [self.config.model, list(messages), schema, self.config.seed, self.config.reply_tokens], sort_keys=True
        )
        return self.config.cache / f"{hashlib.sha256(question.encode()).hexdigest()[:32]}.json"

    def _from_disk(self, path: Path) -> Reply:
        try:
            record = json.loads(path.read_text())
            reply = Reply(str(record["text"]), "", 0, 0.0, recorded=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            return self._note(Reply(error=f"the recorded reply {path.name} is damaged: {type(error).__name__}"))
        self.usage.recorded += 1
        return reply

    def _call(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> tuple[str, int]:
        """(text, tokens), in time: a server that feeds a byte now and then would keep the HTTP library waiting for
        ever.
        """
        results: queue.SimpleQueue[tuple[bytearray | None, str]] = queue.SimpleQueue()

        def exchange() -> None:
            try:
                results.put((self._exchange(messages, schema), ""))
            except _Refused as error:
                results.put((None, str(error)))

        threading.Thread(target=exchange, name="foretune-llm", daemon=True).start()
        try:
            body, error = results.get(timeout=self.config.timeout_secs + _GRACE_SECS)
        except queue.Empty:
            raise _Refused(f"no whole reply within {self.config.timeout_secs:g} s") from None
        if body is None:
            raise _Refused(error)
        return _read_answer(body, messages)

    def _exchange(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> bytearray:
        import openai

        deadline = time.monotonic() + self.config.timeout_secs
        body = bytearray()
        try:
            with cast("Any", self._client).chat.completions.with_streaming_response.create(
                model=self.config.model,
                messages=list(messages),
                max_tokens=self.config.reply_tokens,
                temperature=0.7,
                seed=self.config.seed,
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "proposal", "schema": schema, "strict": True},
                },
            ) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_REPLY_BYTES:
                        raise _Refused(f"the reply is longer than {MAX_REPLY_BYTES} bytes")
                    if time.monotonic() > deadline:
                        raise _Refused(f"no whole reply within {self.config.timeout_secs:g} s")
        except openai.APITimeoutError:
            raise _Refused(f"no reply within {self.config.timeout_secs:g} s") from None
        except openai.APIStatusError as error:
            raise _Refused(f"the server answered with status {error.status_code}") from None
        except openai.APIError as error:
            raise _Refused(f"{type(error).__name__}: {str(error)[:200]}") from None
        except _Refused:
            raise
        except Exception as error:  # the HTTP library's own errors, raised while a body is read
            raise _Refused(f"the connection broke: {type(error).__name__}") from None
        return body


def _read_answer(body: bytearray, messages: Sequence[Message]) -> tuple[str, int]:
    try:
        answer = json.loads(body)
        text = answer["choices"][0]["message"]["content"]
        tokens = (answer.get("usage") or {}).get("total_tokens")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise _Refused("the reply is no chat completion") from None
    if not isinstance(text, str):
        raise _Refused("the reply holds no text")
    if type(tokens) is not int or tokens < 0:
        tokens = (len(text) + sum(len(m["content"]) for m in messages)) // 4
    return text, tokens


def _connect(config: LlmConfig) -> Any:
    openai = require("openai", "asking a language model")
    return openai.OpenAI(base_url=config.url, api_key=config.api_key, timeout=config.timeout_secs, max_retries=0)
