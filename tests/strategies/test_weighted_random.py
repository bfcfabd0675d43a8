"""Weighted random: shares by weight, drawn from the injected chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.sink import Opening
from failover.strategies import Failover, WeightedRandom
from tests.doubles import DOWN, NO, FastSink, PlainSink, opened, opening, run
from tests.strategies.orders import COUNTS, NUMBERS, check_batches, check_combinations, shares, within

EVENT = Event("E_ACC_CDR", {"duration": 35})
WEIGHTS = (5, 1, 2, 3)


def make(children: Sequence[PlainSink]) -> WeightedRandom:
    """With weights 5, 1, 2, 3."""
    return WeightedRandom(dict(zip(children, WEIGHTS, strict=False)))


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("count", COUNTS)
def test_every_combination_of_outcomes(kind: type[PlainSink], count: int) -> None:
    """Of up to four children: whatever is drawn, one after the other until it is settled, those that are out last."""
    check_combinations(make, kind, count)


@pytest.mark.parametrize(("number", "most"), NUMBERS)
@pytest.mark.parametrize("batches", [False, True])
def test_weights_are_kept(number: int, most: float, *, batches: bool) -> None:
    """Over many events each child's share is its weight's, within a few per cent; also with one of them out."""
    events = [EVENT] * number
    assert within(shares(make, 4, events, batches=batches), [5 / 11, 1 / 11, 2 / 11, 3 / 11], most)
    assert within(shares(make, 4, events, out=[0], batches=batches), [0, 1 / 6, 2 / 6, 3 / 6], most)


def test_the_next_is_drawn_too() -> None:
    """What the first one refuses is shared by the others' weights, not all given to its neighbour."""

    async def main() -> None:
        a, b, c = FastSink("a", NO), FastSink("b"), FastSink("c")
        async with opened(WeightedRandom({a: 1000, b: 3, c: 1})) as strategy:
            for _ in range(4000):
                await strategy.deliver(EVENT)
        assert 3.9 < (len(a.given) / 1000) <= 4
        assert 2800 < len(b.given) < 3200
        assert len(b.given) + len(c.given) == 4000

    run(main())


def test_a_seed_repeats_it() -> None:
    """Chance is the opening's: the same seed draws the same children, another one draws others."""

    async def ends(seed: int) -> list[str]:
        strategy = make([FastSink(letter) for letter in "abcd"])
        base = opening()
        await strategy.open(Opening(base.peers, base.resolve, Random(seed)))
        receipts = [await strategy.deliver(EVENT) for _ in range(50)]
        await strategy.aclose()
        return [receipt.children[0].sink for receipt in receipts]

    async def main() -> None:
        assert await ends(1) == await ends(1)
        assert await ends(1) != await ends(2)

    run(main())


def test_batches() -> None:
    """A batch ends as its events would one by one, with the same draws while all are well."""
    check_batches(make)


def test_nested() -> None:
    """A child may be a strategy, of the same kind too; shares multiply."""

    async def main() -> None:
        a, b, c, d = FastSink("a"), FastSink("b", DOWN), FastSink("c"), FastSink("d")
        inner = WeightedRandom({c: 1, d: 1}, name="inner")
        async with opened(WeightedRandom({a: 1, Failover(b, inner, name="pair"): 3})) as strategy:
            await strategy.deliver_many([EVENT] * 4000)
        given = Counter({sink.name: len(sink.given) for sink in (a, c, d)})
        assert given.total() == 4000
        assert within([given[name] / 4000 for name in "acd"], [0.25, 0.375, 0.375], 0.03)

    run(main())


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (("a", "b"), "WeightedRandom takes a mapping of its children to their weights"),
        ({"jsonrpc:h:1": 0}, "WeightedRandom: the weight of jsonrpc:h:1 must be a whole number from 1, not 0"),
        ({}, "WeightedRandom has no children"),
    ],
)
def test_what_is_refused(weights: Any, text: str) -> None:
    """What can't be is refused where it is declared."""
    with pytest.raises(ConfigError) as caught:
        WeightedRandom(weights)
    assert text in str(caught.value)
