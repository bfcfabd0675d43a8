"""Ordered: events of one key are confirmed in the order in which they came; other keys don't wait for them."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import stop_after_attempt, wait_fixed

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome
from failover.sink import Sink, deliver_many, open_sink
from failover.strategies import Failover, Limit, Ordered, Retry
from failover.strategies.key import EventKey
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
    outcomes,
    run,
)
from tests.strategies.interleavings import CLOSINGS, KINDS, SCRIPTS, Step, check_left, key_of, number_of, play, steps


def call(number: int, callid: object = "a84b4c") -> Event:
    """An event of a call."""
    return Event("E_ACC_EVENT", {"callid": callid, "n": number})


def begin(tree: Ordered, *events: Event, deadline: float | None = None) -> list[asyncio.Task[Any]]:
    """Raise events, one after the other in one turn of the loop."""
    return [asyncio.create_task(tree.deliver(event, deadline=deadline)) for event in events]


def left(tree: Ordered) -> int:
    """How many keys it knows of."""
    return len(tree._lines)  # pyright: ignore[reportPrivateUsage]


@settings(max_examples=250)
@given(plan=steps(), script=SCRIPTS, kind=KINDS, closing=CLOSINGS, shape=st.sampled_from("abcd"))
def test_order_holds_in_any_schedule(
    plan: list[Step], script: list[Answer], kind: type[PlainSink], closing: float | None, shape: str
) -> None:
    """No attempt of a key's event comes after one of a later event, whatever fails, is late or cancelled."""
    first, second = kind("a", *script), kind("b", *script)
    given = second.given = first.given  # one history of both
    child: Sink = first
    if shape == "b":
        child = Failover(first, second)
    elif shape == "c":
        child = Retry(Failover(first, second), stop=stop_after_attempt(2), wait=wait_fixed(0.5))
    elif shape == "d":
        child = Limit(Failover(first, second), in_flight=2, rate=3, burst=2)
    tree = Ordered(child)
    raised = play(tree, plan, closing)
    check_left(raised, given)
    assert left(tree) == 0
    for key in "xyz":
        numbers = [number_of(event) for event in given if key_of(event) == key]
        assert numbers == sorted(numbers)
        confirmed = [
            receipt for one in raised for receipt in one.receipts if receipt.confirmed and key_of(receipt.event) == key
        ]
        assert all(before.ended <= after.ended for before, after in pairwise(confirmed))
        attempts = [attempt for receipt in confirmed for attempt in receipt.attempts]
        assert all(before.ended <= after.began for before, after in pairwise(attempts))


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("name", list(ANSWERS))
@pytest.mark.parametrize("batch", [False, True])
def test_every_outcome(kind: type[PlainSink], name: str, *, batch: bool) -> None:
    """Whatever becomes of an event, the outcome is the child's, and the next one of its key begins then."""

    async def main() -> None:
        sink = kind("a", ANSWERS[name].after(1.0), YES)
        async with opened(Ordered(sink)) as tree:
            events = [call(0), call(1)]
            receipts = await tree.deliver_many(events) if batch else await asyncio.gather(*begin(tree, *events))
            assert [receipt.event for receipt in receipts] == sink.given == events
            assert sink.times == [0.0, 1.0]
            assert (receipts[0].outcome, receipts[0].verdict) == (
                (Outcome.UNCONFIRMED, None) if name == "LEFT" else (ANSWERS[name].outcome, ANSWERS[name].verdict)
            )
            assert receipts[1].confirmed
            assert receipts[1].reason == "waited 1000.0 ms for its turn"
            assert (receipts[1].began, receipts[1].ended) == (0.0, 1.0)
            assert left(tree) == 0

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_other_keys_go_on(kind: type[PlainSink]) -> None:
    """One key that takes long holds up nobody else: not other keys, not events without one, alone or in a batch."""

    async def main() -> None:
        sink = kind("a", SILENT.after(9), YES)
        async with opened(Ordered(sink)) as tree:
            slow = begin(tree, call(0), call(1))
            await asyncio.sleep(1)
            await asyncio.gather(*begin(tree, call(2, "b"), Event("E_A"), Event("E_A", ["a84b4c"])))
            assert now() == 1
            batch = asyncio.create_task(tree.deliver_many([call(3, "b"), call(4), call(5, "c"), call(6, "b")]))
            await asyncio.sleep(1)
            assert [number_of(event) for event in sink.given[4:]] == [3, 5, 6]
            assert tree.status().in_flight == 3
            await asyncio.gather(*slow)
            assert [receipt.confirmed for receipt in await batch] == [True] * 4
            assert now() == 9
            assert [number_of(event) for event in sink.given[7:]] == [1, 4]

    run(main())


def test_a_batch_is_pipelined() -> None:
    """The first events of all keys go together, then the second ones: as many rounds as the busiest key has events."""

    async def main() -> None:
        sink = FastSink("a", YES.after(1.0))
        sink.window = 1000
        async with opened(Ordered(sink)) as tree:
            events = [call(number, number % 40) for number in range(100)]
            receipts = await tree.deliver_many(events)
            assert all(receipt.confirmed for receipt in receipts)
            assert now() == 3.0
            assert sink.times == [0.0] * 40 + [1.0] * 40 + [2.0] * 20

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_a_deadline_while_waiting(kind: type[PlainSink]) -> None:
    """It is skipped then, with the reason; those behind it keep their places, and one timer serves all."""

    async def main() -> None:
        sink = kind("a", YES.after(5), YES)
        async with opened(Ordered(sink)) as tree:
            tasks = begin(tree, call(0))
            for within in (3, 1, 2, None):
                tasks += begin(tree, call(len(tasks)), deadline=within)
            receipts = await asyncio.gather(*tasks)
            assert [receipt.ended for receipt in receipts] == [5, 3, 1, 2, 5]
            assert [receipt.confirmed for receipt in receipts] == [True, False, False, False, True]
            assert {receipt.outcome for receipt in receipts[1:4]} == {Outcome.SKIPPED}
            assert {receipt.reason for receipt in receipts[1:4]} == {"no time left while it waited for its turn"}
            assert not any(receipt.settled or receipt.at_fault for receipt in receipts[1:4])

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("moment", [0.0, 0.5, 1.0, 1.5])
def test_cancelled(kind: type[PlainSink], moment: float, *, batch: bool) -> None:
    """Waiting, in the turn in which its turn comes, or under way: the next of the key goes on."""

    async def main() -> None:
        sink = kind("a", YES.after(1))
        async with opened(Ordered(sink)) as tree:
            (first,) = begin(tree, call(0))
            task: asyncio.Future[Any] = asyncio.ensure_future(
                deliver_many(tree, [call(1), call(2)]) if batch else tree.deliver(call(1))
            )
            (last,) = begin(tree, call(3))
            await asyncio.sleep(moment)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            if not batch:
                receipt = getattr(caught.value, "receipt")  # noqa: B009
                assert receipt.outcome is (Outcome.UNCONFIRMED if moment > 1 else Outcome.SKIPPED)
            assert (await first).confirmed
            assert (await last).confirmed
            assert now() == max(moment, 1) + 1
            assert [number_of(event) for event in sink.given] == [0, 1, 3] if moment > 1 else [0, 3]
            assert left(tree) == 0
            assert tree.status().in_flight == 0

    run(main())


def test_a_batch_that_is_cancelled_before_it_waits() -> None:
    """A batch that is cancelled in the turn in which it came has left no place in any line."""

    async def main() -> None:
        async with opened(Ordered(FastSink("a", YES.after(1)))) as tree:
            tasks = begin(tree, call(0, "a"), call(1, "b"))
            batch = asyncio.create_task(tree.deliver_many([call(2, "a"), call(3, "b"), call(4, "c")]))
            await asyncio.sleep(0)
            batch.cancel()
            await asyncio.wait([batch, *tasks])
            assert batch.cancelled()
            assert left(tree) == 0
            assert tree.status().in_flight == 0

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_closing(kind: type[PlainSink]) -> None:
    """What waits is skipped at once, what is under way abandoned, and what comes later is skipped."""

    async def main() -> None:
        tree = Ordered(kind("a", YES.after(9)))
        async with opened(tree):
            tasks = begin(tree, call(0), call(1), deadline=99)
            batch = asyncio.create_task(tree.deliver_many([call(2), call(3), call(4, "b")]))
            await asyncio.sleep(1)
            await tree.aclose()
            assert (await tree.deliver(call(5))).reason == "the group was closed"  # its key has still one that ends
            first, second = await asyncio.gather(*tasks)
            assert outcomes(first) == [("a", "abandoned")]
            assert (second.outcome, second.reason) == (Outcome.SKIPPED, "the group was closed")
            assert [receipt.outcome.value for receipt in await batch] == ["skipped", "skipped", "unconfirmed"]
            assert now() == 1
            assert (await tree.deliver(call(6))).outcome is Outcome.SKIPPED
            assert left(tree) == 0

    run(main())


def test_forgotten_after_a_fork() -> None:
    """What the parent had in its lines is not in the child's; it opens as declared."""

    async def main() -> None:
        tree = Ordered(FastSink("a", YES.after(1)))
        await tree.open(opening())
        tasks = begin(tree, call(0), call(1))
        await asyncio.sleep(0)
        assert left(tree) == 1
        lines, turns = tree._lines, tree._turns  # pyright: ignore[reportPrivateUsage]
        tree.forget()
        assert left(tree) == tree.status().in_flight == 0
        tree._lines, tree._turns = lines, turns  # pyright: ignore[reportPrivateUsage]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        async with opened(tree):
            assert (await tree.deliver(call(2))).confirmed

    run(main())


def test_no_more_than_so_many_wait() -> None:
    """What comes beyond is skipped at once; a batch waits as one for each key, and may be of any length itself."""

    async def main() -> None:
        sink = FastSink("a", YES.after(1))
        async with opened(Ordered(sink, waiting=2)) as tree:
            tasks = begin(tree, call(0), call(1))
            batch = asyncio.create_task(tree.deliver_many([call(number, "a84b4c") for number in range(2, 12)]))
            await asyncio.sleep(0)
            for receipt in [await tree.deliver(call(99)), *await tree.deliver_many([call(98), call(97)])]:
                assert (receipt.outcome, receipt.settled) == (Outcome.SKIPPED, False)
                assert receipt.reason == "no place to wait: 2 wait already"
            assert now() == 0
            assert (await tree.deliver(call(96, "b"))).confirmed
            assert all(receipt.confirmed for receipt in [*await asyncio.gather(*tasks), *await batch])
            assert sorted(set(sink.times)) == [float(second) for second in range(12)]

    run(main())


def test_memory_is_what_is_in_flight() -> None:
    """Nothing is kept of keys that have been, nor of deadlines that are over while others wait."""

    async def main() -> None:
        sink = FastSink("a", YES.after(0.001))
        async with opened(Ordered(sink)) as tree:
            for number in range(1000):
                await tree.deliver(call(number, number))
            assert left(tree) == 0
            sink.script = (SILENT.after(3600),)
            (slow,) = begin(tree, call(0, "slow"))
            await asyncio.sleep(0)
            behind = begin(tree, call(1, "slow"), deadline=9000)
            for number in range(1000):
                (task,) = begin(tree, call(number, "slow"), deadline=8000)
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            assert left(tree) == 1
            assert len(tree._ends) < 100  # pyright: ignore[reportPrivateUsage]
            await asyncio.gather(slow, *behind)

    run(main())


def test_order_through_failover_and_recovery() -> None:
    """An event that fails over doesn't let the next one overtake it, nor does one that comes back to the first."""

    async def main() -> None:
        first, second = FastSink("a", DOWN.after(1), YES), FastSink("b", NO, NO.after(1))
        second.given = first.given
        tree = Ordered(Retry(Failover(first, second, quarantine=2), stop=stop_after_attempt(3), wait=wait_fixed(1)))
        async with opened(tree):
            receipts = await asyncio.gather(*begin(tree, *[call(number) for number in range(4)]))
            assert [number_of(event) for event in first.given] == [0, 0, 0, 1, 2, 3]
            assert [receipt.confirmed for receipt in receipts] == [True] * 4
            assert [attempt.sink for attempt in receipts[0].attempts] == ["a", "b", "a"]

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_contract(kind: type[PlainSink]) -> None:
    """What `check_sink` asks of any sink holds, for events of one key and for such that have none."""

    def seventh(event: Event) -> object:
        params: Any = event.params
        return params.get("n", 0) % 7

    keys: list[EventKey] = ["k", "callid", seventh]
    for key in keys:

        async def make(key: EventKey = key) -> Sink:
            tree = Ordered(kind("a", YES.after(0.01)), key=key)
            await open_sink(tree, opening())
            return tree

        run(check_sink(make))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"key": ""}, "the key of Ordered must be the name of a param or a function of the event, not ''"),
        ({"waiting": -1}, "waiting must be how many events may wait at once, 0 or more, not -1"),
        ({"waiting": True}, "waiting must be how many"),
    ],
)
def test_bad_declarations(given: dict[str, Any], problem: str) -> None:
    """What can't be meant is refused where it is declared."""
    with pytest.raises(ConfigError, match=problem):
        Ordered(PlainSink("a"), **given)
