"""Deadlines of attempts, earlier than the sink's own timeout: one timer for all that come in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from failover.net.exchange import Exchange

__all__ = ["LEAST", "Deadlines"]

LEAST: Final = 1024
"""Entries, before those of attempts that have ended are looked for in the midst."""
_REASON: Final = "the deadline came before the sink's own timeout"


class Deadlines:
    """Cuts attempts short when their deadline comes; never early.

    Callers mostly give each event the same time, so that deadlines come in order: those stand in a queue with one
    timer, at a tenth of the cost of a timer each. A deadline that comes before the last in the queue has its own.

    Args:
        loop: The loop whose time counts.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: deque[tuple[float, Exchange]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._limit = LEAST

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, deadline: float, exchange: Exchange) -> None:
        """Cut an exchange short at this loop time, unless it has ended by then."""
        queue = self._queue
        while queue and queue[0][1].attempt is not None:
            queue.popleft()
        if queue and deadline < queue[-1][0]:
            exchange.timer = self._loop.call_at(deadline, self._cut, exchange)
            return
        if len(queue) >= self._limit:  # one that takes long must not keep all that have ended after it
            left = [entry for entry in queue if entry[1].attempt is None]
            queue.clear()
            queue.extend(left)
            self._limit = max(LEAST, 2 * len(left))
        queue.append((deadline, exchange))
        timer = self._timer
        if timer is None or deadline < timer.when():  # it may be set for one that has ended
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(deadline, self._due)

    def close(self) -> None:
        """Forget all of them."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        queue = self._queue
        now = self._loop.time()
        while queue and (queue[0][0] <= now or queue[0][1].attempt is not None):
            queue.popleft()[1].abandon(_REASON, now)
        self._timer = self._loop.call_at(queue[0][0], self._due) if queue else None

    def _cut(self, exchange: Exchange) -> None:
        exchange.abandon(_REASON, self._loop.time())
