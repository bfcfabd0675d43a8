"""A cancelled batch leaves a receipt for each of its events, as far as that event has come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from failover.event import Event
from failover.group import Group
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.records import DeliveryEnded, Record
from failover.sink import deliver_many
from failover.strategies import DeadLetter, Failover, Parallel, RoundRobin
from tests.doubles import DOWN, NO, SILENT, YES, FastSink, PlainSink, of, outcomes, run
from tests.strategies.kinds import KINDS

EVENTS = [Event(f"E_{number}", {"n": number}) for number in range(10)]


def ended(group: Group, records: Sequence[Record]) -> list[Receipt]:
    """The receipts that a group told of."""
    return [record.receipt for record in of(DeliveryEnded, records) if record.group == group.name]


async def cancelled_after(seconds: float, group: Group, events: Sequence[Event] = EVENTS) -> bool:
    """Deliver a batch, and cancel that after a while; False if it was over by then."""
    task = asyncio.ensure_future(group.deliver_many(events))
    await asyncio.sleep(seconds)
    if task.done():
        return False
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return True


@pytest.mark.parametrize("sink", [PlainSink, FastSink])
@pytest.mark.parametrize("name", list(KINDS))
def test_each_event_is_told_of(name: str, sink: type[PlainSink]) -> None:
    """Cancelled at any moment, observers get one receipt for each event, and it lists whatever was attempted."""

    async def main() -> None:
        kind = KINDS[name]
        for step in range(12):
            records: list[Record] = []
            scripts = ((NO.after(0.1), YES.after(0.1)), (DOWN, YES.after(0.1)), (SILENT.after(0.2),), (YES,))
            sinks = [sink(letter, *script) for letter, script in zip("abcd", scripts[: kind.most], strict=False)]
            group = Group("g", kind.make(sinks, "tree"), observers=[records.append], drain=0)
            async with group:
                if not await cancelled_after(0.03 * step + 0.01, group):
                    break
                receipts = ended(group, records)
                assert [receipt.event for receipt in receipts] == EVENTS
                for receipt in receipts:
                    assert receipt.sink == "tree"
                    if receipt.outcome is Outcome.SKIPPED:
                        assert receipt.reason or receipt.children
                for one in sinks:
                    letters = {event.id for event in one.given}
                    told = {
                        node.event.id
                        for receipt in receipts
                        for node in receipt.walk()
                        if isinstance(node, Attempt) and node.sink == one.name and node.outcome is not Outcome.SKIPPED
                    }
                    assert letters == told

    run(main())


def test_what_each_has_come_to() -> None:
    """The first is confirmed, those under way are abandoned, the rest was not begun and says so."""
    records: list[Record] = []

    async def main() -> None:
        group = Group("g", Failover(FastSink("a", YES, SILENT.after(9))), observers=[records.append], drain=0)
        async with group:
            assert await cancelled_after(1, group)

    run(main())
    told = [record.receipt for record in of(DeliveryEnded, records)]
    assert [receipt.outcome.value for receipt in told] == ["confirmed"] + ["unconfirmed"] * 4 + ["skipped"] * 5
    assert [receipt.children[0].reason for receipt in told] == [""] + ["cancelled"] * 4 + [
        "cancelled before it was sent"
    ] * 5


def test_side_by_side() -> None:
    """Of a batch at two children at once, what is over at one of them is told with what is not at the other."""
    records: list[Record] = []

    async def main() -> None:
        for strategy in (RoundRobin, Parallel):
            records.clear()
            tree = strategy(FastSink("a"), PlainSink("b", SILENT.after(9)))
            async with (group := Group("g", tree, observers=[records.append], drain=0)):
                assert await cancelled_after(1, group, EVENTS[:2])
            told = [outcomes(record.receipt) for record in of(DeliveryEnded, records)]
            if strategy is RoundRobin:
                assert told == [[("a", "confirmed")], [("b", "abandoned")]]
            else:
                assert told == [[("a", "confirmed"), ("b", "abandoned")]] * 2

    run(main())


def test_cancelled_at_once() -> None:
    """A batch that was cancelled before any of it was begun says so of each event."""
    records: list[Record] = []

    async def main() -> None:
        tree = RoundRobin(PlainSink("a"), PlainSink("b"))
        async with Group("g", tree, observers=[records.append]) as group:
            assert await cancelled_after(0, group)
            assert tree.children[0].sink.status().in_flight == 0

    run(main())
    told = [record.receipt for record in of(DeliveryEnded, records)]
    assert [receipt.event for receipt in told] == EVENTS
    assert {child.reason for receipt in told for child in receipt.children} <= {
        "cancelled before its turn",
        "cancelled",
    }


def test_a_letter_that_was_under_way() -> None:
    """A dead letter under way at the cancellation stands in the receipt of its event, and only there."""
    records: list[Record] = []

    async def main() -> None:
        tree = DeadLetter(FastSink("a", YES, NO), FastSink("b", YES.after(9)))
        async with (group := Group("g", tree, observers=[records.append], drain=0)):
            assert await cancelled_after(1, group, EVENTS[:2])

    run(main())
    told = [outcomes(record.receipt) for record in of(DeliveryEnded, records)]
    assert told == [[("a", "confirmed")], [("a", "rejected"), ("b", "abandoned")]]


def test_a_sink_that_leaves_nothing() -> None:
    """Of a sink that says nothing of a cancelled batch, each event may have been processed."""

    class Mute(PlainSink):
        async def deliver_many(self, events: Sequence[Event], **_given: object) -> list[Receipt]:
            await asyncio.sleep(9)
            return []

    async def main() -> Sequence[Receipt]:
        task = asyncio.ensure_future(deliver_many(Mute("a"), EVENTS[:2]))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return getattr(caught.value, "receipts")  # noqa: B009 - no attribute that a checker knows

    for receipt in run(main()):
        assert (receipt.outcome, receipt.maybe_processed, receipt.began, receipt.ended) == (
            Outcome.ABANDONED,
            True,
            0,
            1,
        )


def test_evidence_counts_all_the_same() -> None:
    """Who has failed by the time a batch is cancelled is out, and who answered is not."""

    async def main() -> None:
        tree = RoundRobin(FastSink("a", DOWN), FastSink("b", SILENT.after(9)), FastSink("c", SILENT.after(9)))
        async with Group("g", tree, drain=0) as group:
            assert await cancelled_after(1, group)
            assert [child.name for child in tree.children if child.out_until] == ["a"]

    run(main())


@pytest.mark.parametrize("name", ["ordered", "coalesce", "dedup", "limit", "limit, to the next"])
@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.15, 0.25, 0.45])
def test_where_events_wait(name: str, seconds: float) -> None:
    """What had not had its turn says so, what was under way is listed, and what was done has its receipt."""
    events = [Event(f"E_{number}", {"callid": f"call-{number % 2}"}) for number in range(6)]
    records: list[Record] = []

    async def main() -> PlainSink:
        sink = PlainSink("a", YES.after(0.1))
        async with Group("g", KINDS[name].make([sink], "tree"), observers=[records.append], drain=0) as group:
            busy = asyncio.ensure_future(group.deliver(Event("E_BEFORE", {"callid": "call-0"})))
            await asyncio.sleep(0.02)
            records.clear()
            batch = asyncio.ensure_future(group.deliver_many(events))
            await asyncio.sleep(seconds)
            batch.cancel()
            await asyncio.wait([batch, busy])
        return sink

    given = run(main()).given
    told = [record.receipt for record in of(DeliveryEnded, records) if record.receipt.event in events]
    assert sorted(receipt.event.name for receipt in told) == [event.name for event in events]
    for receipt in told:
        assert (receipt.event in given) == bool(receipt.attempts), receipt.explain()
        if not receipt.children:
            assert receipt.reason
