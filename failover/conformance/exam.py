"""What a clause has in its hands: connections, requests as OpenSIPS writes them, and the usual expectations."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, cast

import msgspec

from failover.conformance.line import Doubt, Fault, Line, Skipped, expect_id, reason
from failover.conformance.results import Excerpt
from failover.conformance.subject import Subject, Traits
from failover.event import Event, Params
from failover.protocol.encoding import Dialect

__all__ = [
    "INTERNAL",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "PARSE_ERROR",
    "UNKNOWN",
    "UNKNOWN_METHOD",
    "Exam",
    "code_of",
]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
UNKNOWN_METHOD: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL: Final = -32603
UNKNOWN: Final = "E_UNKNOWN_TO_EVERYONE"
"""A method that nobody has."""

_OWN: Final = object()
_LIMIT: Final = 8192  # bytes that are read ahead: few, so that not reading is seen at the other end


class Exam:
    """One clause being examined.

    Args:
        subject: Who is examined, and how.
        traits: What is known of them.
        ids: Where ids come from: positive, 31 bits, each once.
    """

    def __init__(self, subject: Subject, traits: Traits, ids: Iterator[int] | None = None) -> None:
        self.subject = subject
        self.traits = traits
        self.sent = Excerpt()
        self.came = Excerpt()
        self._ids = ids if ids is not None else itertools.count(1001, 4)
        self._dialect = Dialect()

    def id(self) -> int:
        """An id that wasn't used before."""
        return next(self._ids)

    # Requests.

    def params(self, *more: tuple[str, Any]) -> Params:
        """What the method needs, and these named params behind; without names if what it needs has none."""
        own = self.subject.params
        if own is None:
            return list(more)
        if isinstance(own, dict):
            return [*own.items(), *more]
        pairs = cast("list[Any]", own)
        return [*pairs, *more] if not pairs or _named(pairs) else [*pairs, *(value for _, value in more)]

    def tail(
        self, params: Params | object = _OWN, *, method: str | None = None, event_param: str | None = None
    ) -> bytes:
        """Everything of a request behind its id, as OpenSIPS writes it."""
        dialect = self._dialect if event_param is None else Dialect(event_param=event_param)
        own = self.subject.params if params is _OWN else cast("Params", params)
        return dialect.tail(Event(method or self.subject.name, own))

    def request(self, id: int, params: Params | object = _OWN, *, method: str | None = None) -> bytes:
        """A request as OpenSIPS writes it, and the newline if the subscriber needs one."""
        return self.wire(self._dialect.request(id, self.tail(params, method=method)))

    def notification(self, *, null_id: bool, method: str | None = None) -> bytes:
        """A notification in either dialect."""
        return self.wire(Dialect(null_id=null_id).notification(self.tail(method=method)))

    def spelled(self, id: bytes | None, params: bytes | None = None, *, method: bytes | None = None) -> bytes:
        """A request of members that are JSON already, whatever they are."""
        members = [] if id is None else [b'"id":' + id]
        members += [b'"jsonrpc":"2.0"', b'"method":' + (method or msgspec.json.encode(self.subject.name))]
        if params is not None:
            members.append(b'"params":' + params)
        return self.wire(b"{" + b",".join(members) + b"}")

    def wire(self, text: bytes) -> bytes:
        """The bytes, and the newline if the subscriber needs one."""
        return text + self.traits.terminator

    @property
    def body(self) -> bytes | None:
        """The method's own params as JSON."""
        return Event(self.subject.name, self.subject.params).body

    # Connections.

    @asynccontextmanager
    async def line(self) -> AsyncGenerator[Line]:
        """A connection, closed at the block's end.

        Raises:
            Fault: it can't be had.
        """
        line = await self.connect()
        try:
            yield line
        finally:
            await line.aclose()

    async def connect(self) -> Line:
        """A connection; whoever takes it closes it.

        Raises:
            Fault: it can't be had.
        """
        subject = self.subject
        try:
            async with asyncio.timeout(subject.timeout):
                reader, writer = await asyncio.open_connection(
                    subject.host, subject.port, limit=_LIMIT, ssl=subject.ssl
                )
        except TimeoutError:
            raise Fault(f"no connection within {subject.timeout:g} s") from None
        except OSError as error:
            raise Fault(f"no connection: {reason(error)}") from None
        return Line(reader, writer, timeout=subject.timeout, quiet=subject.quiet, sent=self.sent, came=self.came)

    @asynccontextmanager
    async def lines(self, number: int) -> AsyncGenerator[list[Line]]:
        """So many connections at a time, opened together."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.line()) for _ in range(number)]

    # What is usually done.

    async def ask(self, line: Line, params: Params | object = _OWN, *, method: str | None = None) -> dict[str, Any]:
        """Send a request and wait for its reply.

        Raises:
            Fault: the reply isn't one to this request.
        """
        asked = self.id()
        await line.send(self.request(asked, params, method=method))
        return await line.answer(asked)

    async def alive(self, doing: str) -> None:
        """Check that a new connection is served.

        Args:
            doing: What was done before, for the text of the fault.

        Raises:
            Fault: it isn't.
        """
        try:
            async with self.line() as line:
                await self.ask(line)
        except Fault as fault:
            raise Fault(f"after {doing}, a new connection isn't served: {fault}") from None

    async def others(self, line: Line, doing: str) -> None:
        """Check that another connection, which was open meanwhile, is still served.

        Args:
            line: That connection.
            doing: What was done on one, for the text of the fault.

        Raises:
            Fault: it isn't.
        """
        try:
            await self.ask(line)
        except Fault as fault:
            raise Fault(f"after {doing} on one connection, another one isn't served: {fault}") from None

    # What is usually expected.

    def needs_confirmation(self) -> None:
        """Go on only if the method is confirmed.

        Raises:
            Skipped: it's not, and nobody said that it would be.
        """
        if not self.traits.confirms and self.subject.method is None:
            raise Skipped(f"needs a method that the subscriber confirms: {self.traits.refusal}")

    def understood(self, reply: dict[str, Any], echo: object = _OWN) -> None:
        """Check that a valid request was read as one; whether its params are of use is the application's affair.

        Args:
            reply: What came.
            echo: The params as a subscriber that returns them would.

        Raises:
            Fault: it was refused as unreadable or invalid, or the params came back changed.
            Doubt: it wasn't confirmed although the method is, and the code doesn't blame the params.
        """
        code = code_of(reply)
        if code is None:
            came = reply.get("result")
            # Many a function can't tell {} from []: it gets no arguments either way.
            if self.traits.echoes and echo is not _OWN and came != echo and (came or echo):
                raise Fault(f"the params came back changed: {_short(came)}; expected {_short(echo)}")
            return
        if code in {PARSE_ERROR, INVALID_REQUEST}:
            raise Fault(f"a valid request was refused with {code}")
        if code == UNKNOWN_METHOD and self.traits.confirms:
            raise Fault(f"the method that was confirmed before is refused with {code}")
        if code not in {INVALID_PARAMS, UNKNOWN_METHOD} and self.traits.confirms:
            raise Doubt(f"refused with {code}; params that the method can't use are {INVALID_PARAMS}")

    def refused(self, reply: dict[str, Any], *codes: int, id: object = _OWN) -> None:
        """Check that a reply is an error with one of these codes.

        Args:
            reply: What came.
            codes: Those that are expected.
            id: The request's id; a reply to what is no request may have null instead.

        Raises:
            Fault: it isn't.
        """
        if id is not _OWN and not ("id" in reply and reply["id"] is None):
            expect_id(reply, id)
        code = code_of(reply)
        if code is None:
            raise Fault("it was confirmed")
        if code not in codes:
            raise Fault(f"the error has code {code!r}; expected {' or '.join(map(str, codes))}")


def code_of(reply: dict[str, Any]) -> object:
    """The error's code; None without an error; the error itself if it has no code."""
    error = reply.get("error")
    if error is None:
        return None
    return cast("dict[str, object]", error).get("code", "none") if isinstance(error, dict) else str(error)


def _named(params: list[Any]) -> bool:
    return isinstance(params[0], tuple)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004  # characters of a line
