"""Mirror: main's outcome is the outcome, whatever becomes of the copy."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from failover.event import Event
from failover.outcome import Outcome
from failover.records import LateConfirmation, Record
from failover.sink import Sink, deliver_many, open_sink
from failover.strategies import Failover, Mirror
from tests.contract import check_sink
from tests.doubles import (
    ANSWERS,
    DOWN,
    SILENT,
    YES,
    Answer,
    FastSink,
    PlainSink,
    now,
    of,
    opened,
    opening,
    outcomes,
    run,
)

EVENT = Event("E_A", {"caller": "alice"})
EVENTS = [Event("E_A", {"n": number}) for number in range(9)]


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("late", [0, 2])
@pytest.mark.parametrize("batch", [False, True])
def test_every_combination_of_outcomes(kind: type[PlainSink], late: int, *, batch: bool) -> None:
    """All of main's answers with all of the copy's, before and after: what is asked of the receipt is main's answer."""

    async def main() -> None:
        for name, other in itertools.product(ANSWERS, repeat=2):
            main, copy = kind("main", ANSWERS[name].after(1)), kind("copy", ANSWERS[other].after(late))
            async with opened(Mirror(main, copy)) as mirror:
                began = now()
                (receipt,) = await deliver_many(mirror, [EVENT]) if batch else [await mirror.deliver(EVENT)]
                assert now() - began == 1
                mains, copied = receipt.children
                assert (receipt.outcome, receipt.verdict) == (mains.outcome, mains.verdict)
                assert mains.outcome is ANSWERS[name].outcome
                for asked in ("settled", "confirmed", "at_fault", "cut_short", "maybe_processed"):
                    assert getattr(receipt, asked) == getattr(mains, asked), (name, other, asked)
                assert receipt.possible_duplicates == 0
                assert copied.outcome is (Outcome.ABANDONED if late else ANSWERS[other].outcome)
                assert main.given == copy.given == [EVENT]
                await asyncio.sleep(2)

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("batch", [False, True])
def test_a_copy_that_is_late_is_told_of_but_concerns_nobody_above(kind: type[PlainSink], *, batch: bool) -> None:
    """Observers hear its late confirmation; a strategy above neither takes the mirror back nor out for it."""
    records: list[Record] = []

    async def main() -> None:
        mirror = Mirror(kind("main", DOWN, YES), kind("copy", YES.after(1), SILENT.after(1)))
        async with opened(Failover(mirror, kind("spare")), records.append) as tree:
            assert await (deliver_many(tree, [EVENT]) if batch else tree.deliver(EVENT))
            assert tree.children[0].out_until == 30
            await asyncio.sleep(2)
            assert [(news.sink, news.confirmed) for news in of(LateConfirmation, records)] == [("copy", True)]
            assert tree.children[0].out_until == 30
            await asyncio.sleep(30)
            assert outcomes(await tree.deliver(EVENT)) == [("Mirror", "confirmed")]
            await asyncio.sleep(2)
            assert not tree.children[0].out_until

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_mains_silence_is_heard_above(kind: type[PlainSink]) -> None:
    """If main never answers although nobody waits any more, the mirror is taken out, as main would be."""

    async def main() -> None:
        async with opened(Failover(Mirror(kind("main", SILENT.after(1)), kind("copy")))) as tree:
            await tree.deliver(EVENT, deadline=0.25)
            assert not tree.children[0].out_until
            await asyncio.sleep(1)
            assert tree.children[0].out_until == 31

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_a_batch_does_not_wait_for_its_copies(kind: type[PlainSink]) -> None:
    """A batch ends with main's, in order; the copies go on, and all arrive."""

    async def main() -> None:
        main, copy = kind("main"), kind("copy", YES.after(5))
        async with opened(Mirror(main, copy)) as mirror:
            receipts = await deliver_many(mirror, EVENTS)
            assert now() == 0
            assert [receipt.event for receipt in receipts] == EVENTS
            assert all(receipt.confirmed for receipt in receipts)
            await asyncio.sleep(60)
            assert copy.given == EVENTS
            assert not mirror._stragglers  # pyright: ignore[reportPrivateUsage]
            assert not mirror._stragglers  # pyright: ignore[reportPrivateUsage]

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("closing", [False, True])
def test_closed_or_cancelled_it_leaves_nothing(kind: type[PlainSink], *, batch: bool, closing: bool) -> None:
    """Closing ends the copies that go on; cancelling ends both: no task stays, nothing is in flight."""

    async def main() -> None:
        main, copy = kind("main", YES.after(1)), kind("copy", YES.after(99))
        mirror = Mirror(main, copy)
        async with opened(mirror):
            task = asyncio.ensure_future(mirror.deliver_many(EVENTS) if batch else mirror.deliver(EVENT))
            await asyncio.sleep(10 if closing else 0.5)
            if closing:
                assert task.done()
                await mirror.aclose()
            else:
                task.cancel()
                await asyncio.wait([task])
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert mirror.status().in_flight == 0
        assert now() < 11

    run(main())


def test_it_is_up_if_main_is() -> None:
    """The copy's standing doesn't matter."""

    async def main() -> None:
        main, copy = FastSink("main"), FastSink("copy")
        async with opened(Mirror(main, copy)) as mirror:
            copy.opened = False
            assert mirror.status().up
            main.opened, copy.opened = False, True
            assert not mirror.status().up
            assert mirror.status().reason == "main is not up"

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("copy", [YES.after(0.005), YES.after(0.5), DOWN])
def test_contract(kind: type[PlainSink], copy: Answer) -> None:
    """What `check_sink` asks of any sink holds, with a fast copy, a slow one and one that is down."""

    async def make() -> Sink:
        sink = Mirror(kind("main", YES.after(0.01)), kind("copy", copy))
        await open_sink(sink, opening())
        return sink

    run(check_sink(make))
