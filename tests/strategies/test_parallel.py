"""PARALLEL: every child at once, as many as required, and those that are still under way when that is known."""

from __future__ import annotations

import asyncio
import itertools
from typing import Literal

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.records import LateConfirmation, Record
from failover.strategies import Failover, Parallel
from tests.doubles import (
    ANSWERS,
    DOWN,
    NO,
    NOTED,
    SILENT,
    STOP,
    YES,
    FastSink,
    PlainSink,
    expected_of_fan_out,
    now,
    of,
    opened,
    outcomes,
    run,
)

EVENT = Event("E_A", {"caller": "alice"})
LETTERS = "abcd"
USUAL = ("YES", "NOTED", "NO", "STOP", "DOWN", "SILENT", "LEFT", "FULL")
FEWER = ("YES", "NOTED", "STOP", "SILENT", "REFUSED")


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_combination_of_outcomes(kind: type[PlainSink], count: int) -> None:
    """Of up to three children: each gets exactly one attempt, whatever the others do and whatever is required."""

    async def main() -> None:
        for names in itertools.product(USUAL, repeat=count):
            for need in range(1, count + 1):
                children = [kind(letter, ANSWERS[name]) for letter, name in zip(LETTERS, names, strict=False)]
                async with opened(Parallel(*children, require=need)) as strategy:
                    receipt = await strategy.deliver(EVENT)
                    assert [len(child.given) for child in children] == [1] * count
                    assert [child.sink for child in receipt.children] == list(LETTERS[:count])
                    taken = sum(name in ("YES", "NOTED") for name in names)
                    assert receipt.settled == (taken >= need or "STOP" in names)
                    assert receipt.confirmed == (names.count("YES") >= need)

    run(main())


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize(
    ("count", "usual"), [(1, USUAL), (2, USUAL), (3, USUAL), pytest.param(4, FEWER, marks=pytest.mark.slow)]
)
def test_every_combination_of_ends(kind: type[PlainSink], count: int, usual: tuple[str, ...], *, batch: bool) -> None:
    """Of up to four children that end one second after the other: over with the last one needed, as the table says."""

    async def main() -> None:
        for names in itertools.product(usual, repeat=count):
            for need in range(1, count + 1):
                children = [kind(LETTERS[place], ANSWERS[name].after(place + 1)) for place, name in enumerate(names)]
                async with opened(Parallel(*children, require=need)) as strategy:
                    receipt = (await strategy.deliver_many([EVENT]))[0] if batch else await strategy.deliver(EVENT)
                taken = [place for place, name in enumerate(names, 1) if name in ("YES", "NOTED")]
                over = taken[need - 1] if len(taken) >= need else count
                known = [*names[:over], *["LEFT"] * (count - over)]
                assert (receipt.outcome, receipt.verdict) == expected_of_fan_out(known, need), (names, need)
                assert receipt.took == over
                assert [len(child.given) for child in children] == [1] * count

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize(("require", "took"), [("all", 8.0), ("any", 1.0), (1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0)])
def test_waits_for_as_many_as_required(
    kind: type[PlainSink], require: Literal["all", "any"] | int, took: float
) -> None:
    """The receipt comes with the last one that is required; the rest is listed as abandoned."""

    async def main() -> None:
        children = [kind(letter, YES.after(2.0**power)) for power, letter in enumerate(LETTERS)]
        async with opened(Parallel(*children, require=require)) as strategy:
            receipt = await strategy.deliver(EVENT)
            assert receipt.outcome is Outcome.CONFIRMED
            assert receipt.took == took == now()
            done = [child.sink for child in receipt.children if child.confirmed]
            assert done == [letter for power, letter in enumerate(LETTERS) if 2.0**power <= took]
            left = [child for child in receipt.children if not child.confirmed]
            assert all(child.outcome is Outcome.ABANDONED for child in left)
            assert all(child.reason == "decided without it; it goes on" for child in left)
            assert receipt.possible_duplicates == 0
            await asyncio.sleep(10)

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_stragglers_confirm_late(kind: type[PlainSink]) -> None:
    """One that goes on after the decision is told of as a late confirmation, to observers and upwards."""
    records: list[Record] = []
    heard: list[object] = []

    async def main() -> Receipt:
        children = [kind("a", YES), kind("b", YES.after(1)), kind("c", NO.after(2)), kind("d", SILENT.after(3))]
        async with opened(Parallel(*children, require="any"), records.append) as strategy:
            strategy.watchers.append(heard.append)
            receipt = await strategy.deliver(EVENT)
            await asyncio.sleep(5)
            assert not strategy._stragglers  # pyright: ignore[reportPrivateUsage]
            return receipt

    receipt = run(main())
    _, b, c, _ = receipt.children
    assert isinstance(b, Attempt)
    assert isinstance(c, Attempt)
    assert heard == [
        LateConfirmation("Parallel", b, confirmed=True, at=1.0),
        LateConfirmation("Parallel", c, confirmed=False, at=2.0),
    ]
    assert of(LateConfirmation, records) == [
        LateConfirmation("b", b, confirmed=True, at=1.0),
        LateConfirmation("c", c, confirmed=False, at=2.0),
    ]


def test_a_straggler_ends_with_its_group() -> None:
    """Closing ends what was left under way: no task stays."""

    async def main() -> None:
        inner = Failover(PlainSink("b", YES.after(100)), name="inner")
        async with opened(Parallel(PlainSink("a"), inner, require="any")) as strategy:
            assert (await strategy.deliver(EVENT)).confirmed
        assert now() == 0
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_every_child_gets_its_attempt_when_it_can_not_succeed_any_more() -> None:
    """A failure ends nothing early: what each child says is worth having."""

    async def main() -> None:
        children = [FastSink("a", DOWN), FastSink("b", STOP), FastSink("c", YES.after(3))]
        async with opened(Parallel(*children)) as strategy:
            receipt = await strategy.deliver(EVENT)
            assert outcomes(receipt) == [("a", "unreachable"), ("b", "rejected"), ("c", "confirmed")]
            assert now() == 3

    run(main())


def test_confirmed_and_sent_together() -> None:
    """Notifications count towards what is required, and make it SENT."""

    async def main() -> None:
        async with opened(Parallel(FastSink("a", NOTED), FastSink("b", YES))) as strategy:
            assert (await strategy.deliver(EVENT)).outcome is Outcome.SENT
        async with opened(Parallel(FastSink("a", NOTED), FastSink("b", YES), require="any")) as strategy:
            assert (await strategy.deliver(EVENT)).outcome is Outcome.CONFIRMED

    run(main())


def test_all_share_the_whole_deadline() -> None:
    """A deadline isn't divided among children that run side by side."""

    async def main() -> None:
        children = [FastSink("a", SILENT.after(9)), PlainSink("b", YES)]
        async with opened(Parallel(*children)) as strategy:
            receipt = await strategy.deliver(EVENT, deadline=2)
            assert [child.deadlines for child in children] == [[2.0], [2.0]]
            assert now() == 2
            assert outcomes(receipt) == [("a", "abandoned"), ("b", "confirmed")]
            assert not receipt.at_fault

    run(main())


def test_silent_children_are_told_of_upwards() -> None:
    """If too few have answered to meet what is required, a strategy above hears that the whole is silent."""

    async def main() -> None:
        children = [FastSink("a", SILENT.after(1)), FastSink("b", YES.after(0.25)), FastSink("c", SILENT.after(2))]
        for require, since in ((1, None), (2, 2.0), (3, 1.0)):
            for child in children:
                child.given.clear()
            inner = Parallel(*children, require=require, name="inner")
            async with opened(Failover(inner, FastSink("z"))) as strategy:
                began = now()
                await strategy.deliver(EVENT, deadline=began + 0.25)
                await asyncio.sleep(0.5)
                assert strategy.children[0].out_until == 0
                await asyncio.sleep(4)
                outer = strategy.children[0]
                assert (outer.out_since - began if outer.out_until else None) == since

    run(main())


def test_a_child_that_raises_takes_nobody_with_it() -> None:
    """Misuse below is an error to the caller; the other children are ended and no task stays."""

    class Wrong(PlainSink):
        async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
            await super().deliver(event, deadline=deadline)
            raise RuntimeError("wrong")

    async def main() -> None:
        for require in (1, 3):
            children = [PlainSink("a", NO.after(5)), Wrong("b", YES.after(1)), FastSink("c", NO.after(5))]
            async with opened(Parallel(*children, require=require)) as strategy:
                with pytest.raises(RuntimeError, match="wrong"):
                    await strategy.deliver(EVENT)
                assert len(asyncio.all_tasks()) == 1
                assert [child.status().in_flight for child in children] == [0, 0, 0]

    run(main())


@pytest.mark.parametrize("require", ["most", 0, 3, -1, True, 1.0, None])
def test_bad_requirements(require: int) -> None:
    """What can't be met, or means nothing, is refused where it is declared."""
    with pytest.raises(ConfigError, match="Parallel of 2 can require 'all', 'any' or 1 to 2, not "):
        Parallel(PlainSink("a"), PlainSink("b"), require=require)


def test_status_counts_what_is_required() -> None:
    """It is up if as many of its children are up as must take an event."""

    async def main() -> None:
        a, b = FastSink("a"), FastSink("b")
        for require, up in ((1, True), (2, False)):
            async with opened(Parallel(a, b, require=require)) as strategy:
                assert strategy.status().up
                b.opened = False
                status = strategy.status()
                assert status.up is up
                assert status.reason == ("" if up else "too few children are up")

    run(main())
