"""Hedge: a second attempt where the first one is slow, and the faster of both."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from math import ceil
from typing import Final, Literal, cast

from msgspec.structs import replace

from failover.errors import ConfigError
from failover.event import Event
from failover.fan_out import FanOut
from failover.foresight import Resolve, WorstCase, in_turn, shown
from failover.outcome import Outcome, fan_out_outcome
from failover.receipt import Receipt
from failover.sink import Opening, Sink, check_seconds, deliver_each, start, untold
from failover.strategies.budget import Budget
from failover.strategy import Child, Declared
from failover.waiting import wait_for_one

__all__ = ["Hedge"]

_WINDOW: Final = 1000  # first attempts that a percentile is taken of
_EVERY: Final = 100  # how many of them come between two looks at it
_MARGIN: Final = 1.1  # else, where nearly all take equally long, nearly all would be just too late
_SLOWER: Final = "the other one was faster"


class Hedge(FanOut):
    """Gives the event to `first`; if that hasn't answered after a while, to `second` as well, and takes the faster one.

    If `first` fails before that, `second` gets the event at once. The loser is abandoned, which is no evidence against
    it. How many second attempts are made while the first is still under way is bounded by a budget.

    Args:
        first: A sink or an address.
        second: A sink or an address; another way to the same peer will do.
        delay: Seconds after which the second attempt begins; with `percentile`, until enough have been seen.
        percentile: Take a delay a tenth above what this percentage of the last thousand first attempts took at most;
            None keeps to `delay`.
        loser: Whether the slower attempt is ended (`"cancel"`) or goes on by itself (`"keep"`).
        share: Second attempts per event, at most, e.g. 0.05.
        floor: Second attempts per second that are granted besides, see `failover.strategies.budget.Budget`.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: an argument out of its range, or a delay that `first` never takes since its timeout is shorter;
            of an address that is known only when the group opens.

    Source: Dean and Barroso, The Tail at Scale, 2013.
    """

    rule = "first"
    side_by_side = False

    def __init__(
        self,
        first: Declared,
        second: Declared,
        *,
        delay: float,
        percentile: float | None = None,
        loser: Literal["cancel", "keep"] = "cancel",
        share: float = 0.05,
        floor: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(first, second, name=name)
        self.delay = check_seconds("delay", delay, zero=True)
        """Seconds after which the second attempt begins, now."""
        if percentile is not None and not 0 < percentile < 100:  # noqa: PLR2004  # per cent
            raise ConfigError(f"percentile must be above 0 and below 100, e.g. 95, not {percentile!r}")
        if loser not in ("cancel", "keep"):
            raise ConfigError(f"loser must be 'cancel' or 'keep', not {loser!r}")
        self.percentile = percentile
        self.loser = loser
        self.budget = Budget(share, floor)
        self.hedged = 0
        """How many second attempts began while the first one was under way."""
        self._seen: deque[float] = deque(maxlen=_WINDOW)
        self._unread = 0
        if isinstance(self.declared[0], Sink):
            self._check(self.declared[0])

    @property
    def need(self) -> int:
        """One of them must take the event."""
        return 1

    def decided(self, receipts: Sequence[Receipt]) -> bool:
        """As soon as one of them has settled the event."""
        return any(receipt.settled for receipt in receipts)

    async def open(self, opening: Opening) -> None:
        """Open both; see `Strategy.open`."""
        await super().open(opening)
        try:
            self._check(self.children[0].sink)
        except ConfigError:
            await self.aclose()
            raise

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """Both one after the other: so it is when the budget is spent. See `failover.foresight`."""
        first, second = self._foresee(within, resolve)
        found = in_turn([first, second]).capped(within)
        if self.delay < first.seconds:
            return found
        over = f"the first attempt is over after {shown(first.seconds)}, before the delay of {shown(self.delay)}"
        return found.but(self.name, f"it never hedges: {over}; give it a shorter delay")

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Start the first, and the second if it is needed; wait until one has settled the event."""
        began = self._now()
        self.budget.deposit()
        first, second = self.children
        futures = [start(first.sink, event, deadline=deadline)]
        begins = [began]
        spent = False
        try:
            if not futures[0].done():
                await wait_for_one(futures, self.delay)
            if not futures[0].done():
                spent = not self.budget.withdraw(self._now())
                if spent:
                    await wait_for_one(futures)
                else:
                    self.hedged += 1
            if self._loop is not None and not (futures[0].done() and futures[0].result().settled):
                begins.append(self._now())
                futures.append(start(second.sink, event, deadline=deadline))
                await self._until_decided(futures)
            if self.percentile is not None:
                self._observe(self._now() - began, self.percentile)
            receipts = [
                future.result() if future.done() else await self._lose(event, child, begin, future)
                for child, begin, future in zip(self.children, begins, futures, strict=False)
            ]
        except BaseException as ending:  # cancelled, or misuse of a child: none must outlive this
            receipt = await self._end(event, began, futures, ending)
            if isinstance(ending, asyncio.CancelledError):
                ending.receipt = receipt  # type: ignore[attr-defined]
            raise
        receipt = self._receipt(event, began, tuple(receipts))
        return replace(receipt, reason="no second attempt: the budget was spent") if spent else receipt

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """Deliver each event of a batch as if it were alone, some of them at once."""
        return await deliver_each(self, events, deadline=deadline)

    def _check(self, first: Sink) -> None:
        """Refuse a delay at which the first attempt is always over, where its timeout can be known."""
        timeout: float | None = getattr(first, "timeout", None)
        if timeout is not None and self.delay >= timeout:
            raise ConfigError(
                f"{self.name}: a delay of {self.delay:g} s is never reached, as {first.name} has a timeout of"
                f" {timeout:g} s; give it a shorter delay, or the sink a longer timeout"
            )

    def _observe(self, took: float, percentile: float) -> None:
        """Note how long a first attempt took, or had taken when the second one was faster; look again now and then."""
        self._seen.append(took)
        self._unread += 1
        if self._unread >= _EVERY:
            self._unread = 0
            self.delay = _MARGIN * sorted(self._seen)[ceil(percentile / 100 * len(self._seen)) - 1]

    async def _lose(self, event: Event, child: Child, began: float, future: asyncio.Future[Receipt]) -> Receipt:
        """Leave the slower attempt to itself, or end it."""
        if self.loser == "keep":
            return self._leave(event, child, began, future)
        abandon = cast("Callable[..., Receipt | None] | None", getattr(child.sink, "abandon", None))
        if abandon is not None:
            return abandon(future, _SLOWER) or untold(event, child.sink, began)
        future.cancel()
        await asyncio.wait([future])
        try:
            return future.result()  # it ended in this very turn
        except asyncio.CancelledError as cancelled:
            left: Receipt | None = getattr(cancelled, "receipt", None)
        if left is None:
            left = untold(event, child.sink, began)
        return replace(left, outcome=Outcome.ABANDONED, verdict=None, reason=_SLOWER)

    def _receipt(self, event: Event, began: float, receipts: tuple[Receipt, ...]) -> Receipt:
        outcome, verdict = fan_out_outcome(receipts, 1)
        if len(receipts) == len(self.children) and receipts[0].ended > receipts[1].began:
            after = (receipts[1].began - began) * 1e3
            receipts = receipts[0], replace(receipts[1], why=f"no answer after {after:.1f} ms")
        return Receipt(event, self.name, outcome, began, self._now(), receipts, verdict, rule=self.rule)
