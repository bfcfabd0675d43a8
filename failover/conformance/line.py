"""One connection to the subscriber: bytes of any shape out, replies in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections import deque
from typing import Any, Final, cast

import msgspec

from failover.conformance.results import Excerpt
from failover.protocol.framing import Framer, Malformed

__all__ = ["ClosedFault", "Doubt", "Fault", "Line", "Skipped", "StalledFault", "expect_id", "reason"]

_MOST: Final = 8 * 2**20  # bytes of one reply
_READ: Final = 64 * 1024


class Fault(Exception):  # noqa: N818  # it's the subscriber's
    """What the subscriber did isn't what the clause expects."""


class ClosedFault(Fault):
    """The subscriber closed or reset the connection."""


class StalledFault(Fault):
    """The subscriber doesn't read."""


class Doubt(Exception):  # noqa: N818
    """What the subscriber did can be meant, and should be looked at."""


class Skipped(Exception):  # noqa: N818
    """The clause can't be examined here."""


class Line:
    """A connection whose bytes are noted; what comes is cut into JSON values whatever its segmentation.

    Args:
        reader: What comes.
        writer: Where it goes.
        timeout: Seconds for a reply, and for a write.
        quiet: Seconds in which nothing may come where nothing is expected.
        sent: Where sent bytes are noted.
        came: Where received bytes are noted.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        timeout: float,
        quiet: float,
        sent: Excerpt,
        came: Excerpt,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout = timeout
        self._quiet = quiet
        self._sent = sent
        self._came = came
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(dict[str, Any] | list[Any])
        self._framer = Framer(decoder, max_frame=_MOST, max_depth=512)
        self._values: deque[Any] = deque()
        self.raw = bytearray()
        """The first bytes that came, at most 64 KiB."""

    @property
    def socket(self) -> socket.socket:
        """The connection's socket, for its options."""
        return cast("socket.socket", self._writer.get_extra_info("socket"))

    async def send(self, data: bytes, *, within: float | None = None) -> None:
        """Write, and wait until it may be written more.

        Raises:
            Fault: the connection broke, or nothing is read at the other end.
        """
        self._sent.add(data)
        self._writer.write(data)
        try:
            async with asyncio.timeout(within or self._timeout):
                await self._writer.drain()
        except TimeoutError:
            raise StalledFault(f"nothing was read within {within or self._timeout:g} s") from None
        except OSError as error:
            raise ClosedFault(f"the connection broke while sending: {reason(error)}") from None

    async def value(self, *, within: float | None = None) -> Any:
        """Wait for the next reply, or array of replies.

        Raises:
            Fault: none came in time, the connection was closed, or what came is neither an object nor an array.
        """
        limit = within or self._timeout
        try:
            async with asyncio.timeout(limit):
                while not self._values:
                    await self._read()
        except TimeoutError:
            held = self._framer.buffered
            raise Fault(f"no {'end of the ' if held else ''}reply within {limit:g} s") from None
        return self._values.popleft()

    async def reply(self, *, within: float | None = None) -> dict[str, Any]:
        """Wait for the next reply, which must be one object.

        Raises:
            Fault: as of `value`, or it's an array.
        """
        value = await self.value(within=within)
        if not isinstance(value, dict):
            raise Fault("an array came in reply to a request that was in none")
        return cast("dict[str, Any]", value)

    async def answer(self, request_id: object, *, within: float | None = None) -> dict[str, Any]:
        """Wait for the next reply, which must be the one to this id.

        Raises:
            Fault: as of `reply`, or it has another id, or neither result nor error.
        """
        reply = await self.reply(within=within)
        expect_id(reply, request_id)
        if "result" not in reply and "error" not in reply:
            raise Fault("the reply has neither result nor error")
        return reply

    async def answers(self, ids: list[int]) -> None:
        """Wait for one reply to each of these ids, in any order.

        Raises:
            Fault: as of `answer`; one is answered twice, or not at all.
        """
        missing = set(ids)
        while missing:
            try:
                reply = await self.reply()
            except Fault as fault:
                raise Fault(f"{len(missing)} of {len(ids)} requests have no reply: {fault}") from None
            found = reply.get("id")
            if type(found) is not int or found not in missing:
                again = type(found) is int and found in ids
                raise Fault(f"id {found!r} was answered twice" if again else f"a reply to id {found!r}, never asked")
            missing.discard(found)

    async def silence(self) -> None:
        """Wait for as long as nothing may come.

        Raises:
            Fault: something came.
        """
        try:
            value = await self.value(within=self._quiet)
        except Fault:
            if self._framer.buffered or self._framer.broken:
                raise
            return
        raise Fault(f"a reply came where none was due, to id {_id(value)!r}")

    async def closed(self) -> bool:
        """Whether the peer closes or resets within the timeout; what comes before is noted and not looked at."""
        try:
            async with asyncio.timeout(self._timeout):
                while await self._take():
                    pass
        except TimeoutError:
            return False
        except ClosedFault:
            pass
        return True

    def finish(self) -> None:
        """Close our sending side, and go on receiving.

        Raises:
            Skipped: TLS can't.
        """
        if not self._writer.can_write_eof():
            raise Skipped("over TLS no side can be closed alone")
        self._writer.write_eof()

    async def done(self) -> None:
        """Give the peer its chance to read all that was sent, by closing our side, where that can be done alone."""
        if self._writer.can_write_eof():
            self._writer.write_eof()
            await self.closed()

    def reset(self) -> None:
        """End the connection with a reset."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def aclose(self) -> None:
        """End the connection."""
        if self._writer.transport.is_closing():
            return
        self._writer.close()
        try:
            async with asyncio.timeout(self._quiet):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()

    async def _take(self) -> bytes:
        try:
            data = await self._reader.read(_READ)
        except OSError as error:
            raise ClosedFault(f"the connection broke: {reason(error)}") from None
        self._came.add(data)
        self.raw += data[: _READ - len(self.raw)]
        return data

    async def _read(self) -> None:
        if self._framer.broken is None:
            data = await self._take()
            if not data:
                raise ClosedFault("the connection was closed" + (" amid a reply" if self._framer.buffered else ""))
            for value in self._framer.feed(data):
                if isinstance(value, Malformed):
                    raise Fault(f"what came is no reply: {value.problem}")
                self._values.append(value)
        if self._framer.broken is not None and not self._values:
            raise Fault(f"what came is no JSON: {self._framer.broken}")


def expect_id(reply: dict[str, Any], request_id: object) -> None:
    """Check that a reply has exactly this id: the same value of the same type.

    Raises:
        Fault: it hasn't.
    """
    if "id" not in reply:
        raise Fault("the reply has no id")
    found = reply["id"]
    if type(found) is not type(request_id) or found != request_id:
        raise Fault(f"the reply has id {found!r}; expected {request_id!r}")


def _id(value: Any) -> Any:
    return cast("dict[str, Any]", value).get("id") if isinstance(value, dict) else None


def reason(error: OSError) -> str:
    """What the system says of an error; asyncio's own text for a refused connection doesn't say that it was."""
    if isinstance(error, ssl.SSLError):  # its number is none of the system's
        return f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}"
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error) or type(error).__name__
