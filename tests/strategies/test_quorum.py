"""Quorum: k of n, decided as early as it can be, one way or the other; stragglers are told of."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome, Verdict
from failover.receipt import Attempt
from failover.records import LateConfirmation, Record
from failover.sink import Sink, deliver_many, open_sink
from failover.strategies import Failover, Quorum
from tests.contract import check_sink
from tests.doubles import ANSWERS, DOWN, NO, YES, FastSink, PlainSink, now, of, opened, opening, outcomes, run

EVENT = Event("E_A", {"caller": "alice"})
LETTERS = "abcd"
USUAL = ("YES", "NOTED", "NO", "STOP", "DOWN", "SILENT", "LEFT", "FULL")
FEWER = ("YES", "NOTED", "STOP", "DOWN", "SILENT")
Ending = tuple[int, Outcome, Verdict | None]


def expected(names: tuple[str, ...], k: int) -> Ending:
    """How many children have ended by the time it is known, and what is: the first row that fits."""
    count = len(names)
    known = next(
        ended
        for ended in range(1, count + 1)
        if names[:ended].count("YES") >= k or names[:ended].count("YES") + count - ended < k or ended == count
    )
    ended = names[:known]
    rows = (
        (ended.count("YES") >= k, Outcome.CONFIRMED, None),
        (ended.count("YES") + ended.count("NOTED") >= k, Outcome.SENT, None),
        ("STOP" in ended, Outcome.REJECTED, Verdict.STOP),
        (known < count or not {"YES", "NOTED", "SILENT", "LEFT"}.isdisjoint(ended), Outcome.UNCONFIRMED, None),
        ("NO" in ended, Outcome.REJECTED, Verdict.NEXT),
        ("DOWN" in ended, Outcome.UNREACHABLE, None),
        (True, Outcome.SKIPPED, None),
    )
    return next((known, outcome, verdict) for fits, outcome, verdict in rows if fits)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize(
    ("count", "usual"), [(1, USUAL), (2, USUAL), (3, USUAL), pytest.param(4, FEWER, marks=pytest.mark.slow)]
)
def test_every_combination_of_outcomes(
    kind: type[PlainSink], count: int, usual: tuple[str, ...], *, batch: bool
) -> None:
    """Of up to four children that end one second after the other: as the rows say, and not a second later."""

    async def main() -> None:
        for names in itertools.product(usual, repeat=count):
            for k in range(1, count + 1):
                children = [kind(LETTERS[place], ANSWERS[name].after(place + 1)) for place, name in enumerate(names)]
                async with opened(Quorum(k, *children)) as strategy:
                    receipt = (await strategy.deliver_many([EVENT]))[0] if batch else await strategy.deliver(EVENT)
                    assert (receipt.took, receipt.outcome, receipt.verdict) == expected(names, k), (names, k)
                    assert [len(child.given) for child in children] == [1] * count
                    assert [child.sink for child in receipt.children] == list(LETTERS[:count])
                    assert receipt.possible_duplicates == 0
                    broken = sum(name in ("DOWN", "SILENT") for name in names[: round(receipt.took)])
                    if receipt.at_fault:
                        assert broken > count - k
                    elif receipt.outcome in (Outcome.UNREACHABLE, Outcome.UNCONFIRMED):
                        assert broken <= count - k

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_stragglers_confirm_late(kind: type[PlainSink]) -> None:
    """Who goes on after the decision is listed as abandoned, and told of to observers and upwards when it answers."""
    records: list[Record] = []
    heard: list[object] = []

    async def main() -> None:
        children = [kind("a", YES), kind("b", YES.after(1)), kind("c", YES.after(2)), kind("d", NO.after(3))]
        async with opened(Quorum(2, *children), records.append) as strategy:
            strategy.watchers.append(heard.append)
            receipt = await strategy.deliver(EVENT)
            assert outcomes(receipt) == [("a", "confirmed"), ("b", "confirmed"), ("c", "abandoned"), ("d", "abandoned")]
            assert now() == 1
            await asyncio.sleep(5)
            c, d = receipt.children[2:]
            assert isinstance(c, Attempt)
            assert isinstance(d, Attempt)
            assert of(LateConfirmation, records) == [
                LateConfirmation("c", c, confirmed=True, at=2.0),
                LateConfirmation("d", d, confirmed=False, at=3.0),
            ]
            assert [news for news in heard if isinstance(news, LateConfirmation) and news.sink == "Quorum"] == heard
            assert len(heard) == 2

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_one_that_can_not_be_had_is_quarantined_above(kind: type[PlainSink]) -> None:
    """Two of three are down: a Failover moves on at once, and leaves the third one alone from then on."""

    async def main() -> None:
        third = kind("c", YES.after(9))
        quorum = Quorum(2, kind("a", DOWN), kind("b", DOWN), third)
        async with opened(Failover(quorum, kind("spare"))) as strategy:
            for shown in ("unconfirmed", "skipped", "skipped"):
                assert outcomes(await strategy.deliver(EVENT)) == [("Quorum", shown), ("spare", "confirmed")]
            assert now() == 0
            assert len(third.given) == 1

    run(main())


def test_our_impatience_quarantines_nobody() -> None:
    """A deadline shorter than the children's time is no evidence against them."""

    async def main() -> None:
        quorum = Quorum(2, *[FastSink(letter, YES.after(1)) for letter in LETTERS])
        async with opened(Failover(quorum)) as strategy:
            receipt = await strategy.deliver(EVENT, deadline=0.5)
            assert receipt.cut_short
            assert not receipt.at_fault
            assert not strategy.children[0].out_until

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_contract(kind: type[PlainSink]) -> None:
    """What `check_sink` asks of any sink holds."""

    async def make(k: int) -> Sink:
        sink = Quorum(k, *[kind(letter, YES.after(0.01)) for letter in "abc"])
        await open_sink(sink, opening())
        return sink

    for k in (1, 2, 3):
        run(check_sink(lambda k=k: make(k)))


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_a_batch_ends_as_its_events_would_alone(kind: type[PlainSink]) -> None:
    """Each event of a batch has the outcome that it would have had alone."""

    async def main() -> None:
        events = [Event("E_A", {"n": number}) for number in range(9)]
        for names in itertools.product(("YES", "NO", "DOWN"), repeat=3):
            ends: list[list[bool]] = []
            for batch in (True, False):
                children = [kind(letter, ANSWERS[name]) for letter, name in zip("abc", names, strict=True)]
                async with opened(Quorum(2, *children)) as strategy:
                    receipts = (
                        await deliver_many(strategy, events)
                        if batch
                        else [await strategy.deliver(event) for event in events]
                    )
                    ends.append([receipt.confirmed for receipt in receipts])
                    await asyncio.sleep(1)
                    assert [child.given for child in children] == [events] * 3
            assert ends[0] == ends[1] == [names.count("YES") >= 2] * 9

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("moment", [0.5, 1.0, 1.5, 2.0, 2.5])
def test_cancelled(kind: type[PlainSink], moment: float) -> None:
    """At any moment it leaves no task and nothing in flight, and what was done travels with the cancellation."""

    async def main() -> None:
        children = [kind(letter, YES.after(place + 1)) for place, letter in enumerate("abc")]
        async with opened(Quorum(3, *children)) as strategy:
            task = asyncio.ensure_future(strategy.deliver(EVENT))
            await asyncio.sleep(moment)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert len(getattr(caught.value, "receipt").children) == 3  # noqa: B009
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert strategy.status().in_flight == 0

    run(main())


@pytest.mark.parametrize("k", [0, 3, -1, True, 1.0, "all"])
def test_bad_requirements(k: int) -> None:
    """What can't be met, or means nothing, is refused where it is declared."""
    with pytest.raises(ConfigError, match="Quorum of 2 can require 1 to 2 confirmations, not "):
        Quorum(k, PlainSink("a"), PlainSink("b"))
