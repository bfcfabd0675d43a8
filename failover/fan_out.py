"""The base of all strategies that try their children side by side, until enough is known."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import evolve

from failover.event import Event
from failover.foresight import Resolve, WorstCase, at_once
from failover.outcome import Outcome, fan_out_outcome
from failover.receipt import Attempt, Receipt
from failover.records import LateConfirmation, Silence, notify
from failover.sink import Status, deliver_many, left_by, partial_receipt, start, untold
from failover.strategy import Child, Declared, Strategy
from failover.waiting import wait_for_one

__all__ = ["FanOut"]


class FanOut(Strategy):
    """All children at once. Subclasses say how many must take the event, and when enough is known.

    Every child gets its attempt whatever the others do. One that is still under way when enough is known goes on by
    itself: the receipt lists it as abandoned, its reply is a late confirmation.

    Args:
        children: Sinks or addresses, at least one.
        name: How it is called in receipts; the class's name by default.
    """

    side_by_side = True
    gives_up = False
    """Whether it may be decided before all that are needed have ended."""

    def __init__(self, *children: Declared, name: str | None = None) -> None:
        super().__init__(*children, name=name)
        self._stragglers: set[asyncio.Future[Any]] = set()

    @property
    @abstractmethod
    def need(self) -> int:
        """How many children must take the event, 1 to the number of children."""

    @abstractmethod
    def decided(self, receipts: Sequence[Receipt]) -> bool:
        """Whether these receipts, of the children that have ended so far, are enough to know."""

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """As long as the slowest takes; copies are no duplicates. See `failover.foresight`."""
        found = at_once(self._foresee(within, resolve))
        return found if self.need == 1 else evolve(found, divided=((self.name,), *found.divided))

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Start all children, wait until it is decided."""
        began = self._now()
        futures = [start(child.sink, event, deadline=deadline) for child in self.children]
        try:
            if self.need == len(futures) and not self.gives_up:
                # all must end: waiting for one after the other costs nothing extra
                receipts = tuple([await future for future in futures])
            else:
                await self._until_decided(futures)
                receipts = tuple(
                    [
                        future.result() if future.done() else self._leave(event, child, began, future)
                        for child, future in zip(self.children, futures, strict=True)
                    ]
                )
        except BaseException as ending:  # cancelled, or misuse of a child: the others must not outlive this
            receipt = await self._end(event, began, futures, ending)
            if isinstance(ending, asyncio.CancelledError):
                ending.receipt = receipt  # type: ignore[attr-defined]
            raise
        return self._receipt(event, began, receipts)

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """Deliver a batch to every child side by side; waits until those that are through with it decide each event.

        Who isn't through by then goes on by itself, as after the decision of a single event. Each child gets all of it,
        whatever `until` says.
        """
        began = self._now()
        running = [
            asyncio.ensure_future(deliver_many(child.sink, events, deadline=deadline)) for child in self.children
        ]
        try:
            await self._until_all_decided(running, len(events))
        except BaseException as ending:  # cancelled, or misuse of a child: the others must not outlive this
            for batch in running:
                batch.cancel()
            await asyncio.wait(running)
            if isinstance(ending, asyncio.CancelledError):
                left = [left_by(batch, events, child.name) for child, batch in zip(self.children, running, strict=True)]
                ending.receipts = self._rows(events, began, left)  # type: ignore[attr-defined]
            raise
        through = [batch.result() for batch in running if batch.done()]
        columns = [
            batch.result() if batch.done() else self._leave_batch(events, child, began, batch, through)
            for child, batch in zip(self.children, running, strict=True)
        ]
        return self._rows(events, began, columns)

    async def aclose(self) -> None:
        """Close all children and end what was left under way. Idempotent."""
        await super().aclose()
        for future in list(self._stragglers):
            if isinstance(future, asyncio.Task):
                future.cancel()
        if self._stragglers:
            await asyncio.wait(set(self._stragglers))

    def forget(self) -> None:
        """Be as declared again, see `Strategy.forget`."""
        super().forget()
        self._stragglers = set()

    def status(self) -> Status:
        """How it stands; it is up if as many children are as must take an event."""
        return self._status(need=self.need)

    def silent(self, child: Child, news: Silence) -> None:
        """If fewer children than must take an event were heard since this attempt began, the whole is silent."""
        child.out_since = news.at
        began = news.at if news.attempt is None else news.attempt.began
        heard = sum(not other.out_since or other.out_since < began for other in self.children)
        if heard < self.need:
            self._tell(Silence(self.name, news.attempt, news.at))

    async def _until_decided(self, futures: list[asyncio.Future[Receipt]]) -> None:
        """Wait until the receipts that are there decide, or all are there."""
        while waiting := [future for future in futures if not future.done()]:
            ended = [future.result() for future in futures if future.done()]
            if ended and self._loop is not None and self.decided(ended):  # closed, it leaves nobody under way
                return
            await wait_for_one(waiting)

    async def _until_all_decided(self, running: Sequence[asyncio.Future[list[Receipt]]], count: int) -> None:
        """The same for all events of a batch: wait until the children that are through with it decide each."""
        waiting = set(running)
        if self.need == len(running) and not self.gives_up:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
            for batch in running:
                if batch.done():
                    batch.result()  # misuse of a child is raised here
            return
        undecided: Sequence[int] = range(count)
        while waiting:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            through = [batch.result() for batch in running if batch.done()]
            undecided = [at for at in undecided if not self.decided([receipts[at] for receipts in through])]
            if self._loop is not None and not undecided:
                return

    def _rows(self, events: Sequence[Event], began: float, columns: Sequence[Sequence[Receipt]]) -> list[Receipt]:
        rows = zip(*columns, strict=True)
        return [self._receipt(event, began, row) for event, row in zip(events, rows, strict=True)]

    def _receipt(self, event: Event, began: float, receipts: tuple[Receipt, ...]) -> Receipt:
        outcome, verdict = fan_out_outcome(receipts, self.need)
        # Its end is its last child's: in a batch it may be long ago by now, and evidence is judged by its age.
        ended = max([receipt.ended for receipt in receipts], default=began)
        return Receipt(event, self.name, outcome, began, ended, receipts, verdict, side_by_side=self.side_by_side)

    def _leave(self, event: Event, child: Child, began: float, future: asyncio.Future[Receipt]) -> Receipt:
        """Let a child go on without anybody waiting; say so in the receipt."""
        attempt = _left(event, child, began, self._now())
        self._stragglers.add(future)
        future.add_done_callback(partial(self._straggled, child, attempt))
        return attempt

    def _straggled(self, child: Child, attempt: Attempt, future: asyncio.Future[Receipt]) -> None:
        self._stragglers.discard(future)
        if not future.cancelled() and future.exception() is None:
            self._late(child, attempt, future.result())

    def _leave_batch(
        self,
        events: Sequence[Event],
        child: Child,
        began: float,
        batch: asyncio.Future[list[Receipt]],
        through: Sequence[Sequence[Receipt]],
    ) -> list[Receipt]:
        """Let a child go on with a batch; each event was decided without it when the others' last receipt came."""
        ends = [max(receipt.ended for receipt in row) for row in zip(*through, strict=True)]
        attempts = [_left(event, child, began, ended) for event, ended in zip(events, ends, strict=True)]
        self._stragglers.add(batch)
        batch.add_done_callback(partial(self._batch_straggled, child, attempts))
        return list(attempts)

    def _batch_straggled(self, child: Child, attempts: Sequence[Attempt], batch: asyncio.Future[list[Receipt]]) -> None:
        self._stragglers.discard(batch)
        if not batch.cancelled() and batch.exception() is None:
            for attempt, receipt in zip(attempts, batch.result(), strict=True):
                self._late(child, attempt, receipt)

    def _late(self, child: Child, attempt: Attempt, receipt: Receipt) -> None:
        """Tell of what a child that went on has got in the end."""
        if receipt.outcome in (Outcome.CONFIRMED, Outcome.REJECTED):
            news = LateConfirmation(child.name, attempt, receipt.confirmed, receipt.ended, self.group)
            if self.observers:
                notify(self.observers, news)
            self._hear(child, news)

    async def _end(
        self, event: Event, began: float, futures: list[asyncio.Future[Receipt]], ending: BaseException
    ) -> Receipt:
        """End all children that were started and gather what they leave."""
        tasks = [future for future in futures if isinstance(future, asyncio.Task)]
        for task in tasks:
            task.cancel()
        left = [
            None if future in tasks else partial_receipt(child.sink, event, future, ending)
            for child, future in zip(self.children, futures, strict=False)
        ]
        if tasks:
            await asyncio.wait(tasks)
        awaited: Receipt | None = getattr(ending, "receipt", None)  # a task tells it only once
        for position, (child, future) in enumerate(zip(self.children, futures, strict=False)):
            if future in tasks:
                try:
                    left[position] = future.result()
                except BaseException as ended:  # noqa: BLE001  # each ends in its own way, with or without a receipt
                    left[position] = getattr(ended, "receipt", None)
                    if left[position] is None and awaited is not None and awaited.sink == child.name:
                        left[position] = awaited
        return self._receipt(
            event,
            began,
            tuple(
                untold(event, child.sink, began) if receipt is None else receipt
                for child, receipt in zip(self.children, left, strict=False)
            ),
        )


def _left(event: Event, child: Child, began: float, now: float) -> Attempt:
    return Attempt(event, child.name, Outcome.ABANDONED, began, now, reason="decided without it; it goes on", sent=True)
