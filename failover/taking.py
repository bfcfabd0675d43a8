"""Events begun together, each with its receipt when there is one: what a caller of many wants who waits for none."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from failover.event import Event
from failover.receipt import Receipt
from failover.sink import Sink

__all__ = ["Taker", "begin_many"]


class Taker(Protocol):
    """Whoever takes the receipts of events that were begun together. Each event ends in one of these two ways."""

    def take(self, receipts: list[Receipt], /) -> None:
        """Take the receipts of some of them, which have ended; never called before `begin_many` has returned."""

    def go_on(self, event: Event, rest: Coroutine[Any, Any, Receipt], /) -> None:
        """Await in a task what is left to do for one of them; it gives the receipt."""


def begin_many(sink: Sink, events: Sequence[Event], taker: Taker, *, deadline: float | None = None) -> None:
    """Begin a delivery of each of some events, without a task where the sink has a `begin_many` of its own.

    Unlike those of a batch, they have nothing to do with each other: each receipt comes when there is one, and what
    befalls one neither holds back nor spares the others.

    Args:
        sink: Where to.
        events: What to deliver; no event twice.
        taker: Takes the receipts.
        deadline: Absolute loop time for each of them, seconds.
    """
    fast: Callable[..., None] | None = getattr(sink, "begin_many", None)
    if fast is not None:
        fast(events, taker, deadline=deadline)
        return
    for event in events:
        taker.go_on(event, sink.deliver(event, deadline=deadline))
