"""Latency-aware: what is learned of each child, and who is preferred for it."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import exp

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.strategies import Failover, LatencyAware
from tests.doubles import BUSY, DOWN, NO, YES, Answer, FastSink, PlainSink, opened, run
from tests.strategies.orders import COUNTS, NUMBERS, check_batches, check_combinations, shares, within

EVENT = Event("E_ACC_CDR", {"duration": 35})


def make(children: Sequence[PlainSink]) -> LatencyAware:
    """Over these."""
    return LatencyAware(*children)


def near(value: float, expected: float) -> bool:
    """Equal but for rounding."""
    return abs(value - expected) < 1e-9


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("count", COUNTS)
def test_every_combination_of_outcomes(kind: type[PlainSink], count: int) -> None:
    """Of up to four children: one after the other until it is settled, those that are out last."""
    check_combinations(make, kind, count)


@pytest.mark.parametrize(("number", "most"), NUMBERS)
@pytest.mark.parametrize("batches", [False, True])
def test_equals_share_alike(number: int, most: float, *, batches: bool) -> None:
    """Over many events equals have equal shares, within a few per cent; those of one that is out go to the others."""
    events = [EVENT] * number
    assert within(shares(make, 4, events, batches=batches), [1 / 4] * 4, most)
    assert within(shares(make, 4, events[: number // 2], out=[1], batches=batches), [1 / 3, 0, 1 / 3, 1 / 3], most)


@pytest.mark.parametrize("batch", [False, True])
def test_a_slow_one_is_avoided(batch: bool) -> None:  # noqa: FBT001  # pytest passes it by name
    """One event each tells who is slow; while that is known, one at a time goes to the others alone."""

    async def main() -> None:
        slow, a, b = FastSink("slow", YES.after(0.3)), FastSink("a", YES.after(0.01)), FastSink("b", YES.after(0.01))
        async with opened(LatencyAware(slow, a, b)) as strategy:
            for _ in range(300):
                if batch:
                    await strategy.deliver_many([EVENT])
                else:
                    await strategy.deliver(EVENT)
            assert len(slow.given) == 1
            assert len(a.given) > 100
            assert len(b.given) > 100

    run(main())


def test_what_is_learned() -> None:
    """More than the average counts at once, less by time; the average fades, and nothing is known in the beginning."""

    async def main() -> None:
        answers = [YES.after(seconds) for seconds in (0.1, 0.4, 0.1)]
        async with opened(LatencyAware(FastSink("a", *answers), decay=2)) as strategy:
            (child,) = strategy.children
            assert strategy.latency(child) == 0
            await strategy.deliver(EVENT)
            assert near(strategy.latency(child), 0.1)
            await strategy.deliver(EVENT)
            assert near(strategy.latency(child), 0.4)
            await asyncio.sleep(0.9)
            await strategy.deliver(EVENT)
            old = exp(-1 / 2)
            assert near(strategy.latency(child), 0.4 * old + 0.1 * (1 - old))
            await asyncio.sleep(2)
            assert near(strategy.latency(child), (0.4 * old + 0.1 * (1 - old)) / exp(1))

    run(main())


@pytest.mark.parametrize("failing", [NO, BUSY, DOWN])
def test_a_quick_failure_is_not_fast(failing: Answer) -> None:
    """One that refuses at once never looks faster for it; one that takes its time to fail looks as slow as it is."""

    async def main() -> None:
        a, b = FastSink("a", YES.after(0.1), failing.after(0.001), failing.after(0.5)), FastSink("b", YES.after(10))
        async with opened(LatencyAware(a, b, quarantine=0)) as strategy:
            child = strategy.children[0]
            strategy._learn([await a.deliver(EVENT)])
            assert near(strategy.latency(child), 0.1)
            strategy._learn([await a.deliver(EVENT)])
            assert strategy.latency(child) > 0.0999
            strategy._learn([await a.deliver(EVENT)])
            assert near(strategy.latency(child), 0.5)

    run(main())


def test_an_unknown_one_is_asked_once() -> None:
    """Events that come before anything is known spread; one that is not known yet isn't flooded."""

    async def main() -> None:
        children = [FastSink("a", YES.after(1)), FastSink("b", YES.after(1))]
        async with opened(make(children)) as strategy:
            await asyncio.gather(*[strategy.deliver(EVENT) for _ in range(10)])
            assert [len(child.given) for child in children] == [5, 5]

    run(main())


def test_what_is_in_flight_counts() -> None:
    """A busy fast one is left for an idle slower one: three times as fast, three times as many events."""

    async def main() -> None:
        fast, slow = FastSink("fast", YES.after(1)), FastSink("slow", YES.after(3))
        async with opened(LatencyAware(fast, slow, decay=1e6)) as strategy:
            await asyncio.gather(strategy.deliver(EVENT), strategy.deliver(EVENT))
            waiting = [asyncio.ensure_future(strategy.deliver(EVENT)) for _ in range(40)]
            await asyncio.sleep(0)
            assert list(strategy.in_flight.values()) in ([30, 10], [31, 9])
            await asyncio.gather(*waiting)
            assert list(strategy.in_flight.values()) == [0, 0]

    run(main())


def test_batches() -> None:
    """A batch ends as its events would one by one; who takes which differs, since a batch is in flight all at once."""
    check_batches(make, same=False)


def test_nested() -> None:
    """A child that is a strategy is as fast as all of what it does for an event."""

    async def main() -> None:
        a, b, c = FastSink("a", NO.after(0.2)), FastSink("b", YES.after(0.1)), FastSink("c", YES.after(0.2))
        async with opened(LatencyAware(Failover(a, b, name="pair"), c)) as strategy:
            for _ in range(20):
                await strategy.deliver(EVENT)
            assert len(a.given) == 1
            assert len(c.given) == 19

    run(main())


@pytest.mark.parametrize("decay", [0, -1, float("inf"), "10", None])
def test_what_is_refused(decay: float) -> None:
    """A decay is a time."""
    with pytest.raises(ConfigError, match="decay must be a number of seconds, more than 0"):
        LatencyAware("jsonrpc:h:1", decay=decay)
