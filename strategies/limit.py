"""Limit: no more than so many events at once, no more than so many a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Final, Literal, get_args

from msgspec.structs import replace

from failover.errors import ConfigError
from failover.event import Event
from failover.foresight import Resolve, WorstCase
from failover.outcome import Verdict
from failover.receipt import Receipt
from failover.sink import Opening
from failover.strategies.queueing import WAITING, Batch, Queueing, Turn, came
from failover.strategy import Declared

__all__ = ["AtLimit", "Limit"]

AtLimit = Literal["wait", "next", "reject"]
"""What happens to an event for which there is no room: it has to `wait` for its turn, it is skipped so that the `next`
sink is tried, or `reject` settles it as skipped, so that overload isn't passed on. The same as at a socket."""

_EMPTY: Final = -inf


class Limit(Queueing):
    """Bounds what its child is given: how many events at once, how many a second, or both.

    In any `t` seconds never more than `rate * t + burst` events begin. Those that wait go in the order in which they
    came, each as soon as there is room.

    Args:
        child: A sink or an address.
        in_flight: How many events the child may have at once, 1 or more; None for any number.
        rate: How many events may begin per second; None for any number.
        burst: How many may begin at once after a pause, 1 or more.
        at_limit: What happens to an event for which there is no room, see `AtLimit`.
        waiting: How many events may wait at once, 0 or more; what comes beyond is skipped. A batch waits as one.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: nothing to limit, or an argument out of its range.

    Source: the generic cell rate algorithm, ITU-T I.371.
    """

    def __init__(
        self,
        child: Declared,
        *,
        in_flight: int | None = None,
        rate: float | None = None,
        burst: int = 1,
        at_limit: AtLimit = "wait",
        waiting: int = WAITING,
        name: str | None = None,
    ) -> None:
        super().__init__(child, waiting=waiting, name=name)
        if in_flight is None and rate is None:
            raise ConfigError(f"{self.name} limits nothing: give it in_flight=, rate= or both")
        if in_flight is not None and (type(in_flight) is not int or in_flight < 1):
            raise ConfigError(f"in_flight must be how many events at once, 1 or more, or None, not {in_flight!r}")
        number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
        if rate is not None and (not number or not 0 < rate < inf):
            raise ConfigError(f"rate must be how many events a second, more than 0, or None, not {rate!r}")
        if type(burst) is not int or burst < 1:
            raise ConfigError(f"burst must be how many events may begin at once, 1 or more, not {burst!r}")
        if rate is None and burst != 1:
            raise ConfigError(f"burst={burst} is for a rate; give {self.name} rate= as well")
        if at_limit not in get_args(AtLimit):
            raise ConfigError(f"at_limit must be one of {', '.join(map(repr, get_args(AtLimit)))}, not {at_limit!r}")
        self.in_flight = in_flight
        self.rate = rate
        self.burst = burst
        self.at_limit = at_limit

    def _begin(self) -> None:
        super()._begin()
        self._busy = 0
        # The k-th event since `_full`, when as many as `burst` could have begun, begins (k - burst) / rate later or
        # after that. Counting, where a time would be added to again and again, keeps that exact for ever.
        self._full = _EMPTY
        self._count = 0

    async def open(self, opening: Opening) -> None:
        """Open the child; a rate begins anew, as another loop may have another clock."""
        await super().open(opening)
        self._full = _EMPTY
        self._count = 0

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """The child's, once there is room; see `failover.foresight`."""
        return self._queued(within, resolve) if self.at_limit == "wait" else super().worst_case(within, resolve)

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Deliver one event, once there is room for it."""
        turn: Turn | None = None
        if self._turns or not self._take(1):
            if self.at_limit != "wait":
                return self._no_room(event)
            turn = self._line_up(deadline)
        try:
            if turn is None:
                return await super().deliver(event, deadline=deadline)
            began = self._now()
            refused = await self._wait(event, turn, began)
            return refused or await self._having_waited(super().deliver(event, deadline=deadline), began)
        finally:
            self._leave(turn)

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """Deliver a batch, as many of its events together as there is room for.

        Whatever `at_limit` and `waiting` say, an event waits for room that others of its batch have, as at a socket.
        Where it mayn't wait, it is turned away if the rate, or what others have in flight, leaves no room.
        """
        began = self._now()
        count = 0 if self._turns else self._take(len(events))
        if count == len(events):
            try:
                return await super().deliver_many(events, deadline=deadline)
            finally:
                self._leave(None, count)
        batch = Batch(events, deadline, began)
        try:
            await self._deliver_in_parts(batch, count)
        except asyncio.CancelledError as cancelled:
            cancelled.receipts = batch.left(self.name)  # type: ignore[attr-defined]
            raise
        return batch.all()

    async def _deliver_in_parts(self, batch: Batch, count: int) -> None:
        """Deliver a batch part by part, of which there is room for the first `count` events."""
        events = batch.events
        under_way: set[asyncio.Task[None]] = set()
        place = 0
        async with asyncio.TaskGroup() as tasks:
            while True:
                if count:
                    part = tasks.create_task(self._deliver_part(batch, range(place, place + count)))
                    part.add_done_callback(partial(self._ended, under_way, count))  # also of one that never began
                    under_way.add(part)
                    place += count
                if place == len(events):
                    break
                count = 0 if self._turns else self._take(len(events) - place)
                if count:
                    continue
                own = under_way and self._crowded()
                if self.at_limit == "wait" and (len(self._turns) < self.waiting or not own):
                    reason = await self._room(batch.deadline)
                    if reason:
                        for late in range(place, len(events)):
                            batch.receipts[late] = self._refused(events[late], batch.began, reason)
                        break
                    count = 1 + (0 if self._turns else self._take(len(events) - place - 1))
                elif own:
                    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                else:
                    batch.receipts[place] = self._no_room(events[place])
                    place += 1

    async def _deliver_part(self, batch: Batch, places: Sequence[int]) -> None:
        """Deliver events of a batch for which there is room."""
        late = self._now() > batch.began
        some = [batch.events[place] for place in places]
        delivery = super().deliver_many(some, deadline=batch.deadline)
        if late:
            await self._all_having_waited(batch, places, delivery)
        else:
            await batch.take_many(places, delivery, self.name)

    def _ended(self, under_way: set[asyncio.Task[None]], count: int, part: asyncio.Task[None]) -> None:
        under_way.discard(part)
        self._leave(None, count)

    async def _room(self, deadline: float | None) -> str:
        """Wait for room for one event; why there will be none."""
        turn = self._line_up(deadline)
        try:
            return await turn
        except asyncio.CancelledError:
            self._leave(turn)
            raise

    def _leave(self, turn: Turn | None, count: int = 1) -> None:
        """Give up a place, or the room that was taken."""
        if turn is None or came(turn):
            self._busy -= count
            self._serve()
        else:
            self._drop(turn)

    def _crowded(self) -> bool:
        """Whether the child has as many events as it may."""
        return self.in_flight is not None and self._busy >= self.in_flight

    def _take(self, most: int) -> int:
        """Take room for so many events, or for as many as there is."""
        if self.in_flight is not None:
            most = min(most, self.in_flight - self._busy)
        if self.rate is not None:
            now = self._now()
            taken = 0
            while taken < most and self._allows(self.rate, now):
                self._count += 1
                taken += 1
            most = taken
        self._busy += most
        return most

    def _allows(self, rate: float, now: float) -> bool:
        """Whether the rate allows one more event."""
        if self._full + self._count / rate < now:  # at the very moment counting goes on
            self._full = now
            self._count = 0
        return self._allowed_from(rate) <= now

    def _allowed_from(self, rate: float) -> float:
        return self._full + (self._count + 1 - self.burst) / rate

    def _next(self) -> float:
        """When there is a deadline, or the rate allows one more of those that wait."""
        when = super()._next()
        if self._turns and self.rate is not None and not self._crowded():
            return min(when, self._allowed_from(self.rate))
        return when

    def _serve(self) -> None:
        """Let those go for whom there is room."""
        while self._turns:
            turn = next(iter(self._turns))
            if turn.done():  # cancelled in this turn of the loop
                self._drop(turn)
            elif self._take(1):
                self._settle(turn)
            else:
                self._arm()
                return

    def _no_room(self, event: Event) -> Receipt:
        """The receipt of an event that is turned away."""
        limit = f"{self.in_flight} in flight" if self._crowded() else f"{self.rate:g} events a second"
        receipt = self._refused(event, self._now(), f"no room: {limit}")
        return replace(receipt, verdict=Verdict.STOP) if self.at_limit == "reject" else receipt
