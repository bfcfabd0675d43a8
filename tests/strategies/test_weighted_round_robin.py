"""Weighted round robin: turns by weight, spread evenly, and what becomes of the share of one that is out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def _weighted(weights: Sequence[int]) -> WeightedRoundRobin:
    return WeightedRoundRobin({PlainSink(f"{at}"): weight for at, weight in enumerate(weights)})


def _turn(strategy: WeightedRoundRobin) -> int:
    return strategy.children.index(next(iter(strategy.order(EVENT))))


def begin() -> Callable[[Sequential, list[int]], Callable[[list[int], list[int]], None]]:
    """The rule in fractions, with a model's own clock: who must be tried, in which order."""
    models: dict[int, tuple[list[Fraction], list[Fraction]]] = {}

    def before(strategy: Sequential, out: list[int]) -> Callable[[list[int], list[int]], None]:
        count = len(strategy.children)
        if id(strategy) not in models:
            models.clear()
            models[id(strategy)] = [Fraction(0)], [Fraction(0)] * count
        clock, begins = models[id(strategy)]
        well = [i for i in range(count) if i not in out]
        due: list[int] = []
        if well:
            clock[0] = max(clock[0], min(begins[i] for i in well))
            may = [i for i in well if begins[i] <= clock[0]]
            turn = min(may, key=lambda i: begins[i] + Fraction(1, WEIGHTS[i]))
            begins[turn] += Fraction(1, WEIGHTS[turn])
            clock[0] += Fraction(1, sum(WEIGHTS[:count]))  # who is out now was in service when the last turns came
            nearest = {i: (begins[i] - clock[0]) % Fraction(1, WEIGHTS[i]) for i in well}
            due = sorted(well, key=lambda i: (i != turn, nearest[i], (i - turn) % count))

        def check(first: list[int], _: list[int]) -> None:
            assert first == due[: len(first)]

        return check

    return before


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("count", COUNTS)
def test_every_combination_of_outcomes(kind: type[PlainSink], count: int) -> None:
    """Of up to four: the one whose turn it is, then by how near their next turns are, then those that are out."""
    check_combinations(make, kind, count, begin())


@pytest.mark.parametrize(("number", "most"), NUMBERS)
@pytest.mark.parametrize("batches", [False, True])
def test_weights_are_kept(number: int, most: float, *, batches: bool) -> None:
    """Over many events each child's share is its weight's, to far less than 1 %; also with one of them out."""
    events = [EVENT] * number
    assert within(shares(make, 4, events, batches=batches), [5 / 11, 1 / 11, 2 / 11, 3 / 11], most / 100)
    assert within(shares(make, 4, events, out=[0], batches=batches), [0, 1 / 6, 2 / 6, 3 / 6], most / 100)


def test_turns_are_smooth() -> None:
    """Of 5, 1, 1 nobody's turns come in a row while another waits, again and again."""

    async def main() -> None:
        a, b, c = FastSink("a"), FastSink("b"), FastSink("c")
        async with opened(WeightedRoundRobin({a: 5, b: 1, c: 1})) as strategy:
            ends = [receipt.children[0].sink for receipt in await strategy.deliver_many([EVENT] * 21)]
            assert "".join(ends) == "abaacaa" * 3

    run(main())


@given(weights=st.lists(st.integers(1, 100), min_size=1, max_size=8))
def test_nobody_is_an_event_early_or_late(weights: list[int]) -> None:
    """At every moment each child has had what is due to it, to less than one event; after a period exactly."""

    async def main() -> None:
        total = sum(weights)
        counts = [0] * len(weights)
        async with opened(_weighted(weights)) as strategy:
            for number in range(1, 2 * total + 1):
                counts[_turn(strategy)] += 1
                for count, weight in zip(counts, weights, strict=True):
                    assert abs(count * total - number * weight) < total
        assert counts == [2 * weight for weight in weights]

    run(main())


@given(weights=st.lists(st.integers(1, 20), min_size=2, max_size=8), random=st.randoms(use_true_random=False))
def test_children_go_and_come(weights: list[int], random: Random) -> None:
    """Whoever is out has no turn; the others share its part by weight, and when it is back all is as before.

    A child that is back has its first turn when it would have had one: until then others have it.
    """

    async def main() -> None:
        places = range(len(weights))
        out: list[int] = []
        async with opened(_weighted(weights)) as strategy:
            for _ in range(4):
                before, out = out, random.sample(places, random.randrange(len(weights)))
                back = len(set(before) - set(out))
                for at, child in enumerate(strategy.children):
                    if at in out:
                        strategy.take_out(child, 1e6, "a test", 0.0)
                    elif not child.steady:
                        strategy.release(child, "a test")
                total = sum(weights[at] for at in places if at not in out)
                counts = [0] * len(weights)
                for number in range(1, 3 * total + 1):
                    counts[_turn(strategy)] += 1
                    for at in places:
                        due = 0 if at in out else number * weights[at] / total
                        assert abs(counts[at] - due) < 1e-9 or (at not in out and -3 < counts[at] - due < 3 + back)

    run(main())


def test_all_are_out() -> None:
    """Then there are no turns, and those that come back are found whoever had the last one."""

    async def main() -> None:
        async with opened(_weighted([100, 1, 1])) as strategy:
            for child in strategy.children:
                strategy.take_out(child, 1e6, "a test", 0.0)
            for _ in range(3):
                assert list(strategy.order(EVENT)) == list(strategy.children)
            for child in strategy.children[1:]:
                strategy.release(child, "a test")
            assert [_turn(strategy) for _ in range(4)] == [1, 2, 1, 2]
            strategy.release(strategy.children[0], "a test")
            turns = [_turn(strategy) for _ in range(204)]
            assert [turns.count(at) for at in range(3)] == [200, 2, 2]

    run(main())


def test_many_that_are_out_are_not_asked_with_each_event() -> None:
    """Each is looked at when it would have its turn, but no more than eight of them with one event."""

    async def main() -> None:
        async with opened(_weighted([1] * 100)) as strategy:
            for child in strategy.children[1:]:
                strategy.take_out(child, 1e6, "a test", 0.0)
            looks = 0

            def clock() -> float:
                nonlocal looks
                looks += 1
                return 0.0

            strategy._now = clock  # pyright: ignore[reportPrivateUsage]
            assert [_turn(strategy) for _ in range(1000)] == [0] * 1000
            assert 4 * 1000 < looks <= 8 * 1000 + 99
            for child in strategy.children:
                strategy.release(child, "a test")
            turns = [_turn(strategy) for _ in range(300)]
            assert set(turns[100:]) == set(range(100))

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
