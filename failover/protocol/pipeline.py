"""The pipeline of one connection: ids, what waits for a reply, timeouts, and what becomes of replies that come late."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby, repeat
from math import inf
from operator import attrgetter
from typing import Final, Protocol, cast

from attrs import frozen

from failover.errors import FramingError
from failover.protocol.framing import Framer, Malformed
from failover.protocol.replies import REPLIES, Reply

__all__ = ["MAX_ID", "Exchange", "Lane", "Pipeline", "Stray", "Waiting"]

_id: Final = cast("Callable[[Reply], int]", attrgetter("id"))

MAX_ID: Final = 2**31 - 1
"""Ids are positive and fit in 31 bits, as OpenSIPS's."""


class Waiting(Protocol):
    """What waits for replies: an exchange, or one object for several that were sent together."""

    @property
    def began(self) -> float:
        """When it began, by the clock of whoever calls."""
        ...

    def answered(self, reply: Reply, now: float) -> None:
        """A reply came. If its exchange has ended by then, this is a late confirmation (or refusal)."""

    def answered_together(self, replies: list[Reply], now: float) -> None:
        """Some came in a row, at least one."""

    def of(self, request_id: int) -> Exchange:
        """The exchange of one id."""
        ...


class Exchange(Waiting, Protocol):
    """One request and whatever answers it; the pipeline tells it what happened, once for each."""

    def expired(self, now: float) -> bool:
        """Its lane's timeout ran out without a reply. Return whether a late one should still find it."""
        ...

    def broken(self, reason: str, now: float) -> None:
        """The connection broke; no reply will come."""


class Lane(dict[int, Waiting]):
    """What waits for a reply with one timeout, oldest first: a dict keeps both the order and the ids.

    Args:
        timeout: Seconds from an exchange's `began` to its expiry.
    """

    __slots__ = ("timeout",)

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self.timeout = timeout


@frozen
class Stray:
    """A well-formed reply that nobody waits for.

    Args:
        request_id: Its id.
        duplicate: Whether this connection gave out that id: then it was answered before (or long ago).
    """

    request_id: int
    duplicate: bool


class Pipeline:
    """Matches replies to requests in any order. No clock of its own: whoever calls says what time it is.

    Args:
        first_id: Where the ids of this connection begin, 1 to `MAX_ID`.
        max_frame: Bytes of the longest reply that is read.
        max_depth: Deepest nesting of a reply that is read.
        max_tombstones: How many expired exchanges are remembered for a late reply; the oldest go first.
        tombstone_age: Seconds from an exchange's expiry for which it is remembered.
    """

    __slots__ = (
        "_first",
        "_framer",
        "_lanes",
        "_max_tombstones",
        "_next",
        "_only",
        "_tombstone_age",
        "_tombstones",
        "_wrapped",
        "answered",
        "late",
        "malformed",
        "pending",
        "strays",
    )

    def __init__(
        self,
        first_id: int,
        *,
        max_frame: int = 4 * 2**20,
        max_depth: int = 64,
        max_tombstones: int = 1024,
        tombstone_age: float = 60.0,
    ) -> None:
        self._framer = Framer(REPLIES, max_frame=max_frame, max_depth=max_depth)
        self._lanes: tuple[Lane, ...] = ()  # few, and only ever replaced: telling an exchange may make another one
        self._only: Lane | None = None  # the usual case: all exchanges have one timeout
        # With the time of expiry, oldest first; made for the first one: most connections never have any.
        self._tombstones: dict[int, tuple[float, Exchange]] | None = None
        self._max_tombstones = max_tombstones
        self._tombstone_age = tombstone_age
        self._first = self._next = first_id
        self._wrapped = False
        self.pending = 0
        """How many exchanges wait for their reply or their timeout."""
        self.answered = 0
        """How many replies found their exchange still waiting for its timeout."""
        self.late = 0
        """How many found it expired."""
        self.strays = 0
        self.malformed = 0

    @property
    def broken(self) -> FramingError | None:
        """Why no more replies can be read, once that is so."""
        return self._framer.broken

    @property
    def unfinished(self) -> bool:
        """Whether it is amid a reply."""
        return self._framer.buffered > 0

    @property
    def progress(self) -> int:
        """How many replies have come, of whatever kind."""
        return self.answered + self.late + self.strays + self.malformed

    @property
    def longest(self) -> float:
        """The longest timeout that any lane has had, seconds; infinity without a lane."""
        return max((lane.timeout for lane in self._lanes), default=inf)

    def lane(self, timeout: float) -> Lane:
        """The lane of one timeout, in seconds; made when it is first asked for."""
        for lane in self._lanes:
            if lane.timeout == timeout:
                return lane
        lane = Lane(timeout)
        self._only = None if self._lanes else lane
        self._lanes = (*self._lanes, lane)
        return lane

    def begin(self, exchange: Exchange, lane: Lane) -> int:
        """Give an exchange its id and let it wait in a lane; exchanges of a lane begin in order of time."""
        request_id = self._next
        if self._wrapped:
            while self._known(request_id):
                request_id = request_id % MAX_ID + 1
        self._next = request_id + 1
        if request_id >= MAX_ID:
            self._next = 1
            self._wrapped = True
        lane[request_id] = exchange
        self.pending += 1
        return request_id

    def begin_many(self, waiting: Waiting, count: int, lane: Lane) -> int:
        """Give ids in a row to so many requests that wait as one; return the first, or 0 if there are none in a row."""
        ids = range(self._next, self._next + count)
        if ids.stop > MAX_ID:
            return 0
        if self._wrapped and any(map(self._known, ids)):
            return 0
        self._next = ids.stop
        lane.update(dict.fromkeys(ids, waiting))
        self.pending += count
        return ids.start

    def withdraw(self, request_id: int) -> None:
        """Forget an exchange that has no reply to wait for; nothing to do if it is not waiting any more."""
        if self._claim(request_id) is not None:
            self.pending -= 1

    def receive(self, data: bytes, now: float) -> list[Malformed | Stray]:
        """Take bytes from the peer, settle what they answer, and return what they don't."""
        found = self._framer.feed(data)
        faults: list[Malformed | Stray] = []
        if self._framer.refused > self.malformed:
            self.malformed = self._framer.refused
            faults += [value for value in found if isinstance(value, Malformed)]
            found = [value for value in found if not isinstance(value, Malformed)]
        replies: list[Reply] = found  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # by now
        ids = map(_id, replies)
        only = self._only
        claimed = [*(map(self._claim, ids) if only is None else map(only.pop, ids, repeat(None)))]
        count = len(claimed) - claimed.count(None)
        self.pending -= count
        self.answered += count
        waiting = claimed[0] if claimed else None
        if waiting is not None and claimed.count(waiting) == len(claimed):  # what usually comes
            waiting.answered_together(replies, now)
            return faults
        begin = 0
        for waiting, run in groupby(claimed):
            end = begin + len(list(run))
            if waiting is not None:
                waiting.answered_together(replies[begin:end], now)
            else:
                faults += self._unclaimed(replies[begin:end], now)
            begin = end
        return faults

    def expire(self, now: float) -> float:
        """Expire what has waited for its lane's timeout, never early; return when the next is due, infinity if none."""
        earliest = inf
        for lane in self._lanes:
            timeout = lane.timeout
            due: list[int] = []
            for request_id, waiting in lane.items():
                at = waiting.began + timeout
                if at > now:
                    earliest = min(earliest, at)
                    break
                due.append(request_id)
            for request_id in due:
                expired = lane.pop(request_id, None)
                if expired is None:  # telling another one of them withdrew it
                    continue
                self.pending -= 1
                exchange = expired.of(request_id)
                if exchange.expired(now):
                    self._remember(request_id, exchange, now)
        if self._tombstones:
            self._forget(self._tombstones, now)
        return earliest

    def break_off(self, reason: str, now: float) -> None:
        """The connection is gone: tell everything that waits, and forget what has expired."""
        self._tombstones = None
        for lane in self._lanes:
            exchanges = _exchanges(lane)
            lane.clear()
            self.pending -= len(exchanges)
            for exchange in exchanges:
                exchange.broken(reason, now)

    def forget(self) -> None:
        """Forget all that waits and all that has expired, without a word to them."""
        self._tombstones = None
        for lane in self._lanes:
            lane.clear()
        self.pending = 0

    def waiting(self) -> Iterator[Exchange]:
        """What waits, newest first within its lane; a snapshot."""
        for lane in self._lanes:
            yield from reversed(_exchanges(lane))

    def entries(self) -> Iterator[tuple[int, Waiting]]:
        """What waits as it is, with its ids; nothing may begin or end meanwhile."""
        for lane in self._lanes:
            yield from lane.items()

    def _claim(self, request_id: int) -> Waiting | None:
        for lane in self._lanes:
            waiting = lane.pop(request_id, None)
            if waiting is not None:
                return waiting
        return None

    def _unclaimed(self, replies: list[Reply], now: float) -> Iterator[Stray]:
        """Settle late replies; the others are strays."""
        for reply in replies:
            exchange = self._remembered(reply.id, now)
            if exchange is not None:
                self.late += 1
                exchange.answered(reply, now)
            else:
                self.strays += 1
                yield Stray(reply.id, self._issued(reply.id))

    def _known(self, request_id: int) -> bool:
        return request_id in (self._tombstones or ()) or any(request_id in lane for lane in self._lanes)

    def _issued(self, request_id: int) -> bool:
        """Whether this connection ever gave out an id: they are given out in order, around the end of the range."""
        if self._wrapped:
            return 0 < request_id <= MAX_ID
        return self._first <= request_id < self._next

    def _remember(self, request_id: int, exchange: Exchange, now: float) -> None:
        tombstones = self._tombstones
        if tombstones is None:
            tombstones = self._tombstones = {}
        if len(tombstones) >= self._max_tombstones:
            del tombstones[next(iter(tombstones))]
        tombstones[request_id] = now, exchange

    def _remembered(self, request_id: int, now: float) -> Exchange | None:
        if self._tombstones is None:
            return None
        expired_at, exchange = self._tombstones.pop(request_id, (now, None))
        return exchange if now - expired_at < self._tombstone_age else None

    def _forget(self, tombstones: dict[int, tuple[float, Exchange]], now: float) -> None:
        """Drop tombstones past their age."""
        while tombstones:
            oldest = next(iter(tombstones))
            if now - tombstones[oldest][0] < self._tombstone_age:
                break
            del tombstones[oldest]


def _exchanges(lane: Lane) -> list[Exchange]:
    return [waiting.of(request_id) for request_id, waiting in lane.items()]
