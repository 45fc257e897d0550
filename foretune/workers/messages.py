"""Messages to and from worker processes: frozen dataclasses here, one JSON object a line on the pipe.

The messages of a worker stand beside it, say in `passes/llvm/messages.py`. A request names its reply, so that what
`WorkerProcess.request` returns has a type:

    @dataclass(frozen=True)
    class Measured(Reply):
        secs: float = 0.0

    @dataclass(frozen=True)
    class Measure(Request[Measured]):
        program: str

On the pipe that is `{"op": "Measure", "program": ...}` and `{"status": "ok", "error": "", "secs": 0.1}`. What is read
is checked against the fields' types; JSON data that has a reader of its own, such as a trace, is annotated `Any`.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin, get_type_hints

_SHOWN_CHARS = 80


class Malformed(Exception):
    """A line is no message of the kinds that were expected; the text says what is wrong with it."""


@dataclass(frozen=True)
class Reply:
    """The answer to a request; replies with more to say add fields, all with defaults.

    Attributes:
        status: `ok`; `error` where the request was not understood, or the worker failed at it; or another word for what
            became of it, such as one of `foretune.record.Status`.
        error: what went wrong.
    """

    status: str = "ok"
    error: str = ""


R = TypeVar("R", bound=Reply)
M = TypeVar("M")


@dataclass(frozen=True)
class Request(Generic[R]):
    """Something to do for a worker; its reply is an `R`."""


def reply_type(kind: type[Request[R]]) -> type[R]:
    """The type of a request's reply, as its class names it."""
    for ancestor in kind.__mro__:
        for base in ancestor.__dict__.get("__orig_bases__", ()):
            named = get_args(base)
            if named and isinstance(named[0], type) and issubclass(named[0], Reply):
                return cast("type[R]", named[0])
    raise TypeError(f"{kind.__name__} must name its reply: class {kind.__name__}(Request[...])")


def line_of(message: Request[Any] | Reply) -> bytes:
    """A message as it goes through the pipe."""
    data = _plain(message)
    if isinstance(message, Request):
        data = {"op": type(message).__name__, **data}
    return json.dumps(data, default=_plain).encode() + b"\n"


def read_request(line: bytes, kinds: Mapping[str, type[Request[Any]]]) -> Request[Any]:
    """The request of a line.

    Args:
        line: what came through the pipe.
        kinds: name -> kind, of all that are understood.

    Raises:
        Malformed: it is no JSON object, or of no kind that is known; or lacks a field, or has one more or one of
            another type.
    """
    data = _object(line)
    name = data.pop("op", None)
    if not isinstance(name, str) or name not in kinds:
        raise Malformed(f"a request's `op` must be one of {sorted(kinds)}, but got {_shown(name)}")
    return _read(kinds[name], data)


def read_reply(line: bytes, kind: type[R]) -> R:
    """The reply of a line.

    Raises:
        Malformed: as `read_request`.
    """
    return _read(kind, _object(line))


def _plain(value: Any) -> dict[str, Any]:
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"a message may hold JSON data and dataclasses, but got a {type(value).__name__}")
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _object(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise Malformed(f"a message must be a JSON object on one line, but got {_shown(line)}")
    return data


def _read(kind: type[M], data: Any) -> M:
    if not isinstance(data, dict):
        raise Malformed(f"{kind.__name__} must be a JSON object, but got {_shown(data)}")
    readers = _readers(kind)
    if unknown := [name for name in data if name not in readers]:
        raise Malformed(f"{kind.__name__} has the fields {sorted(readers)}, but got {_shown(unknown)}, too")
    found = {}
    for name, (read, is_needed) in readers.items():
        if name in data:
            try:
                found[name] = read(data[name])
            except Malformed as error:
                raise Malformed(f"{kind.__name__}.{name}: {error}") from None
        elif is_needed:
            raise Malformed(f"{kind.__name__} lacks `{name}`")
    try:
        return kind(**found)
    except ValueError as error:  # a dataclass that checks itself
        raise Malformed(f"{kind.__name__}: {error}") from None


@cache
def _readers(kind: type) -> dict[str, tuple[Callable[[Any], Any], bool]]:
    """(what reads its value, whether it must be there) for each field."""
    hints = get_type_hints(kind)
    return {
        field.name: (_reader(hints[field.name]), field.default is MISSING and field.default_factory is MISSING)
        for field in fields(kind)
    }


_SCALARS: dict[Any, tuple[type, ...]] = {
    str: (str,), bool: (bool,), int: (int,), float: (float, int), type(None): (type(None),),
    dict: (dict,), list: (list,),
}  # fmt: skip


def _reader(hint: Any) -> Callable[[Any], Any]:
    """What checks a value against a type, and turns JSON's lists into tuples where it asks for these."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: value
    if hint in _SCALARS:
        return _scalar_reader(hint)
    if origin in (Union, types.UnionType):
        return _union_reader([_reader(one) for one in arguments])
    if origin is dict:
        of_value = _reader(arguments[1])
        return lambda value: {key: of_value(one) for key, one in _checked(value, dict).items()}
    if origin is list:
        of_one = _reader(arguments[0])
        return lambda value: [of_one(one) for one in _checked(value, list)]
    if origin is tuple and arguments[1:] == (Ellipsis,):
        of_one = _reader(arguments[0])
        return lambda value: tuple(of_one(one) for one in _checked(value, list))
    if origin is tuple:
        return _row_reader([_reader(one) for one in arguments])
    if is_dataclass(hint) and isinstance(hint, type):
        return lambda value: _read(hint, value)
    raise TypeError(f"a message's field cannot have the type {hint}")


def _scalar_reader(hint: Any) -> Callable[[Any], Any]:
    wanted = _SCALARS[hint]

    def read(value: Any) -> Any:
        if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
            raise Malformed(f"must be of type {hint.__name__}, but got {_shown(value)}")
        return value

    return read


def _union_reader(readers: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        reasons = []
        for one in readers:
            try:
                return one(value)
            except Malformed as error:
                reasons.append(str(error))
        raise Malformed(", or ".join(reasons))

    return read


def _row_reader(readers: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if len(_checked(value, list)) != len(readers):
            raise Malformed(f"must have {len(readers)} elements, but got {_shown(value)}")
        return tuple(one(element) for one, element in zip(readers, value))

    return read


def _checked(value: Any, wanted: type) -> Any:
    if not isinstance(value, wanted):
        raise Malformed(f"must be of type {wanted.__name__}, but got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
