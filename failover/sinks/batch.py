"""Many events over one socket: as many in flight as its window allows, a new one for each that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import chain

from failover.event import Event
from failover.net.outgoing import SOME
from failover.net.volley import Batched
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt

__all__ = ["Batch"]

_CONFIRMED = Outcome.CONFIRMED


class Batch:
    """Waits for all exchanges of one `deliver_many`; to each of them it is what a future is to a single one.

    Args:
        events: In the order in which they are sent.
        loop: The loop it lives on.
        room: How many exchanges may begin now without waiting for a slot; may be negative.
        begin: Begins some events, with this batch as the waiter of each.
        until: Sends nothing more once a receipt meets it; the rest is skipped.
    """

    __slots__ = (
        "_begin",
        "_events",
        "_loop",
        "_next",
        "_outstanding",
        "_room",
        "_stopped",
        "_until",
        "_volleys",
        "_woken",
        "done",
        "future",
    )

    def __init__(
        self,
        events: Sequence[Event],
        loop: asyncio.AbstractEventLoop,
        *,
        room: Callable[[], int],
        begin: Callable[[Sequence[Event], Batch], Batched],
        until: Callable[[Receipt], bool] | None,
    ) -> None:
        self.future: asyncio.Future[None] = loop.create_future()
        self.done = self.future.done
        """Whether nobody waits for it any more."""
        self._volleys: list[Batched] = []  # what was sent, in order
        self._events = events
        self._loop = loop
        self._room = room
        self._begin = begin
        self._until = until
        self._next = 0
        self._outstanding = 0
        self._stopped = False
        self._woken = False

    @property
    def complete(self) -> bool:
        """Whether every event was sent."""
        return self._next == len(self._events)

    def receipts(self) -> list[Receipt]:
        """What became of the events that were sent, in order; all have ended by then."""
        volleys, self._volleys = self._volleys, []  # they lead back to this batch: nothing is left to the collector
        return list(chain.from_iterable(volley.attempts() for volley in volleys))

    def abandon(self, reason: str, now: float) -> None:
        """Stop waiting for those that have not ended."""
        for volley in self._volleys:
            volley.abandon(reason, now)

    def set_result(self, attempt: Attempt, /) -> None:
        """Take an ended attempt; once this turn's have all ended, others are sent in their place."""
        self._outstanding -= 1
        if self._until is not None and attempt.outcome is not _CONFIRMED and self._until(attempt):
            self._stopped = True
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self.feed)

    def ended(self, count: int) -> None:
        """Take that so many were confirmed, and send others in their place."""
        self._outstanding -= count
        self.feed()

    def feed(self) -> None:
        """Send as many as there is room for, one at least if none is under way."""
        self._woken = False
        events = self._events
        if self._next < len(events) and not self._stopped:
            count = self._room()
            if count <= 0 and not self._outstanding:
                count = 1
            end = min(self._next + count, len(events))
            part = max(SOME, (count + 1) // 2)  # the peer works on one half while we do on the other
            while self._next < end and not self._stopped:
                batch = events[self._next : min(self._next + part, end)]
                self._next += len(batch)
                self._outstanding += len(batch)
                self._volleys.append(self._begin(batch, self))
        if not self._outstanding and not self.future.done() and (self._stopped or self._next == len(events)):
            self.future.set_result(None)

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True

    def rest(self, sink: str, reason: str, now: float) -> list[Receipt]:
        """Receipts of the events that were not sent."""
        return [Attempt(event, sink, Outcome.SKIPPED, now, now, reason=reason) for event in self._events[self._next :]]
