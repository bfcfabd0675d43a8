"""ROUND-ROBIN: turns, fairness, and what follows a failure."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from failover.event import Event
from failover.outcome import Outcome
from failover.strategies import RoundRobin
from tests.doubles import (
    ANSWERS,
    DOWN,
    LEFT,
    NO,
    SETTLES,
    SILENT,
    YES,
    FastSink,
    PlainSink,
    expected_of_sequence,
    opened,
    outcomes,
    run,
)
from tests.strategies.orders import COUNTS, shares, within

EVENT = Event("E_PIKE_BLOCKED", {"ip": "192.168.2.11"})
LETTERS = "abcd"
FAULTS = {"DOWN", "SILENT"}
USUAL = ("YES", "NOTED", "NO", "STOP", "DOWN", "SILENT", "LEFT", "FULL")


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("count", COUNTS)
def test_every_combination_of_outcomes(kind: type[PlainSink], count: int) -> None:
    """Of up to four children and over one whole round: each begins at the next child in service, then in order."""

    async def main() -> None:
        for names in itertools.product(USUAL, repeat=count):
            children = [kind(letter, ANSWERS[name]) for letter, name in zip(LETTERS, names, strict=False)]
            async with opened(RoundRobin(*children)) as strategy:
                out: list[int] = []  # in the order in which they failed
                turn = -1
                for _ in range(count):
                    turn = (turn + 1) % count
                    in_service = [i % count for i in range(turn, turn + count) if i % count not in out]
                    turn = in_service[0] if in_service else turn
                    order = [(turn + step) % count for step in range(count)]
                    tried: list[int] = []
                    waiting = [i for i in order if i not in out] + sorted(
                        (i for i in order if i in out), key=lambda i: strategy.children[i].out_since
                    )
                    for index in waiting:
                        tried.append(index)
                        if names[index] in SETTLES:
                            break
                    receipt = await strategy.deliver(EVENT)
                    attempted = [child.sink for child in receipt.attempts]
                    assert attempted == [LETTERS[i] for i in tried if names[i] != "FULL"]
                    if not out:
                        expected = expected_of_sequence([names[i] for i in tried])
                        assert (receipt.outcome, receipt.verdict) == expected
                    out += [i for i in tried if names[i] in FAULTS and i not in out]
                    assert [bool(child.out_until) for child in strategy.children] == [i in out for i in range(count)]

    run(main())


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_fair_over_many_events(count: int) -> None:
    """Ten thousand events are shared as evenly as they can be."""

    async def main() -> None:
        children = [FastSink(f"s{number}") for number in range(count)]
        async with opened(RoundRobin(*children)) as strategy:
            for start in range(0, 10_000, 500):
                await asyncio.gather(*[strategy.deliver(EVENT) for _ in range(start, start + 250)])
                await strategy.deliver_many([EVENT] * 250)
        shares = [len(child.given) for child in children]
        assert sum(shares) == 10_000
        assert max(shares) - min(shares) <= 1

    run(main())


@pytest.mark.parametrize("batches", [False, True])
def test_equals_share_alike(*, batches: bool) -> None:
    """Of a hundred thousand events each has its third within 1 %."""
    events = [EVENT] * 100_000
    assert within(shares(lambda sinks: RoundRobin(*sinks), 3, events, batches=batches), [1 / 3] * 3, 0.01)


def test_fair_after_failures() -> None:
    """While one is out the rest shares its turns evenly and nothing is lost; when it is back, all share them."""

    async def main() -> None:
        a, b, c = FastSink("a"), FastSink("b", DOWN, YES), FastSink("c")
        async with opened(RoundRobin(a, b, c)) as strategy:
            for _ in range(300):
                assert (await strategy.deliver(EVENT)).confirmed
            assert [len(child.given) for child in (a, b, c)] == [150, 1, 150]
            await asyncio.sleep(30)
            for _ in range(300):
                await strategy.deliver(EVENT)
            assert [len(child.given) for child in (a, b, c)] == [250, 101, 250]

    run(main())


def test_turns_go_on_from_a_failure() -> None:
    """A failure changes whose turn it is for that event alone."""

    async def main() -> None:
        children = [FastSink("a"), FastSink("b", NO, YES), FastSink("c")]
        async with opened(RoundRobin(*children)) as strategy:
            ends = [(await strategy.deliver(EVENT)).children[-1].sink for _ in range(6)]
            assert ends == ["a", "c", "c", "a", "b", "c"]

    run(main())


def test_the_letter_does_not_move_on() -> None:
    """With move_on=False an event gets only the child whose turn it is, and is lost with it: OpenSIPS's letter."""

    async def main() -> None:
        children = [PlainSink("a", YES), PlainSink("b", DOWN), PlainSink("c", YES)]
        async with opened(RoundRobin(*children, move_on=False, quarantine=0)) as strategy:
            ends = [(await strategy.deliver(EVENT)).outcome.value for _ in range(6)]
            assert ends == ["confirmed", "unreachable", "confirmed"] * 2
            assert [len(child.given) for child in children] == [2, 2, 2]

    run(main())


def test_one_child_alone_has_all_the_time() -> None:
    """With move_on=False a deadline isn't shared with children that are not going to be tried."""

    async def main() -> None:
        children = [PlainSink("a", YES.after(3)), PlainSink("b"), PlainSink("c")]
        async with opened(RoundRobin(*children, move_on=False)) as strategy:
            assert (await strategy.deliver(EVENT, deadline=4)).confirmed
            assert children[0].deadlines == [4.0]

    run(main())


def test_the_letter_skips_nobody_but_those_in_quarantine() -> None:
    """With move_on=False and a quarantine the one in turn is tried as a last resort, or skipped if that is off."""

    async def main() -> None:
        for last_resort, outcome in ((True, Outcome.UNREACHABLE), (False, Outcome.SKIPPED)):
            children = [PlainSink("a", DOWN), PlainSink("b", YES)]
            async with opened(RoundRobin(*children, move_on=False, last_resort=last_resort)) as strategy:
                ends = [await strategy.deliver(EVENT) for _ in range(3)]
                assert [end.outcome for end in ends] == [Outcome.UNREACHABLE, Outcome.CONFIRMED, outcome]
                assert len(ends[2].children) == 1

    run(main())


def test_quarantine_as_in_failover() -> None:
    """One at fault is passed over in its turn, refusals only if asked, and all out are tried as a last resort."""

    async def main() -> None:
        children = [PlainSink("a", SILENT), PlainSink("b", NO), PlainSink("c", LEFT)]
        async with opened(RoundRobin(*children, quarantine_rejected=True)) as strategy:
            await strategy.deliver(EVENT)
            assert [bool(child.out_until) for child in strategy.children] == [True, True, False]
            receipt = await strategy.deliver(EVENT)
            assert outcomes(receipt) == [("c", "abandoned"), ("a", "unconfirmed"), ("b", "rejected")]
            assert receipt.children[2].why == "last resort: quarantined for 30.0 s more (rejected)"

    run(main())
