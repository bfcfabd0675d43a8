"""Tiers: all of one before any of the next, weights within, as SRV records say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.sequential import Sequential
from failover.strategies import RoundRobin, Tiers
from tests.doubles import DOWN, NO, FastSink, PlainSink, opened, run
from tests.strategies.orders import COUNTS, NUMBERS, check_batches, check_combinations, shares, within

EVENT = Event("E_ACC_CDR", {"duration": 35})

EMPTY: dict[str, int] = {}


def make(children: Sequence[PlainSink]) -> Tiers:
    """The first two, 3 to 1, before the rest, 1 to 2."""
    tiers = [dict(zip(children[:2], (3, 1), strict=False)), dict(zip(children[2:], (1, 2), strict=False))]
    return Tiers(*[tier for tier in tiers if tier])


def begin(_: Sequential, __: list[int]) -> Callable[[list[int], list[int]], None]:
    """Of those in service, none of the second tier comes before one of the first."""

    def check(first: list[int], _: list[int]) -> None:
        assert [at // 2 for at in first] == sorted(at // 2 for at in first)

    return check


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("count", COUNTS)
def test_every_combination_of_outcomes(kind: type[PlainSink], count: int) -> None:
    """Of up to four children in two tiers: all of the first that are in service, then the second's, then the others."""
    check_combinations(make, kind, count, begin)


@pytest.mark.parametrize(("number", "most"), NUMBERS)
@pytest.mark.parametrize("batches", [False, True])
def test_weights_are_kept(number: int, most: float, *, batches: bool) -> None:
    """Over many events the first tier has all, by weight; the second once all of the first are out."""
    events = [EVENT] * number
    assert within(shares(make, 4, events, batches=batches), [3 / 4, 1 / 4, 0, 0], most)
    assert within(shares(make, 4, events[:20_000], out=[0], batches=batches), [0, 1, 0, 0], 0)
    assert within(shares(make, 4, events, out=[0, 1], batches=batches), [0, 0, 1 / 3, 2 / 3], most)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((0, 0, 0), (1 / 3, 1 / 3, 1 / 3)),
        ((0, 7, 2), (1 / 10, 7 / 10, 2 / 10)),
        ((0, 0, 9), (1 / 20, 1 / 20, 9 / 10)),
        ((5,), (1.0,)),
    ],
)
def test_weight_zero(weights: tuple[int, ...], expected: tuple[float, ...]) -> None:
    """All 0 are equal; beside others, the number drawn is 0 once in 1 + their sum: then it is one of weight 0."""

    def tier(children: Sequence[PlainSink]) -> Tiers:
        return Tiers(dict(zip(children, weights, strict=True)))

    assert within(shares(tier, len(weights), [EVENT] * 40_000, batches=True), expected, 0.01)


def test_batches() -> None:
    """A batch ends as its events would one by one, with the same draws while all are well."""
    check_batches(make)


def test_nested() -> None:
    """A tier may hold strategies, and tiers: a whole tier that is down costs one attempt each, then nothing."""

    async def main() -> None:
        a, b, c, d = FastSink("a", DOWN), FastSink("b", DOWN), FastSink("c", NO), FastSink("d")
        tree = Tiers({RoundRobin(a, b, name="near"): 1}, {Tiers({c: 1}, {d: 1}, name="far"): 0})
        async with opened(tree) as strategy:
            for _ in range(10):
                assert (await strategy.deliver(EVENT)).confirmed
            assert all(receipt.confirmed for receipt in await strategy.deliver_many([EVENT] * 10))
            assert [len(sink.given) for sink in (a, b, c, d)] == [1, 1, 20, 20]

    run(main())


@pytest.mark.parametrize(
    ("tiers", "text"),
    [
        ((), "Tiers has no children"),
        (({"jsonrpc:h:1": 1}, EMPTY), "tier 2 of Tiers has no children: leave it out"),
        (("jsonrpc:h:1",), "tier 1 of Tiers takes a mapping of its children to their weights"),
        (
            ({"jsonrpc:h:1": 1}, {"jsonrpc:h:2": -1}),
            "tier 2 of Tiers: the weight of jsonrpc:h:2 must be a whole number",
        ),
        (({"jsonrpc:h:1": 1}, {"jsonrpc:h:1": 1}), "two children named 'jsonrpc:h:1'"),
    ],
)
def test_what_is_refused(tiers: Any, text: str) -> None:
    """What can't be is refused where it is declared; the error says which tier."""
    with pytest.raises(ConfigError) as caught:
        Tiers(*tiers)
    assert text in str(caught.value)
