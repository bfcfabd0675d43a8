"""Batches side by side: each event is decided as early as it would be alone, who isn't through goes on by itself."""

from __future__ import annotations

import asyncio

import pytest

from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.records import LateConfirmation, Record
from failover.sink import deliver_many
from failover.strategies import Failover, Mirror, Parallel, Quorum
from failover.strategy import Strategy
from tests.doubles import DOWN, NO, SILENT, YES, FastSink, PlainSink, now, of, opened, outcomes, run

EVENTS = [Event("E_A", {"n": number}) for number in range(10)]


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("name", ["any", "quorum", "mirror"])
def test_a_batch_does_not_wait_for_who_is_not_needed(name: str, kind: type[PlainSink]) -> None:
    """It is over with those that decide it; the slow one gets all events nevertheless, and confirms them late."""
    records: list[Record] = []

    async def main() -> None:
        fast, slow = kind("a", YES.after(0.1)), kind("z", YES.after(50))
        tree: Strategy = {
            "any": lambda: Parallel(fast, slow, require="any"),
            "quorum": lambda: Quorum(2, fast, kind("b", YES.after(0.1)), slow),
            "mirror": lambda: Mirror(fast, slow),
        }[name]()
        async with opened(tree, records.append):
            receipts = await deliver_many(tree, EVENTS)
            assert now() < 1
            assert [receipt.event for receipt in receipts] == EVENTS
            for receipt in receipts:
                assert receipt.confirmed
                left = receipt.children[-1]
                assert (left.outcome, left.reason) == (Outcome.ABANDONED, "decided without it; it goes on")
                assert left.ended == receipt.ended == max(child.ended for child in receipt.children)
            await asyncio.sleep(500)
            assert slow.given == EVENTS
            assert not tree._stragglers  # pyright: ignore[reportPrivateUsage]

    run(main())
    assert [record.attempt.event for record in of(LateConfirmation, records)] == EVENTS


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_what_is_not_decided_is_waited_for(kind: type[PlainSink]) -> None:
    """An event that the fast one refused waits for the slow one, and so does its batch."""

    async def main() -> list[Receipt]:
        tree = Parallel(kind("a", YES, NO), kind("b", YES.after(5)), require="any")
        async with opened(tree):
            receipts = await deliver_many(tree, EVENTS[:2])
            assert now() == 5
            return receipts

    assert [outcomes(receipt) for receipt in run(main())] == [
        [("a", "confirmed"), ("b", "confirmed")],
        [("a", "rejected"), ("b", "confirmed")],
    ]


def test_a_quorum_gives_up_early() -> None:
    """If two of three are down nothing is gained by waiting for the third."""

    async def main() -> None:
        tree = Quorum(2, FastSink("a", DOWN), FastSink("b", DOWN), FastSink("c", YES.after(50)))
        async with opened(tree):
            receipts = await deliver_many(tree, EVENTS)
            assert now() == 0
            assert {receipt.outcome for receipt in receipts} == {Outcome.UNCONFIRMED}

    run(main())


def test_a_straggling_batch_ends_with_its_group() -> None:
    """Closing ends what was left under way: no task stays."""

    async def main() -> None:
        tree = Parallel(PlainSink("a"), Failover(PlainSink("b", YES.after(100))), require="any")
        async with opened(tree):
            await deliver_many(tree, EVENTS)
        assert now() == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_a_straggling_batch_that_is_silent_tells_nothing() -> None:
    """What never answers is no late confirmation."""
    records: list[Record] = []

    async def main() -> None:
        tree = Parallel(FastSink("a"), FastSink("b", NO.after(1), SILENT.after(1)), require="any")
        async with opened(tree, records.append):
            await deliver_many(tree, EVENTS[:2])
            await asyncio.sleep(9)

    run(main())
    assert [(record.at, record.confirmed) for record in of(LateConfirmation, records)] == [(1.0, False)]


@pytest.mark.parametrize("need", [1, 2, 3])
def test_a_child_that_raises_takes_nobody_with_it(need: int) -> None:
    """Misuse below is an error to the caller of a batch as well; the other children are ended and no task stays."""

    class Wrong(PlainSink):
        async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
            await super().deliver(event, deadline=deadline)
            raise RuntimeError("wrong")

    async def main() -> None:
        children = [PlainSink("a", NO.after(5)), FastSink("b", NO.after(5)), Wrong("c", YES.after(1))]
        async with opened(Parallel(*children, require=need)) as strategy:
            with pytest.raises(ExceptionGroup) as caught:
                await strategy.deliver_many(EVENTS)
            assert caught.group_contains(RuntimeError, match="wrong")
            assert now() == 1
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert [child.status().in_flight for child in children] == [0, 0, 0]

    run(main())


def test_a_copy_is_made_once() -> None:
    """A batch whose main has failed goes on elsewhere; each event was copied once, and its receipt says so."""

    async def main() -> None:
        main, copy = FastSink("main", DOWN), FastSink("copy")
        async with opened(Failover(Mirror(main, copy), FastSink("spare"))) as strategy:
            receipts = await strategy.deliver_many(EVENTS)
            assert copy.given == main.given == EVENTS
            for receipt in receipts:
                assert outcomes(receipt) == [("Mirror", "unreachable"), ("spare", "confirmed")]
                assert [attempt.sink for attempt in receipt.attempts] == ["main", "copy", "spare"]

    run(main())


def test_the_evidence_of_a_quorum_is_as_old_as_it_is() -> None:
    """In a batch the receipt of a quorum ends with its last child: an old answer isn't taken for a new one."""

    async def main() -> None:
        a, b = (FastSink(letter, YES.after(1), SILENT.after(2)) for letter in "ab")
        async with opened(Failover(Quorum(2, a, b), FastSink("c"))) as strategy:
            receipts = await strategy.deliver_many(EVENTS[:2])
            assert [receipt.children[0].ended for receipt in receipts] == [1, 2]
            assert strategy.children[0].out_until

    run(main())
