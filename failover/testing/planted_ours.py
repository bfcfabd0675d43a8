"""Mutations of our own code, one planted fault each, in the place where one could have made it."""

# ruff: noqa: SLF001  the methods that are replaced say what they promise; replacing them is the point
# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
from typing import Any, Final

from msgspec.structs import replace

from failover import fan_out
from failover.event import Event
from failover.group import Group
from failover.net.exchange import Exchange
from failover.outcome import Outcome
from failover.protocol.pipeline import Pipeline
from failover.protocol.replies import Reply
from failover.receipt import Attempt, Receipt
from failover.records import DeliveryEnded, notify
from failover.sequential import Sequential
from failover.sink import start
from failover.sinks.jsonrpc import JsonRpcSink
from failover.strategies import Failover, Parallel, RoundRobin
from failover.strategy import Child, Strategy

__all__ = ["MUTATIONS"]


class RetriesConfirmed(Failover):
    """Gives an event that was confirmed to the last child as well."""

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        receipt = await super().deliver(event, deadline=deadline)
        last = self.children[-1]
        if not receipt.confirmed or receipt.children[-1].sink == last.name:
            return receipt
        again = await last.sink.deliver(event, deadline=deadline)
        return replace(receipt, children=(*receipt.children, again), ended=again.ended)


class Unfair(RoundRobin):
    """Never begins with its last child."""

    def order(self, event: Event) -> Any:
        if self._turn == len(self.children) - 2:
            self._turn = -1
        return super().order(event)


Unfair.__name__ = RoundRobin.__name__  # what it claims to be


class Forgetful(Parallel):
    """Forgets its last child."""

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        began = asyncio.get_running_loop().time()
        tried = self.children[:-1] or self.children
        futures = [start(child.sink, event, deadline=deadline) for child in tried]
        return self._receipt(event, began, tuple(await asyncio.gather(*futures)))


class Slow(Failover):
    """Takes its time to go on to the next child."""

    def order(self, event: Event) -> Any:
        return (_Slowly(child) if position else child for position, child in enumerate(self.children))


class _Slowly(Child):
    """A child that is started late."""

    def __init__(self, child: Child) -> None:
        super().__init__(child.sink, child.policy)
        self.out_until, self.out_since, self.reason = child.out_until, child.out_since, child.reason
        self.steady = child.steady
        start = self.start

        async def later(event: Event, *, deadline: float | None = None) -> Receipt:
            await asyncio.sleep(0.05)
            return await start(event, deadline=deadline)

        self.start = later


_judge = Sequential._judge
_receipt = Sequential._receipt
_last_resort = Sequential._last_resort
_take_out = Strategy.take_out
_lane = Pipeline.lane
_begin = JsonRpcSink._begin
_broken = Exchange.broken
_deliver = Group.deliver


def _forget_quarantine(_strategy: Strategy, *_: Any) -> None:
    """Take nobody out."""


def _judge_abandoned(strategy: Sequential, child: Child, receipt: Receipt) -> None:
    _judge(strategy, child, receipt)
    if receipt.outcome is Outcome.ABANDONED and strategy.quarantine:
        strategy.take_out(child, strategy.quarantine, "abandoned", receipt.ended)


def _out_for_longer(strategy: Strategy, child: Child, seconds: float, reason: str, now: float) -> None:
    _take_out(strategy, child, seconds * 2, reason, now)


def _match_by_order(pipeline: Pipeline, data: bytes, now: float) -> list[Any]:
    for reply in pipeline._framer.feed(data):
        if type(reply) is Reply:
            oldest = min((key for lane in pipeline._lanes for key in lane), default=None)
            waiting = None if oldest is None else pipeline._claim(oldest)
            if oldest is not None and waiting is not None:
                pipeline.pending -= 1
                waiting.of(oldest).answered(reply, now)
    return []


def _shorter(pipeline: Pipeline, timeout: float) -> Any:
    return _lane(pipeline, timeout * 0.8)


def _deaf(_sink: JsonRpcSink, _attempt: Attempt, **_: Any) -> None:
    """Hear nothing that comes late."""


def _omit(strategy: Sequential, event: Event, tried: list[Receipt], *held: Any) -> Receipt:
    return _receipt(strategy, event, tried[1:] if len(tried) > 1 else tried, *held)


async def _on_trial_for_ever(
    strategy: Sequential, event: Event, held: list[Child], tried: list[Receipt], deadline: float | None
) -> None:
    await _last_resort(strategy, event, held, tried, deadline)
    for child in held:
        child.trial = True


async def _many_trials(
    strategy: Sequential, event: Event, held: list[Child], tried: list[Receipt], deadline: float | None
) -> None:
    for child in held:
        child.trial = False
    await _last_resort(strategy, event, held, tried, deadline)


def _no_deadline(sink: JsonRpcSink, event: Event, waiter: Any, _deadline: float | None) -> Exchange:
    return _begin(sink, event, waiter, None)


def _never_sent(exchange: Exchange, reason: str, now: float) -> None:
    exchange.sent = False
    _broken(exchange, reason, now)


def _nobody_told(_exchange: Exchange, _reason: str, _now: float) -> None:
    """Leave who waits waiting when the connection breaks."""


def _any_reply(exchange: Exchange, _reply: Reply, now: float) -> None:
    exchange.owner.confirmed += 1
    exchange.end(Outcome.CONFIRMED, now)


def _not_brought_back(_strategy: Strategy, _child: Child, _news: Any) -> None:
    """Make nothing of what comes late."""


def _always_confirmed(*_: Any) -> tuple[Outcome, None]:
    return Outcome.CONFIRMED, None


async def _told_twice(group: Group, event: Event, **settings: Any) -> Receipt:
    receipt = await _deliver(group, event, **settings)
    notify(group._told, DeliveryEnded(group.name, receipt))
    return receipt


MUTATIONS: Final[tuple[tuple[str, str, dict[str, Any] | tuple[Any, str, Any]], ...]] = (
    ("no quarantine", "a child at fault stays in service", (Sequential, "take_out", _forget_quarantine)),
    ("impatience", "a child is quarantined because we stopped waiting", (Sequential, "_judge", _judge_abandoned)),
    ("long quarantine", "a child is skipped for twice the time", (Strategy, "take_out", _out_for_longer)),
    ("confirmed twice", "an event that is confirmed goes on to another child", {"Failover": RetriesConfirmed}),
    ("matched by order", "a reply answers the oldest request, whatever its id", (Pipeline, "receive", _match_by_order)),
    ("early timeout", "a timeout fires after four fifths of its time", (Pipeline, "lane", _shorter)),
    ("deaf", "a late confirmation is lost", (JsonRpcSink, "heard_late", _deaf)),
    ("omitted attempt", "a receipt lacks the first attempt of several", (Sequential, "_receipt", _omit)),
    ("unfair turns", "no event begins with the last child of a round robin", {"RoundRobin": Unfair}),
    ("stuck trial", "a trial that failed is never over", (Sequential, "_last_resort", _on_trial_for_ever)),
    ("many trials", "every event is a trial while all are out", (Sequential, "_last_resort", _many_trials)),
    ("no deadline", "a deadline is ignored", (JsonRpcSink, "_begin", _no_deadline)),
    ("never sent", "a broken connection is told as if nothing had left", (Exchange, "broken", _never_sent)),
    ("forgotten waiter", "a broken connection leaves who waits waiting", (Exchange, "broken", _nobody_told)),
    ("any reply", "an error reply is taken for a confirmation", (Exchange, "_refused", _any_reply)),
    ("no way back", "a late confirmation brings nobody back", (Strategy, "_hear", _not_brought_back)),
    ("wishful sum", "a parallel strategy is always confirmed", (fan_out, "fan_out_outcome", _always_confirmed)),
    ("forgotten child", "a parallel strategy leaves out its last child", {"Parallel": Forgetful}),
    ("duplicates denied", "no duplicate is ever possible", (Receipt, "possible_duplicates", 0)),
    ("slow to move on", "50 ms pass before the next child is tried", {"Failover": Slow}),
    ("two receipts", "a delivery is told twice", (Group, "deliver", _told_twice)),
)
"""Name, what it does wrong, and what to plant: other kinds in a tree, or one function in place of another."""
