"""One request as a scripted subscriber holds it: what came, and what can be done with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, Protocol, cast

import msgspec

from failover.subscriber.wire import Call as WireCall
from failover.subscriber.wire import confirmation, decode_params, fault, refusal, request_id

__all__ = ["Call", "Line", "read_call"]

_KEY_SIZE: Final = 12  # bytes of the digest that stands for an event without an id
_LETTER: Final = "E_DEAD_LETTER"
"""The event of a dead letter, whose `id` is that of the event in it. Source: `failover.strategies.DeadLetter`."""


class Line(Protocol):
    """What a request needs of the connection that it came on."""

    number: int
    rng: Random

    def send(self, *parts: bytes | float) -> None:
        """Write pieces in this order; a number is a pause before what follows, in seconds."""

    def close(self) -> None:
        """End the connection once all that was sent before is written."""

    def reset(self) -> None:
        """Break the connection by a RST once all that was sent before is written."""

    def later(self, seconds: float, function: Callable[..., object], *args: Any) -> None:
        """Call a function later, unless the subscriber crashes or is closed before."""

    def handled(self, call: Call) -> None:
        """The work for a request is done."""

    def gather(
        self, name: str, piece: bytes, *, of: int, within: float, join: Callable[[Sequence[bytes]], bytes]
    ) -> None:
        """Send several replies as one, once there are so many of them, or those that there are after some seconds."""


class Call:
    """One request or notification.

    Args:
        line: The connection that it came on.
        at: Loop time at which it came, seconds.
        key: The event that it carries: its id if the params tell it, of a dead letter that of the event in it; else a
            digest of method and params.
        method: The method.
        params: The params, decoded.
        raw_id: Its id as it came; None for a notification, which is never answered.
    """

    __slots__ = ("at", "key", "line", "method", "params", "raw_id")

    def __init__(self, line: Line, at: float, *, key: str, method: str, params: Any, raw_id: bytes | None) -> None:
        self.line = line
        self.at = at
        self.key = key
        self.method = method
        self.params = params
        self.raw_id = raw_id

    def __repr__(self) -> str:
        return f"<Call {self.method} {self.key} on connection {self.line.number}>"

    @property
    def connection(self) -> int:
        """The number of the connection that it came on, 1 first."""
        return self.line.number

    @property
    def rng(self) -> Random:
        """Where the subscriber's randomness comes from."""
        return self.line.rng

    def handled(self) -> None:
        """Note that the work for it is done; call it before the reply is written."""
        self.line.handled(self)

    def confirmation(self, result: object = "ok", *, raw_id: bytes | None = None) -> bytes:
        """The reply that confirms it, or what has another id; it is not sent by this."""
        return confirmation(raw_id or self.raw_id or b"null", result)

    def refusal(self, code: int, text: str, data: object = None) -> bytes:
        """The reply that refuses it; it is not sent by this."""
        return refusal(self.raw_id or b"null", code, text, data)

    def send(self, *parts: bytes | float) -> None:
        """Answer with these bytes; a number is a pause before what follows, in seconds. Notifications get no answer."""
        if self.raw_id is not None:
            self.line.send(*parts)


def read_call(line: Line, at: float, value: WireCall, event_id: str) -> Call:
    """A request as it came.

    Args:
        line: The connection.
        at: Loop time, seconds.
        value: The JSON object.
        event_id: The param that tells the event's id.

    Raises:
        ValueError: it is no request.
    """
    raw_id = request_id(value)
    problem = fault(value)
    if problem is not None:
        raise ValueError(problem)
    try:
        params = decode_params(value, replace=True)
    except RecursionError:
        raise ValueError("params nested too deep") from None
    named = cast("dict[str, Any]", params) if isinstance(params, dict) else {}
    key = named.get(event_id, named.get("id") if value.method == _LETTER else None)
    if not isinstance(key, str):
        raw = b"" if value.params is msgspec.UNSET else bytes(value.params)
        key = f"{value.method} {hashlib.blake2b(raw, digest_size=_KEY_SIZE).hexdigest()}"
    return Call(line, at, key=key, method=value.method, params=params, raw_id=raw_id)
