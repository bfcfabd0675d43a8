"""What leaves a connection: what one turn of the loop begins is written in one go, in the order of its beginning."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from failover.event import Event
from failover.net.busy_poll import BusyPoll
from failover.net.exchange import Exchange, Owner, Waiter
from failover.net.options import ConnectionOptions
from failover.net.sweep import Sweep
from failover.net.volley import Gathered, Volley
from failover.protocol.pipeline import Lane, Pipeline

__all__ = ["SOME", "Outgoing"]

SOME: Final = 32
"""How many requests are worth a write of their own, so that the peer begins while the rest is being made."""


class Outgoing(ABC):
    """The half of a connection that sends; exchanges wait here for the connection, for a slot, or for the peer to read.

    Args:
        loop: The loop it lives on.
        sweep: The loop's sweep, for timeouts.
        options: Bounds.
        first_id: Where its request ids begin.
    """

    __slots__ = (
        "_burst",
        "_busy_poll",
        "_flushing",
        "_gathered",
        "_held",
        "_limit",
        "_loop",
        "_options",
        "_out",
        "_ready",
        "_sweep",
        "_swept",
        "_transport",
        "established",
        "pipeline",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sweep: Sweep, options: ConnectionOptions, first_id: int
    ) -> None:
        self.established = False
        """Whether it has been made (it may have broken since)."""
        self.pipeline = Pipeline(first_id, max_frame=options.max_frame, max_depth=options.max_depth)
        self._loop = loop
        self._sweep = sweep
        self._swept = False
        self._options = options
        self._limit = options.in_flight
        self._transport: asyncio.Transport | None = None
        self._ready = False  # made, not closed, the transport takes more
        self._out: list[Exchange] = []  # written at the end of this loop turn
        self._gathered: Gathered | None = None  # the same, as one; never both
        self._held: dict[Exchange, None] = {}  # waits for the connection, for a slot, or for the transport
        self._flushing = False
        self._burst = 0  # how many replies the last read brought
        self._busy_poll: BusyPoll | None = None  # made for the first write: most connections wait for others to fail

    @abstractmethod
    def sweep(self, now: float) -> bool:
        """Expire what has waited for too long; see `failover.net.sweep.Swept`."""

    @property
    def in_flight(self) -> int:
        """How many requests have left, or are about to, and have neither reply nor timeout yet."""
        return self._pending - len(self._held)

    def waited_for(self, owner: Owner) -> int:
        """How many exchanges of a sink somebody waits for."""
        gathered = self._gathered
        count = len(gathered) if gathered is not None and gathered.owner is owner else 0
        count += sum(exchange.owner is owner for exchange in self._notifications())
        for request_id, waiting in self.pipeline.entries():
            if isinstance(waiting, (Exchange, Volley)) and waiting.owner is owner and waiting.waits(request_id):
                count += 1
        return count

    @property
    def full(self) -> bool:
        """Whether one more exchange would have to wait for a slot."""
        return self._pending >= self._limit or (self.established and bool(self._held))

    @property
    def room(self) -> int:
        """How many more exchanges may begin without waiting for a slot; negative if some wait already."""
        return self._limit - self._pending

    @property
    def _pending(self) -> int:
        return self.pipeline.pending + (0 if self._gathered is None else len(self._gathered))

    def gather(self, event: Event, waiter: Waiter, owner: Owner, lane: Lane, now: float) -> Gathered | None:
        """Send an event together with this loop turn's others of the same sink, if nothing is in its way.

        Args:
            event: What is delivered, as a request.
            waiter: Who waits for it.
            owner: Its sink.
            lane: Where it waits for its reply.
            now: Loop time.

        Returns:
            What it is the last of; None if it needs an exchange of its own: nothing was done then.
        """
        gathered = self._gathered
        if gathered is None:
            pending = self.pipeline.pending
            if not self._ready or self._held or self._out or pending >= self._limit:
                return None
            if self._burst <= 1 and not pending:
                return None  # nothing to join it with
            gathered = self._gathered = Gathered(
                owner, self, lane, room=self._limit - pending, enough=max(SOME, pending)
            )
            if not self._swept:
                self._swept = True
                self._sweep.add(self)
        events = gathered.events
        count = len(events)
        if gathered.owner is not owner or count >= gathered.room:
            return None
        events.append(event)
        gathered.times.append(now)
        gathered.waiters.append(waiter)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        elif count + 1 >= gathered.enough:
            self._flush()  # the peer has nothing else to do
        return gathered

    def submit(self, exchange: Exchange, lane: Lane | None) -> bool:
        """Send an exchange with this loop turn's others, or as soon as there is room for it.

        Args:
            exchange: With everything set but its id.
            lane: Where it waits for its reply; None for a notification, which has none and ends when it is written.

        Returns:
            False if too many wait for room already; nothing was done then.
        """
        if self._gathered is not None:
            self.disperse()
        pipeline = self.pipeline
        if self._ready and not self._held and pipeline.pending < self._limit:
            if lane is not None:
                exchange.request_id = pipeline.begin(exchange, lane)
            out = self._out
            out.append(exchange)
            if not self._flushing:
                if self._burst <= 1 and pipeline.pending <= 1:
                    self._flush()  # nothing to join it with: the turn that joining costs would only be latency
                else:
                    self._flushing = True
                    self._loop.call_soon(self._flush)
            elif len(out) >= SOME and 2 * len(out) >= pipeline.pending:
                self._flush()  # the peer has nothing else to do
        elif len(self._held) < self._options.waiting:
            if lane is not None:
                exchange.request_id = pipeline.begin(exchange, lane)
            self._held[exchange] = None
        else:
            return False
        if not self._swept:
            self._swept = True
            self._sweep.add(self)
        return True

    def submit_volley(self, volley: Volley, lane: Lane) -> bool:
        """Send a volley in one go.

        Args:
            volley: With everything set but its ids.
            lane: Where they wait for their replies.

        Returns:
            False if they can't all be sent now; nothing was done then.
        """
        if self._out or self._gathered is not None:
            self._flush()
        return self._ready and not self._held and len(volley) <= self.room and self._send(volley, lane)

    def disperse(self) -> None:
        """Give each event that was gathered an exchange of its own: something is to be done with one of them."""
        gathered, self._gathered = self._gathered, None
        if gathered is None:
            return
        owner = gathered.owner
        exchanges = [
            Exchange(event, owner, waiter, self, owner.dialect.tail(event), began)
            for event, began, waiter in zip(gathered.events, gathered.times, gathered.waiters, strict=True)
        ]
        for exchange in exchanges:
            exchange.request_id = self.pipeline.begin(exchange, gathered.lane)
        gathered.apart(exchanges)
        self._out += exchanges

    def withdraw(self, exchange: Exchange) -> None:
        """Never send an exchange of which nothing has left yet."""
        self.disperse()
        self._held.pop(exchange, None)
        if exchange in self._out:
            self._out.remove(exchange)
        if exchange.request_id is not None:
            self.pipeline.withdraw(exchange.request_id)

    def _fill(self) -> None:
        """Move what waits to the next write, as far as there is room."""
        while self._held and self._ready and self.in_flight < self._limit:
            exchange = next(iter(self._held))
            del self._held[exchange]
            self._out.append(exchange)
        if self._out and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write everything of this loop turn in one go."""
        self._flushing = False
        gathered = self._gathered
        if gathered is not None:
            if self._send(gathered, gathered.lane):
                self._gathered = None
                return
            self.disperse()
        if self._out and self._transport is not None:
            self._write_out(self._transport)

    def _write_out(self, transport: asyncio.Transport) -> None:
        """Write exchanges; those that the peer doesn't take wait where they can still be taken back."""
        out, self._out = self._out, []
        written = self._write(transport, [exchange.request() for exchange in out])
        if written < len(out):
            self._held = dict.fromkeys(out[written:]) | self._held
            del out[written:]
        for exchange in out:
            exchange.sent = True
            exchange.tail = b""
        for exchange in out:  # only now: telling may do anything to the others
            if exchange.request_id is None:
                exchange.written(self._loop.time())

    def _send(self, volley: Volley, lane: Lane) -> bool:
        """Write a volley, unless there are no ids in a row for it."""
        transport = self._transport
        if transport is None:
            return False
        volley.first_id = self.pipeline.begin_many(volley, len(volley), lane)
        if not volley.first_id:
            return False
        written = self._write(transport, volley.requests())
        if written < len(volley):
            ids = range(volley.first_id + written, volley.first_id + len(volley))
            unsent = {request_id: volley.unsent(request_id) for request_id in ids}
            lane.update(unsent)
            self._held |= dict.fromkeys(unsent.values())
        if not self._swept:
            self._swept = True
            self._sweep.add(self)
        return True

    def _write(self, transport: asyncio.Transport, requests: Sequence[bytes]) -> int:
        """Write one buffer at a time, as long as the peer takes it; return how many were written."""
        limit = self._options.write_buffer
        written = len(requests)
        data = b"".join(requests)
        if len(data) <= limit:
            transport.write(data)
        else:
            written = 0
            while written < len(requests) and (self._ready or not written):
                begin, size = written, 0
                while written < len(requests) and size <= limit:
                    size += len(requests[written])
                    written += 1
                transport.write(b"".join(requests[begin:written]))
        if self._options.busy_poll:
            if self._busy_poll is None:
                self._busy_poll = BusyPoll(self._loop, self.pipeline, self._options.busy_poll)
            self._busy_poll.wrote()
        return written

    def _notifications(self) -> list[Exchange]:
        """Those not written yet; only requests are known to the pipeline."""
        return [exchange for exchange in (*self._out, *self._held) if exchange.request_id is None]
