"""Events that were begun together over one socket: who waits for them is told of each when it has ended."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import Any, Final

from msgspec import UNSET

from failover.event import Event
from failover.net.connection import Connection
from failover.net.exchange import Owner, Waiter
from failover.net.volley import Volley
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.taking import Taker

__all__ = ["Each"]

_CONFIRMED: Final = Outcome.CONFIRMED
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
        super().__init__(events, owner, connection, loop.time())
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

    def answered_together(self, now: float) -> None:
        """Take the replies that came in one piece."""
        replies, self.replies = self.replies, []
        owner, name, began, first = self.owner, self.owner.name, self.began, self.first_id
        events = self.events
        usual = not self._exchanges and not owner.watched
        ended: list[Receipt] = []
        for reply in replies:
            result = reply.result
            if usual and result is not UNSET and reply.error is UNSET:
                request_id = reply.id
                place = request_id - first
                ended.append(Attempt(
                    events[place], name, _CONFIRMED, began, now, (), None, "", "", False, "", request_id, True, None,  # noqa: FBT003  # by position, at half the cost
                    result.copy(),  # else it would keep everything read with it in memory
                ))  # fmt: skip
                events[place] = _GONE
            else:
                self.answered(reply, now)
        owner.confirmed += len(ended)
        if ended:
            self._tell_of(ended)

    def cut_at(self, deadline: float, reason: str) -> None:
        """Stop waiting at this loop time for those that have not ended."""
        self._timer = self._loop.call_at(deadline, self._cut, reason)

    def _cut(self, reason: str) -> None:
        now = self._loop.time()
        for place, event in enumerate(self.events):
            if event is not _GONE:
                self.at(place).abandon(reason, now)

    def _tell_of(self, ended: list[Receipt]) -> None:
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
