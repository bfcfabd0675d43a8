"""Events that were begun together over one socket: who waits for them is told of each when it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import copy_context
from typing import Any, Final

from failover.event import Event
from failover.net.connection import Connection
from failover.net.exchange import Owner, Waiter
from failover.net.volley import Volley
from failover.receipt import Attempt, Receipt
from failover.taking import Taker

__all__ = ["Each"]

_GONE: Final[Any] = None  # in the place of what has ended, which nobody asks for any more


class Each(Volley):
    """Passes on what has ended in one turn of the loop together, in the next one. It waits for its exchanges itself.

    Args:
        events: What is delivered; cleared as they end, so that one that is silent doesn't keep the others in memory.
        owner: The sink they belong to.
        connection: Where they are sent; None if the sink has none.
        loop: The loop it lives on.
        taker: Takes the receipts.
    """

    __slots__ = ("_context", "_ended", "_left", "_loop", "_taker", "_timer")

    events: list[Event]

    def __init__(
        self,
        events: list[Event],
        owner: Owner,
        connection: Connection | None,
        loop: asyncio.AbstractEventLoop,
        taker: Taker,
    ) -> None:
        super().__init__(events, owner, connection, [loop.time()] * len(events))
        self._left = len(events)
        self._loop = loop
        self._context = copy_context()  # else receipts were told in that of whoever made the connection
        self._taker = taker
        self._ended: list[Receipt] = []
        self._timer: asyncio.TimerHandle | None = None

    def waiter(self, place: int) -> Waiter:
        """Itself."""
        return self

    def done(self) -> bool:
        """Whether nobody waits any more: somebody always does."""
        return False

    def set_result(self, attempt: Attempt, /) -> None:
        """Take an ended attempt."""
        self._tell_of([attempt])

    def cut_at(self, deadline: float, reason: str) -> None:
        """Stop waiting at this loop time for those that have not ended."""
        self._timer = self._loop.call_at(deadline, self._cut, reason)

    def _cut(self, reason: str) -> None:
        now = self._loop.time()
        for place, event in enumerate(self.events):
            if event is not _GONE:
                self.at(place).abandon(reason, now)

    def _take(self, places: list[int], attempts: list[Attempt]) -> None:
        events = self.events
        for place in places:
            events[place] = _GONE
        self._tell_of(attempts)

    def _tell_of(self, ended: Sequence[Receipt]) -> None:
        if not self._ended:
            self._loop.call_soon(self._tell, context=self._context)
        self._ended += ended

    def _tell(self) -> None:
        ended, self._ended = self._ended, []
        self._left -= len(ended)
        if not self._left and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._taker.take(ended)
