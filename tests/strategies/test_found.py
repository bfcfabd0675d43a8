"""What random schedules have found, each in its smallest form."""

from __future__ import annotations

import asyncio
from typing import cast

from failover.event import Event
from failover.receipt import Receipt
from failover.strategies import Failover
from tests.doubles import DOWN, REFUSED, SILENT, YES, FastSink, PlainSink, opened, run

EVENT = Event("E_X")


def test_a_cancelled_last_resort_says_why_it_was_tried() -> None:
    """The receipt that a cancelled delivery leaves says of a child on trial why it was tried."""

    async def main() -> Receipt:
        sink = PlainSink("a", DOWN, SILENT.after(1.0))
        async with opened(Failover(sink)) as strategy:
            await strategy.deliver(EVENT)
            delivery = asyncio.ensure_future(strategy.deliver(EVENT))
            await asyncio.sleep(0.1)
            delivery.cancel()
            try:
                await delivery
            except asyncio.CancelledError as cancelled:
                return cast("Receipt", getattr(cancelled, "receipt", None))
        raise AssertionError

    (child,) = run(main()).children
    assert child.why == "last resort: all are quarantined"


def test_a_trial_that_was_refused_a_slot_is_none() -> None:
    """Of a batch whose children are all out, the next event is the trial if the first one was turned away."""

    async def main() -> list[str]:
        sink = FastSink("a", DOWN, REFUSED, YES)
        async with opened(Failover(sink)) as strategy:
            await strategy.deliver(EVENT)
            return [receipt.outcome.value for receipt in await strategy.deliver_many([EVENT, EVENT, EVENT])]

    assert run(main()) == ["skipped", "confirmed", "confirmed"]
