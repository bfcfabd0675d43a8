"""A subscriber written for these tests alone: right in every clause, and easy to break in one place."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import msgspec

from failover.protocol.framing import Framer, Malformed

__all__ = ["Model", "Refused"]


class Refused(Exception):  # noqa: N818
    """A request is answered with an error."""

    def __init__(self, code: Any, text: str = "refused") -> None:
        super().__init__(code, text)
        self.error: Any = {"code": code, "message": text}


class Model(asyncio.Protocol):
    """One connection; each start has a class of its own, so that what the class holds is the server's.

    A fault is a subclass that overrides one of the methods, each of which does one thing.
    """

    open: set[Model]
    transport: asyncio.Transport
    max_frame = 4 * 2**20
    max_depth = 64

    def __init_subclass__(cls) -> None:
        cls.open = set()

    def __init__(self) -> None:
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(msgspec.Raw)
        self.framer = Framer(decoder, max_frame=self.max_frame, max_depth=self.max_depth)
        self.received = 0

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=16 * 1024)
        self.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.open.discard(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self.received += len(data)
        for frame in self.cut(data):
            if not self.transport.is_closing():
                self.take(frame)
        if self.framer.broken is not None and not self.transport.is_closing():
            self.unreadable(str(self.framer.broken))

    def pause_writing(self) -> None:
        """Read no more while replies wait."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    # From bytes to replies.

    def cut(self, data: bytes) -> list[bytes | None]:
        """The values of the stream; None for one that is no JSON."""
        found = self.framer.feed(data)
        return [None if isinstance(each, Malformed) else bytes(each) for each in found]

    def take(self, frame: bytes | None) -> None:
        """Serve one value."""
        if frame is None:
            self.send(self.refusal(None, Refused(-32700)))
            return
        value: Any = self.decode(frame)
        if type(value) is list:
            self.batch(cast("list[Any]", value))
        elif (reply := self.one(value)) is not None:
            self.send(reply)

    def decode(self, frame: bytes) -> Any:
        """What a value means."""
        return json.loads(frame.decode("utf-8", "replace"))

    def unreadable(self, problem: str) -> None:
        """Say that nothing can be read any more, and close."""
        self.send(self.refusal(None, Refused(-32700)))
        self.transport.close()

    def batch(self, members: list[Any]) -> None:
        """Serve a batch."""
        if not members:
            self.send(self.refusal(None, Refused(-32600)))
        elif replies := [reply for reply in map(self.one, members) if reply is not None]:
            self.write(json.dumps(replies).encode())

    def one(self, request: Any) -> dict[str, Any] | None:
        """The reply to one request; None for a notification."""
        if not isinstance(request, dict):
            return self.refusal(None, Refused(-32600))
        members = cast("dict[str, Any]", request)
        own = members.get("id")
        if own is not None and type(own) not in {str, int, float}:
            return self.refusal(None, Refused(-32600))
        try:
            self.validate(members)
            result = self.call(members["method"], members.get("params"))
        except Refused as refused:
            return None if self.silent(members, refused) else self.refusal(own, refused)
        return None if self.silent(members, None) else self.confirmation(own, result)

    def silent(self, request: dict[str, Any], refused: Refused | None) -> bool:
        """Whether a request gets no reply."""
        return request.get("id") is None

    def validate(self, request: dict[str, Any]) -> None:
        """Refuse what is no request."""
        if request.get("jsonrpc") != "2.0" or type(request.get("method")) is not str:
            raise Refused(-32600)
        if not isinstance(request.get("params", {}), dict | list):
            raise Refused(-32602)

    def call(self, method: str, params: Any) -> Any:
        """Do what the method does."""
        if method != "echo":
            raise Refused(-32601)
        return params

    def confirmation(self, id: Any, result: Any) -> dict[str, Any]:
        """A result."""
        return {"jsonrpc": "2.0", "id": id, "result": result}

    def refusal(self, id: Any, refused: Refused) -> dict[str, Any]:
        """An error."""
        return {"jsonrpc": "2.0", "id": id, "error": refused.error}

    def send(self, reply: dict[str, Any]) -> None:
        """Write a reply."""
        self.write(json.dumps(reply).encode())

    def write(self, data: bytes) -> None:
        """Write bytes."""
        if not self.transport.is_closing():
            self.transport.write(data)

    # What faults use.

    def end_others(self) -> None:
        """What an exception that nobody catches does to a server of one thread."""
        for other in list(self.open - {self}):
            other.transport.abort()
