"""Subscribers that are broken in segments, batches, sizes, connections and replies: groups 6 to 11."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.conformance.broken import edits, fault, results
from tests.conformance.model import Model, Refused

__all__: list[str] = []


# Groups 6 and 7.


@fault("3.4 6.1 6.2 6.3 6.4 6.8 9.4? 10.2 11.2")
class _OnePerRead(Model):
    """It serves one request of a segment."""

    def cut(self, data: bytes) -> list[bytes | None]:
        return super().cut(data)[:1]


@fault("6.4")
class _NoNewlines(Model):
    """It can't read newlines between requests."""

    def cut(self, data: bytes) -> list[bytes | None]:
        return [] if b"\r\n\r\n" in data else super().cut(data)


@fault("3.4 6.1 6.2 6.3 6.4 6.5 6.6 6.7 6.8 6.9 8.1 8.2? 9.4? 9.9 10.2 11.2 11.3?")
class _WholeReads(Model):
    """It takes each segment for a request."""

    def cut(self, data: bytes) -> list[bytes | None]:
        try:
            json.loads(data.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return [None]
        return [data]


@fault("6.7")
class _DecodesSegments(Model):
    """It decodes each segment as UTF-8 on its own."""

    def cut(self, data: bytes) -> list[bytes | None]:
        return super().cut(data if b"caf" in data else data.decode("utf-8", "replace").encode())


@fault("6.9 11.3?")
class _Impatient(Model):
    """It waits half a second for the rest of a request."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.framer.buffered:
            asyncio.get_running_loop().call_later(0.5, self._check, self.received)

    def _check(self, received: int) -> None:
        if received == self.received and self.framer.buffered:
            self.transport.abort()


@fault("7.1? 7.2? 7.3? 7.5?")
class _NoBatches(Model):
    """It takes every batch for an invalid request."""

    def batch(self, members: list[Any]) -> None:
        super().batch([])


@fault("7.3? 7.4?")
class _EmptyArrays(Model):
    """It answers batches with an empty array."""

    def batch(self, members: list[Any]) -> None:
        replies = [reply for reply in map(self.one, members) if reply is not None]
        self.write(json.dumps(replies).encode())


@fault("7.5?")
class _AllOrNothing(Model):
    """It refuses a batch for one of its members."""

    def batch(self, members: list[Any]) -> None:
        super().batch(members if all(isinstance(each, dict) for each in members) else [])


@fault("7.6")
class _EndsAtBatch(Model):
    """It ends at an array in an array, and comes back for the second connection after that."""

    ended = 0

    def batch(self, members: list[Any]) -> None:
        if [] in members:
            type(self).ended = 2
        super().batch(members)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.ended:
            type(self).ended -= 1
            self.transport.abort()


# Groups 8 and 9.


@fault("8.1 8.2?")
class _Short(Model):
    """It reads 48 KiB."""

    max_frame = 48 * 1024


@fault("8.2?")
class _Half(Model):
    """It reads half a megabyte."""

    max_frame = 2**19


@fault("8.2? 8.3")
class _EndsAtSize(Model):
    """It ends at what is too big."""

    max_frame = 2**19

    def unreadable(self, problem: str) -> None:
        super().unreadable(problem)
        if "a value of more than" in problem and "levels" not in problem:
            self.end_others()


@fault("9.1")
class _Eight(Model):
    """It takes eight connections."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self.open) > 8:
            self.transport.abort()


@fault("9.2", only=("9",))
class _Tired(Model):
    """It turns one away after sixteen that came one after the other."""

    in_a_row = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        type(self).in_a_row = self.in_a_row + 1 if len(self.open) == 1 else 0
        if self.in_a_row > 16:
            type(self).in_a_row = 0
            self.transport.abort()


@fault("9.3")
class _EndsAtNothing(Model):
    """It turns one away after ten that left without a word."""

    silent_ones = 0

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        type(self).silent_ones += not self.received

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.silent_ones == 10:
            self.received = 1
            type(self).silent_ones = 0
            self.transport.abort()


@fault("9.4?")
class _HalfIsWhole(Model):
    """It takes the end of sending for the end of all."""

    def write(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(0.002, super().write, data)

    def unreadable(self, problem: str) -> None:
        self.transport.write(json.dumps(self.refusal(None, Refused(-32700))).encode())
        self.transport.close()

    def eof_received(self) -> None:
        self.transport.abort()


@fault("9.5?")
class _KeepsClosed(Model):
    """It keeps connections that the other side has closed."""

    def eof_received(self) -> bool:
        return True


@fault("5.11 9.6")
class _EndsAtPart(Model):
    """It ends when a connection is closed amid a request."""

    def eof_received(self) -> None:
        if self.framer.buffered:
            self.end_others()


@fault("9.7")
class _EndsAtReset(Model):
    """It ends when a connection is reset amid a request."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if exc is not None and self.framer.buffered:
            self.end_others()


@fault("9.8")
class _EndsAtLost(Model):
    """It ends when a reply can't be written."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if exc is not None and self.received and not self.framer.buffered:
            self.end_others()


@fault("9.9 11.1")
class _OneAtATime(Model):
    """It reads one connection's request to its end before any other's."""

    def take(self, frame: bytes | None) -> None:
        if not any(other.framer.buffered for other in self.open - {self}):
            super().take(frame)


@fault("9.10?")
class _NoIdling(Model):
    """It closes connections after a second without requests."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        asyncio.get_running_loop().call_later(1.0, self._check, self.received)

    def _check(self, received: int) -> None:
        if received == self.received:
            self.transport.abort()


# Groups 10 and 11.


@fault("3.4 6.1 6.2 6.3 6.4 6.6 6.8 8.3 9.10? 10.1 10.2 10.3?")
class _Twice(Model):
    """It answers a connection's first request twice, the second time after 50 ms."""

    answered = False

    def send(self, reply: dict[str, Any]) -> None:
        super().send(reply)
        if not self.answered:
            self.answered = True
            asyncio.get_running_loop().call_later(0.05, super().send, reply)


@fault(
    "1.7 3.4 4.13 5.2 5.7 5.9? 5.11 5.12 6.1 6.2 6.3 6.4 6.6 6.8 8.3 9.4? 9.6 9.7 9.8 9.10? 10.1 10.2 10.3? 11.1 11.2"
)  # whatever reads on behind a reply
class _Commas(Model):
    """It writes commas between replies."""

    def write(self, data: bytes) -> None:
        super().write(data + b",")


@fault("10.3?")
class _Newlines(Model):
    """It writes a newline behind each reply."""

    def write(self, data: bytes) -> None:
        super().write(data + b"\n")


edits("It doesn't say the version", lambda reply: reply.pop("jsonrpc"), seen_by="10.4")
edits("It says another version", lambda reply: reply.update(jsonrpc="1.0"), seen_by="10.4")
edits("It writes a null error", lambda reply: reply.setdefault("error", None), seen_by="10.5")
edits("It writes a null result", lambda reply: reply.setdefault("result", None), seen_by="10.5")
edits("Its errors say no text", lambda reply: reply.get("error", {"message": 1}).pop("message"), seen_by="10.7")
edits("Its errors say more", lambda reply: reply.get("error", {}).update(trace="line 7"), seen_by="10.8?")
edits("Its replies say more", lambda reply: reply.update(took=7), seen_by="10.9?")


@fault("5.1 10.6")
class _NoCode(Model):
    """Its code for an unknown method is a text."""

    def call(self, method: str, params: Any) -> Any:
        if method != "echo":
            raise Refused("unknown")
        return params


@fault("5.1 10.6")
class _NoObject(Model):
    """Its error for an unknown method is a text."""

    def refusal(self, id: Any, refused: Refused) -> dict[str, Any]:
        if refused.error["code"] == -32601:
            return {"jsonrpc": "2.0", "id": id, "error": "unknown"}
        return super().refusal(id, refused)


results("Its results are long", lambda _: "x" * 20_000, seen_by="10.10?")


@fault("11.1")
class _WaitsForAll(Model):
    """It serves nobody while somebody doesn't read."""

    stuck: Model | None = None

    def pause_writing(self) -> None:
        type(self).stuck = self
        super().pause_writing()

    def resume_writing(self) -> None:
        type(self).stuck = None
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.stuck is self:
            type(self).stuck = None

    def take(self, frame: bytes | None) -> None:
        if self.stuck in {None, self}:
            super().take(frame)


@fault("11.2 11.3?")
class _DropsUnread(Model):
    """It drops replies that nobody reads."""

    full = False

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False

    def write(self, data: bytes) -> None:
        if not self.full:
            super().write(data)


@fault("11.3?")
class _TakesAnything(Model):
    """It holds all the replies that nobody reads."""

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass


@fault("8.1 8.2? 11.2? 11.3?")
class _CutsOff(Model):
    """It cuts off who doesn't read."""

    def pause_writing(self) -> None:
        self.transport.abort()
