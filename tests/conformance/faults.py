"""Subscribers that are broken in one place each, and the clauses that must see it: those, and no others.

`"4.6"` fails, `"4.8?"` warns, `"10.6-"` is skipped; a clause is named by its number.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import attrs

from tests.conformance.model import Model, Refused

__all__ = ["FAULTS", "Broken"]


@attrs.frozen
class Broken:
    """A fault.

    Args:
        name: What is broken, in words.
        model: The subscriber.
        seen_by: The clauses that see it.
        only: The groups that it is examined for; all if there are none.
    """

    name: str
    model: type[Model]
    seen_by: frozenset[str]
    only: tuple[str, ...] = ()


FAULTS: list[Broken] = []


def fault(seen_by: str, *, only: tuple[str, ...] = ()) -> Callable[[type[Model]], type[Model]]:
    """Put a broken subscriber into the table; its docstring is its name."""

    def add(model: type[Model]) -> type[Model]:
        FAULTS.append(Broken(str(model.__doc__).rstrip("."), model, frozenset(seen_by.split()), only))
        return model

    return add


def ignores(name: str, *pieces: bytes, seen_by: str) -> None:
    """Put one into the table that never answers requests in which all these bytes stand."""

    class Ignoring(Model):
        def take(self, frame: bytes | None) -> None:
            if frame is None or not all(piece in frame for piece in pieces):
                super().take(frame)

    Ignoring.__doc__ = name
    fault(seen_by)(Ignoring)


def edits(name: str, edit: Callable[[dict[str, Any]], object], *, seen_by: str) -> None:
    """Put one into the table that changes its replies."""

    class Editing(Model):
        def send(self, reply: dict[str, Any]) -> None:
            edit(reply)
            super().send(reply)

    Editing.__doc__ = name
    fault(seen_by)(Editing)


def results(name: str, change: Callable[[Any], Any], *, seen_by: str) -> None:
    """Put one into the table that changes params before it returns them."""

    class Changing(Model):
        def call(self, method: str, params: Any) -> Any:
            return change(super().call(method, params))

    Changing.__doc__ = name
    fault(seen_by)(Changing)


# Groups 1 to 3.


@fault("1.1")
class _Refuses(Model):
    """It refuses the method that it should know."""

    def call(self, method: str, params: Any) -> Any:
        super().call(method, params)
        raise Refused(-32000)


@fault("1.2 1.5 6.2")
class _Lines(Model):
    """It reads lines."""

    held = b""

    def cut(self, data: bytes) -> list[bytes | None]:
        *lines, self.held = (self.held + data).split(b"\n")
        return [line for line in lines if line.strip()]

    def decode(self, frame: bytes) -> Any:
        try:
            return json.loads(frame.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None

    def one(self, request: Any) -> dict[str, Any] | None:
        return self.refusal(None, Refused(-32700)) if request is None else super().one(request)


ignores("It wants the id first", b'{"params"', seen_by="1.3")
ignores("It knows no tabs", b"\t", seen_by="1.4")
ignores("It knows no newlines in a request", b"\n", seen_by="1.5")
ignores("It doesn't unescape methods", b"\\u0065\\u0063\\u0068\\u006f", seen_by="1.6")


@fault(
    "1.7 4.13 5.2 5.7 5.9? 5.11 5.12 6.1 6.2 6.3 6.4 6.6 6.8 8.3 9.4? 9.6 9.7 9.8 9.10? 10.2 11.1 11.2? 11.3?"
)  # whatever needs a second reply on a connection
class _Three(Model):
    """It serves one request on a connection."""

    def send(self, reply: dict[str, Any]) -> None:
        super().send(reply)
        self.transport.close()


edits(
    "Its small ids are strings", lambda reply: reply.update(id="1" if reply["id"] == 1 else reply["id"]), seen_by="2.1"
)
edits(
    "Its ids wrap at 31 bits",
    lambda reply: reply.update(id=-1 if reply["id"] == 2**31 - 1 else reply["id"]),
    seen_by="2.2",
)
edits(
    "Its ids are doubles",
    lambda reply: reply.update(id=int(float(reply["id"])) if type(reply["id"]) is int else reply["id"]),
    seen_by="2.3?",
)
edits(
    "Strings of digits become numbers",
    lambda reply: reply.update(id=7 if reply["id"] == "7" else reply["id"]),
    seen_by="2.4",
)
edits(
    "Its ids have only ASCII",
    lambda reply: reply.update(id=reply["id"].replace("é", "?") if type(reply["id"]) is str else reply["id"]),
    seen_by="2.5",
)


@fault("2.6")
class _IdsForAll(Model):
    """It takes an id that came on another connection for a repetition."""

    def send(self, reply: dict[str, Any]) -> None:
        if _SEEN.setdefault((type(self), repr(reply["id"])), self) is self or reply["id"] in {None, 1}:
            super().send(reply)


_SEEN: dict[Any, Model] = {}


@fault("3.1 3.4")
class _AnswersNull(Model):
    """It answers requests with a null id."""

    def silent(self, request: dict[str, Any], refused: Refused | None) -> bool:
        return "id" not in request


@fault("3.2 3.3 7.2? 7.3?")
class _AnswersNotifications(Model):
    """It answers notifications."""

    def silent(self, request: dict[str, Any], refused: Refused | None) -> bool:
        return "id" in request and request["id"] is None


@fault("3.3 7.2? 7.3?")
class _RefusesNotifications(Model):
    """It says why a notification failed."""

    def silent(self, request: dict[str, Any], refused: Refused | None) -> bool:
        return super().silent(request, refused) and refused is None


@fault("3.4 6.3")
class _Forty(Model):
    """It takes forty requests at a time, and drops the others."""

    def cut(self, data: bytes) -> list[bytes | None]:
        return super().cut(data)[:40]


# Group 4.


@fault("4.2 4.5")
class _NamesOnly(Model):
    """It takes named params only."""

    def validate(self, request: dict[str, Any]) -> None:
        super().validate(request)
        if isinstance(request.get("params"), list):
            raise Refused(-32600)


@fault("4.3")
class _NeedsParams(Model):
    """It takes requests without params for invalid."""

    def validate(self, request: dict[str, Any]) -> None:
        super().validate(request)
        if "params" not in request:
            raise Refused(-32600)


ignores("It drops caller", b'"caller"', seen_by="4.1")
ignores("It drops empty objects", b'"2.0","method":"echo","params":{}}', seen_by="4.4")
ignores("It drops empty arrays", b'"params":[]', seen_by="4.5")
results(
    "Its numbers are integers",
    lambda params: json.loads(json.dumps(params), parse_float=lambda text: int(float(text))),
    seen_by="4.6",
)
ignores("It drops nested objects", b'{"b":{}}', seen_by="4.7")


@fault("4.8?")
class _Shallow(Model):
    """It reads sixteen levels."""

    max_depth = 16


ignores("It drops what has a name twice", b'"k":1,"k":2', seen_by="4.9")


@fault("4.10 6.7")
class _Latin(Model):
    """It takes UTF-8 for Latin-1."""

    def decode(self, frame: bytes) -> Any:
        return json.loads(frame.decode("latin-1")) if b'"extra"' in frame else super().decode(frame)


results(
    "Its texts end at a null character",
    lambda params: json.loads(json.dumps(params).replace("\\u0000", "")),
    seen_by="4.11",
)


@fault("4.12")
class _Counts(Model):
    """It counts brackets, within texts too."""

    held = ""

    def cut(self, data: bytes) -> list[bytes | None]:
        self.held += data.decode("latin-1")
        found: list[bytes | None] = []
        depth = start = 0
        for at, char in enumerate(self.held):
            depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(char, 0)
            if depth == 0 and char in "}]":
                found.append(self._valid(self.held[start : at + 1].strip().encode("latin-1")))
                start = at + 1
        self.held = self.held[start:]
        if self.held.strip() and self.held.strip()[0] not in "{[":
            self.held = ""
            self.unreadable("no JSON")
        return found

    def _valid(self, frame: bytes) -> bytes | None:
        try:
            json.loads(frame.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None
        return frame


@fault("4.13")
class _Strict(Model):
    """It closes the connection at bytes that aren't UTF-8."""

    def decode(self, frame: bytes) -> Any:
        try:
            frame.decode()
        except UnicodeDecodeError:
            self.transport.abort()
        return super().decode(frame)


ignores("It drops params that an event's name leads", b'"event":', seen_by="4.14")


@fault("4.15")
class _AnyParams(Model):
    """It takes anything as params."""

    def validate(self, request: dict[str, Any]) -> None:
        super().validate({**request, "params": {}})


# Group 5.


@fault("5.1")
class _OwnCode(Model):
    """It refuses unknown methods with a code of its own."""

    def call(self, method: str, params: Any) -> Any:
        if method != "echo":
            raise Refused(-32000)
        return params


@fault("5.1? 10.6- 10.7- 10.8-")
class _TakesAll(Model):
    """It confirms what it doesn't know."""

    def call(self, method: str, params: Any) -> Any:
        return params


@fault("5.2 11.2? 11.3?")
class _ClosesAtUnknown(Model):
    """It closes the connection after an unknown method."""

    def refusal(self, id: Any, refused: Refused) -> dict[str, Any]:
        if refused.error["code"] == -32601 and id is not None:
            asyncio.get_running_loop().call_soon(self.transport.close)
        return super().refusal(id, refused)


@fault("5.3")
class _NoMethod(Model):
    """It takes no method for an unknown one."""

    def validate(self, request: dict[str, Any]) -> None:
        if "method" not in request:
            raise Refused(-32601)
        super().validate(request)


@fault("5.4 5.7")
class _OddMethod(Model):
    """It ignores methods that are no strings."""

    def one(self, request: Any) -> dict[str, Any] | None:
        odd = isinstance(request, dict) and type(request.get("method", "")) is not str  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        return None if odd else super().one(request)


@fault("5.5?")
class _AnyVersion(Model):
    """It doesn't look at the version."""

    def validate(self, request: dict[str, Any]) -> None:
        super().validate({**request, "jsonrpc": "2.0"})


@fault("5.6?")
class _AnyId(Model):
    """It takes anything for an id."""

    def one(self, request: Any) -> dict[str, Any] | None:
        members = cast("dict[str, Any]", request) if isinstance(request, dict) else {}
        odd = members.get("id")
        if not isinstance(odd, dict | list | bool):
            return super().one(request)
        return {"jsonrpc": "2.0", "id": odd, "result": None}


@fault("5.7")
class _ClosesAtInvalid(Model):
    """It closes the connection after an invalid request."""

    def validate(self, request: dict[str, Any]) -> None:
        try:
            super().validate(request)
        except Refused:
            asyncio.get_running_loop().call_soon(self.transport.close)
            raise


@fault("5.8 5.9?")
class _IgnoresBroken(Model):
    """It ignores what is no JSON."""

    def take(self, frame: bytes | None) -> None:
        if frame is not None:
            super().take(frame)


@fault("5.9?")
class _ClosesAtBroken(Model):
    """It closes the connection after what is no JSON."""

    def take(self, frame: bytes | None) -> None:
        super().take(frame)
        if frame is None:
            self.transport.close()


@fault("5.10?")
class _ClosesSilently(Model):
    """It closes the connection at garbage without a word."""

    def unreadable(self, problem: str) -> None:
        self.transport.close()


@fault("5.11")
class _EndsAtGarbage(Model):
    """It ends at garbage."""

    def unreadable(self, problem: str) -> None:
        super().unreadable(problem)
        if "levels" not in problem:
            self.end_others()


@fault("5.12")
class _EndsAtDepth(Model):
    """It ends at what is nested too deep."""

    def unreadable(self, problem: str) -> None:
        super().unreadable(problem)
        if "levels" in problem:
            self.end_others()


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
