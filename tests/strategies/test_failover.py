"""FAILOVER: who is tried, in what order, who is out and for how long, and what the receipt says of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome
from failover.records import LateConfirmation, Quarantined, Record, Reinstated, Silence
from failover.strategies import Failover
from failover.strategy import Child
from tests.doubles import (
    ANSWERS,
    DOWN,
    LEFT,
    NO,
    SETTLES,
    SILENT,
    STOP,
    YES,
    Answer,
    FastSink,
    PlainSink,
    expected_of_sequence,
    now,
    of,
    opened,
    outcomes,
    run,
)
from tests.strategies.orders import COUNTS

EVENT = Event("E_ACC_CDR", {"callid": "a84b4c76e66710"})
LETTERS = "abcd"
FAULTS = {"DOWN", "SILENT"}
USUAL = ("YES", "NOTED", "NO", "STOP", "DOWN", "SILENT", "LEFT", "FULL")
"""One answer of every outcome, and both kinds of verdict."""


def sinks(kind: type[PlainSink], names: Sequence[str]) -> list[PlainSink]:
    """One sink per answer, called a, b, c, d."""
    return [kind(letter, ANSWERS[name]) for letter, name in zip(LETTERS, names, strict=False)]


def until_settled(names: Sequence[str], order: Sequence[int]) -> list[int]:
    """Those of an order that get an attempt."""
    stop = next((position for position, index in enumerate(order) if names[index] in SETTLES), len(order))
    return list(order[: stop + 1])


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("count", COUNTS)
def test_every_combination_of_outcomes(kind: type[PlainSink], count: int) -> None:
    """Of up to four children: who gets an attempt, in what order, the receipt, and all of it again with those out."""

    async def main() -> None:
        for names in itertools.product(USUAL, repeat=count):
            children = sinks(kind, names)
            async with opened(Failover(*children)) as strategy:
                first = await strategy.deliver(EVENT)
                tried = until_settled(names, range(count))
                assert [len(child.given) for child in children] == [int(index in tried) for index in range(count)]
                assert outcomes(first) == [(LETTERS[i], ANSWERS[names[i]].outcome.value) for i in tried]
                assert (first.outcome, first.verdict) == expected_of_sequence([names[i] for i in tried])

                out = [index for index in tried if names[index] in FAULTS]
                assert [child.out_until > 0 for child in strategy.children] == [i in out for i in range(count)]
                second = await strategy.deliver(EVENT)
                in_service = [index for index in range(count) if index not in out]
                again = until_settled(names, in_service)
                if not any(names[index] in SETTLES for index in again):
                    again += out
                assert [len(child.given) - (index in tried) for index, child in enumerate(children)] == [
                    int(index in again) for index in range(count)
                ], names
                attempted = [child.sink for child in second.children if child.outcome is not Outcome.SKIPPED]
                assert attempted == [LETTERS[index] for index in again if names[index] != "FULL"]

    run(main())


def test_the_passed_over_stand_in_the_receipt() -> None:
    """What is in quarantine is listed as skipped, with the reason and the time that is left."""

    async def main() -> None:
        async with opened(Failover(PlainSink("a", DOWN), PlainSink("b", YES))) as strategy:
            await strategy.deliver(EVENT)
            await asyncio.sleep(10)
            receipt = await strategy.deliver(EVENT)
            assert outcomes(receipt) == [("a", "skipped"), ("b", "confirmed")]
            assert receipt.children[0].reason == "quarantined for 20.0 s more (unreachable)"

    run(main())


@pytest.mark.parametrize("seconds", [0.25, 2.0, 30.0])
def test_quarantine_is_exact(seconds: float) -> None:
    """A child is skipped until the very end of its quarantine and tried from then on."""

    async def main() -> None:
        first, second = PlainSink("a", DOWN), PlainSink("b", YES)
        async with opened(Failover(first, second, quarantine=seconds)) as strategy:
            await strategy.deliver(EVENT)
            await asyncio.sleep(seconds - 2**-10)
            await strategy.deliver(EVENT)
            assert len(first.given) == 1
            await asyncio.sleep(2**-10)
            await strategy.deliver(EVENT)
            assert len(first.given) == 2
            assert strategy.children[0].out_until == now() + seconds  # it failed again

    run(main())


def test_quarantine_runs_from_the_failure() -> None:
    """It begins when the attempt ends, not when it began."""

    async def main() -> None:
        async with opened(Failover(PlainSink("a", SILENT.after(1)), PlainSink("b", YES.after(4)))) as strategy:
            await strategy.deliver(EVENT)
            assert now() == 5
            assert strategy.children[0].out_until == 31

    run(main())


def test_an_answer_after_quarantine_reinstates() -> None:
    """A child that answers is in service again, and observers are told of both."""
    records: list[Record] = []

    async def main() -> None:
        sink = PlainSink("a", DOWN, YES)
        async with opened(Failover(sink, PlainSink("b")), records.append) as strategy:
            await strategy.deliver(EVENT)
            await asyncio.sleep(30)
            assert strategy.status().children[0].up
            await strategy.deliver(EVENT)
            assert strategy.children[0].out_until == 0

    run(main())
    assert of(Quarantined, records) == [Quarantined("Failover", "a", 30.0, "unreachable", 0.0)]
    assert of(Reinstated, records) == [Reinstated("Failover", "a", "it answered: confirmed", 30.0)]


def test_no_quarantine() -> None:
    """With quarantine=0 nobody is ever skipped."""

    async def main() -> None:
        first = PlainSink("a", DOWN)
        async with opened(Failover(first, PlainSink("b", YES), quarantine=0)) as strategy:
            for _ in range(5):
                assert outcomes(await strategy.deliver(EVENT)) == [("a", "unreachable"), ("b", "confirmed")]
            await asyncio.gather(*[strategy.deliver(EVENT) for _ in range(5)])
            assert len(first.given) == 10

    run(main())


@pytest.mark.parametrize(("asked", "out"), [(False, False), (True, True)])
def test_refusals_quarantine_only_if_asked(asked: bool, out: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """An error reply shows that the peer is alive; `quarantine_rejected` is OpenSIPS's letter."""

    async def main() -> None:
        async with opened(Failover(PlainSink("a", NO), PlainSink("b"), quarantine_rejected=asked)) as strategy:
            await strategy.deliver(EVENT)
            assert bool(strategy.children[0].out_until) is out

    run(main())


@pytest.mark.parametrize("answer", [LEFT, ANSWERS["UNSENT"], ANSWERS["FULL"], ANSWERS["BUSY"], STOP, ANSWERS["DONE"]])
def test_what_never_quarantines(answer: Answer) -> None:
    """Neither our own impatience nor a full window nor a peer that answers takes a child out."""

    async def main() -> None:
        async with opened(Failover(PlainSink("a", answer), PlainSink("b"))) as strategy:
            await strategy.deliver(EVENT)
            assert strategy.children[0].out_until == 0

    run(main())


def test_last_resort_order() -> None:
    """If all are out, the one that has been out for longest is tried first, and the receipt says why."""

    async def main() -> None:
        a, b, c = PlainSink("a", YES, DOWN), PlainSink("b", DOWN), PlainSink("c", YES.after(2), DOWN, YES)
        async with opened(Failover(c, a, b)) as strategy:
            strategy.take_out(strategy.children[2], 30, "test", 0.0)
            await asyncio.sleep(1)
            strategy.take_out(strategy.children[0], 30, "test", 1.0)
            await strategy.deliver(EVENT)  # by a
            strategy.take_out(strategy.children[1], 30, "test", 1.0)
            await asyncio.sleep(1)
            strategy.take_out(strategy.children[2], 30, "once more", 2.0)  # but out since the same time
            receipt = await strategy.deliver(EVENT)
            assert [(child.sink, child.outcome.value, child.why) for child in receipt.children] == [
                ("b", "unreachable", "last resort: quarantined for 30.0 s more (once more)"),
                ("c", "confirmed", "last resort: quarantined for 29.0 s more (test)"),
                ("a", "skipped", ""),
            ]
            assert receipt.outcome is Outcome.CONFIRMED
            assert strategy.children[0].out_until == 0
            assert strategy.children[1].out_until == 31

    run(main())


def test_one_trial_at_a_time() -> None:
    """While one event is the trial of a child that is out, others are skipped at once and say so."""

    async def main() -> None:
        sink = PlainSink("a", SILENT.after(1))
        async with opened(Failover(sink)) as strategy:
            await strategy.deliver(EVENT)
            began = now()
            waits: list[float] = []

            async def call() -> str:
                receipt = await strategy.deliver(EVENT)
                waits.append(now() - began)
                return f"{receipt.outcome.value}: {receipt.children[0].reason}"

            said = await asyncio.gather(*[call() for _ in range(100)])
            assert sorted(waits) == [0.0] * 99 + [1.0]
            assert sink.most == 1
            assert said[0] == "unconfirmed: "
            assert set(said[1:]) == {
                "skipped: quarantined for 30.0 s more (unconfirmed); another event is its trial already"
            }
            await strategy.deliver(EVENT)  # the next one may try again
            assert len(sink.given) == 3

    run(main())


def test_without_last_resort_an_event_is_lost() -> None:
    """OpenSIPS's letter: all in their window, no attempt; the receipt says so."""

    async def main() -> None:
        children = [PlainSink("a", DOWN), PlainSink("b", DOWN)]
        async with opened(Failover(*children, last_resort=False)) as strategy:
            await strategy.deliver(EVENT)
            receipt = await strategy.deliver(EVENT)
            assert receipt.outcome is Outcome.SKIPPED
            assert [child.reason for child in receipt.children] == ["quarantined for 30.0 s more (unreachable)"] * 2
            assert [len(child.given) for child in children] == [1, 1]

    run(main())


@pytest.mark.parametrize("answer", [YES, NO])
def test_a_late_reply_ends_quarantine(answer: Answer) -> None:
    """A reply that comes after its attempt shows that the peer is alive, and is passed on upwards."""
    records: list[Record] = []
    heard: list[object] = []

    async def main() -> None:
        sink = FastSink("a", answer.after(5), YES)
        async with opened(Failover(sink, FastSink("b")), records.append) as strategy:
            strategy.watchers.append(heard.append)
            receipt = await strategy.deliver(EVENT, deadline=1)
            assert outcomes(receipt) == [("a", "abandoned"), ("b", "confirmed")]
            assert strategy.children[0].out_until == 0
            strategy.take_out(strategy.children[0], 30, "test", 1.0)
            await asyncio.sleep(5)
            assert strategy.children[0].out_until == 0
            assert outcomes(await strategy.deliver(EVENT)) == [("a", "confirmed")]
            assert heard == [LateConfirmation("Failover", receipt.attempts[0], answer is YES, 5.0)]

    run(main())
    reason = "late confirmation" if answer is YES else "late reply"
    assert [record.reason for record in of(Reinstated, records)] == [reason]


def test_silence_quarantines_although_nobody_waited() -> None:
    """A dead peer doesn't stay first for ever because every caller is impatient; a healthy one is never taken out."""

    async def main() -> None:
        dead, slow = FastSink("dead", SILENT.after(1)), FastSink("slow", YES.after(0.25))
        async with opened(Failover(dead, slow)) as strategy:
            receipt = await strategy.deliver(EVENT, deadline=now() + 0.125)
            assert outcomes(receipt) == [("dead", "abandoned"), ("slow", "abandoned")]
            assert [child.out_until for child in strategy.children] == [0, 0]
            await asyncio.sleep(2)
            assert [child.out_until for child in strategy.children] == [31, 0]
            receipt = await strategy.deliver(EVENT, deadline=now() + 1)
            assert outcomes(receipt) == [("dead", "skipped"), ("slow", "confirmed")]

    run(main())


def test_silence_of_all_is_told_upwards() -> None:
    """A strategy all of whose children are out is silent itself: the one above it moves on."""
    heard: list[object] = []

    async def main() -> None:
        inner = Failover(FastSink("a", SILENT.after(1)), FastSink("b", SILENT.after(1)), name="inner")
        outer = Failover(inner, FastSink("c", YES))
        outer.watchers.append(heard.append)
        async with opened(outer) as strategy:
            await strategy.deliver(EVENT, deadline=now() + 0.5)
            await asyncio.sleep(0.75)
            assert [child.out_until > 0 for child in inner.children] == [True, False]
            assert strategy.children[0].out_until == 0
            await asyncio.sleep(1)
            assert strategy.children[0].out_until == pytest.approx(31.125)
            assert outcomes(await strategy.deliver(EVENT)) == [("inner", "skipped"), ("c", "confirmed")]

    run(main())
    assert heard == []


def test_silence_without_quarantine_changes_nothing() -> None:
    """With quarantine=0 a silence has no consequence, and is not told upwards either."""
    heard: list[object] = []

    async def main() -> None:
        sink = FastSink("a")
        async with opened(Failover(sink, quarantine=0)) as strategy:
            strategy.watchers.append(heard.append)
            sink.tell(Silence("a", None, 1.0))
            assert strategy.children[0].out_until == 0

    run(main())
    assert heard == []


def test_a_deadline_is_shared_equally() -> None:
    """Each child gets an equal share of the time that is left, and what one leaves over is the others'."""

    async def main() -> None:
        children = [
            PlainSink("a", SILENT.after(9)),
            PlainSink("b", NO.after(0.25)),
            PlainSink("c", SILENT.after(9)),
            PlainSink("d", SILENT.after(9)),
        ]
        async with opened(Failover(*children)) as strategy:
            receipt = await strategy.deliver(EVENT, deadline=4)
            assert [child.deadlines for child in children] == [[1.0], [2.0], [1.25 + 2.75 / 2], [4.0]]
            assert now() == 4
            assert receipt.outcome is Outcome.UNCONFIRMED
            assert not receipt.at_fault

    run(main())


def test_those_that_are_out_take_no_share() -> None:
    """A deadline is shared among the children that will be tried, quarantined ones come after them."""

    async def main() -> None:
        children = [PlainSink(letter, DOWN.after(0.5)) for letter in LETTERS]
        async with opened(Failover(*children)) as strategy:
            strategy.take_out(strategy.children[0], 30, "test", 0.0)
            strategy.take_out(strategy.children[1], 30, "test", 0.0)
            await strategy.deliver(EVENT, deadline=4)
            assert children[2].deadlines[0] is not None
            assert children[3].deadlines == [4.0]
            assert children[0].deadlines == [1.0 + 1.5]
            assert children[1].deadlines == [4.0]

    run(main())


def test_no_time_left() -> None:
    """When the deadline has passed the children are listed as skipped, and nobody is tried."""

    async def main() -> None:
        children = [PlainSink("a"), PlainSink("b")]
        async with opened(Failover(*children)) as strategy:
            await asyncio.sleep(1)
            receipt = await strategy.deliver(EVENT, deadline=1)
            assert [child.reason for child in receipt.children] == ["no time left before the deadline"] * 2
            assert receipt.outcome is Outcome.SKIPPED
            strategy.take_out(strategy.children[0], 30, "test", 1.0)
            receipt = await strategy.deliver(EVENT, deadline=0.5)
            assert receipt.outcome is Outcome.SKIPPED
            assert len(receipt.children) == 2
            assert not any(child.given for child in children)

    run(main())


def test_the_receipt_tells_times() -> None:
    """A receipt begins with its first attempt and ends with its last."""

    async def main() -> None:
        async with opened(Failover(PlainSink("a", NO.after(0.5)), PlainSink("b", YES.after(0.25)))) as strategy:
            await asyncio.sleep(3)
            receipt = await strategy.deliver(EVENT)
            assert (receipt.began, receipt.ended, receipt.took) == (3.0, 3.75, 0.75)
            assert [(child.began, child.ended) for child in receipt.children] == [(3.0, 3.5), (3.5, 3.75)]

    run(main())


@pytest.mark.parametrize("quarantine", [-1, float("nan"), float("inf"), True, "30"])
def test_bad_quarantine(quarantine: float) -> None:
    """A quarantine is a finite number of seconds, 0 or more."""
    with pytest.raises(ConfigError, match="quarantine must be a number of seconds, 0 or more"):
        Failover(PlainSink("a"), quarantine=quarantine)


def test_bad_children() -> None:
    """No children, two of one name, and what is no sink are refused where the strategy is declared."""
    with pytest.raises(ConfigError, match="Failover has no children: give it at least one"):
        Failover()
    with pytest.raises(ConfigError, match="billing has two children named 'a'"):
        Failover(PlainSink("a"), PlainSink("b"), PlainSink("a"), name="billing")
    with pytest.raises(ConfigError, match="two children named 'jsonrpc:a:1'"):
        Failover("jsonrpc:a:1", "jsonrpc:a:1")
    with pytest.raises(ConfigError, match="a child of Failover must be a sink or an address, not 5"):
        Failover(5)  # type: ignore[arg-type]
    for several in ([PlainSink("a"), PlainSink("b")], (PlainSink("a"),)):
        with pytest.raises(ConfigError, match=r"must be a sink or an address, not [\[(].*; pass several one by one"):
            Failover(several)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the name of a strategy must be a non-empty string, not ''"):
        Failover(PlainSink("a"), name="")


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_a_subclass_with_an_order_of_its_own_is_asked_for_it(kind: type[PlainSink]) -> None:
    """An event alone and each event of a batch go where the subclass says, not where the base would send them."""

    class Backwards(Failover):
        def order(self, event: Event) -> Iterable[Child]:
            return reversed(self.children)

    async def main() -> None:
        children = sinks(kind, ("YES", "YES"))
        async with opened(Backwards(*children)) as strategy:
            assert not strategy.as_declared
            await strategy.deliver(EVENT)
            await strategy.deliver_many([EVENT, EVENT])
            assert [len(child.given) for child in children] == [0, 3]

    run(main())
