"""Messages as lines and back; what is no message is refused with a reason."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from foretune.workers.messages import Malformed, Reply, Request, line_of, read_reply, read_request, reply_type


@dataclass(frozen=True)
class Part:
    name: str
    size: float = 0.0


@dataclass(frozen=True)
class Answer(Reply):
    parts: tuple[Part, ...] = ()
    rows: tuple[tuple[float, ...], ...] = ()
    texts: dict[str, str] = field(default_factory=dict)
    data: Any = None
    pair: tuple[str, int] | None = None


@dataclass(frozen=True)
class Ask(Request[Answer]):
    text: str
    count: int
    share: float = 0.5
    is_last: bool = False
    names: tuple[str, ...] = ()
    core: int | None = None


@dataclass(frozen=True)
class AskMore(Ask):
    more: str = ""


KINDS = {"Ask": Ask, "AskMore": AskMore}


def request_line(**fields: Any) -> bytes:
    return json.dumps({"op": "Ask", "text": "t", "count": 1, **fields}).encode()


def test_what_is_written_is_read():
    asked = Ask("ü\n\u2028", 1 << 70, 0.25, True, ("a", "b"), 3)
    line = line_of(asked)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert read_request(line, KINDS) == asked
    answer = Answer(
        "illegal", "why", (Part("a", 1.5), Part("b")), ((1.0, math.inf),), {"k": "v"}, [{"x": None}], ("p", 2)
    )
    assert read_reply(line_of(answer), Answer) == answer
    assert read_reply(b'{"status": "error", "error": "e"}\n', Answer) == Answer("error", "e")


def test_a_request_names_its_reply():
    assert reply_type(Ask) is reply_type(AskMore) is Answer
    with pytest.raises(TypeError, match="must name its reply"):
        reply_type(Request)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "must be a JSON object on one line"),
        (b"\xff\xfe garbage", "must be a JSON object on one line"),
        (b"[" * 100_000, "must be a JSON object on one line"),
        (b"[1, 2]", "must be a JSON object on one line"),
        (b'{"op": "Nothing"}', r"`op` must be one of \['Ask', 'AskMore'\], but got 'Nothing'"),
        (b'{"op": ["Ask"]}', "`op` must be one of"),
        (b"{}", "`op` must be one of"),
        (b'{"op": "Ask", "text": "t"}', "Ask lacks `count`"),
        (request_line(colour="red"), r"but got \['colour'\], too"),
        (request_line(count="1"), "Ask.count: must be of type int, but got '1'"),
        (request_line(count=True), "Ask.count: must be of type int, but got True"),
        (request_line(count=1.0), "Ask.count: must be of type int"),
        (request_line(share=None), "Ask.share: must be of type float"),
        (request_line(is_last=1), "Ask.is_last: must be of type bool"),
        (request_line(names="ab"), "Ask.names: must be of type list, but got 'ab'"),
        (request_line(names=["a", 1]), "Ask.names: must be of type str"),
        (request_line(core="0"), "Ask.core: must be of type int, but got '0', or must be of type NoneType"),
    ],
)
def test_what_is_no_request_is_refused(line, reason):
    with pytest.raises(Malformed, match=reason):
        read_request(line, KINDS)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"parts": [{"size": 1}]}, "Answer.parts: Part lacks `name`"),
        ({"parts": ["a"]}, "Answer.parts: Part must be a JSON object"),
        ({"rows": [[1, "2"]]}, "Answer.rows: must be of type float"),
        ({"texts": {"k": 1}}, "Answer.texts: must be of type str"),
        ({"pair": ["p"]}, "Answer.pair: must have 2 elements"),
    ],
)
def test_what_is_no_reply_is_refused(fields, reason):
    with pytest.raises(Malformed, match=reason):
        read_reply(json.dumps(fields).encode(), Answer)


def test_only_data_goes_through_the_pipe():
    with pytest.raises(TypeError, match="JSON data and dataclasses, but got a object"):
        line_of(Answer(data=object()))
