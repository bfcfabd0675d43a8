"""Dedup: the same event again within a while is no event of its own."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Literal, TypeAlias

from attrs import Factory, define

from failover.errors import ConfigError
from failover.event import Event
from failover.foresight import Resolve, WorstCase
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.sink import check_seconds
from failover.strategies.key import key_of
from failover.strategies.queueing import Batch, Queueing, Turn, came
from failover.strategy import Declared

__all__ = ["Dedup", "Repeat", "Same"]

Same: TypeAlias = Literal["params", "id"] | Callable[[Event], object]
"""Which events are the same one: those of one name with the same params, those of one id, or those for which a function
returns the same; an event for which it returns None is like no other."""

_MOST: Final = 10_000


class Repeat(Receipt, eq=False, frozen=True, gc=False, kw_only=True):
    """The receipt of an event that was another one again: what it says is what became of the first one."""

    first: Receipt
    """The receipt of the first one."""

    @property
    def maybe_processed(self) -> bool:
        """Whether any peer may have processed the first one."""
        return self.first.maybe_processed

    @property
    def copies(self) -> int:
        """How many of the times that the first one may have been processed are intended."""
        return self.first.copies

    @property
    def cut_short(self) -> bool:
        """Whether we stopped waiting for the first one."""
        return self.first.cut_short

    @property
    def at_fault(self) -> bool:
        """Whether the first one's outcome is evidence that the sink is out of order."""
        return self.first.at_fault

    @property
    def retry_after(self) -> float | None:
        """Seconds for which a busy peer asked the first one to leave it alone; None if none did."""
        return self.first.retry_after


class Dedup(Queueing):
    """Gives its child an event once: what comes again within a while gets the outcome of the first one, and no attempt.

    A repeat while the first one is under way waits for its outcome; if the first one is cancelled, or cut short by its
    own deadline, one that waits goes on in its place. Once the first one is settled, repeats get its outcome at once,
    until `window` seconds after it began. If it failed, or was turned away, the next repeat is a new try.

    Args:
        child: A sink or an address.
        window: Seconds for which an event is remembered, from when it came.
        key: Which events are the same one, see `Same`; by default those of one name with the same params.
        most: How many events are remembered, the oldest is forgotten first; and how many repeats may wait at once.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: a window that is no positive number of seconds, another key, or a number below 1.
    """

    def __init__(
        self, child: Declared, *, window: float, key: Same = "params", most: int = _MOST, name: str | None = None
    ) -> None:
        if type(most) is not int or most < 1:
            raise ConfigError(f"most must be how many events are remembered, 1 or more, not {most!r}")
        super().__init__(child, waiting=most, name=name)
        if not callable(key) and key not in ("params", "id"):
            raise ConfigError(f"the key of {self.name} must be 'params', 'id' or a function of the event, not {key!r}")
        self.window = check_seconds("window", window)
        self.key = key
        self.most = most
        self.dropped = 0
        """How many repeats got the outcome of the first one."""

    def _begin(self) -> None:
        super()._begin()
        self._seen: OrderedDict[Hashable, _First] = OrderedDict()

    async def aclose(self) -> None:
        """Close the child and forget all events; repeats that wait are skipped. Idempotent."""
        self._seen.clear()
        await super().aclose()

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """The child's, once it is its turn; see `failover.foresight`."""
        return self._queued(within, resolve)

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Deliver one event, or give it the outcome of the one that it is again."""
        key = self._key(event)
        if key is None:
            return await super().deliver(event, deadline=deadline)
        began = self._now()
        first = self._known(key, began)
        if first is None:
            return await self._deliver_first(key, self._remember(key, began), event, deadline)
        if first.receipt is None:
            refused = await self._wait_for(key, first, event, deadline, began)
            if refused is not None:
                return refused
        if first.receipt is not None:
            return self._repeat(event, first.receipt, began)
        first.began = self._now()  # this one goes on in its place
        if key in self._seen:
            self._seen.move_to_end(key)
        return await self._having_waited(self._deliver_first(key, first, event, deadline), began)

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """Deliver those of a batch that are no repeats, as a batch; the others get their outcomes."""
        batch = Batch(events, deadline, self._now())
        sorted_out = _Sorted()
        for place, event in enumerate(events):
            key = self._key(event)
            if key is None:
                sorted_out.fresh.append(place)
            elif key in sorted_out.firsts:
                sorted_out.repeats.append((place, sorted_out.firsts[key][0]))
            else:
                first = self._known(key, batch.began)
                if first is None:
                    sorted_out.firsts[key] = place, self._remember(key, batch.began)
                    sorted_out.fresh.append(place)
                elif first.receipt is None:
                    sorted_out.waiting.append(place)
                else:
                    batch.receipts[place] = self._repeat(event, first.receipt, batch.began)
        try:
            if sorted_out.waiting:
                async with asyncio.TaskGroup() as tasks:
                    for place in sorted_out.waiting:
                        tasks.create_task(self._deliver_repeat(batch, place))
                    await self._deliver_fresh(batch, sorted_out)
            else:
                await self._deliver_fresh(batch, sorted_out)
        except asyncio.CancelledError as cancelled:
            cancelled.receipts = batch.left(self.name)  # type: ignore[attr-defined]
            raise
        for place, first_place in sorted_out.repeats:
            batch.receipts[place] = self._repeat(events[place], batch.receipts[first_place], batch.began)
        return batch.all()

    async def _deliver_repeat(self, batch: Batch, place: int) -> None:
        """Deliver one that is a repeat of what is under way already, unless it has to go on in its place."""
        await batch.take(place, self.deliver(batch.events[place], deadline=batch.deadline))

    async def _deliver_fresh(self, batch: Batch, sorted_out: _Sorted) -> None:
        """Deliver those of a batch that are no repeats."""
        some = [batch.events[place] for place in sorted_out.fresh]
        try:
            await batch.take_many(sorted_out.fresh, super().deliver_many(some, deadline=batch.deadline), self.name)
        except BaseException:
            for key, (_, first) in sorted_out.firsts.items():
                self._hand_over(key, first)
            raise
        for key, (place, first) in sorted_out.firsts.items():
            self._end(key, first, batch.receipts[place])

    async def _deliver_first(self, key: Hashable, first: _First, event: Event, deadline: float | None) -> Receipt:
        """Deliver an event for all that are the same."""
        try:
            receipt = await super().deliver(event, deadline=deadline)
        except BaseException:
            self._hand_over(key, first)
            raise
        self._end(key, first, receipt)
        return receipt

    async def _wait_for(
        self, key: Hashable, first: _First, event: Event, deadline: float | None, began: float
    ) -> Receipt | None:
        """Wait for the first one; the receipt if that takes too long.

        Once this has returned nothing, the first one has a receipt, or this one has to go on in its place.
        """
        turn = self._line_up(deadline)
        if first.waiting is None:
            first.waiting = OrderedDict()
        first.waiting[turn] = None
        try:
            return await self._wait(event, turn, began)
        except asyncio.CancelledError:
            if came(turn) and first.receipt is None:
                self._hand_over(key, first)
            raise
        finally:
            if first.waiting is not None:
                first.waiting.pop(turn, None)
            self._drop(turn)

    def _end(self, key: Hashable, first: _First, receipt: Receipt) -> None:
        """Share the outcome of a first one, unless it is only its own caller's that there is none."""
        if not receipt.settled and (receipt.cut_short or receipt.outcome is Outcome.SKIPPED):
            self._hand_over(key, first)
            return
        first.receipt = receipt
        while first.waiting:
            self._settle(first.waiting.popitem(last=False)[0])
        first.waiting = None
        if not receipt.settled or receipt.outcome is Outcome.SKIPPED:
            self._forget(key, first)

    def _hand_over(self, key: Hashable, first: _First) -> None:
        """Let one that waits go on in the place of the first one."""
        while first.waiting:
            if self._settle(first.waiting.popitem(last=False)[0]):
                return
        self._forget(key, first)

    def _key(self, event: Event) -> Hashable:
        """What is the same for events that are the same; None for one that is like no other."""
        if self.key == "params":
            return event.name, event.body
        if self.key == "id":
            return event.id
        return key_of(self.key, event)

    def _known(self, key: Hashable, now: float) -> _First | None:
        """The one that an event of this key is again."""
        first = self._seen.get(key)
        return None if first is None or self._over(first, now) else first

    def _over(self, first: _First, now: float) -> bool:
        return first.receipt is not None and now - first.began >= self.window

    def _remember(self, key: Hashable, now: float) -> _First:
        """A new first one; those whose time is over, and those that are too many, are forgotten."""
        self._seen.pop(key, None)
        while self._seen:
            oldest = next(iter(self._seen))
            if len(self._seen) < self.most and not self._over(self._seen[oldest], now):
                break
            del self._seen[oldest]
        first = self._seen[key] = _First(now)
        return first

    def _forget(self, key: Hashable, first: _First) -> None:
        if self._seen.get(key) is first:
            del self._seen[key]

    def _repeat(self, event: Event, first: Receipt, began: float) -> Receipt:
        """The receipt of an event that was another one again."""
        self.dropped += 1
        return Repeat(
            event,
            self.name,
            first.outcome,
            began,
            self._now(),
            verdict=first.verdict,
            reason=f"the same as an event {max(0.0, began - first.began):.1f} s ago",
            first=first,
        )


@define(eq=False)
class _First:
    """An event that others may be again.

    Args:
        began: When it came, loop time, seconds.
        receipt: What became of it, for all that are the same; None while it is under way.
        waiting: Repeats that wait for that; None before the first.
    """

    began: float
    receipt: Receipt | None = None
    waiting: OrderedDict[Turn, None] | None = None


@define
class _Sorted:
    """The places of a batch's events, sorted.

    Args:
        fresh: Of those that are delivered.
        firsts: By their keys, of those of them that others may be again.
        repeats: Of repeats of these, each with that of its first one.
        waiting: Of repeats of what is under way already.
    """

    fresh: list[int] = Factory(list[int])
    firsts: dict[Hashable, tuple[int, _First]] = Factory(dict[Hashable, "tuple[int, _First]"])
    repeats: list[tuple[int, int]] = Factory(list[tuple[int, int]])
    waiting: list[int] = Factory(list[int])
