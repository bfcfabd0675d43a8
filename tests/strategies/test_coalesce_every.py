"""Coalesce with `every`: not more often than that, the newest each time, and what is to be kept without delay."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failover.errors import ConfigError
from failover.event import Event
from failover.receipt import Receipt
from failover.strategies import Coalesce
from tests.doubles import SILENT, YES, FastSink, PlainSink, now, opened, run
from tests.strategies.interleavings import KINDS, Step, key_of, number_of, play, steps

UPDATE = "E_UL_CONTACT_UPDATE"
DELETE = "E_UL_CONTACT_DELETE"


def event(number: int, name: str = UPDATE, callid: object = "alice") -> Event:
    """Something about a contact."""
    return Event(name, {"callid": callid, "n": number})


def given_to(sink: PlainSink) -> list[tuple[float, int]]:
    """When the sink was given which events."""
    return [(when, number_of(one)) for when, one in zip(sink.times, sink.given, strict=True)]


def begin(tree: Coalesce, *events: Event, deadline: float | None = None) -> list[asyncio.Task[Receipt]]:
    """Raise events, one after the other in one turn of the loop."""
    return [asyncio.create_task(tree.deliver(event, deadline=deadline)) for event in events]


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("took", [0.0, 0.25])
def test_the_newest_each_time(kind: type[PlainSink], took: float) -> None:
    """Of ten a second the child gets the first at once, then one a second, each the newest, and the last one of all."""

    async def main() -> None:
        sink = kind("a", YES.after(took))
        async with opened(Coalesce(sink, key="callid", every=1.0)) as tree:
            tasks: list[asyncio.Task[Receipt]] = []
            for number in range(25):
                tasks += begin(tree, event(number))
                await asyncio.sleep(0.125)
            receipts = await asyncio.gather(*tasks)
            assert given_to(sink) == [(0, 0), (1, 7), (2, 15), (3, 23), (4, 24)]
            assert [number for number, receipt in enumerate(receipts) if receipt.confirmed] == [0, 7, 15, 23, 24]
            assert receipts[24].reason == "waited 1000.0 ms for its turn"
            assert tree.superseded == 20

    run(main())


def test_one_that_takes_longer() -> None:
    """It counts from where a delivery begins: if one takes longer than that, the next one follows at once."""

    async def main() -> None:
        sink = FastSink("a", SILENT.after(3))
        async with opened(Coalesce(sink, key="callid", every=2.0)) as tree:
            await asyncio.gather(*begin(tree, *[event(number) for number in range(3)]))
            assert given_to(sink) == [(0, 0), (3, 2)]
            await tree.deliver(event(3))
            assert sink.times[-1] == 6

    run(main())


def test_what_can_not_be_superseded_does_not_wait() -> None:
    """What is to be kept goes at once, after what it finds waiting; what follows it waits from there on."""

    async def main() -> None:
        sink = FastSink("a")
        async with opened(Coalesce(sink, key="callid", every=10.0)) as tree:
            tasks = begin(tree, event(0))
            for number, name in enumerate((UPDATE, UPDATE, DELETE, DELETE, UPDATE), 1):
                await asyncio.sleep(1)
                tasks += begin(tree, event(number, name))
            await asyncio.gather(*tasks)
            assert given_to(sink) == [(0, 0), (3, 2), (3, 3), (4, 4), (14, 5)]

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_batches(kind: type[PlainSink]) -> None:
    """What a batch has of a key that has to wait doesn't hold up the rest of it, and may be superseded."""

    async def main() -> None:
        sink = kind("a", YES.after(0.25))
        async with opened(Coalesce(sink, key="callid", every=4.0)) as tree:
            await tree.deliver_many([event(0), event(1), event(2, callid="bob")])
            batch = asyncio.create_task(tree.deliver_many([event(3), event(4, callid="carol"), event(5)]))
            await asyncio.sleep(1)
            (newer,) = begin(tree, event(6))
            receipts = await batch
            assert now() == 1.25
            assert [receipt.reason for receipt in receipts] == [
                "superseded by a newer event",
                "",
                "superseded by a newer event",
            ]
            await newer
            assert given_to(sink) == [(0, 1), (0, 2), (0.25, 4), (4, 6)]
            await tree.deliver_many([event(7), event(8, DELETE), event(9)])
            assert given_to(sink)[4:] == [(4.25, 7), (4.5, 8), (4.75, 9)]
            await tree.deliver(event(10))
            assert sink.times[-1] == 8.75

    run(main())


@pytest.mark.parametrize("ending", ["deadline", "cancelled", "closed"])
def test_one_that_waits_in_vain(ending: str) -> None:
    """It has its receipt, nothing is left of it, and the next one waits no longer than it would have."""

    async def main() -> None:
        sink = FastSink("a")
        tree = Coalesce(sink, key="callid", every=4.0)
        async with opened(tree):
            await tree.deliver(event(0))
            (waits,) = begin(tree, event(1), deadline=2 if ending == "deadline" else None)
            await asyncio.sleep(1)
            assert tree.status().in_flight == 1
            if ending == "cancelled":
                waits.cancel()
            elif ending == "closed":
                await tree.aclose()
            await asyncio.wait([waits])
            assert waits.cancelled() == (ending == "cancelled")
            if ending != "cancelled":
                late = "no time left while it waited for its turn"
                assert waits.result().reason == (late if ending == "deadline" else "the group was closed")
            assert now() == (2 if ending == "deadline" else 1)
            assert (tree._lines, tree._paused, tree._timer) == ({}, set(), None)  # pyright: ignore[reportPrivateUsage]
            if ending != "closed":
                await tree.deliver(event(2))
                assert given_to(sink) == [(0, 0), (4, 2)]

    run(main())


def test_nobody_may_wait() -> None:
    """With room for none to wait, what comes too early is skipped."""

    async def main() -> None:
        sink = FastSink("a")
        async with opened(Coalesce(sink, key="callid", every=1.0, waiting=0)) as tree:
            await tree.deliver(event(0))
            receipt = await tree.deliver(event(1))
            assert receipt.reason == "no place to wait: 0 wait already"
            await asyncio.sleep(1)
            assert (await tree.deliver(event(2))).confirmed
            assert tree._lines == {}  # pyright: ignore[reportPrivateUsage]

    run(main())


def test_what_is_remembered_is_bounded() -> None:
    """Of more keys than `most` the oldest is forgotten, and goes early; those whose time is over are as well."""

    async def main() -> None:
        sink = FastSink("a")
        async with opened(Coalesce(sink, key="callid", every=8.0, most=100)) as tree:
            await tree.deliver(event(0))
            (waits,) = begin(tree, event(1))
            await asyncio.sleep(1)
            await asyncio.gather(*begin(tree, *[event(number, callid=number) for number in range(100)]))
            await waits
            assert sink.times[-1] == 1
            assert len(tree._begun) == 100  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(8)
            await tree.deliver(event(2))
            assert len(tree._begun) == 1  # pyright: ignore[reportPrivateUsage]

    run(main())


def test_many_keys_have_one_timer() -> None:
    """However many keys wait for time to pass, and each goes when it is its time."""

    async def main() -> None:
        sink = FastSink("a")
        async with opened(Coalesce(sink, key="callid", every=8.0)) as tree:
            loop: Any = asyncio.get_running_loop()
            for number in range(100):
                await tree.deliver(event(number, callid=number))
                await asyncio.sleep(0.0625)
            tasks = begin(tree, *[event(number, callid=99 - number) for number in range(100)])
            await asyncio.sleep(0)
            assert sum(not handle._cancelled for handle in loop._scheduled) <= 1
            await asyncio.gather(*tasks)
            assert sink.times[100:] == [number * 0.0625 + 8 for number in range(100)]

    run(main())


def test_it_begins_anew_when_it_is_opened_again() -> None:
    """On a loop whose clock stands earlier nobody waits for what was on another one."""
    tree = Coalesce(FastSink("a"), key="callid", every=9.0)

    async def main(moment: float) -> None:
        await asyncio.sleep(moment)
        async with opened(tree):
            assert (await tree.deliver(event(0))).confirmed
            assert now() == moment

    run(main(1000))
    run(main(1))


@settings(max_examples=100)
@given(plan=steps((UPDATE, UPDATE, DELETE)), kind=KINDS, every=st.sampled_from((0.4, 1.0, 3.0)))
def test_never_sooner_in_any_schedule(plan: list[Step], kind: type[PlainSink], every: float) -> None:
    """Two events of a key are that far apart unless the second is kept, or one that is kept came after it."""
    sink = kind("a", YES.after(0.5), YES, YES.after(1.5))
    raised = play(Coalesce(sink, key="callid", every=every), plan, None)
    begun = list(zip(sink.times, sink.given, strict=True))
    for key in "xyz":
        mine = [(when, one) for when, one in begun if key_of(one) == key]
        for (first, _), (second, one) in itertools.pairwise(mine):
            later = [two for step in raised for two in step.events if key_of(two) == key]
            free = one.name == DELETE or any(two.name == DELETE and number_of(two) > number_of(one) for two in later)
            together = any(one in step.events and any(two.name == DELETE for two in step.events) for step in raised)
            assert second - first >= every - 1e-9 or free or together


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"every": 0}, "every must be a number of seconds, more than 0, not 0"),
        ({"every": "1s"}, "every must be a number of seconds"),
        ({"most": 0}, "most must be how many keys are remembered, 1 or more, not 0"),
    ],
)
def test_bad_declarations(given: dict[str, Any], problem: str) -> None:
    """What can't be meant is refused where it is declared."""
    with pytest.raises(ConfigError, match=problem):
        Coalesce(PlainSink("a"), key="callid", **given)
