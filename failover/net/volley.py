"""Requests of a batch that left in one write: one object for all of them, until something unusual happens to one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, Protocol, cast

from msgspec import UNSET

from failover.event import Event
from failover.net.exchange import Exchange, Owner, Waiter
from failover.outcome import Outcome
from failover.protocol.replies import Reply
from failover.receipt import Attempt

if TYPE_CHECKING:
    from failover.net.connection import Connection

__all__ = ["Volley"]

_CONFIRMED: Final = Outcome.CONFIRMED


class ManyWaiter(Waiter, Protocol):
    """Whoever waits for many exchanges."""

    def ended(self, count: int) -> None:
        """Take that so many were confirmed; nothing else is to be known of them yet."""


class Volley:
    """Stands for the exchanges of some events that were sent together.

    A plain confirmation leaves its attempt here. For all else there is a real exchange from then on, which knows what
    to do. If they could not be sent together after all, each of them has its own from the beginning.

    Args:
        events: What is delivered, under ids in a row.
        owner: The sink they belong to.
        waiter: Who waits for each of them.
        connection: Where they are sent; None if the sink has none.
        began: Loop time, seconds.
    """

    __slots__ = (
        "_attempts",
        "_connection",
        "_events",
        "_exchanges",
        "_owner",
        "_waiter",
        "began",
        "first_id",
        "replies",
    )

    def __init__(
        self, events: Sequence[Event], owner: Owner, waiter: ManyWaiter, connection: Connection | None, began: float
    ) -> None:
        self.began = began
        self.first_id = 0
        """The id of the first on the wire, once it has one."""
        self._events = events
        self._owner = owner
        self._waiter = waiter
        self._connection = connection
        self.replies: list[Reply] = []
        self._attempts: list[Attempt | None] = [None] * len(events)
        self._exchanges: dict[int, Exchange] = {}  # by their place

    def __len__(self) -> int:
        return len(self._events)

    def apart(self, exchanges: Iterable[Exchange]) -> None:
        """They were not sent together: take the exchange of each."""
        self._exchanges.update(enumerate(exchanges))

    def of(self, request_id: int) -> Exchange:
        """The exchange of one request, which is still waiting."""
        place = request_id - self.first_id
        exchange = self._exchanges.get(place)
        if exchange is None:
            exchange = self._exchanges[place] = Exchange(
                self._events[place], self._owner, self._waiter, self._connection, b"", self.began, request_id, sent=True
            )
        return exchange

    def requests(self) -> list[bytes]:
        """What goes on the wire."""
        return self._owner.dialect.requests(self._events, self.first_id)

    def unsent(self, request_id: int) -> Exchange:
        """The exchange of a request that has not left after all, with what is to be sent."""
        exchange = self.of(request_id)
        exchange.sent = False
        exchange.tail = self._owner.dialect.tail(exchange.event)
        return exchange

    def answered(self, reply: Reply, now: float) -> None:
        """Take the reply to one of them."""
        self.of(reply.id).answered(reply, now)

    def answered_together(self, now: float) -> None:
        """Take the replies that came in one piece: if all are plain confirmations, each leaves its attempt."""
        replies, self.replies = self.replies, []
        owner, waiter = self._owner, self._waiter
        results = [reply.result for reply in replies if reply.error is UNSET and reply.result is not UNSET]
        if len(results) < len(replies) or owner.watched or self._exchanges or waiter.done():
            for reply in replies:
                self.answered(reply, now)
            return
        owner.confirmed += len(results)
        waiter.ended(len(results))  # before they are written down: the peer has something to do meanwhile
        name, began, first = owner.name, self.began, self.first_id
        events, attempts = self._events, self._attempts
        for reply, result in zip(replies, results, strict=True):
            request_id = reply.id
            place = request_id - first
            attempts[place] = Attempt(
                events[place], name, _CONFIRMED, began, now, (), None, "", "", False, "", request_id, True, None,  # noqa: FBT003  # by position, at half the cost
                result.copy(),  # else it would keep everything read with it in memory
            )  # fmt: skip

    def attempts(self) -> list[Attempt]:
        """What each of them has left, in order; all have ended by then."""
        for place, exchange in self._exchanges.items():
            self._attempts[place] = exchange.attempt
        return cast("list[Attempt]", self._attempts)

    def abandon(self, reason: str, now: float) -> None:
        """Stop waiting for those that have not ended."""
        for place, attempt in enumerate(self._attempts):
            if attempt is None:
                self.of(self.first_id + place).abandon(reason, now)
