"""Limit: never more at once, never more a second, nobody overtakes, and what happens to those without room."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome, Verdict
from failover.receipt import Receipt
from failover.sink import Sink, deliver_many, open_sink
from failover.strategies import Failover, Limit
from tests.contract import check_sink
from tests.doubles import ANSWERS, SILENT, YES, Answer, FastSink, PlainSink, now, opened, opening, outcomes, run
from tests.strategies.interleavings import CLOSINGS, KINDS, SCRIPTS, Step, check_left, number_of, play, steps

AT_LIMIT: tuple[Literal["wait", "next", "reject"], ...] = ("wait", "next", "reject")


def events(count: int) -> list[Event]:
    """Told apart by their params."""
    return [Event("E_A", {"n": number}) for number in range(count)]


def begin(tree: Limit, count: int, deadline: float | None = None) -> list[asyncio.Task[Receipt]]:
    """Raise events, one after the other in one turn of the loop."""
    return [asyncio.create_task(tree.deliver(event, deadline=deadline)) for event in events(count)]


def never_above(times: list[float], rate: float, burst: int) -> bool:
    """Whether no stretch of time, from any event to any other, has more than `rate * t + burst` of them."""
    return all(
        number + 1 <= rate * (last - first) + burst + 1e-6
        for place, first in enumerate(times)
        for number, last in enumerate(times[place:])
    )


@settings(max_examples=300)
@given(
    plan=steps(),
    script=SCRIPTS,
    kind=KINDS,
    closing=CLOSINGS,
    in_flight=st.sampled_from((None, 1, 2, 5)),
    rate=st.sampled_from((None, 0.7, 2.0, 10)),
    burst=st.sampled_from((1, 2, 4)),
    at_limit=st.sampled_from(AT_LIMIT),
    waiting=st.sampled_from((0, 2, 1024)),
)
def test_bounds_hold_in_any_schedule(
    *,
    plan: list[Step],
    script: list[Answer],
    kind: type[PlainSink],
    closing: float | None,
    in_flight: int | None,
    rate: float | None,
    burst: int,
    at_limit: Literal["wait", "next", "reject"],
    waiting: int,
) -> None:
    """Neither bound is ever passed, none overtakes another, and no place is lost, whatever fails or is cancelled."""
    if rate is None:
        in_flight, burst = in_flight or 3, 1
    sink = kind("a", *script)
    tree = Limit(sink, in_flight=in_flight, rate=rate, burst=burst, at_limit=at_limit, waiting=waiting)
    raised = play(tree, plan, closing)
    assert tree._busy == 0  # pyright: ignore[reportPrivateUsage]
    check_left(raised, sink.given)
    assert sink.most <= (in_flight or 1000)
    assert rate is None or never_above(sink.times, rate, burst)
    alone = {number_of(one.events[0]) for one in raised if len(one.events) == 1}
    numbers = [number for number in map(number_of, sink.given) if number in alone]
    assert numbers == sorted(numbers)
    for one in raised:
        for receipt in one.receipts:
            assert receipt.children or receipt.outcome is Outcome.SKIPPED
            turned_away = receipt.reason.startswith("no room")
            assert not turned_away or (at_limit != "wait" and not receipt.children)
            assert (receipt.verdict is Verdict.STOP) == ((turned_away and at_limit == "reject") or _stopped(receipt))


def _stopped(receipt: Receipt) -> bool:
    return any(child.verdict is Verdict.STOP for child in receipt.children)


@settings(max_examples=200)
@given(
    pauses=st.lists(st.sampled_from((0.0, 0.0, 0.01, 0.3, 1.0, 7.0)), max_size=40),
    rate=st.sampled_from((0.3, 3.0, 7, 1000.0)),
    burst=st.integers(1, 5),
)
def test_each_begins_as_soon_as_the_rate_allows(pauses: list[float], rate: float, burst: int) -> None:
    """As a bucket of tokens says that is computed in fractions: not earlier, and not later."""
    sink = FastSink("a")
    arrivals: list[float] = []

    async def main() -> None:
        async with opened(Limit(sink, rate=rate, burst=burst)) as tree:
            tasks: list[asyncio.Task[Receipt]] = []
            for pause in pauses:
                await asyncio.sleep(pause)
                arrivals.append(now())
                tasks.append(asyncio.create_task(tree.deliver(Event("E_A"))))
            await asyncio.gather(*tasks)

    run(main())
    tokens, at = Fraction(burst), Fraction(0)
    expected: list[float] = []
    for arrival in map(Fraction, arrivals):
        later = max(at, arrival)
        tokens = min(Fraction(burst), tokens + (later - at) * Fraction(rate))
        at = later + max(Fraction(0), (1 - tokens) / Fraction(rate))
        tokens = max(tokens, Fraction(1)) - 1
        expected.append(float(at))
    assert sink.times == pytest.approx(expected, abs=1e-9)


def test_a_rate_is_exact_for_ever() -> None:
    """After thousands of events it has not drifted."""

    async def main() -> None:
        sink = FastSink("a")
        async with opened(Limit(sink, rate=3)) as tree:
            await asyncio.gather(*begin(tree, 1024))
            for _ in range(20):
                await tree.deliver_many(events(1000))
            assert now() == pytest.approx((1024 + 20_000 - 1) / 3, abs=1e-9)
            assert len(sink.given) == 21_024

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("name", list(ANSWERS))
@pytest.mark.parametrize("batch", [False, True])
def test_every_outcome(kind: type[PlainSink], name: str, *, batch: bool) -> None:
    """Whatever becomes of an event, the outcome is the child's, and there is room for the next one then."""

    async def main() -> None:
        sink = kind("a", ANSWERS[name].after(1.0), YES)
        async with opened(Limit(sink, in_flight=1)) as tree:
            receipts = await tree.deliver_many(events(2)) if batch else await asyncio.gather(*begin(tree, 2))
            assert (receipts[0].outcome, receipts[0].verdict) == (
                (Outcome.UNCONFIRMED, None) if name == "LEFT" else (ANSWERS[name].outcome, ANSWERS[name].verdict)
            )
            assert sink.times == [0.0, 1.0]
            assert receipts[1].confirmed
            assert receipts[1].reason == "waited 1000.0 ms for its turn"

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("at_limit", AT_LIMIT)
@pytest.mark.parametrize("bound", [{"in_flight": 1}, {"rate": 1.0}])
def test_at_the_limit(
    kind: type[PlainSink], at_limit: Literal["wait", "next", "reject"], bound: dict[str, Any]
) -> None:
    """What finds no room waits, goes to the next child of the strategy above, or is settled as skipped."""

    async def main() -> None:
        first, second = kind("a", YES.after(1)), kind("b")
        tree = Failover(Limit(first, at_limit=at_limit, **bound), second)
        async with opened(tree):
            one, two = await asyncio.gather(*[tree.deliver(event) for event in events(2)])
            assert one.confirmed
            assert (len(first.given), len(second.given)) == {"wait": (2, 0), "next": (1, 1), "reject": (1, 0)}[at_limit]
            assert two.confirmed == (at_limit != "reject")
            assert two.settled
            if at_limit != "wait":
                assert two.children[0].reason == (
                    "no room: 1 in flight" if "rate" not in bound else "no room: 1 events a second"
                )
            if at_limit == "reject":
                assert (two.outcome, two.verdict) == (Outcome.SKIPPED, Verdict.STOP)
            assert not any(child.out_until for child in tree.children)

    run(main())


def test_a_batch_and_what_others_have() -> None:
    """Unless it may wait, a batch waits for its own events alone; what others have, and the rate, turn it away."""

    async def main() -> None:
        sink = FastSink("a", YES.after(1))
        async with opened(Limit(sink, in_flight=3, at_limit="next")) as tree:
            assert [receipt.confirmed for receipt in await tree.deliver_many(events(8))] == [True] * 8
            assert now() == 3
            others = begin(tree, 3)
            await asyncio.sleep(0)
            assert [receipt.reason for receipt in await tree.deliver_many(events(2))] == ["no room: 3 in flight"] * 2
            await asyncio.gather(*others)
        async with opened(Limit(FastSink("a"), rate=1, burst=2, at_limit="reject")) as tree:
            receipts = await tree.deliver_many(events(4))
            assert [receipt.confirmed for receipt in receipts] == [True, True, False, False]
            assert all(receipt.settled for receipt in receipts)

    run(main())


def test_a_batch_that_waits_keeps_the_rate_and_not_more() -> None:
    """A slow child doesn't slow down a rate: parts of a batch are under way side by side."""

    async def main() -> None:
        sink = FastSink("a", YES.after(5))
        async with opened(Limit(sink, rate=2, burst=3)) as tree:
            receipts = await tree.deliver_many(events(9))
            assert all(receipt.confirmed for receipt in receipts)
            assert sink.times == [0, 0, 0, 0.5, 1, 1.5, 2, 2.5, 3]
            assert now() == 8

    run(main())


@pytest.mark.parametrize("batch", [False, True])
def test_a_deadline_while_waiting(*, batch: bool) -> None:
    """It is skipped then, unsettled, and takes no room."""

    async def main() -> None:
        sink = FastSink("a", YES.after(5), YES)
        async with opened(Limit(sink, in_flight=1)) as tree:
            first = begin(tree, 1)
            await asyncio.sleep(0)
            if batch:
                receipts = await tree.deliver_many(events(3), deadline=2)
            else:
                receipts = await asyncio.gather(*begin(tree, 3, deadline=2))
            last = await tree.deliver(Event("E_A"))
            assert {receipt.reason for receipt in receipts} == {"no time left while it waited for its turn"}
            assert {receipt.outcome for receipt in receipts} == {Outcome.SKIPPED}
            assert not any(receipt.settled or receipt.at_fault for receipt in receipts)
            assert last.confirmed
            assert now() == 5
            assert len(sink.given) == 2
            await asyncio.gather(*first)

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("moment", [0.0, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("closing", [False, True])
def test_cancelled_or_closed(kind: type[PlainSink], moment: float, *, batch: bool, closing: bool) -> None:
    """Waiting, in the turn in which there is room, or under way: no room is lost, closing gives each its receipt."""

    async def main() -> None:
        sink = kind("a", YES.after(1))
        tree = Limit(sink, in_flight=1)
        async with opened(tree):
            first = begin(tree, 1)
            task: asyncio.Future[Any] = asyncio.ensure_future(
                deliver_many(tree, events(3)) if batch else tree.deliver(Event("E_A"))
            )
            last = begin(tree, 1)
            await asyncio.sleep(moment)
            if closing:
                await tree.aclose()
                assert await task
            else:
                task.cancel()
                with pytest.raises(asyncio.CancelledError) as caught:
                    await task
                if not batch:
                    assert outcomes(getattr(caught.value, "receipt")) == ([("a", "abandoned")] if moment > 1 else [])  # noqa: B009
            await asyncio.gather(*first, *last)
            assert now() == (moment if closing else max(1, moment) + 1)
            assert tree.status().in_flight == 0
            assert tree._busy == 0  # pyright: ignore[reportPrivateUsage]
            assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_no_more_than_so_many_wait_and_one_timer_is_theirs() -> None:
    """What comes beyond is skipped at once; those that wait share one timer, for their deadlines and the rate."""

    async def main() -> None:
        sink = FastSink("a")
        async with opened(Limit(sink, rate=1, waiting=500)) as tree:
            loop: Any = asyncio.get_running_loop()
            before = len(loop._scheduled)
            tasks = begin(tree, 501, deadline=100)
            await asyncio.sleep(0)
            refused = await tree.deliver(Event("E_A"))
            assert (refused.outcome, refused.settled) == (Outcome.SKIPPED, False)
            assert refused.reason == "no place to wait: 500 wait already"
            assert len([handle for handle in loop._scheduled if not handle._cancelled]) <= before + 2  # and the sink's
            assert tree.status().in_flight == 501
            receipts = await asyncio.gather(*tasks)
            assert sum(receipt.confirmed for receipt in receipts) == 100
            assert now() == 100

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_nobody_may_wait(kind: type[PlainSink]) -> None:
    """With room for none to wait, what finds no room is skipped at once; a batch waits for its own events alone."""

    async def main() -> None:
        sink = kind("a", YES.after(1))
        async with opened(Limit(sink, in_flight=2, waiting=0)) as tree:
            receipts = await asyncio.gather(*begin(tree, 3))
            assert [receipt.reason for receipt in receipts] == ["", "", "no place to wait: 0 wait already"]
            assert all(receipt.confirmed for receipt in await tree.deliver_many(events(5)))
            assert sink.times[2:] == [1, 1, 2, 2, 3]
            others = begin(tree, 1)
            await asyncio.sleep(0)
            batch = asyncio.create_task(tree.deliver_many(events(4)))
            await asyncio.sleep(0.5)
            (turned_away,) = await asyncio.gather(*begin(tree, 1))
            assert not turned_away.confirmed
            assert all(receipt.confirmed for receipt in await batch)
            assert sink.times[7:] == [4, 4, 5, 5, 6]
            await asyncio.gather(*others)
            others = begin(tree, 2)
            await asyncio.sleep(0)
            reasons = {receipt.reason for receipt in await tree.deliver_many(events(2))}
            assert reasons == {"no place to wait: 0 wait already"}
            await asyncio.gather(*others)

    run(main())


def test_nobody_may_wait_for_a_rate() -> None:
    """With room for none to wait, neither does a batch: what the rate doesn't allow at once is skipped."""

    async def main() -> None:
        async with opened(Limit(FastSink("a", YES.after(1)), rate=1, burst=2, waiting=0)) as tree:
            receipts = await tree.deliver_many(events(4))
            assert [receipt.confirmed for receipt in receipts] == [True, True, False, False]
            assert now() == 1

    run(main())


def test_a_batch_that_finds_no_place_in_line() -> None:
    """Where as many wait as may, a batch goes on with the room that those before it leave to its own events."""

    async def main() -> None:
        sink = FastSink("a", YES.after(1))
        async with opened(Limit(sink, in_flight=1, waiting=1)) as tree:
            batch = asyncio.create_task(tree.deliver_many(events(3)))
            await asyncio.sleep(0.5)
            assert tree.status().in_flight == 2
            (refused,) = await asyncio.gather(*begin(tree, 1))
            assert refused.reason == "no place to wait: 1 wait already"
            assert all(receipt.confirmed for receipt in await batch)
            first, second = begin(tree, 2)
            await asyncio.sleep(0)
            late = await tree.deliver_many(events(2), deadline=now())
            assert {receipt.reason for receipt in late} == {"no time left while it waited for its turn"}
            await asyncio.gather(first, second)

    run(main())


def test_a_rate_begins_anew_when_it_is_opened_again() -> None:
    """On a loop whose clock stands earlier nobody waits for what was on another one."""
    tree = Limit(FastSink("a"), rate=1)

    async def main(moment: float) -> None:
        await asyncio.sleep(moment)
        async with opened(tree):
            assert (await tree.deliver(Event("E_A"))).confirmed
            assert now() == moment

    run(main(1000))
    run(main(1))


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("at_limit", AT_LIMIT)
def test_contract(kind: type[PlainSink], at_limit: Literal["wait", "next", "reject"]) -> None:
    """What `check_sink` asks of any sink holds."""

    async def make(**bound: Any) -> Sink:
        tree = Limit(kind("a", YES.after(0.01)), at_limit=at_limit, **bound)
        await open_sink(tree, opening())
        return tree

    run(check_sink(lambda: make(in_flight=7 if at_limit != "wait" else 2)))
    run(check_sink(lambda: make(rate=10, burst=1000)))
    if at_limit == "wait":
        run(check_sink(lambda: make(rate=10, in_flight=3, burst=2)))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "Limit limits nothing: give it in_flight=, rate= or both"),
        ({"in_flight": 0}, "in_flight must be how many events at once, 1 or more, or None, not 0"),
        ({"in_flight": True}, "in_flight must be"),
        ({"rate": 0}, "rate must be how many events a second, more than 0, or None, not 0"),
        ({"rate": float("nan")}, "rate must be"),
        ({"rate": "1"}, "rate must be"),
        ({"rate": 1, "burst": 0}, "burst must be how many events may begin at once, 1 or more, not 0"),
        ({"in_flight": 1, "burst": 2}, "burst=2 is for a rate; give Limit rate= as well"),
        ({"rate": 1, "at_limit": "drop"}, "at_limit must be one of 'wait', 'next', 'reject', not 'drop'"),
        ({"rate": 1, "waiting": None}, "waiting must be how many events"),
    ],
)
def test_bad_declarations(given: dict[str, Any], problem: str) -> None:
    """What can't be meant is refused where it is declared."""
    with pytest.raises(ConfigError, match=problem):
        Limit(PlainSink("a", SILENT), **given)
