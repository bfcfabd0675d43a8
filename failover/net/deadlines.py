"""Deadlines of attempts, earlier than the sink's own timeout: one timer for all that come in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from failover.net.exchange import Exchange, Waiter

__all__ = ["EARLIER", "LEAST", "Deadlines", "Holder"]

LEAST: Final = 1024
"""Entries, before those of attempts that have ended are looked for in the midst."""
EARLIER: Final = "the deadline came before the sink's own timeout"
"""Why an attempt was cut short."""


class Holder(Protocol):
    """What has the exchange of an attempt: it itself, or one object for several that were begun together."""

    def at(self, place: int) -> Exchange:
        """The exchange at a place."""
        ...


_Entry: TypeAlias = "tuple[float, Waiter, Holder, int]"


class Deadlines:
    """Cuts attempts short when their deadline comes; never early.

    Callers mostly give each event the same time, so that deadlines come in order: those stand in a queue with one
    timer, at a tenth of the cost of a timer each. A deadline that comes before the last in the queue has its own.

    Args:
        loop: The loop whose time counts.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: deque[_Entry] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._limit = LEAST

    def __len__(self) -> int:
        return len(self._queue)

    def in_order(self, deadline: float) -> bool:
        """Whether a deadline comes after all in the queue that still count."""
        queue = self._queue
        while queue and queue[0][1].done():
            queue.popleft()
        return not queue or deadline >= queue[-1][0]

    def append(self, deadline: float, waiter: Waiter, holder: Holder, place: int) -> None:
        """Cut an attempt short at this loop time, which is in order, unless nobody waits for it any more by then."""
        queue = self._queue
        if len(queue) >= self._limit:  # one that takes long must not keep all that have ended after it
            left = [entry for entry in queue if not entry[1].done()]
            queue.clear()
            queue.extend(left)
            self._limit = max(LEAST, 2 * len(left))
        queue.append((deadline, waiter, holder, place))
        timer = self._timer
        if timer is None or deadline < timer.when():  # it may be set for one that has ended
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(deadline, self._due)

    def add(self, deadline: float, exchange: Exchange) -> None:
        """Cut an exchange short at this loop time, in order or not."""
        if exchange.waiter is not None and self.in_order(deadline):
            self.append(deadline, exchange.waiter, exchange, 0)
        else:
            exchange.timer = self._loop.call_at(deadline, self._cut, exchange)

    def close(self) -> None:
        """Forget all of them."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        queue = self._queue
        now = self._loop.time()
        while queue and (queue[0][0] <= now or queue[0][1].done()):
            _, waiter, holder, place = queue.popleft()
            if not waiter.done():
                holder.at(place).abandon(EARLIER, now)
        self._timer = self._loop.call_at(queue[0][0], self._due) if queue else None

    def _cut(self, exchange: Exchange) -> None:
        exchange.abandon(EARLIER, self._loop.time())
