"""Events: what is delivered. A name, parameters as JSON-RPC carries them, and an id of its own."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (what a caller gives as params can be anything: this is where it is checked)

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from uuid import uuid4

import msgspec

from failover.errors import EventError

__all__ = ["MAX_DEPTH", "Event", "Params", "Value", "check_events"]

MAX_DEPTH: Final = 64
"""How deep params may nest; the params themselves are the first level."""

Value: TypeAlias = "str | int | float | bool | bytes | list[Value] | dict[str, Value] | None"
"""What a parameter can be. `bytes` are text in an encoding unknown to us and pass raw into the JSON string."""

Params: TypeAlias = "Mapping[str, Any] | Sequence[Any] | None"
"""Named (a dict, or a list of `(name, value)` tuples), values alone (a list), or none at all."""

_encode = msgspec.json.Encoder().encode
_PLAIN: Final = frozenset({str, int, bool, type(None)})  # nothing to check but what the encoder itself refuses
_ESCAPED: Final = re.compile(rb'["\\\x00-\x1f]')
_SHORT: Final = {
    b'"': b'\\"',
    b"\\": b"\\\\",
    b"\n": b"\\n",
    b"\r": b"\\r",
    b"\t": b"\\t",
    b"\b": b"\\b",
    b"\f": b"\\f",
}


class Event:
    """Something that happened, checked and encoded when it is made: what JSON can't carry is refused here, not later.

    Args:
        name: The event's name, e.g. `E_ACC_CDR`; the JSON-RPC method unless a socket names another. Not empty.
        params: A dict or a list of `(name, value)` tuples (named; a list keeps duplicate names and their order), a list
            of values, or None: no params at all, which is not the same as empty ones. They are encoded now: later
            changes to the object have no effect.
        id: The event's identity, the same over sockets and retries, e.g. `Call-ID` and `CSeq`: a retransmitted request
            is then the same event. A random UUID by default, made when it is first asked for.

    Raises:
        EventError: the name or a param can't be carried by JSON-RPC; it says where.

    Source: JSON-RPC 2.0 section 4; OpenSIPS event interface (duplicate names and raw bytes pass).
    """

    __slots__ = ("_id", "body", "name", "params")

    name: str
    params: Params
    body: bytes | None
    """The params as they go on the wire, a JSON object or array; None without params."""

    def __init__(self, name: str, params: Params = None, *, id: str | None = None) -> None:  # the field's word
        if type(name) is not str or not name:
            raise EventError(f"an event's name must be a non-empty string, not {name!r}")
        if id is not None and (type(id) is not str or not id):
            raise EventError(f"the id of event {name!r} must be a non-empty string or None, not {id!r}")
        if not name.isascii():
            _encode_text(name, f"event {name!r}", "its name")
        if id is not None and not id.isascii():
            _encode_text(id, f"event {name!r}", "its id")
        self.name = name
        self.params = params
        self._id = id
        if type(params) is dict:
            for key, value in params.items():
                if type(key) is not str or type(value) not in _PLAIN:
                    self.body = _encode_checked(name, params)
                    return
        elif params is None:
            self.body = None
            return
        else:
            self.body = _encode_checked(name, params)
            return
        try:
            self.body = _encode(params)
        except ValueError:  # a lone surrogate, or an integer without end
            self.body = _encode_checked(name, params)  # finds which one it is

    @property
    def id(self) -> str:
        """The identity of this event; stable for its lifetime."""
        if self._id is None:
            self._id = uuid4().hex
        return self._id

    def __repr__(self) -> str:
        params = "" if self.params is None else f", {self.params!r}"
        given = "" if self._id is None else f", id={self._id!r}"
        return f"Event({self.name!r}{params}{given})"


def check_events(events: Iterable[Event]) -> list[Event]:
    """The events of a batch.

    Raises:
        TypeError: one of them is not an `Event`, or this is no batch.
    """
    if not isinstance(events, Iterable):
        raise TypeError(f"a sequence of Events was expected, not {events!r}")
    batch = list(events)
    if {*map(type, batch)} != {Event}:  # a look at each costs three times as much
        for event in batch:
            if not isinstance(event, Event):
                raise TypeError(f"an Event was expected, not {event!r}")
    return batch


def _encode_checked(name: str, params: Any) -> bytes:
    """Encode params of any allowed shape, checking each value."""
    where = f"event {name!r}: params"
    if isinstance(params, Mapping):
        return _encode_object(list(params.items()), where, 1)
    if isinstance(params, (list, tuple)):
        if params and all(type(item) is tuple for item in params):
            for item in params:
                if len(item) != 2:  # noqa: PLR2004  # a name and a value
                    raise EventError(f"{where}: a (name, value) tuple was expected, not {item!r}")
            return _encode_object(params, where, 1)
        return _encode_array(params, where, 1)
    raise EventError(
        f"{where} must be a dict, a list of (name, value) tuples, a list of values or None, not {_kind(params)}"
    )


def _encode_object(pairs: Sequence[tuple[Any, Any]], where: str, depth: int) -> bytes:
    members: list[bytes] = []
    for key, value in pairs:
        if type(key) is not str:
            raise EventError(f"{where}: a name must be a string, not {key!r}; JSON objects have no other keys")
        members.append(
            _encode_text(key, where, f"name {key!r}") + b":" + _encode_value(value, f"{where}[{key!r}]", depth)
        )
    return b"{" + b",".join(members) + b"}"


def _encode_array(values: Sequence[Any], where: str, depth: int) -> bytes:
    items = [_encode_value(value, f"{where}[{index}]", depth) for index, value in enumerate(values)]
    return b"[" + b",".join(items) + b"]"


def _encode_value(value: Any, where: str, depth: int) -> bytes:
    kind = type(value)
    if kind is str:
        return _encode_text(value, where, "this string")
    if kind is int:
        return _encode_int(value, where)
    if kind in _PLAIN:
        return _encode(value)
    if kind is float:
        if not math.isfinite(value):
            raise EventError(f"{where}: {value!r} has no JSON form; send None or a string")
        return _encode(value)
    if kind is bytes:
        return b'"' + _ESCAPED.sub(_escape, value) + b'"'
    if depth >= MAX_DEPTH:
        raise EventError(f"{where}: nested deeper than {MAX_DEPTH} levels")
    if kind is list:
        return _encode_array(value, where, depth + 1)
    if kind is dict:
        return _encode_object(list(value.items()), where, depth + 1)
    raise EventError(
        f"{where}: {_kind(value)} can't be carried by JSON; use str, int, float, bool, None, bytes, a list or a dict"
    )


def _encode_int(value: int, where: str) -> bytes:
    try:
        return _encode(value)
    except ValueError:
        raise EventError(f"{where}: this integer has too many digits (sys.get_int_max_str_digits)") from None


def _encode_text(text: str, where: str, what: str) -> bytes:
    try:
        return _encode(text)
    except UnicodeEncodeError as error:
        raise EventError(
            f"{where}: {what} holds a lone surrogate (U+{ord(text[error.start]):04X}) and has no UTF-8 form;"
            " pass the original bytes instead"
        ) from None


def _escape(found: re.Match[bytes]) -> bytes:
    char = found.group()
    return _SHORT.get(char) or b"\\u%04x" % char[0]


def _kind(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
