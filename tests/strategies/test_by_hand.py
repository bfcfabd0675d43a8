"""By hand: somebody takes a child out, and puts it back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

import pytest

from failover.event import Event
from failover.outcome import Outcome
from failover.records import Quarantined, Record, Reinstated
from failover.sink import deliver_many
from failover.strategies import (
    Failover,
    Parallel,
    Retry,
    RoundRobin,
)
from failover.strategy import Strategy
from tests.doubles import (
    DOWN,
    YES,
    FastSink,
    now,
    opened,
    run,
)

EVENT = Event("E_ACC_CDR", {"callid": "a84b4c76e66710"})


def any_of(*children: FastSink) -> Parallel:
    """A Parallel of which one is enough."""
    return Parallel(*children, require="any")


@pytest.mark.parametrize("wrap", [Failover, any_of, RoundRobin])
def test_by_hand(wrap: Callable[..., Strategy]) -> None:
    """A child that somebody took out gets no event, in no strategy and not as the last resort, until it is put back."""
    records: list[Record] = []

    async def main() -> None:
        first, second = FastSink("a", YES), FastSink("b", YES)
        async with opened(wrap(first, second), records.append) as strategy:
            child = strategy.children[0]
            strategy.hold(child, "maintenance")
            strategy.hold(child, "twice is once")
            receipts = [await strategy.deliver(EVENT), *await deliver_many(strategy, [EVENT])]
            assert all(receipt.confirmed for receipt in receipts)
            assert not first.given
            status = strategy.status().children[0]
            assert (status.up, status.reason) == (False, "taken out by hand (maintenance)")
            strategy.take_back(child, "late confirmation", now(), tried=False)
            second.script = (DOWN,)
            receipt = await strategy.deliver(EVENT)
            assert not receipt.settled
            assert not first.given
            assert "taken out by hand (maintenance)" in receipt.explain()
            strategy.release(child, "done")
            strategy.release(child, "twice is once")
            second.script = (YES,)
            for _ in range(2):
                await strategy.deliver(EVENT)
            assert first.given

    run(main())
    assert [record for record in records if getattr(record, "child", "") == "a"] == [
        Quarantined(wrap(FastSink("a")).name, "a", inf, "maintenance", 0.0),
        Reinstated(wrap(FastSink("a")).name, "a", "done", 0.0),
    ]


def test_by_hand_under_a_wrapper() -> None:
    """Where there is no choice the event isn't delivered, and says why; what was under way goes on."""

    async def main() -> None:
        sink = FastSink("a", YES.after(1))
        async with opened(Retry(sink)) as strategy:
            under_way = asyncio.ensure_future(strategy.deliver(EVENT))
            cancelled = asyncio.ensure_future(strategy.deliver(EVENT))
            await asyncio.sleep(0.5)
            strategy.hold(strategy.children[0], "maintenance")
            cancelled.cancel()
            receipt = await strategy.deliver(EVENT)
            assert receipt.outcome is Outcome.SKIPPED
            assert (await under_way).confirmed
            with pytest.raises(asyncio.CancelledError) as caught:
                await cancelled
            assert caught.value.receipt.attempts[0].outcome is Outcome.ABANDONED  # type: ignore[attr-defined]

    run(main())
