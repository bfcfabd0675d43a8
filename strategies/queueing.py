"""The base of what lets events wait before its child gets them: bounded, each until its deadline, one timer for all."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Final, TypeAlias

from attrs import Factory, evolve, frozen
from msgspec.structs import replace

from failover.errors import ConfigError
from failover.event import Event
from failover.foresight import Resolve, WorstCase
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.sink import Status, left_of
from failover.strategies.wrapper import Wrapper
from failover.strategy import Declared

__all__ = ["WAITING", "Batch", "Queueing", "Turn", "came"]

WAITING: Final = 1024
"""How many events may wait at once, by default. Source: `failover.ConnectionOptions`, its `waiting`."""

Turn: TypeAlias = asyncio.Future[str]
"""What an event waits for: an empty text when its turn has come, else why it never will."""

_CLOSED: Final = "the group was closed"
_LATE: Final = "no time left while it waited for its turn"
_SPARE: Final = 64  # ends of turns that are over, before they are looked for in the midst


@frozen
class Batch:
    """A batch that isn't delivered all at once.

    Args:
        events: Its events.
        deadline: For all of them, absolute loop time, seconds; None without.
        began: When it came, loop time, seconds.
        receipts: What became of the events so far, by their place.
    """

    events: Sequence[Event]
    deadline: float | None
    began: float
    receipts: dict[int, Receipt] = Factory(dict[int, Receipt])

    async def take(self, place: int, delivery: Awaitable[Receipt]) -> None:
        """Wait for the receipt of one event; if that is cancelled, take what it leaves."""
        try:
            self.receipts[place] = await delivery
        except asyncio.CancelledError as cancelled:
            left: Receipt | None = getattr(cancelled, "receipt", None)
            if left is not None:
                self.receipts[place] = left
            raise

    async def take_many(self, places: Sequence[int], delivery: Awaitable[Sequence[Receipt]], name: str) -> None:
        """The same of some events together, at the sink of this name."""
        try:
            receipts = await delivery
        except asyncio.CancelledError as cancelled:
            left = left_of([self.events[place] for place in places], name, cancelled)
            self.receipts.update(zip(places, left, strict=True))
            raise
        self.receipts.update(zip(places, receipts, strict=True))

    def left(self, name: str) -> list[Receipt]:
        """What there is of each event when the whole is cancelled, at the sink of this name."""
        return [self.receipts.get(place, one) for place, one in enumerate(left_of(self.events, name))]

    def all(self) -> list[Receipt]:
        """What became of all of them, in order."""
        return [self.receipts[place] for place in range(len(self.events))]


class Queueing(Wrapper):
    """Events may wait for their turn here; whose turn it is, subclasses say.

    Args:
        child: A sink or an address.
        waiting: How many events may wait at once, 0 or more; what comes beyond is skipped.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: a bound that is no number, or a child that is none.
    """

    def __init__(self, child: Declared, *, waiting: int = WAITING, name: str | None = None) -> None:
        super().__init__(child, name=name)
        if type(waiting) is not int or waiting < 0:
            raise ConfigError(f"waiting must be how many events may wait at once, 0 or more, not {waiting!r}")
        self.waiting = waiting
        self._begin()

    def _begin(self) -> None:
        self._turns: OrderedDict[Turn, None] = OrderedDict()  # those that wait, in the order in which they came
        self._ends: list[tuple[float, int, Turn]] = []  # a heap of the deadlines of those that have one
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None

    def forget(self) -> None:
        """Be as declared again, see `Strategy.forget`."""
        super().forget()
        self._begin()

    def status(self) -> Status:
        """How it stands; what waits is in flight."""
        status = super().status()
        return evolve(status, in_flight=status.in_flight + len(self._turns))

    async def aclose(self) -> None:
        """Close the child; what waits is skipped. Idempotent."""
        for turn in list(self._turns):
            self._settle(turn, _CLOSED)
        await super().aclose()

    def _queued(self, within: float | None, resolve: Resolve) -> WorstCase:
        """The worst case of one that may have to wait: as long as others take, unless there is a deadline."""
        (found,) = self._foresee(within, resolve)
        if within is not None:
            return evolve(found, seconds=within + found.late, alone=inf)
        return evolve(found, seconds=inf, alone=inf).but(
            self.name, "without a deadline an event may wait here for as long as those before it take; give it one"
        )

    def _line_up(self, deadline: float | None) -> Turn:
        """A turn to wait for; where that is of no use it has come already, and says why."""
        turn: Turn = asyncio.get_running_loop().create_future()
        if self._loop is None:
            turn.set_result(_CLOSED)
        elif deadline is not None and deadline <= self._now():
            turn.set_result(_LATE)
        elif len(self._turns) >= self.waiting:
            turn.set_result(f"no place to wait: {self.waiting} wait already")
        else:
            self._turns[turn] = None
            if deadline is not None:
                heappush(self._ends, (deadline, next(self._numbers), turn))
            self._arm()
        return turn

    def _settle(self, turn: Turn, reason: str = "") -> bool:
        """Have a turn come, or say why it never will.

        Returns:
            Whether it was still waited for.
        """
        waited = not turn.done()
        if waited:
            turn.set_result(reason)
        self._drop(turn)
        return waited

    def _drop(self, turn: Turn) -> None:
        """Wait no longer."""
        self._turns.pop(turn, None)
        if not self._turns:
            self._ends.clear()
        elif len(self._ends) > 2 * len(self._turns) + _SPARE:
            self._ends = [end for end in self._ends if end[2] in self._turns]
            heapify(self._ends)
        self._arm()

    async def _wait(self, event: Event, turn: Turn, began: float) -> Receipt | None:
        """Wait for a turn.

        Returns:
            The receipt if it never comes.
        """
        try:
            reason = await turn
        except asyncio.CancelledError as cancelled:
            cancelled.receipt = self._refused(event, began, "cancelled while it waited")  # type: ignore[attr-defined]
            raise
        return self._refused(event, began, reason) if reason else None

    def _refused(self, event: Event, began: float, reason: str) -> Receipt:
        """The receipt of an event that the child never gets."""
        return Receipt(event, self.name, Outcome.SKIPPED, began, self._now(), reason=reason)

    def _waited(self, receipt: Receipt, began: float) -> Receipt:
        """The receipt of an event that has waited since then."""
        reason = receipt.reason or f"waited {(receipt.began - began) * 1e3:.1f} ms for its turn"
        return replace(receipt, began=began, reason=reason)

    async def _having_waited(self, delivery: Awaitable[Receipt], began: float) -> Receipt:
        """The receipt of an event that has waited since then; what it leaves if it is cancelled says so as well."""
        try:
            return self._waited(await delivery, began)
        except asyncio.CancelledError as cancelled:
            left: Receipt | None = getattr(cancelled, "receipt", None)
            if left is not None:
                cancelled.receipt = self._waited(left, began)  # type: ignore[attr-defined]
            raise

    async def _all_having_waited(
        self, batch: Batch, places: Sequence[int], delivery: Awaitable[Sequence[Receipt]]
    ) -> None:
        """The same of events of a batch that have waited since it came."""
        try:
            await batch.take_many(places, delivery, self.name)
        finally:
            for place in batch.receipts.keys() & set(places):
                batch.receipts[place] = self._waited(batch.receipts[place], batch.began)

    def _next(self) -> float:
        """Loop time at which something is to be done without anybody calling, seconds; infinite for never."""
        return self._ends[0][0] if self._ends else inf

    def _serve(self) -> None:
        """Let those go whose turn it has become as time passed. Overridden where time alone can do that."""

    def _arm(self) -> None:
        when = self._next()
        if self._timer is not None:
            if self._timer.when() == when:
                return
            self._timer.cancel()
            self._timer = None
        if when < inf:
            self._timer = asyncio.get_running_loop().call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._now()
        while self._ends and self._ends[0][0] <= now:
            self._settle(heappop(self._ends)[2], _LATE)
        self._serve()
        self._arm()


def came(turn: Turn) -> bool:
    """Whether it is, or was, the turn of who waited for this."""
    return turn.done() and not turn.cancelled() and not turn.result()
