"""Sticky: where keys go, that they stay, what moves when a child leaves, and what it costs."""

from __future__ import annotations

import hashlib
import random
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.sequential import Sequential
from failover.strategies import Failover, Sticky
from failover.strategies.sticky import Circle
from tests.doubles import DOWN, NO, YES, FastSink, PlainSink, opened, run
from tests.strategies.orders import COUNTS, LETTERS, NUMBERS, check_batches, check_combinations, shares, within

CHANCE = random.Random(1)
KEYS = [b"%032x@10.0.0.1" % CHANCE.getrandbits(128) for _ in range(20_000)]

FOR_EVER = [4, 2, 3, 2, 0, 4, 1, 2, 3, 1, 0, 0]
"""Where the keys call-0 to call-11 are among the first five of `names`."""


def names(count: int) -> list[str]:
    """Sockets as they are declared."""
    return [f"jsonrpc:10.0.{number // 250}.{number % 250}:8080" for number in range(count)]


def make(children: Sequence[PlainSink]) -> Sticky:
    """Over these, by Call-ID."""
    return Sticky(*children)


def call(callid: object) -> Event:
    """An event of a call."""
    return Event("E_ACC_EVENT", {"callid": callid, "method": "INVITE"})


def by_definition(key: bytes, count: int) -> list[int]:
    """The order of a key as `Circle` words it, computed the long way: the smallest distance of each name."""

    def words(data: bytes, number: int) -> tuple[int, ...]:
        return struct.unpack("<8Q", hashlib.blake2b(data, salt=number.to_bytes(16, "little")).digest())

    def smallest(name: str) -> int:
        points = [point for number in range(48) for point in words(name.encode(), number)]
        return min((point - begin) % (1 << 64) for point in points for begin in words(key, 0))

    return sorted(range(count), key=lambda at: smallest(LETTERS[at]))


def begin(key: bytes) -> Callable[[Sequential, list[int]], Callable[[list[int], list[int]], None]]:
    """Those in service are tried in the key's order."""
    orders = {count: by_definition(key, count) for count in range(1, 5)}

    def before(strategy: Sequential, out: list[int]) -> Callable[[list[int], list[int]], None]:
        well = [at for at in orders[len(strategy.children)] if at not in out]

        def check(first: list[int], _: list[int]) -> None:
            assert first == well[: len(first)]

        return check

    return before


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("count", COUNTS)
def test_every_combination_of_outcomes(kind: type[PlainSink], count: int) -> None:
    """Of up to four children: in the order of the key until it is settled, those that are out last."""
    check_combinations(make, kind, count, begin(b"a84b4c76e66710"))


@pytest.mark.parametrize("key", KEYS[:20])
def test_the_order_is_rendezvous(key: bytes) -> None:
    """The short way gives what the definition gives, first and order."""
    circle = Circle(LETTERS)
    assert list(circle.order(key)) == by_definition(key, 4)
    assert circle.first(key) == by_definition(key, 4)[0]


@pytest.mark.parametrize("count", [2, 3, 4, 10, 100])
def test_only_what_must_moves(count: int) -> None:
    """When a child leaves, no more than 1/n + 2 % of the keys move: those it had, each to the next in its order."""
    before = Circle(names(count))
    where = [before.first(key) for key in KEYS]
    leaving = Counter(where).most_common(1)[0][0]  # the one that has the most
    left = [at for at in range(count) if at != leaving]
    after = Circle([names(count)[at] for at in left])
    moved = 0
    for key, at in zip(KEYS, where, strict=True):
        now = left[after.first(key)]
        if now != at:
            assert at == leaving
            order = before.order(key)
            assert (next(order), next(order)) == (leaving, now)
            moved += 1
    assert 0 < moved / len(KEYS) <= 1 / count + 0.02


def test_what_moved_is_shared_by_all() -> None:
    """The keys of one that is out go to all the others, not to a neighbour."""
    circle = Circle(names(5))
    moved = Counter(order[1] for order in (list(circle.order(key)) for key in KEYS[:4000]) if order[0] == 0)
    assert set(moved) == {1, 2, 3, 4}
    assert max(moved.values()) < 2 * min(moved.values())


def test_the_mapping_is_for_ever() -> None:
    """Written down: another version, another machine or another order of declaration gives the same."""
    circle = Circle(names(5))
    assert [circle.first(b"call-%d" % number) for number in range(12)] == FOR_EVER
    mixed = names(5)[::-1]
    assert [4 - Circle(mixed).first(b"call-%d" % number) for number in range(12)] == FOR_EVER


@pytest.mark.parametrize(("number", "most"), NUMBERS)
@pytest.mark.parametrize("batches", [False, True])
def test_shares(number: int, most: float, *, batches: bool) -> None:
    """Over many keys four children have a quarter each, within 1 % of all; with one out the others have a third."""
    events = [call(f"{at}@10.0.0.1") for at in range(number)]
    assert within(shares(make, 4, events, batches=batches), [1 / 4] * 4, most)
    assert within(shares(make, 4, events[:20_000], out=[0], batches=batches), [0, 1 / 3, 1 / 3, 1 / 3], 0.03)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3, 4, 10])
def test_shares_whatever_the_names(count: int) -> None:
    """Ten sets of names each have shares within 1 % of all, but for what chance adds with 20,000 keys."""
    for letter in "klmnopqrst":
        circle = Circle([f"{letter}{number}" for number in range(count)])
        found = Counter(circle.first(key) for key in KEYS)
        assert within([found[at] / len(KEYS) for at in range(count)], [1 / count] * count, 0.015)


def test_events_of_a_key_stay() -> None:
    """A call stays where it is while others come and go, leaves when its child is out, and comes back."""

    async def main() -> None:
        children = [FastSink(letter) for letter in LETTERS]
        async with opened(make(children)) as strategy:
            at = by_definition(b"a84b4c", 4)
            ends = [(await strategy.deliver(call("a84b4c"))).children[0].sink for _ in range(3)]
            assert ends == [LETTERS[at[0]]] * 3
            strategy.take_out(strategy.children[at[0]], 30, "a test", 0)
            receipt = await strategy.deliver(call("a84b4c"))
            assert [child.sink for child in receipt.children] == [LETTERS[at[0]], LETTERS[at[1]]]
            strategy.take_out(strategy.children[at[2]], 30, "a test", 0)
            assert (await strategy.deliver(call("a84b4c"))).children[-1].sink == LETTERS[at[1]]
            strategy.take_back(strategy.children[at[0]], "a test", 0)
            assert (await strategy.deliver(call("a84b4c"))).children[0].sink == LETTERS[at[0]]

    run(main())


@pytest.mark.parametrize(
    "params",
    [
        {"callid": "5", "k": 1},
        {"callid": 5},
        {"callid": b"5"},
        [("k", 1), ("callid", "5"), ("callid", "6")],
    ],
)
def test_a_key_is_its_text(params: Any) -> None:
    """However the param comes, text, number or bytes, in a dict or a list: the same text is the same key."""

    async def main() -> None:
        async with opened(make([FastSink(letter) for letter in LETTERS])) as strategy:
            order = [child.name for child in strategy.order(Event("E_A", params))]
            assert order == [LETTERS[at] for at in by_definition(b"5", 4)]

    run(main())


@pytest.mark.parametrize("params", [None, {}, {"callid": None}, {"k": "v"}, [("k", "v")], ["5", "6"], []])
def test_without_a_key_the_id_places_it(params: Any) -> None:
    """Events without the param spread by their ids, and one that is repeated goes where it went."""

    async def main() -> None:
        async with opened(make([FastSink(letter) for letter in LETTERS])) as strategy:
            order = [child.name for child in strategy.order(Event("E_A", params, id="5"))]
            assert order == [LETTERS[at] for at in by_definition(b"5", 4)]
            firsts = {next(iter(strategy.order(Event("E_A", params)))).name for _ in range(200)}
            assert firsts == set(LETTERS)

    run(main())


def test_a_function_as_key() -> None:
    """The key may be computed; a very long one is as good as a short one."""

    async def main() -> None:
        children = [FastSink(letter) for letter in LETTERS]
        async with opened(Sticky(*children, key=lambda event: event.name)) as strategy:
            for number in range(50):
                await strategy.deliver(Event("E_A", {"callid": str(number)}))
        assert sorted(len(child.given) for child in children) == [0, 0, 0, 50]
        async with opened(Sticky(*[FastSink(letter) for letter in LETTERS])) as strategy:
            firsts = {next(iter(strategy.order(call("x" * 10_000 + str(number))))).name for number in range(100)}
            assert firsts == set(LETTERS)

    run(main())


def test_a_function_that_raises_costs_no_event(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the event is placed by its id, alone and in a batch."""

    async def main() -> None:
        def key(event: Event) -> object:
            return cast("Any", event.params)["callid"]

        broken = Event("E_A", {"k": 1}, id="5")
        async with opened(Sticky(*[FastSink(letter) for letter in LETTERS], key=key)) as strategy:
            for receipt in [await strategy.deliver(broken), *await strategy.deliver_many([broken, call("1")])]:
                assert receipt.confirmed
            order = [child.name for child in strategy.order(broken)]
            assert order == [LETTERS[at] for at in by_definition(b"5", 4)]

    run(main())
    assert "no key can be made of Event('E_A', {'k': 1}, id='5')" in caplog.text


def test_batches() -> None:
    """A batch ends as its events would one by one, each at the child of its key."""
    check_batches(make)


def test_nested() -> None:
    """Sticky over shards that are strategies, and sticky again inside: a call stays in its place on both levels."""

    async def main() -> None:
        leaves = {name: FastSink(name, NO if name == "b" else DOWN if name == "d" else YES) for name in "abcdef"}
        shards = [
            Sticky(leaves["a"], leaves["b"], name="shard 1"),
            Failover(leaves["c"], leaves["d"], name="shard 2"),
            Sticky(leaves["e"], leaves["f"], name="shard 3"),
        ]
        async with opened(Sticky(*shards)) as strategy:
            ends: dict[str, set[str]] = {}
            for number in range(300):
                for _ in range(2):
                    receipt = await strategy.deliver(call(str(number % 100)))
                    assert receipt.confirmed
                    ends.setdefault(str(number % 100), set()).add(receipt.attempts[-1].sink)
            assert all(len(end) == 1 for end in ends.values())
            assert {end for some in ends.values() for end in some} == set("acef")

    run(main())


def test_a_thousand_are_looked_up_like_three() -> None:
    """For a new key a few points of the circle are looked at, of a thousand children as many as of three."""
    reads = Counter[int]()

    class Counted:
        def __init__(self, points: Sequence[int]) -> None:
            self.points = points

        def __len__(self) -> int:
            return len(self.points)

        def __getitem__(self, at: int) -> int:
            reads[len(self)] += 1
            return self.points[at]

    for count in (3, 1000):
        circle = Circle(names(count))
        setattr(circle, "_points", Counted(circle._points))  # noqa: B010  # pyright: ignore[reportPrivateUsage]
        for key in KEYS[:100]:
            circle.first(key)
    assert reads[1000 * 64] <= 1.2 * reads[3 * 64]
    assert reads[1000 * 64] <= 100 * 8 * 3


@pytest.mark.parametrize("key", ["", 3, None, b"callid", ["callid"]])
def test_what_is_refused(key: Any) -> None:
    """A key that is neither the name of a param nor a function is refused where it is declared."""
    with pytest.raises(ConfigError, match="the key of Sticky must be the name of a param or a function of the event"):
        Sticky("jsonrpc:h:1", key=key)
