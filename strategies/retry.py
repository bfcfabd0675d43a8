"""Retry: the same child again, after a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from typing import Final, TypeAlias

from attrs import evolve
from msgspec.structs import replace
from tenacity.stop import stop_after_attempt, stop_base, stop_never, stop_when_event_set
from tenacity.wait import wait_base, wait_exponential

from failover.errors import ConfigError
from failover.event import Event
from failover.foresight import Resolve, WorstCase, shown, shown_count
from failover.pacing import PolicyState, WaitPolicy, delay, is_random
from failover.receipt import Receipt
from failover.sink import Opening, check_seconds, deliver_many, left_of, partial_receipt
from failover.strategies.budget import Budget
from failover.strategies.wrapper import Wrapper
from failover.strategy import Declared

__all__ = ["Retry", "StopPolicy"]

StopPolicy: TypeAlias = stop_base
"""E.g. `tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(5)`; seconds of the loop's time."""

_ROUNDS: Final = 10_000  # attempts that are foreseen; beyond that their number is as good as unknown
_STOP: Final = stop_after_attempt(3)
_WAIT: Final = wait_exponential(multiplier=0.05, max=1.0)


class Retry(Wrapper):
    """Tries its child again until the event is settled, a policy says stop, the time is up or the budget is spent.

    What is settled is never tried again: neither what was confirmed or sent nor what a verdict ended. Nothing of this
    costs anything as long as first attempts settle their events.

    Args:
        child: A sink or an address.
        stop: tenacity's policy of when to give up; its times are the loop's.
        wait: tenacity's policy of how long to wait; one that draws at random is refused in a simulation.
        within: Seconds for one event, all attempts and waits together; None leaves it to `stop` and the caller.
        share: Further attempts per event, at most, e.g. 0.2.
        floor: Further attempts per second that are granted besides, see `failover.strategies.budget.Budget`.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: no policy, one that never stops without `within`, or an argument out of its range.

    Source: tenacity; Finagle's RetryBudget.
    """

    def __init__(
        self,
        child: Declared,
        *,
        stop: StopPolicy = _STOP,
        wait: WaitPolicy = _WAIT,
        within: float | None = None,
        share: float = 0.2,
        floor: float = 10.0,
        name: str | None = None,
    ) -> None:
        super().__init__(child, name=name)
        if not isinstance(stop, stop_base) or isinstance(stop, stop_when_event_set):
            raise ConfigError(f"stop must be one of tenacity's stop policies of attempts and time, not {stop!r}")
        if not isinstance(wait, wait_base):
            raise ConfigError(f"wait must be one of tenacity's wait policies, e.g. wait_fixed(0.1), not {wait!r}")
        if stop is stop_never and within is None:
            raise ConfigError(f"{self.name} would never end: give it within=, or another stop than stop_never")
        self.stop = stop
        self.wait = wait
        self.within = None if within is None else check_seconds("within", within)
        self.budget = Budget(share, floor)
        self.retried = 0
        """How many further attempts were made."""
        self._waiting: set[asyncio.Future[None]] = set()

    async def open(self, opening: Opening) -> None:
        """Open the child; see `Strategy.open`.

        Raises:
            ConfigError: a random wait in a simulation, where no seed would repeat it.
        """
        if getattr(asyncio.get_running_loop(), "simulated", False) and is_random(self.wait):
            raise ConfigError(
                f"{self.name}: a random wait can't be repeated in a simulation; use wait_exponential or wait_fixed"
            )
        await super().open(opening)

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """Its child's as often as `stop` allows, and the waits in between; see `failover.foresight`."""
        end = self.within if within is None else within if self.within is None else min(within, self.within)
        (child,) = self._foresee(end, resolve)
        times, waits = self._rounds(end)
        own_times, own_waits = self._rounds(self.within)
        found = evolve(
            child,
            seconds=times * child.seconds + waits,
            alone=own_times * child.alone + own_waits,
            attempts=times * child.attempts,
            duplicates=(times * child.duplicates if child.duplicates else 0.0) + times - 1,
        )
        if end is not None and own_times > 1 and child.alone >= end:
            alone = f"one attempt may take all of the {shown(end)}, and then no other follows"
            found = found.but(self.name, f"{alone}; give it more time, or the child a shorter timeout")
        if child.attempts > 1 and times > 1:
            number = f"{shown_count(child.attempts, 'attempt')} become {shown_count(found.attempts, 'attempt')}"
            found = found.but(self.name, f"{number}; better a Retry around each socket, or none")
        if child.divided and times > 1:
            found = found.but(self.name, "if only some take an event, those have it again with each further attempt")
        found = found if self.within is None else found.bounded(self.within)
        return found.capped(end)

    def _rounds(self, end: float | None) -> tuple[float, float]:
        """How many attempts there are at most, and how long all waits between them take together at most."""
        at_random = is_random(self.wait)
        waited = waits = 0.0
        for number in range(1, _ROUNDS):  # none of them takes any time: the slower they are, the sooner it stops
            pause = delay(self.wait, PolicyState(number, 0.0, waited, waited))
            soonest = 0.0 if at_random else pause
            state = PolicyState(number, 0.0, waited, waited, soonest)
            if self.stop(state) or (end is not None and waited + soonest >= end):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # reads only what it has
                return number, waits
            waited += soonest
            waits = inf if at_random else waits + pause
        return inf, inf

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Try, and again."""
        self.budget.deposit()
        return await self._again(event, [], self._end(deadline))

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """Deliver a batch; what it leaves unsettled is tried again event by event."""
        self.budget.deposit(len(events))
        end = self._end(deadline)
        child = self.children[0]
        so_far: list[list[Receipt]] = []
        try:
            firsts = await deliver_many(child.sink, events, deadline=end)
            so_far += [[first] for first in firsts]
            async with asyncio.TaskGroup() as tasks:
                begun = [
                    None if first.settled else tasks.create_task(self._again(event, tried, end))
                    for event, first, tried in zip(events, firsts, so_far, strict=True)
                ]
        except asyncio.CancelledError as cancelled:
            tried_each = so_far or [[left] for left in left_of(events, child.name, cancelled)]
            cancelled.receipts = [  # type: ignore[attr-defined]
                self._ended_by_cancelling(event, tried) for event, tried in zip(events, tried_each, strict=True)
            ]
            raise
        return [
            self._receipt(event, tried) if task is None else task.result()
            for event, tried, task in zip(events, so_far, begun, strict=True)
        ]

    async def aclose(self) -> None:
        """Close the child and end all waits. Idempotent."""
        for waiting in list(self._waiting):
            if not waiting.done():
                waiting.set_result(None)
        await super().aclose()

    def forget(self) -> None:
        """Be as declared again, see `Strategy.forget`."""
        super().forget()
        self._waiting = set()

    def _end(self, deadline: float | None) -> float | None:
        if self.within is None:
            return deadline
        end = self._now() + self.within
        return end if deadline is None else min(end, deadline)

    async def _again(self, event: Event, tried: list[Receipt], end: float | None) -> Receipt:
        """Attempt after attempt, beginning after those that were made."""
        child = self.children[0]
        waited = 0.0
        why = ""
        while True:
            if tried:
                pause = self._pause(tried, waited, end)
                if isinstance(pause, str):
                    return replace(self._receipt(event, tried), reason=pause)
                try:
                    await self._sleep(pause)
                except asyncio.CancelledError as cancelled:
                    cancelled.receipt = self._ended_by_cancelling(event, tried)  # type: ignore[attr-defined]
                    raise
                if self._loop is None:
                    return replace(self._receipt(event, tried), reason="the group was closed")
                waited += pause
                self.retried += 1
                why = f"attempt {len(tried) + 1}, {pause * 1e3:.0f} ms later"
            begun = child.start(event, deadline=end)
            try:
                receipt = await begun
            except asyncio.CancelledError as cancelled:
                tried.append(replace(partial_receipt(child.sink, event, begun, cancelled), why=why))
                cancelled.receipt = self._receipt(event, tried)  # type: ignore[attr-defined]
                raise
            tried.append(replace(receipt, why=why) if why else receipt)
            if receipt.settled:
                return self._receipt(event, tried)

    def _ended_by_cancelling(self, event: Event, tried: list[Receipt]) -> Receipt:
        """What there is of an event, also if it was amid a wait."""
        receipt = self._receipt(event, tried)
        if receipt.settled or tried[-1].reason.startswith("cancelled"):
            return receipt
        return replace(receipt, ended=self._now(), reason="cancelled amid a wait")

    def _pause(self, tried: list[Receipt], waited: float, end: float | None) -> float | str:
        """Seconds until the next attempt, or why there is none."""
        if self._loop is None:
            return "the group was closed"
        now = self._now()
        state = PolicyState(len(tried), tried[0].began, now, waited)
        pause = delay(self.wait, state)
        state = PolicyState(len(tried), tried[0].began, now, waited, pause)
        if self.stop(state):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # reads only what it has
            return f"given up after {len(tried)} attempts"
        if end is not None and now + pause >= end:
            return "no time left for another attempt"
        if not self.budget.withdraw(now):
            return "no further attempt: the budget was spent"
        return pause

    async def _sleep(self, seconds: float) -> None:
        """Wait, or until this is closed."""
        waiting: asyncio.Future[None] = self.loop.create_future()
        timer = self.loop.call_later(seconds, _wake, waiting)
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            timer.cancel()
            self._waiting.discard(waiting)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
