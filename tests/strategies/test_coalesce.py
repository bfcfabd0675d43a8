"""Coalesce: of what waits the newest goes, what begins or ends something is kept, and the order of a key holds."""

from __future__ import annotations

import asyncio
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import stop_after_attempt, wait_fixed

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome, Verdict
from failover.receipt import Receipt
from failover.sink import Sink, deliver_many, open_sink
from failover.strategies import Coalesce, Failover, Retry
from tests.contract import check_sink
from tests.doubles import ANSWERS, DOWN, YES, Answer, FastSink, PlainSink, now, opened, opening, run
from tests.strategies.interleavings import CLOSINGS, KINDS, SCRIPTS, Step, check_left, key_of, number_of, play, steps

UPDATE = "E_UL_CONTACT_UPDATE"
INSERT = "E_UL_CONTACT_INSERT"
DELETE = "E_UL_CONTACT_DELETE"


def event(number: int, name: str = UPDATE, callid: object = "alice") -> Event:
    """Something about a contact."""
    return Event(name, {"callid": callid, "n": number})


def begin(tree: Coalesce, *events: Event, deadline: float | None = None) -> list[asyncio.Task[Receipt]]:
    """Raise events, one after the other in one turn of the loop."""
    return [asyncio.create_task(tree.deliver(event, deadline=deadline)) for event in events]


def given_to(sink: PlainSink) -> list[int]:
    """The numbers of the events of its attempts."""
    return [number_of(event) for event in sink.given]


def is_third(event: Event) -> bool:
    """Whether its number is 3."""
    return number_of(event) == 3


def is_superseded(receipt: Receipt) -> bool:
    """Whether a newer one went in its place."""
    return receipt.reason == "superseded by a newer event"


@settings(max_examples=250)
@given(
    plan=steps((UPDATE, UPDATE, INSERT)),
    script=SCRIPTS,
    kind=KINDS,
    closing=CLOSINGS,
    again=st.booleans(),
    every=st.sampled_from((None, None, 0.4, 3.0)),
)
def test_order_and_what_is_kept_in_any_schedule(
    plan: list[Step],
    script: list[Answer],
    kind: type[PlainSink],
    closing: float | None,
    *,
    again: bool,
    every: float | None,
) -> None:
    """Attempts of a key are in order; only updates are superseded, each by a later one with nothing kept between."""
    sink = kind("a", *script)
    child = Retry(sink, stop=stop_after_attempt(2), wait=wait_fixed(0.5)) if again else sink
    tree = Coalesce(child, key="callid", every=every)
    raised = play(tree, plan, closing)
    assert tree._lines == {}  # pyright: ignore[reportPrivateUsage]
    assert tree._paused == set()  # pyright: ignore[reportPrivateUsage]
    check_left(raised, sink.given)
    given = given_to(sink)
    came = [one for step in raised for one in step.events]
    count = 0
    for key in "xyz":
        mine = [one for one in came if key_of(one) == key]
        attempts = [number for number in given if number in {number_of(one) for one in mine}]
        assert attempts == sorted(attempts)
        receipts = {number_of(one.event): one for step in raised for one in step.receipts if key_of(one.event) == key}
        for place, one in enumerate(mine):
            receipt = receipts.get(number_of(one))
            if receipt is not None and is_superseded(receipt):
                count += 1
                assert (receipt.outcome, receipt.verdict, receipt.settled) == (Outcome.SKIPPED, Verdict.STOP, True)
                assert not receipt.confirmed
                assert one.name == UPDATE
                later = [two for two in mine[place + 1 :] if two.name == UPDATE or number_of(two) in given]
                assert list(takewhile(lambda two: two.name == UPDATE, later))
        if mine and (last := receipts.get(number_of(mine[-1]))):
            assert not is_superseded(last)
    assert count <= tree.superseded


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("name", list(ANSWERS))
def test_every_outcome(kind: type[PlainSink], name: str) -> None:
    """While one is under way one waits, and goes whatever became of that; those between have their receipts at once."""

    async def main() -> None:
        sink = kind("a", ANSWERS[name].after(1.0), YES)
        async with opened(Coalesce(sink, key="callid")) as tree:
            first, second, third, fourth = await asyncio.gather(*begin(tree, *[event(number) for number in range(4)]))
            assert (first.outcome, first.verdict) == (
                (Outcome.UNCONFIRMED, None) if name == "LEFT" else (ANSWERS[name].outcome, ANSWERS[name].verdict)
            )
            for receipt in (second, third):
                assert is_superseded(receipt)
                assert (receipt.outcome, receipt.settled, receipt.confirmed) == (Outcome.SKIPPED, True, False)
                assert (receipt.began, receipt.ended, receipt.children) == (0.0, 0.0, ())
            assert fourth.confirmed
            assert fourth.reason == "waited 1000.0 ms for its turn"
            assert given_to(sink) == [0, 3]
            assert tree.superseded == 2

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("batch", [False, True])
def test_what_begins_or_ends_something_is_kept(kind: type[PlainSink], *, batch: bool) -> None:
    """It is neither superseded nor passed by, and what is before it isn't superseded by what is after it."""
    names = [UPDATE, INSERT, INSERT, UPDATE, UPDATE, DELETE, UPDATE, UPDATE, DELETE, INSERT, UPDATE]

    async def main() -> None:
        sink = kind("a", YES.after(1))
        async with opened(Coalesce(sink, key="callid")) as tree:
            begin(tree, event(99))
            await asyncio.sleep(0)
            events = [event(number, name) for number, name in enumerate(names)]
            receipts = await tree.deliver_many(events) if batch else await asyncio.gather(*begin(tree, *events))
            assert given_to(sink) == [99, 0, 1, 2, 4, 5, 7, 8, 9, 10]
            assert [place for place, receipt in enumerate(receipts) if is_superseded(receipt)] == [3, 6]
            assert sum(receipt.confirmed for receipt in receipts) == 9

    run(main())


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ((), [0, 4]),
        ("E_UL_*", [0, 1, 2, 3, 4]),
        (["*_INSERT", "*_NOTHING"], [0, 1, 2, 4]),
        (is_third, [0, 2, 3, 4]),
    ],
)
def test_what_to_keep(keep: Any, left: list[int]) -> None:
    """Nothing, names by one pattern or by several, or what a predicate says."""

    async def main() -> None:
        sink = FastSink("a", YES.after(1))
        async with opened(Coalesce(sink, key="callid", keep=keep)) as tree:
            names = (UPDATE, UPDATE, INSERT, UPDATE, UPDATE)
            await asyncio.gather(*begin(tree, *[event(number, name) for number, name in enumerate(names)]))
            assert given_to(sink) == left

    run(main())


def test_a_predicate_that_raises_costs_no_event(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the event is kept."""

    def broken(event: Event) -> bool:
        raise KeyError(event.name)

    async def main() -> None:
        sink = FastSink("a", YES.after(1))
        async with opened(Coalesce(sink, key="callid", keep=broken)) as tree:
            receipts = await asyncio.gather(*begin(tree, *[event(number) for number in range(3)]))
            assert all(receipt.confirmed for receipt in receipts)

    run(main())
    assert "whether to keep Event('E_UL_CONTACT_UPDATE'" in caplog.text


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_keys_and_events_without_one(kind: type[PlainSink]) -> None:
    """Events of other keys, or of none, supersede nothing."""

    async def main() -> None:
        sink = kind("a", YES.after(1))
        async with opened(Coalesce(sink, key="callid")) as tree:
            events = [event(number, callid=number % 3 or None) for number in range(9)]
            receipts = await asyncio.gather(*begin(tree, *events))
            assert sorted(given_to(sink)) == [0, 1, 2, 3, 6, 7, 8]
            assert [is_superseded(receipt) for receipt in receipts] == [number in (4, 5) for number in range(9)]
            receipts = await tree.deliver_many(events)
            assert sorted(given_to(sink)[7:]) == [0, 3, 6, 7, 8]
            assert [is_superseded(receipt) for receipt in receipts] == [number in (1, 2, 4, 5) for number in range(9)]

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_batches_and_others(kind: type[PlainSink]) -> None:
    """A batch supersedes what waits, and is superseded by a later event, unless it has something to keep as well."""

    async def main() -> None:
        sink = kind("a", YES.after(1))
        async with opened(Coalesce(sink, key="callid")) as tree:
            first, waits = begin(tree, event(0), event(1))
            simple = asyncio.create_task(deliver_many(tree, [event(2), event(3), event(4)]))
            await asyncio.sleep(0.5)
            (later,) = begin(tree, event(5))
            kept = asyncio.create_task(deliver_many(tree, [event(6), event(7, DELETE), event(8)]))
            await asyncio.sleep(0.2)
            (last,) = begin(tree, event(9))
            await asyncio.gather(first, waits, later, last)
            assert [is_superseded(receipt) for receipt in await simple] == [True] * 3
            assert [receipt.confirmed for receipt in await kept] == [True] * 3
            assert is_superseded(waits.result())
            assert is_superseded(later.result())
            assert given_to(sink) == [0, 6, 7, 8, 9]

    run(main())


@pytest.mark.parametrize("ending", ["cancelled", "late", "late at once"])
def test_the_newest_doesnt_go(ending: str) -> None:
    """What it superseded stays superseded; one that has no time from the beginning supersedes nothing."""

    async def main() -> None:
        sink = FastSink("a", YES.after(5))
        async with opened(Coalesce(sink, key="callid")) as tree:
            first, waits = begin(tree, event(0), event(1))
            await asyncio.sleep(1)
            (newest,) = begin(tree, event(2), deadline={"late": 2, "late at once": 1}.get(ending))
            await asyncio.sleep(2)
            if ending == "cancelled":
                newest.cancel()
            await asyncio.wait([first, waits, newest])
            assert given_to(sink) == ([0, 1] if ending == "late at once" else [0])
            assert is_superseded(waits.result()) == (ending != "late at once")
            (after,) = begin(tree, event(3))
            assert (await after).confirmed

    run(main())


def test_one_that_is_over_in_this_turn_is_no_barrier() -> None:
    """What was to be kept and is cancelled as a newer one comes doesn't keep what is before it."""

    async def main() -> None:
        sink = FastSink("a", YES.after(5))
        async with opened(Coalesce(sink, key="callid")) as tree:
            tasks = begin(tree, event(0), event(1), event(2, INSERT))
            await asyncio.sleep(1)
            tasks[2].cancel()
            (newest,) = begin(tree, event(3))
            await asyncio.wait([*tasks, newest])
            assert given_to(sink) == [0, 3]
            assert is_superseded(tasks[1].result())

    run(main())


def test_nobody_above_tries_it_elsewhere() -> None:
    """To a Failover around it, what is superseded is settled, and nobody is at fault."""

    async def main() -> None:
        spare = FastSink("b")
        async with opened(Failover(Coalesce(FastSink("a", YES.after(1)), key="callid"), spare)) as tree:
            receipts = await asyncio.gather(*[tree.deliver(event(number)) for number in range(3)])
            assert receipts[1].settled
            assert receipts[1].verdict is Verdict.STOP
            assert not receipts[1].confirmed
            assert spare.given == []
            assert not tree.children[0].out_until

    run(main())


def test_what_waits_is_bounded() -> None:
    """However many events come while the child is busy, one of each key waits; one superseded makes room."""

    async def main() -> None:
        sink = FastSink("a", DOWN.after(5))
        async with opened(Coalesce(sink, key="callid", waiting=2)) as tree:
            tasks = begin(tree, *[event(number, callid=number % 2) for number in range(1000)])
            await asyncio.sleep(1)
            assert tree.status().in_flight == 4
            refused, insert = begin(tree, event(1000, INSERT, callid=0), event(1001, callid=1))
            assert (await refused).reason == "no place to wait: 2 wait already"
            await asyncio.gather(*tasks, insert)
            assert now() == 10
            assert given_to(sink) == [0, 1, 998, 1001]

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("key", ["callid", "k"])
def test_contract(kind: type[PlainSink], key: str) -> None:
    """What `check_sink` asks of any sink holds."""

    async def make() -> Sink:
        tree = Coalesce(kind("a", YES.after(0.01)), key=key)
        await open_sink(tree, opening())
        return tree

    run(check_sink(make))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"key": ""}, "the key of Coalesce must be the name of a param"),
        (
            {"key": "k", "keep": None},
            "what Coalesce is to keep must be a pattern of event names, several, or a predica",
        ),
        ({"key": "k", "keep": [""]}, "what Coalesce is to keep must be"),
        ({"key": "k", "keep": ["a", 3]}, "what Coalesce is to keep must be"),
        ({"key": "k", "waiting": -1}, "waiting must be how many"),
    ],
)
def test_bad_declarations(given: dict[str, Any], problem: str) -> None:
    """What can't be meant is refused where it is declared."""
    with pytest.raises(ConfigError, match=problem):
        Coalesce(PlainSink("a"), **given)
