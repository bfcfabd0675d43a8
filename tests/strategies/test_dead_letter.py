"""DeadLetter: whatever fails goes to another sink, with its receipt, and nothing else does."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome, Verdict
from failover.receipt import Receipt
from failover.sink import Sink, deliver_many, open_sink
from failover.strategies import DeadLetter, Failover
from failover.strategies.dead_letter import as_it_was
from tests.contract import check_sink
from tests.doubles import ANSWERS, DOWN, FULL, NO, SILENT, YES, FastSink, PlainSink, now, opened, opening, outcomes, run

EVENT = Event("E_A", {"caller": "alice"}, id="call-1")
TAKEN = ("YES", "NOTED", "DONE")
UNSURE = {"STOP": (Outcome.REJECTED, Verdict.STOP), "REFUSED": (Outcome.UNCONFIRMED, Verdict.STOP)}
"""What is said where the letter may have arrived and the child had settled the event; of all else UNCONFIRMED."""


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("batch", [False, True])
def test_every_combination_of_outcomes(kind: type[PlainSink], *, batch: bool) -> None:
    """What the child takes goes nowhere else; the rest goes to the other one, whose outcome counts if that takes it."""

    async def main() -> None:
        for name, other in itertools.product(ANSWERS, repeat=2):
            child, to = kind("child", ANSWERS[name]), kind("to", ANSWERS[other])
            async with opened(DeadLetter(child, to)) as tree:
                receipt = (await deliver_many(tree, [EVENT]))[0] if batch else await tree.deliver(EVENT)
                ruling = ANSWERS[name if name in TAKEN or other not in TAKEN else other]
                expected = ruling.outcome, ruling.verdict
                if name not in TAKEN and other in ("SILENT", "LEFT"):  # the letter may have arrived
                    expected = UNSURE.get(name, (Outcome.UNCONFIRMED, None))
                assert (receipt.outcome, receipt.verdict) == expected, (name, other)
                assert child.given == [EVENT]
                assert len(to.given) == len(receipt.children) - 1 == int(name not in TAKEN)
                assert receipt.event is EVENT
                if to.given:
                    assert receipt.children[1].why == "dead letter"

    run(main())


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"caller": "alice"}, {"caller": "alice"}),
        ([("k", 1), ("k", 2)], [["k", 1], ["k", 2]]),
        ([3, None], [3, None]),
        (None, None),
        ([], []),
    ],
)
def test_what_a_letter_holds(given: Any, shown: Any) -> None:
    """The event's name, id and params, and its receipt as plain data; under the same id."""

    async def main() -> None:
        to = FastSink("to")
        async with opened(DeadLetter(FastSink("child", DOWN.after(0.5)), to)) as tree:
            await tree.deliver(Event("E_A", given, id="call-1"))
            (letter,) = to.given
            assert (letter.name, letter.id) == ("E_DEAD_LETTER", "call-1")
            assert letter.body is not None
            params = json.loads(letter.body)
            receipt = params.pop("receipt")
            assert params == {"event": "E_A", "id": "call-1", "params": shown}
            assert (receipt["sink"], receipt["outcome"], receipt["took"]) == ("child", "unreachable", 0.5)

    run(main())


def test_other_letters() -> None:
    """The event as it was, or what a function makes of it; where that fails, the event as it was."""

    def odd(event: Event, receipt: Receipt) -> Event:
        return Event("E_ODD", [event.name, receipt.outcome.value])

    def wrong(event: Event, receipt: Receipt) -> Event:
        raise RuntimeError(event.name, receipt.sink)

    async def main() -> None:
        for letter, name in ((as_it_was, "E_A"), (odd, "E_ODD"), (wrong, "E_A")):
            to = FastSink("to")
            async with opened(DeadLetter(FastSink("child", NO), to, letter=letter)) as tree:
                assert (await tree.deliver(EVENT)).confirmed
                assert [event.name for event in to.given] == [name]
                assert (to.given[0] is EVENT) == (name == "E_A")

    run(main())


def test_time_is_kept_for_the_letter() -> None:
    """Of a deadline the reserve is the other one's, or half of what there is if that is less."""

    async def main() -> None:
        for batch, (within, cut) in itertools.product((False, True), ((10, 8.0), (2, 1.0))):
            child, to = FastSink("child", SILENT.after(99)), FastSink("to", YES.after(0.5))
            async with opened(DeadLetter(child, to, reserve=2)) as tree:
                end = now() + within
                began = now()
                receipts = (
                    await deliver_many(tree, [EVENT], deadline=end)
                    if batch
                    else [await tree.deliver(EVENT, deadline=end)]
                )
                assert outcomes(receipts[0]) == [("child", "abandoned"), ("to", "confirmed")]
                assert child.deadlines == [began + cut]
                assert to.deadlines == [end]

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_a_batch_ends_as_its_events_would_alone(kind: type[PlainSink]) -> None:
    """Those that failed, and only those, go to the other one, in order."""

    async def main() -> None:
        events = [Event("E_A", {"n": number}) for number in range(20)]
        script = [(YES, NO, DOWN)[number % 3] for number in range(20)]
        ends: list[Any] = []
        for batch in (True, False):
            child, to = kind("child", *script), kind("to")
            async with opened(DeadLetter(child, to, letter=as_it_was)) as tree:
                receipts = await deliver_many(tree, events) if batch else [await tree.deliver(one) for one in events]
                assert to.given == [event for number, event in enumerate(events) if number % 3]
                ends.append([outcomes(receipt) for receipt in receipts])
        assert ends[0] == ends[1]

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("moment", [0.5, 1.0, 1.5])
def test_cancelled(kind: type[PlainSink], moment: float) -> None:
    """It leaves no task and nothing in flight, and what was done travels with the cancellation."""

    async def main() -> None:
        async with opened(DeadLetter(kind("child", NO.after(1)), kind("to", YES.after(1)))) as tree:
            task = asyncio.ensure_future(tree.deliver(EVENT))
            await asyncio.sleep(moment)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert getattr(caught.value, "receipt").children[0].sink == "child"  # noqa: B009
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert tree.status().in_flight == 0

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_a_letter_that_failed_is_not_forgotten(kind: type[PlainSink]) -> None:
    """In a batch, one that was skipped at the child and then tried in vain as a letter is in the receipt."""

    async def main() -> None:
        child, to = kind("child", DOWN, FULL), kind("to", DOWN)
        async with opened(Failover(DeadLetter(child, to, name="kept"), kind("last"))) as tree:
            failed, skipped = await deliver_many(tree, [Event("E_A", {"n": number}) for number in range(2)])
            for receipt, first in ((failed, "unreachable"), (skipped, "skipped")):
                kept, last = receipt.children
                assert outcomes(kept) == [("child", first), ("to", "unreachable")]
                assert last.confirmed

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_a_batch_that_is_cancelled_before_its_letters(kind: type[PlainSink]) -> None:
    """An event that had failed by then has no letter, and says that this is because it was cancelled."""

    async def main() -> None:
        child, to = kind("child", DOWN, YES, YES.after(9)), kind("to")
        async with opened(DeadLetter(child, to)) as tree:
            task = asyncio.ensure_future(deliver_many(tree, [Event("E_A", {"n": number}) for number in range(3)]))
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            failed, taken, abandoned = getattr(caught.value, "receipts")  # noqa: B009
            assert [outcomes(one) for one in (failed, taken, abandoned)] == [
                [("child", "unreachable")],
                [("child", "confirmed")],
                [("child", "abandoned")],
            ]
            assert (failed.reason, taken.reason, abandoned.reason) == ("cancelled", "", "cancelled")
            assert to.given == []

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("first", [YES.after(0.01), DOWN])
def test_contract(kind: type[PlainSink], first: Any) -> None:
    """What `check_sink` asks of any sink holds, also where every event is a dead letter."""

    async def make() -> Sink:
        tree = DeadLetter(kind("child", first), kind("to", YES.after(0.01)))
        await open_sink(tree, opening())
        return tree

    run(check_sink(make))


@pytest.mark.parametrize(
    ("given", "problem"),
    [({"letter": "E_DEAD"}, "letter must be a function"), ({"reserve": -1}, "reserve must be a number of seconds")],
)
def test_bad_declarations(given: dict[str, Any], problem: str) -> None:
    """What can't be meant is refused where it is declared."""
    with pytest.raises(ConfigError, match=problem):
        DeadLetter(PlainSink("a"), PlainSink("b"), **given)
