"""Requests and notifications, byte for byte as OpenSIPS's `event_jsonrpc` and `event_stream` write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from failover.event import Event

__all__ = ["Dialect"]

_encode = msgspec.json.Encoder().encode
_PARAMS: Final = b',"params":'
_CACHED_NAMES: Final = 1024  # names of events are few; a caller that makes them up must not fill the memory


class Dialect:
    """How one socket writes events: key order `id, jsonrpc, method, params`, no whitespace, no terminator.

    Args:
        method: The JSON-RPC method; None takes each event's name.
        event_param: The name under which the event's name leads the params; None leaves it out.
        id_param: The name under which the event's id ends the params; None leaves it out. Values alone get an object
            with that one member as their last, so that no value can be taken for an id; a param of the same name stays
            where it is, and readers that keep the last of two see the id.
        null_id: Whether notifications carry `"id":null` (OpenSIPS up to 3.0) or no id at all (3.1 and newer).

    Source: OpenSIPS event_jsonrpc and event_stream, parameter `event_param`, as recorded on the wire.
    """

    def __init__(
        self,
        *,
        method: str | None = None,
        event_param: str | None = None,
        id_param: str | None = None,
        null_id: bool = True,
    ) -> None:
        self.method = method
        self.event_param = event_param
        self.id_param = id_param
        self.null_id = null_id
        self._key = None if event_param is None else _encode(event_param) + b":"
        self._id_key = None if id_param is None else _encode(id_param) + b":"
        self._adds = event_param is not None or id_param is not None
        self._heads: dict[str, bytes] = {}

    def tail(self, event: Event) -> bytes:
        """Everything of a request after its id; the same for every attempt on this socket."""
        head = self._heads.get(event.name) or self._head(event.name)
        body = event.body
        if self._adds:
            body = self._added(event)
        if body is None:
            return head[: -len(_PARAMS)] + b"}"
        return head + body + b"}"

    def request(self, request_id: int, tail: bytes) -> bytes:
        """A whole request: an id, and the tail that `tail` made."""
        return b'{"id":%d%b' % (request_id, tail)

    def requests(self, events: Iterable[Event], first_id: int) -> list[bytes]:
        """Whole requests under ids in a row."""
        if self._adds:
            return [b'{"id":%d%b' % (request_id, self.tail(event)) for request_id, event in enumerate(events, first_id)]
        heads, head, tail = self._heads, self._head, self.tail
        return [
            b'{"id":%d%b%b}' % (request_id, heads.get(event.name) or head(event.name), event.body)
            if event.body is not None
            else b'{"id":%d%b' % (request_id, tail(event))
            for request_id, event in enumerate(events, first_id)
        ]

    def notification(self, tail: bytes) -> bytes:
        """A whole notification from the tail that `tail` made."""
        return b'{"id":null' + tail if self.null_id else b"{" + tail[1:]

    def _added(self, event: Event) -> bytes | None:
        body = event.body
        if self._key is not None:
            body = _lead(body, self._key, _encode(event.name))
        if self._id_key is not None:
            body = _end(body, self._id_key + _encode(event.id))
        return body

    def _head(self, name: str) -> bytes:
        method = _encode(name if self.method is None else self.method)
        if len(self._heads) >= _CACHED_NAMES:
            self._heads.clear()
        head = self._heads[name] = b',"jsonrpc":"2.0","method":' + method + _PARAMS
        return head


def _lead(body: bytes | None, key: bytes, name: bytes) -> bytes:
    """Put the event's name first among the params."""
    if body is None:
        return b"{" + key + name + b"}"
    first = name if body[:1] == b"[" else key + name
    return body[:1] + first + (b"," if len(body) > 2 else b"") + body[1:]  # noqa: PLR2004  # longer than {} or []


def _end(body: bytes | None, member: bytes) -> bytes:
    """Put the event's id last among the params."""
    if body is None:
        return b"{" + member + b"}"
    last = b"{" + member + b"}" if body[:1] == b"[" else member
    return body[:-1] + (b"," if len(body) > 2 else b"") + last + body[-1:]  # noqa: PLR2004  # longer than {} or []
