"""Least in flight: two random choices, what is counted, and that every count ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.strategies import Failover, LeastInFlight, Parallel
from tests.doubles import DOWN, NO, SILENT, YES, FastSink, PlainSink, opened, run
from tests.strategies.orders import COUNTS, NUMBERS, check_batches, check_combinations, shares, within

EVENT = Event("E_ACC_CDR", {"duration": 35})


def make(children: Sequence[PlainSink]) -> LeastInFlight:
    """Over these."""
    return LeastInFlight(*children)


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
    assert within(shares(make, 4, events, out=[1], batches=batches), [1 / 3, 0, 1 / 3, 1 / 3], most)


def test_a_slow_one_gets_less() -> None:
    """One that takes nine times as long gets a share that keeps its queue as short as the others'."""

    async def main() -> None:
        slow, a, b = FastSink("slow", YES.after(0.09)), FastSink("a", YES.after(0.01)), FastSink("b", YES.after(0.01))
        async with opened(LeastInFlight(slow, a, b)) as strategy:

            async def caller() -> None:
                for _ in range(100):
                    assert (await strategy.deliver(EVENT)).confirmed

            await asyncio.gather(*[caller() for _ in range(30)])
            assert len(slow.given) < 300  # of 3000; a third would be 1000
            assert slow.most <= 15
            assert abs(len(a.given) - len(b.given)) < 200
            assert set(strategy.in_flight.values()) == {0}

    run(main())


def test_two_of_two_is_the_least() -> None:
    """Of two children, both are always compared: neither ever has two more than the other."""

    async def main() -> None:
        children = [FastSink("a", YES.after(1)), FastSink("b", YES.after(1))]
        async with opened(make(children)) as strategy:
            waiting = [asyncio.ensure_future(strategy.deliver(EVENT)) for _ in range(11)]
            await asyncio.sleep(0)
            assert sorted(strategy.in_flight.values()) == [5, 6]
            await asyncio.gather(*waiting)
            batch = asyncio.ensure_future(strategy.deliver_many([EVENT] * 11))
            await asyncio.sleep(0)
            assert sorted(strategy.in_flight.values()) == [5, 6]  # it counts what it gives out itself
            await batch
            assert set(strategy.in_flight.values()) == {0}

    run(main())


def test_goes_on_to_the_least_loaded() -> None:
    """What one child does not settle goes to the one that has the fewest of the others, and is counted there."""

    async def main() -> None:
        a, b, c = FastSink("a", NO), FastSink("b", YES.after(1)), FastSink("c", YES.after(1))
        async with opened(LeastInFlight(a, b, c)) as strategy:
            for number in range(1, 21):
                waiting = [asyncio.ensure_future(strategy.deliver(EVENT)) for _ in range(10)]
                await asyncio.sleep(0.5)
                assert sorted(strategy.in_flight.values()) == [0, 5, 5]
                await asyncio.gather(*waiting)
                assert len(b.given) + len(c.given) == 10 * number

    run(main())


@pytest.mark.parametrize("batch", [False, True])
def test_counts_end(batch: bool) -> None:  # noqa: FBT001  # pytest passes it by name
    """However a delivery ends, also while its CancelledError is still held, nothing stays counted."""

    async def main() -> None:
        held: list[BaseException] = []
        for ends in (YES.after(1), SILENT.after(1), DOWN, NO):
            children = [FastSink("a", ends), FastSink("b", YES.after(5)), FastSink("c", ends)]
            async with opened(make(children)) as strategy:
                for seconds in (0.0, 0.5, 1.5, 6.0, 8.0):
                    under = strategy.deliver_many([EVENT] * 20) if batch else strategy.deliver(EVENT)
                    task = asyncio.ensure_future(under)
                    await asyncio.sleep(seconds)
                    task.cancel()
                    try:
                        await task
                    except asyncio.CancelledError as cancelled:
                        held.append(cancelled)
                    assert set(strategy.in_flight.values()) == {0}
        assert held

    run(main())


def test_batches() -> None:
    """A batch ends as its events would one by one; who takes which differs, since a batch is in flight all at once."""
    check_batches(make, same=False)


def test_nested() -> None:
    """A child may be a strategy: what is in flight below it counts for it, and each level counts for itself."""

    async def main() -> None:
        a, b, c = FastSink("a", DOWN), FastSink("b", YES.after(1)), FastSink("c", YES.after(1))
        d, e = FastSink("d", YES.after(1)), FastSink("e", YES.after(1))
        inner = LeastInFlight(b, c, name="inner")
        tree = LeastInFlight(Failover(a, inner, name="near"), Parallel(d, e, name="far"))
        async with opened(tree) as strategy:
            waiting = [asyncio.ensure_future(strategy.deliver(EVENT)) for _ in range(40)]
            await asyncio.sleep(0.5)
            assert list(strategy.in_flight.values()) == [20, 20]
            assert list(inner.in_flight.values()) == [10, 10]
            assert all(receipt.confirmed for receipt in await asyncio.gather(*waiting))
            assert [*strategy.in_flight.values(), *inner.in_flight.values()] == [0] * 4

    run(main())


def test_what_is_refused() -> None:
    """As of any sequence."""
    with pytest.raises(ConfigError, match="LeastInFlight has no children"):
        LeastInFlight()
    with pytest.raises(ConfigError, match="quarantine must be a number of seconds"):
        LeastInFlight("jsonrpc:h:1", quarantine=-1)
