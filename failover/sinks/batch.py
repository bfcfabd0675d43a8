"""Many events over one socket: as many in flight as its window allows, a new one for each that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from failover.event import Event
from failover.net.exchange import Exchange
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt

__all__ = ["Batch"]


class Batch:
    """Waits for all exchanges of one `deliver_many`; to each of them it is what a future is to a single one.

    Args:
        events: In the order in which they are sent.
        future: Is given the receipts, in the same order.
        begin: Begins an exchange for an event, with this batch as its waiter.
        full: Whether the next one would have to wait for a slot.
        until: Sends nothing more once a receipt meets it; the rest is skipped.
    """

    __slots__ = ("_begin", "_events", "_feeding", "_full", "_next", "_outstanding", "_stopped", "_until", "future", "receipts")

    def __init__(
        self,
        events: Sequence[Event],
        future: asyncio.Future[None],
        *,
        begin: Callable[[Event, Batch], Exchange],
        full: Callable[[], bool],
        until: Callable[[Receipt], bool] | None,
    ) -> None:
        self.future = future
        self.receipts: list[Exchange] = []
        self._events = events
        self._begin = begin
        self._full = full
        self._until = until
        self._next = 0
        self._outstanding = 0
        self._stopped = False
        self._feeding = False

    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future.done()

    def set_result(self, exchange: Exchange, /) -> None:
        """Take an ended exchange and send the next event in its place."""
        self._outstanding -= 1
        if exchange.outcome is not Outcome.CONFIRMED and self._until is not None and self._until(exchange):
            self._stopped = True
        if not self._feeding:
            self.feed()

    def feed(self) -> None:
        """Send as many as there is room for, one at least if none is under way."""
        self._feeding = True  # an exchange may end while it begins
        events = self._events
        while self._next < len(events) and not self._stopped and not (self._outstanding and self._full()):
            self._outstanding += 1
            event = events[self._next]
            self._next += 1
            self.receipts.append(self._begin(event, self))
        self._feeding = False
        if not self._outstanding and not self.future.done():
            self.future.set_result(None)

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True

    def rest(self, sink: str, reason: str, now: float) -> list[Receipt]:
        """Receipts of the events that were not sent."""
        return [
            Attempt(event, sink, Outcome.SKIPPED, now, now, reason=reason)
            for event in self._events[len(self.receipts) :]
        ]
