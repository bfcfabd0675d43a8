"""Requests that left in one write: one object for all of them, until something unusual happens to one."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from msgspec import UNSET

from failover.event import Event
from failover.net.exchange import Exchange, Owner, Waiter
from failover.outcome import Outcome
from failover.protocol.pipeline import Lane
from failover.protocol.replies import Reply
from failover.receipt import Attempt

if TYPE_CHECKING:
    from failover.net.outgoing import Outgoing

__all__ = ["Batched", "Gathered", "Volley"]

_CONFIRMED: Final = Outcome.CONFIRMED
_GONE: Final[Any] = None  # in the place of what has ended, which nobody asks for any more


class Volley(ABC):
    """Stands for the exchanges of some events that were sent together.

    A plain confirmation leaves its attempt at once. For all else there is a real exchange from then on, which knows
    what to do.

    Args:
        events: What is delivered, under ids in a row.
        owner: The sink they belong to.
        connection: Where they are sent; None if the sink has none.
        times: When each of them began, loop time, seconds.
    """

    __slots__ = ("_connection", "_exchanges", "events", "first_id", "owner", "times")

    def __init__(self, events: Sequence[Event], owner: Owner, connection: Outgoing | None, times: list[float]) -> None:
        self.first_id = 0
        """The id of the first on the wire, once it has one."""
        self.events = events
        self.times = times
        self.owner = owner
        self._connection = connection
        self._exchanges: dict[int, Exchange] = {}  # by their place

    def __len__(self) -> int:
        return len(self.events)

    @abstractmethod
    def waiter(self, place: int) -> Waiter:
        """Who waits for one of them."""

    @property
    def began(self) -> float:
        """When the last of them began: from then on their timeouts count, so that none is early."""
        return self.times[-1]

    def of(self, request_id: int) -> Exchange:
        """The exchange of one request, which is still waiting."""
        return self.at(request_id - self.first_id)

    def waits(self, request_id: int) -> bool:
        """Whether somebody waits for one of them, which has no reply yet; looking makes no exchange of it."""
        exchange = self._exchanges.get(request_id - self.first_id)
        return exchange is None or exchange.waiter is not None

    def at(self, place: int) -> Exchange:
        """The same by its place."""
        exchange = self._exchanges.get(place)
        if exchange is None:
            exchange = self._exchanges[place] = Exchange(
                self.events[place], self.owner, self.waiter(place), self._connection, b"", self.times[place],
                self.first_id + place, sent=True,
            )  # fmt: skip  # by position, as in an exchange
        return exchange

    def apart(self, exchanges: Iterable[Exchange]) -> None:
        """They were not sent together: take the exchange of each."""
        self._exchanges.update(enumerate(exchanges))

    def requests(self) -> list[bytes]:
        """What goes on the wire."""
        return self.owner.dialect.requests(self.events, self.first_id)

    def unsent(self, request_id: int) -> Exchange:
        """The exchange of a request that has not left after all, with what is to be sent."""
        exchange = self.of(request_id)
        exchange.sent = False
        exchange.tail = self.owner.dialect.tail(exchange.event)
        return exchange

    def answered(self, reply: Reply, now: float) -> None:
        """Take the reply to one of them."""
        self.of(reply.id).answered(reply, now)

    def answered_together(self, replies: list[Reply], now: float) -> None:
        """Take replies that came in one piece."""
        owner, first = self.owner, self.first_id
        places = [reply.id - first for reply in replies if reply.error is UNSET and reply.result is not UNSET]
        count = len(places)
        if count < len(replies) or self._exchanges or owner.watched or not self._expect(count):
            for reply in replies:
                self.answered(reply, now)
            return
        owner.confirmed += count
        name, events, times = owner.name, self.events, self.times
        self._take(places, [
            Attempt(
                events[place], name, _CONFIRMED, times[place], now, (), None, "", "", False, "", reply.id, True, None,  # noqa: FBT003  # by position, at half the cost
                reply.result.copy(),  # type: ignore[union-attr]  # checked above; else it would keep everything read with it in memory
            )
            for place, reply in zip(places, replies, strict=True)
        ])  # fmt: skip

    def _expect(self, count: int) -> bool:
        """Whether they may be confirmed together, so many of them; what is to be sent in their place leaves first."""
        return True

    @abstractmethod
    def _take(self, places: list[int], attempts: list[Attempt]) -> None:
        """Pass on what those have left that were confirmed together."""


class Gathered(Volley):
    """Events that were begun one by one in one turn of the loop, each with a waiter of its own.

    Args:
        owner: The sink they belong to.
        connection: Where they are sent.
        lane: Where they will wait for their replies.
        room: How many they may be.
        enough: As many as this don't wait for the end of the turn.
    """

    __slots__ = ("enough", "lane", "room", "waiters")

    events: list[Event]

    def __init__(self, owner: Owner, connection: Outgoing, lane: Lane, *, room: int, enough: int) -> None:
        super().__init__([], owner, connection, [])
        self.lane = lane
        self.room = room
        self.enough = enough
        self.waiters: list[Waiter] = []

    def at(self, place: int) -> Exchange:
        """The exchange of one of them; they leave apart if they haven't left yet."""
        if not self.first_id and self._connection is not None:
            self._connection.disperse()
        waiting = self.lane.get(self.first_id + place)
        return waiting if isinstance(waiting, Exchange) else super().at(place)

    def unsent(self, request_id: int) -> Exchange:
        """The exchange of a request that has not left after all, which is no part of this any more."""
        exchange = super().unsent(request_id)
        place = request_id - self.first_id
        del self._exchanges[place]
        self.events[place] = self.waiters[place] = _GONE
        return exchange

    def waiter(self, place: int) -> Waiter:
        """Who waits for one of them."""
        return self.waiters[place]

    def _take(self, places: list[int], attempts: list[Attempt]) -> None:
        """Tell each waiter; one that is silent must not keep the others in memory."""
        events, waiters = self.events, self.waiters
        for place, attempt in zip(places, attempts, strict=True):
            try:
                waiters[place].set_result(attempt)
            except asyncio.InvalidStateError:  # cancelled: this one is late
                self.owner.confirmed -= 1
                self.answered(Reply(self.first_id + place, attempt.raw_result or UNSET), attempt.ended)
            else:
                events[place] = waiters[place] = _GONE


class ManyWaiter(Waiter, Protocol):
    """Whoever waits for many exchanges."""

    def ended(self, count: int) -> None:
        """Take that so many were confirmed; nothing else is to be known of them yet."""


class Batched(Volley):
    """A part of a batch, which waits for all of them; what became of each is kept by its place.

    If they could not be sent together after all, each of them has its own exchange from the beginning.

    Args:
        events: What is delivered, under ids in a row.
        owner: The sink they belong to.
        waiter: Who waits for each of them.
        connection: Where they are sent; None if the sink has none.
        began: Loop time, seconds.
    """

    __slots__ = ("_attempts", "_waiter")

    def __init__(
        self, events: Sequence[Event], owner: Owner, waiter: ManyWaiter, connection: Outgoing | None, began: float
    ) -> None:
        super().__init__(events, owner, connection, [began] * len(events))
        self._waiter = waiter
        self._attempts: list[Attempt | None] = [None] * len(events)

    def waiter(self, place: int) -> Waiter:
        """Who waits for one of them."""
        return self._waiter

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

    def _expect(self, count: int) -> bool:
        """Send others in their place, unless nobody waits any more."""
        if self._waiter.done():
            return False
        self._waiter.ended(count)
        return True

    def _take(self, places: list[int], attempts: list[Attempt]) -> None:
        """Keep them until all have ended."""
        kept = self._attempts
        for place, attempt in zip(places, attempts, strict=True):
            kept[place] = attempt
