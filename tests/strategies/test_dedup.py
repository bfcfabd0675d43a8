"""Dedup: one event is delivered once, whoever else brings it, and nobody gets a wrong outcome for that."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from tenacity import wait_fixed

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.sink import Sink, deliver_many, open_sink
from failover.strategies import Dedup, Failover, Retry
from failover.strategies.dedup import Repeat
from tests.contract import check_sink
from tests.doubles import (
    ANSWERS,
    DOWN,
    NO,
    SILENT,
    YES,
    Answer,
    FastSink,
    PlainSink,
    now,
    opened,
    opening,
    run,
)
from tests.strategies.interleavings import CLOSINGS, KINDS, SCRIPTS, Step, check_left, key_of, play, steps

STATUS = {"socket": "udp:10.0.0.7:22222", "status": "inactive"}
WINDOW = 2.0
KEPT = ("YES", "NOTED", "STOP", "DONE")
"""The outcomes that are remembered; REFUSED is settled as well, but nobody has seen the event."""


def status() -> Event:
    """What OpenSIPS raises twice."""
    return Event("E_RTPPROXY_STATUS", STATUS)


def seen(tree: Dedup) -> int:
    """How many events it remembers."""
    return len(tree._seen)  # pyright: ignore[reportPrivateUsage]


@settings(max_examples=250)
@given(plan=steps(), script=SCRIPTS, kind=KINDS, closing=CLOSINGS)
def test_once_in_any_schedule(
    plan: list[Step], script: list[Answer], kind: type[PlainSink], closing: float | None
) -> None:
    """One attempt of a key at a time, none for a while after one that settled it; repeats have its outcome."""
    sink = kind("a", *script)
    tree = Dedup(sink, window=WINDOW, key=key_of)
    raised = play(tree, plan, closing)
    check_left(raised, sink.given)
    assert seen(tree) == 0
    receipts = [receipt for one in raised for receipt in one.receipts]
    for key in "xyz":
        mine = [receipt for receipt in receipts if key_of(receipt.event) == key]
        firsts = [receipt for receipt in mine if receipt.children]
        attempts = sorted((attempt for receipt in firsts for attempt in receipt.attempts), key=lambda one: one.began)
        for before, after in pairwise(attempts):
            assert before.ended <= after.began
            assert not before.settled or after.began >= before.began + WINDOW
        for repeat in mine:
            if isinstance(repeat, Repeat):
                assert repeat.first in firsts or any(one.task.cancelled() for one in raised) or _waited(repeat, firsts)
                assert (repeat.outcome, repeat.verdict) == (repeat.first.outcome, repeat.first.verdict)
                assert repeat.attempts == ()
                assert repeat.possible_duplicates == 0
    assert tree.dropped >= sum(isinstance(receipt, Repeat) for receipt in receipts)


def _waited(repeat: Repeat, firsts: list[Receipt]) -> bool:
    """Whether its first one is that of an event which had waited itself: told anew, with the same children."""
    return any(first.children == repeat.first.children for first in firsts)


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("name", list(ANSWERS))
@pytest.mark.parametrize("batch", [False, True])
def test_every_outcome(kind: type[PlainSink], name: str, *, batch: bool) -> None:
    """A repeat meanwhile has the same outcome, no attempt; a later one too if that settles it, else it is a new try."""

    async def main() -> None:
        sink = kind("a", ANSWERS[name].after(1.0), YES)
        async with opened(Dedup(sink, window=30)) as tree:
            if batch:
                first, meanwhile = await tree.deliver_many([status(), status()])
            else:
                first, meanwhile = await asyncio.gather(tree.deliver(status()), tree.deliver(status()))
            goes_on = not batch and name in ("LEFT", "UNSENT", "FULL")  # nothing was found out: the other one tries
            if not goes_on:
                assert len(sink.given) == 1
                assert (meanwhile.outcome, meanwhile.verdict) == (first.outcome, first.verdict)
                assert (meanwhile.settled, meanwhile.confirmed) == (first.settled, first.confirmed)
                assert meanwhile.at_fault == first.at_fault
                assert meanwhile.cut_short == first.cut_short
                assert meanwhile.maybe_processed == first.maybe_processed
                assert meanwhile.attempts == ()
                assert meanwhile.possible_duplicates == 0
                assert meanwhile.reason == "the same as an event 0.0 s ago"
            later = await tree.deliver(status())
            assert isinstance(later, Repeat) == (name in KEPT or goes_on)
            assert later.settled
            if name in KEPT:
                assert later.outcome is first.outcome
                assert later.reason == "the same as an event 1.0 s ago"
                assert (later.began, later.ended) == (1.0, 1.0)
            assert len(sink.given) == (1 if name in KEPT else 2)
            assert tree.dropped == (2 if name in KEPT else 1)

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_for_a_while(kind: type[PlainSink]) -> None:
    """The window begins with the first one, and repeats don't make it longer; after it, the event is new."""

    async def main() -> None:
        sink = kind("a", YES.after(1))
        async with opened(Dedup(sink, window=10)) as tree:
            for moment, given in ((0, 1), (6, 1), (9.75, 1), (10, 2), (19.5, 2), (21, 3)):
                await asyncio.sleep(moment - now())
                assert (await tree.deliver(status())).confirmed
                assert len(sink.given) == given
            assert seen(tree) == 1

    run(main())


def test_which_events_are_the_same() -> None:
    """By name and params, by id, or by what a function says; None is like no other."""

    async def delivered(events: list[Event], key: Any) -> int:
        sink = FastSink("a")
        async with opened(Dedup(sink, window=30, key=key)) as tree:
            for event in events:
                assert (await tree.deliver(event)).confirmed
            one_by_one = len(sink.given)
        batch = FastSink("a")
        async with opened(Dedup(batch, window=30, key=key)) as tree:
            assert all(receipt.confirmed for receipt in await tree.deliver_many(events))
        assert len(batch.given) == one_by_one
        return one_by_one

    async def main() -> None:
        events = [Event("E_A", {"k": 1}), Event("E_A", {"k": 1}), Event("E_A", {"k": 2}), Event("E_B", {"k": 1})]
        events += [Event("E_A"), Event("E_A", {}), Event("E_A")]
        assert await delivered(events, "params") == 5
        assert await delivered(events, "id") == 7
        assert await delivered([Event("E_A", id="1"), Event("E_B", id="1"), Event("E_A", id="2")], "id") == 2
        assert await delivered(events, lambda event: event.name) == 2  # pyright: ignore[reportUnknownLambdaType, reportUnknownMemberType]
        assert await delivered(events, lambda _: None) == 7  # pyright: ignore[reportUnknownLambdaType]

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2])
def test_the_first_one_is_cancelled(kind: type[PlainSink], turns: int, *, batch: bool) -> None:
    """A repeat goes on in its place, or if that is cancelled too, the next one; the others wait for it."""

    async def main() -> None:
        sink = kind("a", SILENT.after(99), YES.after(1))
        async with opened(Dedup(sink, window=30)) as tree:
            first: asyncio.Future[Any] = asyncio.ensure_future(
                deliver_many(tree, [status(), Event("E_A")]) if batch else tree.deliver(status())
            )
            await asyncio.sleep(0)
            rest = [asyncio.ensure_future(tree.deliver(status())) for _ in range(3)]
            await asyncio.sleep(5)
            first.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
            rest[0].cancel()
            await asyncio.wait(rest)
            assert first.cancelled()
            assert rest[0].cancelled()
            second, third = rest[1].result(), rest[2].result()
            assert second.confirmed
            assert [attempt.sink for attempt in second.attempts] == ["a"]
            assert second.reason == "waited 5000.0 ms for its turn"
            assert isinstance(third, Repeat)
            assert third.confirmed
            assert now() == 6
            assert isinstance(await tree.deliver(status()), Repeat)
            assert seen(tree) == 1
            assert tree.status().in_flight == 0

    run(main())


@pytest.mark.parametrize("batch", [False, True])
def test_the_first_ones_deadline_is_its_own(*, batch: bool) -> None:
    """A repeat that has more time goes on; one that has less is skipped."""

    async def main() -> None:
        sink = FastSink("a", YES.after(9))
        async with opened(Dedup(sink, window=30)) as tree:

            async def begin(deadline: float | None) -> Receipt:
                if batch:
                    return (await tree.deliver_many([Event("E_A", {"n": deadline}), status()], deadline=deadline))[1]
                return await tree.deliver(status(), deadline=deadline)

            first, second, third = await asyncio.gather(begin(2), begin(1), begin(None))
            assert (first.outcome, first.ended) == (Outcome.UNCONFIRMED, 2)
            assert (second.outcome, second.ended) == (Outcome.SKIPPED, 1)
            assert second.reason == "no time left while it waited for its turn"
            assert (third.confirmed, third.ended) == (True, 11)

    run(main())


def test_duplicates_stay_right_above() -> None:
    """To those above a repeat of a confirmed event is settled; what follows one that went unconfirmed may be a copy."""

    async def main() -> None:
        first, second = FastSink("a", SILENT.after(1), YES), FastSink("b")
        async with opened(Failover(Dedup(first, window=30), second, quarantine=0)) as tree:
            one, two = await asyncio.gather(tree.deliver(status()), tree.deliver(status()))
            for receipt in (one, two):
                assert receipt.confirmed
                assert receipt.children[1].sink == "b"
                assert receipt.possible_duplicates == 1
            assert (len(one.attempts), len(two.attempts)) == (2, 1)
            three, four = await tree.deliver(status()), await tree.deliver(status())
            assert (len(three.attempts), len(four.attempts)) == (1, 0)
            assert (three.possible_duplicates, four.possible_duplicates) == (0, 0)
            assert four.confirmed
            assert len(second.given) == 2
        async with opened(Retry(Dedup(FastSink("a", SILENT, YES), window=30), wait=wait_fixed(1))) as again:
            receipt = await again.deliver(status())
            assert receipt.confirmed
            assert receipt.possible_duplicates == 1

    run(main())


def test_who_is_at_fault_above() -> None:
    """A repeat is evidence as its first one is: one that was down quarantines, one that refused doesn't."""

    async def main() -> None:
        for answer, out in ((DOWN, True), (NO, False)):
            dedup = Dedup(FastSink("a", answer.after(1)), window=30)
            async with opened(Failover(dedup, FastSink("b"))) as tree:
                await asyncio.gather(tree.deliver(status()), tree.deliver(status()))
                assert bool(tree.children[0].out_until) == out

    run(main())


def test_no_more_are_remembered_than_may_be() -> None:
    """The oldest is forgotten first, also if it is under way: who waits for it still gets its outcome."""

    async def main() -> None:
        sink = FastSink("a", YES.after(1))
        events = [Event("E_A", {"n": number}) for number in range(4)]
        async with opened(Dedup(sink, window=30, most=2)) as tree:
            tasks = [asyncio.create_task(tree.deliver(event)) for event in (events[0], events[0], *events[1:])]
            await asyncio.sleep(0.5)
            assert seen(tree) == 2
            again = asyncio.create_task(tree.deliver(events[0]))
            receipts = await asyncio.gather(*tasks)
            assert all(receipt.confirmed for receipt in receipts)
            assert isinstance(receipts[1], Repeat)
            assert (await again).attempts
            for number in (3, 0):
                assert isinstance(await tree.deliver(events[number]), Repeat)
            assert not isinstance(await tree.deliver(events[1]), Repeat)
            assert seen(tree) == 2
            assert (await tree.deliver_many([Event("E_B", {"n": number}) for number in range(50)]))[-1].confirmed
            assert seen(tree) == 2
        assert seen(tree) == 0

    run(main())


def test_forgotten_after_a_fork() -> None:
    """A child process knows nothing of what its parent has delivered."""

    async def main() -> None:
        tree = Dedup(FastSink("a"), window=30)
        async with opened(tree):
            await tree.deliver(status())
        await tree.open(opening())
        await tree.deliver(status())
        assert seen(tree) == 1
        tree.forget()
        assert seen(tree) == 0

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("key", ["params", "id"])
def test_contract(kind: type[PlainSink], key: Any) -> None:
    """What `check_sink` asks of any sink holds."""

    async def make() -> Sink:
        tree = Dedup(kind("a", YES.after(0.01)), window=1, key=key)
        await open_sink(tree, opening())
        return tree

    run(check_sink(make))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"window": 0}, "window must be a number of seconds, more than 0, not 0"),
        (
            {"window": 1, "key": "callid"},
            "the key of Dedup must be 'params', 'id' or a function of the event, not 'call",
        ),
        ({"window": 1, "key": None}, "the key of Dedup must be"),
        ({"window": 1, "most": 0}, "most must be how many events are remembered, 1 or more, not 0"),
    ],
)
def test_bad_declarations(given: dict[str, Any], problem: str) -> None:
    """What can't be meant is refused where it is declared."""
    with pytest.raises(ConfigError, match=problem):
        Dedup(PlainSink("a"), **given)
