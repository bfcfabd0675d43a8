"""Ordered: events of one key one after the other, different keys side by side."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias

from failover.event import Event
from failover.foresight import Resolve, WorstCase
from failover.receipt import Receipt
from failover.strategies.key import EventKey, check_key, key_of
from failover.strategies.queueing import WAITING, Batch, Queueing, Turn, came
from failover.strategy import Declared

__all__ = ["Ordered", "Run"]

Run: TypeAlias = tuple[bytes | None, list[int]]
"""A key of a batch and the places of its events, in order; without a key one event."""


class Ordered(Queueing):
    """Gives its child the events of one key one after the other, in the order in which they came.

    The next one begins when the one before it has its receipt, whatever that says; so those that are confirmed are
    confirmed in order, through all that the child does about failures. Events of different keys, and those without a
    key, don't wait for each other. What is remembered is what is in flight, not the keys.

    Args:
        child: A sink or an address, most often the whole tree.
        key: The name of the param that holds the key, or a function of the event that returns it. An event without it
            (or with None, or of which the function raises) has no order.
        waiting: How many events may wait for their turn at once, over all keys; what comes beyond is skipped. A batch
            waits as one for each key.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: a key that is no name and no function, a bound that is no number, or a child that is none.
    """

    def __init__(
        self, child: Declared, *, key: EventKey = "callid", waiting: int = WAITING, name: str | None = None
    ) -> None:
        super().__init__(child, waiting=waiting, name=name)
        self.key = check_key(self.name, key)

    def _begin(self) -> None:
        super()._begin()
        # For each key that has an event under way those that wait, None before the first: most keys never have one.
        self._lines: dict[bytes, OrderedDict[Turn, Sequence[Event]] | None] = {}

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """The child's, once it is its turn; see `failover.foresight`."""
        return self._queued(within, resolve)

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Deliver one event when those of its key that came before it are done; SKIPPED if that takes too long."""
        key = key_of(self.key, event)
        if key is None:
            return await super().deliver(event, deadline=deadline)
        turn = self._enter(key, (event,), deadline)
        try:
            if turn is None:
                self._begins(key)
                return await super().deliver(event, deadline=deadline)
            began = self._now()
            refused = await self._wait(event, turn, began)
            if refused is not None:
                return refused
            self._begins(key)
            return await self._having_waited(super().deliver(event, deadline=deadline), began)
        finally:
            self._leave(key, turn)

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """Deliver a batch: the first events of all keys together, then the second ones, and so on.

        A key of which an event is under way already doesn't hold up the others.
        """
        batch = Batch(events, deadline, self._now())
        held: dict[bytes, Turn | None] = {}  # the keys that have a place in line for this batch
        free: list[Run] = []
        busy: list[tuple[bytes, list[int], Turn]] = []
        try:
            for key, places in self._runs(batch):
                turn = None
                if key is not None:
                    turn = held[key] = self._enter(key, [events[place] for place in places], deadline)
                    if turn is not None:
                        busy.append((key, places, turn))
                        continue
                free.append((key, places))
            if busy:
                async with asyncio.TaskGroup() as tasks:
                    for key, places, turn in busy:
                        tasks.create_task(self._one_by_one(batch, held, key, places, turn))
                    await self._side_by_side(batch, held, free)
            else:
                await self._side_by_side(batch, held, free)
        except asyncio.CancelledError as cancelled:
            cancelled.receipts = batch.left(self.name)  # type: ignore[attr-defined]
            raise
        finally:
            for key, turn in held.items():
                self._leave(key, turn)
        return batch.all()

    def _runs(self, batch: Batch) -> list[Run]:
        """The keys of a batch, each with the places of its events in order; one without a key stands alone."""
        runs: dict[bytes | int, list[int]] = {}
        for place, event in enumerate(batch.events):
            key = key_of(self.key, event)
            runs.setdefault(place if key is None else key, []).append(place)
        return [(None if isinstance(key, int) else key, places) for key, places in runs.items()]

    async def _side_by_side(self, batch: Batch, held: dict[bytes, Turn | None], runs: list[Run]) -> None:
        """Deliver the events of keys whose turn it is, a round for each that a key has."""
        number = 0
        while runs:
            turns = [places[number] for _, places in runs]
            some = [batch.events[place] for place in turns]
            for key, _ in runs:
                self._begins(key)
            delivery = super().deliver_many(some, deadline=batch.deadline)
            if number:
                await self._all_having_waited(batch, turns, delivery)
            else:
                await batch.take_many(turns, delivery, self.name)
            number += 1
            for key, places in runs:
                if key is not None and len(places) == number:
                    self._leave(key, held.pop(key))
            runs = [run for run in runs if len(run[1]) > number]

    async def _one_by_one(
        self, batch: Batch, held: dict[bytes, Turn | None], key: bytes, places: list[int], turn: Turn
    ) -> None:
        """Deliver the events of a key that has to wait for its turn first."""
        reason = await turn
        for place in places:
            event = batch.events[place]
            if reason:
                batch.receipts[place] = self._refused(event, batch.began, reason)
            else:
                self._begins(key)
                delivery = super().deliver(event, deadline=batch.deadline)
                await batch.take(place, self._having_waited(delivery, batch.began))
        self._leave(key, held.pop(key))

    def _enter(self, key: bytes, events: Sequence[Event], deadline: float | None) -> Turn | None:
        """Take the place behind all others of a key; None if there is nobody and it may go at once."""
        if key not in self._lines:
            self._lines[key] = None
            return None
        turn = self._line_up(deadline)
        if not turn.done():
            line = self._lines[key]
            if line is None:
                line = self._lines[key] = OrderedDict()
            line[turn] = events
        return turn

    def _leave(self, key: bytes, turn: Turn | None) -> None:
        """Give up a place: it is the next one's turn if it was this one's."""
        if turn is not None and not came(turn):
            line = self._lines.get(key)
            if line is not None:
                line.pop(turn, None)
            self._drop(turn)
        elif self._lines[key]:
            self._go_on(key)
        else:
            del self._lines[key]

    def _begins(self, key: bytes | None) -> None:
        """The child is given an event of this key. Overridden where that matters."""

    def _go_on(self, key: bytes) -> None:
        """Have the turn of the next one of a key come; forget the key if there is none."""
        line = self._lines[key]
        while line:
            if self._settle(line.popitem(last=False)[0]):
                return
        del self._lines[key]
