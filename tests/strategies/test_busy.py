"""Busy: who pushes back is passed over for as long as he asks, and is not judged broken."""

from __future__ import annotations

import asyncio

import pytest
from attrs import evolve

from failover.event import Event
from failover.health import Failback, Health, Standing
from failover.outcome import Outcome, Verdict
from failover.receipt import Attempt, ErrorReply, Receipt
from failover.records import PushedBack, Record
from failover.strategies import (
    Failover,
)
from failover.strategies.dedup import Repeat
from tests.doubles import (
    BUSY,
    DOWN,
    NO,
    SILENT,
    YES,
    FastSink,
    opened,
    outcomes,
    run,
)

EVENT = Event("E_ACC_CDR", {"callid": "a84b4c76e66710"})


def asks(seconds: object) -> ErrorReply:
    """A refusal that asks to be left alone for so long."""
    return ErrorReply(-32000, "too much", seconds)


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        (2, 2.0),
        (0.25, 0.25),
        ({"retry_after": 2}, 2.0),
        ({"retryAfter": 2.5, "more": 1}, 2.5),
        ({"Retry-After": 3}, 3.0),
        (None, None),
        (True, None),
        (0, None),
        (-1, None),
        ("2", None),
        ({}, None),
        ({"retry_after": "soon"}, None),
        ([2], None),
    ],
)
def test_retry_after(data: object, seconds: float | None) -> None:
    """A peer says it as the error's data or in it; what is no time is as if it had said nothing."""
    assert asks(data).retry_after == seconds
    attempt = Attempt(EVENT, "a", Outcome.REJECTED, 0, 0, verdict=Verdict.BUSY, error=asks(data))
    assert attempt.retry_after == seconds
    other = Attempt(EVENT, "a", Outcome.REJECTED, 0, 0, verdict=Verdict.NEXT, error=asks(data))
    assert other.retry_after is None
    both = (attempt, Attempt(EVENT, "b", Outcome.REJECTED, 0, 0, verdict=Verdict.BUSY, error=asks(100)))
    assert Receipt(EVENT, "f", Outcome.REJECTED, 0, 0, both, Verdict.BUSY).retry_after == (seconds or 100)
    busy = Receipt(EVENT, "f", Outcome.REJECTED, 0, 0, both, Verdict.BUSY)
    assert Repeat(EVENT, "d", Outcome.REJECTED, 1, 1, verdict=Verdict.BUSY, first=busy).retry_after == (seconds or 100)
    assert Receipt(EVENT, "f", Outcome.CONFIRMED, 0, 0, both).retry_after is None


@pytest.mark.parametrize("failback", ["cautious", "eager", "stay", "manual"])
def test_a_busy_child_is_passed_over_for_as_long_as_it_asks(failback: Failback) -> None:
    """It isn't judged broken: no quarantine, no slow start, and its time is its own."""
    records: list[Record] = []

    async def main() -> None:
        busy = evolve(BUSY, error=asks(2.5))
        first, second = FastSink("a", busy, YES), FastSink("b")
        async with opened(Failover(first, second, health=Health(failback=failback)), records.append) as strategy:
            assert outcomes(await strategy.deliver(EVENT)) == [("a", "rejected"), ("b", "confirmed")]
            await asyncio.sleep(1)
            receipt = await strategy.deliver(EVENT)
            assert outcomes(receipt) == [("a", "skipped"), ("b", "confirmed")]
            assert receipt.children[0].reason == "busy for 1.5 s more, as it asked"
            assert not strategy.status().children[0].up
            assert strategy.children[0].out_until == 0
            await asyncio.sleep(1.5)
            receipts = await asyncio.gather(*[strategy.deliver(EVENT) for _ in range(10)])
            assert all(outcomes(receipt) == [("a", "confirmed")] for receipt in receipts)
            assert strategy.children[0].steady

    run(main())
    assert records == [PushedBack("Failover", "a", 2.5, "", 0.0)]


def test_a_busy_child_is_the_last_resort_too() -> None:
    """If there is nobody else an event is given to it all the same, one at a time."""

    async def main() -> None:
        sink = FastSink("a", evolve(BUSY, error=asks(60)), YES.after(1))
        async with opened(Failover(sink)) as strategy:
            await strategy.deliver(EVENT)
            receipts = await asyncio.gather(*[strategy.deliver(EVENT) for _ in range(3)])
            assert [receipt.outcome.value for receipt in receipts] == ["confirmed", "skipped", "skipped"]

    run(main())


@pytest.mark.parametrize("slow", [False, True])
def test_a_batch_while_all_are_busy(*, slow: bool) -> None:
    """It ends, and nobody is asked again and again in one moment: busy children are its last resort."""

    async def main() -> None:
        script = (SILENT, YES) if slow else ()
        sink = FastSink("a", *script, evolve(BUSY, error=asks(60)), YES.after(1))
        async with opened(Failover(sink, quarantine=1)) as strategy:
            for _ in range(len(script) + 1):
                await strategy.deliver(EVENT)
            assert strategy.children[0].in_slow_start is slow
            receipts = await strategy.deliver_many([EVENT] * 3)
            assert [outcomes(receipt) for receipt in receipts] == [[("a", "confirmed")]] * 3
            assert [receipt.children[0].why for receipt in receipts] == [
                f"last resort: busy for {seconds}.0 s more, as it asked" for seconds in (60, 59, 58)
            ]

    run(main())


def test_the_last_resort_says_of_each_child_what_holds_of_it() -> None:
    """Of one that is only busy nobody says that it is quarantined, nor the other way round."""

    async def main() -> None:
        a, b = FastSink("a", DOWN), FastSink("b", evolve(BUSY, error=asks(60)), NO)
        async with opened(Failover(a, b)) as strategy:
            await strategy.deliver(EVENT)
            receipt = await strategy.deliver(EVENT)
            assert [(child.sink, child.why) for child in receipt.children] == [
                ("a", "last resort: quarantined for 30.0 s more (unreachable)"),
                ("b", "last resort: busy for 60.0 s more, as it asked"),
            ]

    run(main())


def test_a_busy_child_can_ask_for_the_longest_time_only() -> None:
    """Nobody takes himself out for ever by mistake."""
    standing = Standing(Health(longest=60.0))
    assert standing.push_back(1.0, 1e9) == 61.0
    assert standing.push_back(2.0, 1.0) == 61.0
    assert not standing.admits(60.9)
    assert standing.admits(61.0)
    assert standing.steady
