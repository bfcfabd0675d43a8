"""What every strategy that is only an order must show, whatever its order is."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import pytest

from failover.event import Event
from failover.sequential import Sequential
from tests.doubles import ANSWERS, SETTLES, FastSink, PlainSink, expected_of_sequence, opened, run

LETTERS = "abcd"
FAULTS = {"DOWN", "SILENT"}
USUAL = ("YES", "NOTED", "NO", "STOP", "DOWN", "SILENT", "LEFT", "FULL")
BATCH = 250
COUNTS: Final = (1, 2, 3, pytest.param(4, marks=pytest.mark.slow))
"""How many children there are in all combinations; those of four take a second each time."""
NUMBERS: Final = ((5_000, 0.02), pytest.param(100_000, 0.01, marks=pytest.mark.slow))
"""How many events are shared out, and how far each share may be from what it should be."""

Make: TypeAlias = Callable[[Sequence[PlainSink]], Sequential]
"""Makes a strategy over these children."""
Begin: TypeAlias = Callable[[Sequential, list[int]], Callable[[list[int], list[int]], None]]
"""Takes the strategy and which children are out before an event; gives a check of the order in which the ones in
service were tried (as far as they were), and of those that were out."""


def check_combinations(
    make: Make, kind: type[PlainSink], count: int, begin: Begin | None = None, event: Event | None = None
) -> None:
    """Check all combinations of outcomes of some children over two events (the second knows who failed).

    No child is tried twice; those in service come first, until one settles the event; if none does, those that are out
    follow, the longest out first; what the receipt says follows from what was tried; exactly those at fault are out.

    Args:
        make: Makes the strategy.
        kind: The kind of its children.
        count: How many.
        begin: Checks the order itself.
        event: What is delivered.

    Raises:
        AssertionError: a combination for which that isn't so.
    """
    delivered = event or Event("E_PIKE_BLOCKED", {"callid": "a84b4c76e66710"})

    async def main() -> None:
        for names in itertools.product(USUAL, repeat=count):
            children = [kind(one, ANSWERS[name].after(0.001)) for one, name in zip(LETTERS, names, strict=False)]
            async with opened(make(children)) as strategy:
                out: list[int] = []
                for _ in range(2):
                    check = begin(strategy, list(out)) if begin else None
                    await _one(strategy, delivered, names, out, check)

    run(main())


async def _one(
    strategy: Sequential,
    event: Event,
    names: Sequence[str],
    out: list[int],
    check: Callable[[list[int], list[int]], None] | None,
) -> None:
    receipt = await strategy.deliver(event)
    tried = [LETTERS.index(child.sink) for child in receipt.children if not child.reason.startswith("quarantined")]
    assert len(set(tried)) == len(tried)
    first, then = [i for i in tried if i not in out], [i for i in tried if i in out]
    assert tried == first + then
    ends = [names[i] in SETTLES for i in tried]
    assert ends[:-1].count(True) == 0
    if not ends[-1]:
        assert len(tried) == len(names)
    if then:
        assert len(first) == len(names) - len(out)
        assert then == sorted(out, key=lambda i: strategy.children[i].out_since)[: len(then)]
    assert (receipt.outcome, receipt.verdict) == expected_of_sequence([names[i] for i in tried])
    if check is not None:
        check(first, then)
    out += [i for i in tried if names[i] in FAULTS and i not in out]
    assert [bool(child.out_until) for child in strategy.children] == [i in out for i in range(len(names))]


def shares(make: Make, count: int, events: Sequence[Event], *, out: Sequence[int] = (), batches: bool) -> list[float]:
    """What share of many events each child gets, one by one (64 at once) or in batches.

    Args:
        make: Makes the strategy.
        count: How many children.
        events: What is delivered.
        out: Which children are in quarantine all the time.
        batches: Whether `deliver_many` is asked.
    """
    children = [FastSink(f"s{number}") for number in range(count)]

    async def main() -> None:
        async with opened(make(children)) as strategy:
            for at in out:
                strategy.take_out(strategy.children[at], 1e6, "a test", 0.0)
            for start in range(0, len(events), BATCH):
                part = events[start : start + BATCH]
                if batches:
                    receipts = await strategy.deliver_many(part)
                else:
                    receipts = await asyncio.gather(*[strategy.deliver(event) for event in part])
                assert all(receipt.confirmed for receipt in receipts)

    run(main())
    return [len(child.given) / len(events) for child in children]


def within(found: Sequence[float], expected: Sequence[float], difference: float) -> bool:
    """Whether no share is further than that from what was expected."""
    return all(abs(a - b) <= difference for a, b in zip(found, expected, strict=True))


def check_batches(make: Make, *, same: bool = True) -> None:
    """Check that a batch ends as its events would one by one: outcomes, and (`same`) who took each while all are well.

    Raises:
        AssertionError: it doesn't.
    """
    events = [Event("E_A", {"callid": f"call-{number}"}) for number in range(200)]

    async def ends(script: str, *, batch: bool) -> tuple[Counter[str], list[str]]:
        children = [FastSink("a"), FastSink("b", ANSWERS[script]), FastSink("c")]
        async with opened(make(children)) as strategy:
            if batch:
                receipts = await strategy.deliver_many(events)
            else:
                receipts = [await strategy.deliver(event) for event in events]
        assert [receipt.event for receipt in receipts] == events
        return Counter(receipt.outcome.value for receipt in receipts), [r.children[-1].sink for r in receipts]

    async def main() -> None:
        for script in ("YES", "NO", "DOWN", "SILENT", "BUSY"):
            one, batch = await ends(script, batch=False), await ends(script, batch=True)
            assert one[0] == batch[0] == {"confirmed": len(events)}
            if same and script == "YES":
                assert one[1] == batch[1]

    run(main())
