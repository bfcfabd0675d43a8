"""One connection of a scripted subscriber: cuts requests out of the stream, and writes what the actions want."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Final, Protocol, cast

import msgspec

from failover.protocol.framing import Framer, Malformed
from failover.subscriber.wire import CALLS, INVALID_REQUEST, NO_ID, PARSE_ERROR, peer_name, refusal
from failover.subscriber.wire import Call as WireCall
from failover.testing.calls import Call, read_call
from failover.testing.connections import AcceptAndStall, Connecting, NeverRead, TlsFailure

__all__ = ["Link", "LinkOwner", "reset_transport"]

_BOUND: Final = 10_000
"""Requests of one connection that may wait for their delay, and replies that may wait to be written, until reading
pauses."""
_PLAIN_TEXT: Final = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


class LinkOwner(Protocol):
    """The subscriber that a connection belongs to."""

    rng: Random
    event_id: str
    max_frame: int
    held: bool
    """Whether nothing is read or written at present."""

    def connected(self, link: Link) -> int:
        """A connection was accepted. Returns its number; 0 if it came too late."""
        ...

    def arrived(self, call: Call) -> None:
        """A request came."""

    def handled(self, call: Call) -> None:
        """The work for a request is done."""

    def note(self, what: str, link: Link) -> None:
        """Something happened to a connection."""

    def lost(self, link: Link) -> None:
        """The connection is gone."""


def reset_transport(transport: asyncio.Transport) -> None:
    """Break a connection by a RST: whatever its buffers hold is lost."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Link(asyncio.Protocol):
    """A connection that was accepted.

    Args:
        owner: The subscriber.
        loop: Its loop.
        behaviour: What is done with it.
    """

    def __init__(self, owner: LinkOwner, loop: asyncio.AbstractEventLoop, behaviour: Connecting) -> None:
        self.number = 0
        self.peer = ""
        self.rng = owner.rng
        self.gone: asyncio.Future[None] = loop.create_future()
        """Done when the connection is."""
        self.waiting = 0
        """Requests whose delay has not passed."""
        self._owner = owner
        self._loop = loop
        self._behaviour = behaviour
        self._framer = Framer(CALLS, max_frame=owner.max_frame)
        self._served = 0
        self._transport: asyncio.Transport
        self._out: deque[bytes | float | Callable[[], None]] = deque()
        self._pausing = False  # between two pieces
        self._full = False  # the transport takes no more
        self._forgotten = False  # half open: what still comes brings a RST
        self._reading = True
        self._timers: set[asyncio.TimerHandle] = set()
        self._gathered: dict[str, list[bytes]] = {}

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, as the behaviour says."""
        self._transport = cast("asyncio.Transport", transport)
        self.peer = peer_name(transport.get_extra_info("peername"))
        self.number = self._owner.connected(self)
        if not self.number:
            self.cut()
            return
        self.regulate()
        if not self._reading:
            self._loop.call_soon(self._pause)  # uvloop begins to read all the same
        if isinstance(self._behaviour, TlsFailure) and self._behaviour.kind == "plain_text":
            self._owner.note("plain text in place of TLS", self)
            self._transport.write(_PLAIN_TEXT)

    def _pause(self) -> None:
        if not self._reading and not self._transport.is_closing():
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Have each request acted upon."""
        if self._forgotten:
            self.cut()
            return
        if isinstance(self._behaviour, TlsFailure):
            return
        for value in self._framer.feed(data):
            for each in self._calls(value):
                self._served += 1
                if isinstance(self._behaviour, AcceptAndStall) and self._served > self._behaviour.after:
                    self._owner.note("stalled", self)
                else:
                    self._owner.arrived(each)
        if self._framer.broken is not None:
            self._unreadable(PARSE_ERROR, str(self._framer.broken))
            self.close()
        self.regulate()

    def _calls(self, value: WireCall | list[msgspec.Raw] | Malformed) -> Iterator[Call]:
        """The requests of one value, in order; what is none is answered at its turn."""
        if isinstance(value, list):  # a batch: each of its members is answered on its own
            for raw in value:
                yield from self._calls(_member(raw))
        elif isinstance(value, Malformed):
            self._unreadable(PARSE_ERROR, value.problem)
        else:
            try:
                call = read_call(self, self._loop.time(), value, self._owner.event_id)
            except ValueError as error:
                self._unreadable(INVALID_REQUEST, str(error))
            else:
                yield call

    def _unreadable(self, code: int, problem: str) -> None:
        self._owner.note(f"unreadable request: {problem}", self)
        self.send(refusal(NO_ID, code, "unreadable request", problem))

    def eof_received(self) -> bool:
        """The peer will send no more; what is due is still written, unless it is TLS, which knows no such state."""
        if self._transport.get_extra_info("sslcontext") is not None or self._forgotten:
            return False
        self._close_when_done = True
        self._finish()
        return True

    _close_when_done = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember that it is gone; work that is under way goes on."""
        self._out.clear()
        self._gathered.clear()
        if self.number:
            self._owner.lost(self)
        self.gone.set_result(None)

    def pause_writing(self) -> None:
        """The peer doesn't read: read no more from it either."""
        self._full = True
        self.regulate()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._full = False
        self._write()
        self.regulate()

    # What actions want: see `failover.testing.calls.Line`.

    def send(self, *parts: bytes | float) -> None:
        """Write pieces in this order; a number is a pause before what follows, in seconds."""
        self._out.extend(parts)
        self._write()

    def close(self) -> None:
        """End the connection once all that was sent before is written."""
        self._out.append(self._end)
        self._write()

    def reset(self) -> None:
        """Break the connection by a RST once all that was sent before is written."""
        self._out.append(self.cut)
        self._write()

    def later(self, seconds: float, function: Callable[..., object], *args: Any) -> None:
        """Call a function later, unless the subscriber crashes or is closed before."""
        self.waiting += 1
        self.regulate()

        def call() -> None:
            self._timers.discard(timer)
            self.waiting -= 1
            function(*args)
            self.regulate()
            self._finish()

        timer = self._loop.call_later(seconds, call)
        self._timers.add(timer)

    def handled(self, call: Call) -> None:
        """The work for a request is done."""
        self._owner.handled(call)

    def gather(
        self, name: str, piece: bytes, *, of: int, within: float, join: Callable[[Sequence[bytes]], bytes]
    ) -> None:
        """Send several replies as one, once there are so many of them, or those that there are after some seconds."""
        replies = self._gathered.setdefault(name, [])
        replies.append(piece)

        def send() -> None:
            if self._gathered.get(name) is replies:
                del self._gathered[name]
                self.send(join(replies))

        if len(replies) >= of:
            send()
        elif len(replies) == 1:
            self.later(within, send)

    # What the subscriber wants.

    def cut(self) -> None:
        """Break the connection by a RST now."""
        reset_transport(self._transport)

    def forget(self) -> None:
        """Half open: this end has lost the connection, and the other isn't told until it sends something."""
        self._forgotten = True
        self._out.clear()

    def crash(self) -> None:
        """Break the connection and end the work that is under way."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.cut()

    def regulate(self) -> None:
        """Read, unless there is a reason not to."""
        wanted = not (
            self._owner.held
            or self._full
            or isinstance(self._behaviour, NeverRead)
            or self.waiting >= _BOUND
            or len(self._out) >= _BOUND
        )
        if wanted != self._reading and not self._transport.is_closing():
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def release(self) -> None:
        """The subscriber holds things back from now on, or no longer."""
        self._write()
        self.regulate()

    def _write(self) -> None:
        """Write what is due: up to the next pause, and while the transport takes it."""
        out = self._out
        while out and not self._pausing and not self._full and not self._owner.held:
            part = out.popleft()
            if self._forgotten or self._transport.is_closing():
                continue
            if isinstance(part, bytes):
                self._transport.write(part)
            elif callable(part):
                part()
            else:
                self._pausing = True
                self.later(part, self._resume)
        self._finish()

    def _resume(self) -> None:
        self._pausing = False
        self._write()

    def _end(self) -> None:
        self._transport.close()

    def _finish(self) -> None:
        """Close if the peer will send no more and all that is due was written."""
        if self._close_when_done and not self._out and not self.waiting:
            self._transport.close()


_member_of_batch: Final = msgspec.json.Decoder(WireCall)


def _member(raw: msgspec.Raw) -> WireCall | Malformed:
    try:
        return _member_of_batch.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return Malformed(bytes(raw)[:256], len(raw), str(error))
