"""Sequences over events that were begun together: each ends as if it had been delivered by itself."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence

import pytest

from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.records import Record
from failover.sequential import Sequential
from failover.strategies import Deadline, Failover, LatencyAware, LeastInFlight, RoundRobin, Sticky
from failover.strategy import Child
from tests.doubles import (
    ANSWERS,
    DOWN,
    NO,
    SILENT,
    YES,
    Answer,
    Collector,
    FastSink,
    PlainSink,
    begun,
    opened,
    outcomes,
    run,
)
from tests.strategies.orders import LETTERS, USUAL

MAKE: dict[str, Callable[[Sequence[PlainSink]], Sequential]] = {
    "failover": lambda children: Failover(*children),
    "round robin": lambda children: RoundRobin(*children),
    "sticky": lambda children: Sticky(*children, key="callid"),
    "nested": lambda children: Failover(Failover(*children, name="F2", last_resort=False), name="F1", quarantine=0),
    "rejections quarantine": lambda children: Failover(*children, quarantine_rejected=True, last_resort=False),
}


DELAYS = (0.001, 0.0023, 0.0047, 0.0091)
"""Seconds; no sums of them are equal, so that nothing depends on what comes first of one moment."""


def after(name: str, delay: float) -> Answer:
    """An answer that takes its time."""
    return ANSWERS[name].after(delay)


async def deliver_each(strategy: Sequential, events: Sequence[Event]) -> list[object]:
    """What becomes of events that are delivered at once, each in a task of its own."""
    return [receipt.to_dict() for receipt in await asyncio.gather(*map(strategy.deliver, events))]


async def begin_together(strategy: Sequential, events: Sequence[Event]) -> list[object]:
    """The same of events that are begun together."""
    return [receipt.to_dict() for receipt in await begun(strategy, events)]


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        *((kind, count) for kind in (PlainSink, FastSink) for count in (1, 2)),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((PlainSink, 3), (FastSink, 3), (FastSink, 4))),
    ],
)
@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_as_if_delivered_alone(
    make: Callable[[Sequence[PlainSink]], Sequential], kind: type[PlainSink], count: int
) -> None:
    """Whatever the children answer, receipts, records and the children's standing are those of single deliveries."""

    async def main() -> None:
        for names in itertools.product(USUAL, repeat=count):
            found: list[object] = []
            for deliver in (deliver_each, begin_together):
                records: list[Record] = []
                children = [kind(*one) for one in zip(LETTERS, map(after, names, DELAYS), strict=False)]
                async with opened(make(children), records.append) as strategy:
                    ends = [await deliver(strategy, [Event("E_A", {"callid": n}) for n in "xy"]) for _ in range(2)]
                    standing = [(child.name, child.out_since > 0, child.trial) for child in strategy.children]
                    found.append((ends, standing, [type(record) for record in records]))
            assert found[0] == found[1], names

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_no_event_waits_for_another(kind: type[PlainSink]) -> None:
    """An event moves on at once when its child refuses it, whatever the others of the same child wait for."""

    async def main() -> list[tuple[str, float]]:
        a, b = kind("a", NO.after(0.001), SILENT.after(5.0), YES.after(0.002)), kind("b", YES.after(0.001))
        async with opened(Failover(a, b)) as strategy:
            receipts = await begun(strategy, [Event(name) for name in ("E_NO", "E_SILENT", "E_YES")])
        assert [receipt.confirmed for receipt in receipts] == [True] * 3
        return [(receipt.children[-1].sink, round(receipt.took, 3)) for receipt in receipts]

    assert run(main()) == [("b", 0.002), ("b", 5.001), ("a", 0.002)]


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_deadline_is_shared(kind: type[PlainSink]) -> None:
    """Each child has its share of the time that is left; when there is none left, nobody is tried."""

    async def main() -> tuple[list[float | None], list[float | None], list[object]]:
        a, b = kind("a", SILENT.after(60)), kind("b", SILENT.after(60))
        async with opened(Failover(a, b)) as strategy:
            (receipt,) = await begun(strategy, [Event("E")], deadline=asyncio.get_running_loop().time() + 4.0)
            (late,) = await begun(strategy, [Event("E")], deadline=asyncio.get_running_loop().time())
        return a.deadlines, b.deadlines, [*outcomes(receipt), *outcomes(late)]

    left, skipped = Outcome.ABANDONED.value, Outcome.SKIPPED.value
    assert run(main()) == ([2.0], [4.0], [("a", left), ("b", left), ("a", skipped), ("b", skipped)])


def test_an_order_that_raises() -> None:
    """An order that breaks the rules costs the event for which it does, and no other."""

    class Choosy(Failover):
        def order(self, event: Event) -> Iterable[Child]:
            return self.children if event.name == "E_GOOD" else {"E_EMPTY": ()}[event.name]

    async def main() -> None:
        async with opened(Choosy(FastSink("a"))) as strategy:
            collector = Collector([Event("E_GOOD"), Event("E_EMPTY"), Event("E_BAD")])
            strategy.begin_many(list(collector.begun), collector)
            await asyncio.wait(list(collector.begun.values()))
            good, empty, bad = collector.begun.values()
            assert good.result().confirmed
            assert empty.result().outcome is Outcome.SKIPPED
            assert isinstance(bad.exception(), KeyError)

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_cancelled_on_its_way(kind: type[PlainSink]) -> None:
    """What goes on in a task and is cancelled leaves the receipt of all that was tried."""

    async def main(first: Answer, at: float) -> list[tuple[str, str]]:
        a, b = kind("a", first.after(0.5)), kind("b", YES.after(5.0))
        async with opened(Failover(a, b)) as strategy:
            collector = Collector([Event("E")])
            strategy.begin_many(list(collector.begun), collector)
            await asyncio.sleep(at)
            (task,) = collector.begun.values()
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            receipt = getattr(caught.value, "receipt", None)
            assert isinstance(receipt, Receipt)
            assert receipt.event in collector.begun
            return outcomes(receipt)

    assert run(main(NO, 1.0)) == [("a", "rejected"), ("b", "abandoned")]
    if kind is PlainSink:
        assert run(main(NO, 0.1)) == [("a", "abandoned")]


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_a_strategy_with_a_delivery_of_its_own(kind: type[PlainSink]) -> None:
    """What a strategy does around a delivery is done for events that are begun together as well."""

    async def main() -> None:
        async with opened(Deadline(kind("a"), lambda event: -1.0 if event.name == "E_OLD" else None)) as strategy:
            fresh, old = await begun(strategy, [Event("E_NEW"), Event("E_OLD")])
            assert fresh.confirmed
            assert "stale" in old.reason
        async with opened(LatencyAware(kind("a", YES.after(0.25)))) as strategy:
            await begun(strategy, [Event("E")])
            assert strategy.latency(strategy.children[0]) == 0.25

    run(main())


def test_orders_are_dropped() -> None:
    """A strategy that counts what its children have counts events begun together while they are under way."""

    async def main() -> None:
        a, b = (FastSink(name, YES.after(1), YES.after(9)) for name in "ab")
        async with opened(LeastInFlight(a, b)) as strategy:
            events = [Event("E") for _ in range(100)]
            waiting = asyncio.ensure_future(begun(strategy, events))
            await asyncio.sleep(0.5)
            assert list(strategy.in_flight.values()) == [50, 50]
            await asyncio.sleep(1)
            assert list(strategy.in_flight.values()) == [49, 49]
            await waiting
            assert list(strategy.in_flight.values()) == [0, 0]

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_closed_meanwhile(kind: type[PlainSink]) -> None:
    """Closed while events are under way, a strategy ends each with what was tried, and tries nobody else."""

    async def main() -> None:
        a, b = kind("a", YES.after(1)), kind("b")
        async with opened(Failover(a, b)) as strategy:
            waiting = asyncio.ensure_future(begun(strategy, [Event("E"), Event("E")]))
            await asyncio.sleep(0.5)
            await strategy.aclose()
            for receipt in await waiting:
                assert outcomes(receipt) == [("a", "abandoned")]

    run(main())


def test_a_child_that_comes_back() -> None:
    """A child that failed one event and confirms another that was begun with it is in service again."""

    async def main() -> None:
        a, b = FastSink("a", DOWN.after(1), YES.after(2)), FastSink("b", YES.after(5))
        async with opened(Failover(a, b)) as strategy:
            events = [Event("E"), Event("E")]
            waiting = asyncio.ensure_future(begun(strategy, events))
            await asyncio.sleep(1.5)
            assert strategy.children[0].out_until
            await asyncio.sleep(1)
            assert not strategy.children[0].out_until
            assert [len(receipt.attempts) for receipt in await waiting] == [2, 1]

    run(main())


def test_a_child_that_is_out() -> None:
    """Events begun together while a child is out go by it, and those that find it back don't."""

    async def main() -> list[list[tuple[str, str]]]:
        a, b = FastSink("a", DOWN, YES), FastSink("b")
        async with opened(Failover(a, b, quarantine=5)) as strategy:
            found = [outcomes(receipt) for receipt in await begun(strategy, [Event("E")])]
            found += [outcomes(receipt) for receipt in await begun(strategy, [Event("E")])]
            await asyncio.sleep(6)
            return found + [outcomes(receipt) for receipt in await begun(strategy, [Event("E")])]

    assert run(main()) == [
        [("a", "unreachable"), ("b", "confirmed")],
        [("a", "skipped"), ("b", "confirmed")],
        [("a", "confirmed")],
    ]
