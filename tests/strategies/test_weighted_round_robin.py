"""Weighted round robin: turns by weight, spread evenly, and what becomes of the share of one that is out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.schemes import parse_address
from failover.sequential import Sequential
from failover.strategies import Failover, WeightedRoundRobin
from tests.doubles import DOWN, NO, YES, FastSink, PlainSink, opened, run
from tests.strategies.orders import COUNTS, NUMBERS, check_batches, check_combinations, shares, within

EVENT = Event("E_ACC_CDR", {"duration": 35})
WEIGHTS = (5, 1, 2, 3)


def make(children: Sequence[PlainSink]) -> WeightedRoundRobin:
    """With weights 5, 1, 2, 3."""
    return WeightedRoundRobin(dict(zip(children, WEIGHTS, strict=False)))


def begin() -> Callable[[Sequential, list[int]], Callable[[list[int], list[int]], None]]:
    """The algorithm as nginx words it, with a model's own numbers: who must be tried, in which order."""
    models: dict[int, list[int]] = {}

    def before(strategy: Sequential, out: list[int]) -> Callable[[list[int], list[int]], None]:
        if id(strategy) not in models:
            models.clear()
            models[id(strategy)] = [0] * len(strategy.children)
        current = models[id(strategy)]
        well = [i for i in range(len(current)) if i not in out]
        for i in well:
            current[i] += WEIGHTS[i]
        turn = max(well, key=lambda i: current[i], default=None)
        if turn is not None:
            current[turn] -= sum(WEIGHTS[i] for i in well)
        due = sorted(well, key=lambda i: (i != turn, -current[i]))

        def check(first: list[int], _: list[int]) -> None:
            assert first == due[: len(first)]

        return check

    return before


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("count", COUNTS)
def test_every_combination_of_outcomes(kind: type[PlainSink], count: int) -> None:
    """Of up to four children: the one whose turn it is, then by how near their turns are, then those that are out."""
    check_combinations(make, kind, count, begin())


@pytest.mark.parametrize(("number", "most"), NUMBERS)
@pytest.mark.parametrize("batches", [False, True])
def test_weights_are_kept(number: int, most: float, *, batches: bool) -> None:
    """Over many events each child's share is its weight's, to far less than 1 %; also with one of them out."""
    events = [EVENT] * number
    assert within(shares(make, 4, events, batches=batches), [5 / 11, 1 / 11, 2 / 11, 3 / 11], most / 100)
    assert within(shares(make, 4, events, out=[0], batches=batches), [0, 1 / 6, 2 / 6, 3 / 6], most / 100)


def test_turns_are_smooth() -> None:
    """Of 5, 1, 1 the turns are those that nginx gives as its example, again and again."""

    async def main() -> None:
        a, b, c = FastSink("a"), FastSink("b"), FastSink("c")
        async with opened(WeightedRoundRobin({a: 5, b: 1, c: 1})) as strategy:
            ends = [receipt.children[0].sink for receipt in await strategy.deliver_many([EVENT] * 21)]
            assert "".join(ends) == "aabacaa" * 3

    run(main())


def test_batches() -> None:
    """A batch ends as its events would one by one, and takes the same turns."""
    check_batches(make)


def test_turns_go_on_from_a_failure() -> None:
    """A failure changes whose turn it is for that event alone."""

    async def main() -> None:
        a, b, c = FastSink("a"), FastSink("b", NO, YES), FastSink("c")
        async with opened(WeightedRoundRobin({a: 1, b: 1, c: 1})) as strategy:
            ends = [(await strategy.deliver(EVENT)).children[-1].sink for _ in range(6)]
            assert ends == ["a", "c", "c", "a", "b", "c"]

    run(main())


def test_one_that_is_back_has_its_share_again() -> None:
    """After a quarantine there is no rush on the one that was out: its turns are as before."""

    async def main() -> None:
        a, b = FastSink("a"), FastSink("b", DOWN, YES)
        async with opened(WeightedRoundRobin({a: 3, b: 1}, quarantine=5)) as strategy:
            for _ in range(400):
                await strategy.deliver(EVENT)
            assert len(b.given) == 1
            strategy.take_back(strategy.children[1], "a test", 0)
            for _ in range(400):
                await strategy.deliver(EVENT)
            assert 100 <= len(b.given) <= 102

    run(main())


def test_nested() -> None:
    """A child may be a strategy, named or counted like any other; its weight is that of all of it."""

    async def main() -> None:
        a, b, c = FastSink("a"), FastSink("b", DOWN), FastSink("c")
        async with opened(WeightedRoundRobin({a: 1, Failover(b, c, name="pair"): 3})) as strategy:
            await strategy.deliver_many([EVENT] * 40)
            assert [len(sink.given) for sink in (a, c)] == [10, 30]

    run(main())


def test_addresses() -> None:
    """Children are given as text, as parsed addresses or as sinks."""
    text, address = "jsonrpc:127.0.0.1:8080", parse_address("jsonrpc:127.0.0.1:8081")
    strategy = WeightedRoundRobin({text: 3, address: 2, PlainSink("c"): 1})
    assert strategy.weights == (3, 2, 1)
    assert [str(child) for child in strategy.declared[:2]] == [text, "jsonrpc:127.0.0.1:8081"]


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ("jsonrpc:127.0.0.1:8080", "WeightedRoundRobin takes a mapping of its children to their weights, e.g. {"),
        (["a", "b"], "takes a mapping of its children to their weights"),
        ({}, "WeightedRoundRobin has no children"),
        ({"jsonrpc:h:1": 0}, "the weight of jsonrpc:h:1 must be a whole number from 1, not 0"),
        ({"jsonrpc:h:1": -1}, "the weight of jsonrpc:h:1 must be a whole number from 1, not -1"),
        ({"jsonrpc:h:1": 1.5}, "must be a whole number from 1, not 1.5"),
        ({"jsonrpc:h:1": True}, "must be a whole number from 1, not True"),
        ({PlainSink("a"): "3"}, "the weight of a must be a whole number from 1, not '3'"),
        ({3: 3}, "must be a sink or an address, not 3"),
        ({PlainSink("a"): 1, PlainSink("a"): 2}, "two children named 'a'"),
    ],
)
def test_what_is_refused(weights: Any, text: str) -> None:
    """Weights that can't be are refused where they are declared, and the error says what was expected."""
    with pytest.raises(ConfigError) as caught:
        WeightedRoundRobin(weights)
    assert text in str(caught.value)
