"""Events as datagrams, byte for byte as OpenSIPS's `event_datagram` writes them: lines of text, or JSON-RPC."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final, Literal

from failover.event import Event
from failover.protocol.encoding import Dialect

__all__ = ["JSONRPC_LIMIT", "TEXT_LIMIT", "DatagramFormat", "Datagrams"]

DatagramFormat = Literal["jsonrpc", "text"]
"""How an event is written: `jsonrpc` as OpenSIPS 3.1 and newer do it, `text` as 2.4 and 3.0 did."""

TEXT_LIMIT: Final = 16_384
"""Bytes of an event as text. Source: OpenSIPS 3.0 event_datagram."""

JSONRPC_LIMIT: Final = 65_457
"""Bytes of an event as JSON-RPC. Source: OpenSIPS 3.1 event_datagram, its manual."""

_Decoder = json.JSONDecoder(parse_int=str, parse_float=str)  # a number stays as it is written
_RAW: Final = "surrogateescape"  # bytes that are no text pass through as they came


class Datagrams:
    """Writes one event to one datagram.

    As JSON-RPC it is a notification without any id, with all of JSON's types. As text it is the event's name, a line
    for each param (`name::value`, or the value alone) and an empty line. A value with a line break in it stands in
    quotes, and its own quotes have a backslash before them; nothing else is escaped, so that `::` in a name moves what
    is read as its end. What that format has no words for is written as JSON has it: true, false, nested lists and
    objects; null is empty.

    Args:
        format: See `DatagramFormat`.
        id_param: The name under which the event's id is the last of the params; None leaves it out.

    Source: OpenSIPS event_datagram, both formats as recorded on the wire.
    """

    def __init__(self, format: DatagramFormat, *, id_param: str | None = None) -> None:  # the field's word
        self.format: DatagramFormat = format
        self.id_param = id_param
        self.limit = TEXT_LIMIT if format == "text" else JSONRPC_LIMIT
        self._dialect = Dialect(id_param=id_param, null_id=False)

    def encode(self, event: Event) -> bytes:
        """The datagram of an event.

        Raises:
            ValueError: it can't be written, or is too large for a datagram; it is never truncated.
        """
        if self.format == "text":
            data = self._text(event).encode("utf-8", _RAW)
        else:
            data = self._dialect.notification(self._dialect.tail(event))
        if len(data) > self.limit:
            raise ValueError(f"{len(data)} bytes as {self.format}, and a datagram has at most {self.limit}")
        return data

    def _text(self, event: Event) -> str:
        lines = [_name(event.name)]
        lines += [value if name is None else f"{_name(name)}::{value}" for name, value in _params(event.body)]
        if self.id_param is not None:
            lines.append(f"{_name(self.id_param)}::{_quoted(event.id)}")
        return "\n".join((*lines, "", ""))


def _params(body: bytes | None) -> Iterator[tuple[str | None, str]]:
    """Each param, its name (None if it has none) and its value as text; duplicate names and their order are kept."""
    text = "" if body is None else body.decode("utf-8", _RAW)
    position = 1
    while position < len(text) - 1:  # it has no whitespace: it's our own encoding
        name = None
        if text[0] == "{":
            name, position = _Decoder.raw_decode(text, position)
            position += 1
        value, end = _Decoder.raw_decode(text, position)
        if value is None:
            yield name, ""
        else:
            yield name, _quoted(value) if isinstance(value, str) else text[position:end]
        position = end + 1


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '\\"') + '"' if "\n" in value else value


def _name(name: str) -> str:
    if "\n" in name:
        raise ValueError(f"the name {name!r} has a line break, which text can't carry")
    return name
