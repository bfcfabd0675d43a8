"""Subscribers that are broken in what they make of requests: groups 1 to 5."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, cast

from tests.conformance.broken import edits, fault, ignores, results
from tests.conformance.model import Model, Refused

__all__: list[str] = []


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

    held = b""
    depth = 0

    def cut(self, data: bytes) -> list[bytes | None]:
        found: list[bytes | None] = []
        start = 0
        for bracket in re.finditer(rb"[\[\]{}]", data):
            self.depth += 1 if bracket[0] in b"[{" else -1
            if self.depth == 0:
                found.append(self._valid((self.held + data[start : bracket.end()]).strip()))
                self.held, start = b"", bracket.end()
        self.held += data[start:]
        if self.held.strip() and self.held.strip()[0] not in b"{[":
            self.held, self.depth = b"", 0
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
