"""What random schedules have found, each in its smallest form."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from tenacity.wait import wait_fixed

from failover.event import Event
from failover.group import Group
from failover.receipt import Receipt
from failover.records import DeliveryEnded, Record
from failover.sink import deliver_many
from failover.strategies import Failover, Parallel, Retry, RoundRobin
from tests.doubles import DOWN, NO, REFUSED, SILENT, YES, FastSink, PlainSink, of, opened, opening, run
from tests.strategies.kinds import KINDS

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
    assert child.why == "last resort: quarantined for 30.0 s more (unreachable)"


def test_a_trial_that_was_refused_a_slot_is_none() -> None:
    """Of a batch whose children are all out, the next event is the trial if the first one was turned away."""

    async def main() -> list[str]:
        sink = FastSink("a", DOWN, REFUSED, YES)
        async with opened(Failover(sink)) as strategy:
            await strategy.deliver(EVENT)
            return [receipt.outcome.value for receipt in await strategy.deliver_many([EVENT, EVENT, EVENT])]

    assert run(main()) == ["skipped", "confirmed", "confirmed"]


@pytest.mark.parametrize("name", ["failover", "all", "hedge", "retry", "group", "dead letter"])
def test_a_sink_that_leaves_nothing_may_have_processed_it(name: str) -> None:
    """Cancelled, a bare sink may leave no receipt; what it was given stands in the receipt all the same."""

    class Mute(PlainSink):
        async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
            await asyncio.sleep(1.0)
            return await super().deliver(event, deadline=deadline)

    records: list[Record] = []

    async def main() -> None:
        kind = KINDS[name]
        tree = kind.make([Mute(letter) for letter in "ab"[: kind.most]], "tree")
        async with Group("g", tree, observers=[records.append], drain=0) as group:
            delivery = asyncio.ensure_future(group.deliver(EVENT))
            await asyncio.sleep(0.5)
            delivery.cancel()
            await asyncio.wait([delivery])

    run(main())
    receipt = of(DeliveryEnded, records)[-1].receipt
    assert receipt.event is EVENT
    assert receipt.maybe_processed
    assert {attempt.sink for attempt in receipt.attempts} <= {"a", "b"}


def test_a_group_of_a_sink_that_leaves_nothing() -> None:
    """Observers are told of its cancelled deliveries too."""

    class Mute(PlainSink):
        async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
            await asyncio.sleep(1.0)
            raise AssertionError

    records: list[Record] = []

    async def main() -> None:
        async with Group("g", Mute("a"), observers=[records.append], drain=0) as group:
            delivery = asyncio.ensure_future(group.deliver(EVENT))
            await asyncio.sleep(0.5)
            delivery.cancel()
            await asyncio.wait([delivery])

    run(main())
    (told,) = of(DeliveryEnded, records)
    assert (told.receipt.event, told.receipt.sink, told.receipt.maybe_processed) == (EVENT, "a", True)


def test_what_a_second_fan_out_repeats_is_counted() -> None:
    """Copies are intended, but not those that a sequence makes after others: two pairs may mean two copies too many."""

    async def main() -> Receipt:
        pairs = [
            Parallel(FastSink(f"{n}a", YES), FastSink(f"{n}b", end), name=n) for n, end in (("1", SILENT), ("2", YES))
        ]
        async with opened(Failover(*pairs)) as strategy:
            return await strategy.deliver(EVENT)

    receipt = run(main())
    assert receipt.confirmed
    assert receipt.possible_duplicates == 2
    assert [child.possible_duplicates for child in receipt.children] == [0, 0]


@pytest.mark.parametrize("batch", [False, True])
def test_nobody_straggles_beyond_the_end(*, batch: bool) -> None:
    """What is decided because its group is being closed leaves nobody under way: there is nothing to go on with."""

    async def main() -> None:
        slow = Failover(Failover(Failover(PlainSink("b", YES.after(9)), name="2"), name="1"), name="0")
        tree = Parallel(FastSink("a", YES.after(9)), slow, require="any")
        await tree.open(opening())
        delivery = asyncio.ensure_future(deliver_many(tree, [EVENT]) if batch else tree.deliver(EVENT))
        await asyncio.sleep(1)
        await tree.aclose()
        await delivery
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


@pytest.mark.parametrize("batch", [False, True])
def test_a_retry_that_is_cancelled_ends_then(*, batch: bool) -> None:
    """Cancelled between two attempts, its receipt ends at that moment and says so, not with the last attempt."""
    records: list[Record] = []

    async def main() -> None:
        tree = Retry(PlainSink("a", NO), wait=wait_fixed(9.0))
        async with Group("g", tree, observers=[records.append]) as group:
            delivery = asyncio.ensure_future(group.deliver_many([EVENT]) if batch else group.deliver(EVENT))
            await asyncio.sleep(2.0)
            delivery.cancel()
            await asyncio.wait([delivery])

    run(main())
    (told,) = of(DeliveryEnded, records)
    assert (told.receipt.began, told.receipt.ended, told.receipt.reason) == (0.0, 2.0, "cancelled amid a wait")


def test_a_trial_in_a_batch_is_over_when_it_is() -> None:
    """A child whose part of a batch is done is on trial no more, however long the other children take for theirs."""

    async def main() -> None:
        tree = RoundRobin(FastSink("a", DOWN, YES), FastSink("b", YES.after(9)), quarantine=1.0)
        async with opened(tree):
            first = asyncio.ensure_future(tree.deliver(EVENT))
            await asyncio.sleep(2)
            batch = asyncio.ensure_future(tree.deliver_many([EVENT, EVENT]))
            await asyncio.sleep(1)
            assert [len(child.sink.given) for child in tree.children] == [2, 2]  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
            assert [child.trial for child in tree.children] == [0, 0]
            await asyncio.wait([first, batch])
            assert [child.trial for child in tree.children] == [0, 0]

    run(main())
