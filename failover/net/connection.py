"""One TCP or TLS connection to a peer: its life, the replies that come, and the end of what takes too long."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, cast

from failover.net.dialing import GRACE
from failover.net.exchange import Exchange
from failover.net.options import ConnectionOptions
from failover.net.outgoing import Outgoing
from failover.net.sweep import Sweep
from failover.protocol.framing import Malformed
from failover.protocol.pipeline import Stray

__all__ = ["Connection", "ConnectionOwner"]

_ENDLESS: Final = 10
"""Timeouts without the end of a reply that has begun: a bracket got lost, it swallows all that comes after it."""

_NONE: Final[tuple[int, float]] = (-1, 0.0)


class ConnectionOwner(Protocol):
    """The peer that a connection leads to."""

    def lost(self, connection: Connection, reason: str) -> None:
        """It broke, or could not be made."""

    def odd(self, problem: str, excerpt: bytes) -> None:
        """The peer sent something that answers nothing."""


class Connection(Outgoing, asyncio.Protocol):
    """A connection from the moment it is wanted: exchanges wait in it while it is being made.

    Args:
        owner: Is told when it breaks.
        loop: The loop it lives on.
        sweep: The loop's sweep, for timeouts.
        options: Bounds.
        first_id: Where its request ids begin.
    """

    __slots__ = ("_cut", "_gone", "_owner", "_progress", "_waiter", "closed")

    def __init__(
        self,
        owner: ConnectionOwner,
        loop: asyncio.AbstractEventLoop,
        sweep: Sweep,
        options: ConnectionOptions,
        first_id: int,
    ) -> None:
        super().__init__(loop, sweep, options, first_id)
        self.closed = False
        """Whether nothing can be sent over it any more."""
        self._owner = owner
        self._cut: asyncio.TimerHandle | None = None  # ends a close for which the peer doesn't do its part
        self._gone = False  # whether nothing is left of it
        self._waiter: asyncio.Future[None] | None = None  # of whoever waits for that
        self._progress: tuple[int, float] = _NONE  # how many replies had come when it last got on, and when that was

    def exchanges(self) -> list[Exchange]:
        """All that is in it, newest requests first; a snapshot."""
        self.disperse()
        requests = [waiting for waiting in self.pipeline.waiting() if isinstance(waiting, Exchange)]
        return requests + self._notifications()

    def sweep(self, now: float) -> bool:
        """Expire what has waited for too long; see `Sweep`."""
        pipeline = self.pipeline
        self._sweep.soon(pipeline.expire(now))
        if not pipeline.unfinished or pipeline.progress != self._progress[0]:
            self._progress = pipeline.progress, now
        elif now - self._progress[1] >= _ENDLESS * pipeline.longest:
            self.break_off("a reply that doesn't end")
            return False
        for exchange in [held for held in self._held if held.waiter is None or held.overdue(now)]:
            self._held.pop(exchange, None)
        self._fill()
        # What is out may be held again.
        self._swept = pipeline.pending > 0 or bool(self._held) or self._flushing or pipeline.unfinished
        if not self._swept:
            self._progress = _NONE
        return self._swept

    def break_off(self, reason: str) -> None:
        """End the connection at once; everything in it is told why."""
        if self.closed:
            return
        self.closed = True
        self._ready = False
        if self._transport is not None:
            self._transport.abort()
        else:
            self._be_gone()
        self._end(reason)
        self._owner.lost(self, reason)

    def close(self) -> None:
        """End the connection in an orderly way; what is still in it is abandoned, which says nothing of the peer."""
        if self.closed:
            return
        self.closed = True
        self._ready = False
        now = self._loop.time()
        for exchange in self.exchanges():
            exchange.abandon("the connection was closed", now)
        self._held.clear()
        self._out.clear()
        self._sweep.discard(self)
        self.pipeline.forget()
        if self._transport is None:
            self._be_gone()
            return
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._cut = self._loop.call_later(GRACE, self._transport.abort)

    async def wait_gone(self, seconds: float) -> None:
        """Wait until nothing is left of it once it was closed, but not for ever."""
        if not self._gone:
            if self._waiter is None:
                self._waiter = self._loop.create_future()
            await asyncio.wait([self._waiter], timeout=seconds)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's call: send what waited for the connection."""
        stream = cast("asyncio.Transport", transport)  # uvloop's are none by class
        if self.closed:
            stream.abort()
            return
        self._transport = stream
        stream.set_write_buffer_limits(high=self._options.write_buffer)
        self.established = True
        self._ready = True
        self._fill()

    def data_received(self, data: bytes) -> None:
        """Asyncio's call: settle what these bytes answer."""
        pipeline = self.pipeline
        before = pipeline.answered
        faults = pipeline.receive(data, self._loop.time())
        self._burst = pipeline.answered - before
        for fault in faults:
            self._report(fault)
        if pipeline.broken is not None:
            self.break_off(f"unreadable reply: {pipeline.broken}")
        elif self._held:
            self._fill()

    def eof_received(self) -> None:
        """Asyncio's call: the peer has ended its side, so nothing can be confirmed any more."""
        self.break_off("closed by the peer")

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's call: the connection is gone."""
        if self._cut is not None:
            self._cut.cancel()
        self._be_gone()
        self.break_off("closed by the peer" if exc is None else f"connection lost: {exc}")

    def pause_writing(self) -> None:
        """Asyncio's call: the transport's buffer is full."""
        self._ready = False

    def resume_writing(self) -> None:
        """Asyncio's call: the transport takes more."""
        self._ready = not self.closed
        self._fill()

    def _be_gone(self) -> None:
        self._gone = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _end(self, reason: str) -> None:
        """Tell all that is in it."""
        now = self._loop.time()
        self.disperse()
        unsent = self._notifications()
        self._held.clear()
        self._out.clear()
        self._sweep.discard(self)
        self.pipeline.break_off(reason, now)
        for exchange in unsent:
            exchange.broken(reason, now)

    def _report(self, fault: Malformed | Stray) -> None:
        if isinstance(fault, Malformed):
            self._owner.odd(fault.problem, fault.frame)
        else:
            known = (
                "an id that was answered or given up before" if fault.duplicate else "an id that was never given out"
            )
            self._owner.odd(f"a reply to {known}", str(fault.request_id).encode())
