"""The sink protocol's functions: with and without a fast path, watching, and what declarations are checked for."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.records import LateConfirmation, Silence
from failover.sink import Opening, Sink, Status, check_name, check_seconds, deliver_many, open_sink, start, watch
from tests.doubles import DOWN, YES, FastSink, PlainSink, now, opening, run

EVENT = Event("E_A")


class Bare:
    """The least that is a sink."""

    name = "bare"

    def __init__(self) -> None:
        self.most = self.running = 0

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Takes longer for earlier events."""
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(1 / (1 + len(event.name)))
        self.running -= 1
        return Receipt(event, self.name, Outcome.CONFIRMED, 0.0, now())

    def status(self) -> Status:
        """Always up."""
        return Status("bare", up=True)

    async def aclose(self) -> None:
        """Nothing to do."""


def test_what_is_a_sink() -> None:
    """Anything with the four members; an address or a function is none."""
    assert isinstance(Bare(), Sink)
    assert isinstance(PlainSink("a"), Sink)
    assert not isinstance("jsonrpc:a:1", Sink)
    assert not isinstance(print, Sink)


def test_start_is_bare_where_the_sink_has_it() -> None:
    """A sink's own future is returned as it is, anything else becomes a task; both give the receipt."""

    async def main() -> None:
        fast, plain = FastSink("a"), PlainSink("b")
        await open_sink(fast, opening())
        await open_sink(plain, opening())
        bare = start(fast, EVENT, deadline=7)
        assert not isinstance(bare, asyncio.Task)
        task = start(plain, EVENT, deadline=7)
        assert isinstance(task, asyncio.Task)
        assert (await bare).confirmed
        assert (await task).confirmed
        assert fast.deadlines == plain.deadlines == [7]

    run(main())


def test_batches_without_a_fast_path() -> None:
    """Receipts stand in the order of their events, whichever ends first; no more than a window is under way."""

    async def main() -> None:
        sink = Bare()
        batch = [Event("E" * (1 + number % 7)) for number in range(300)]
        receipts = await deliver_many(sink, batch)
        assert [receipt.event for receipt in receipts] == batch
        assert sink.most == 64
        assert await deliver_many(sink, []) == []

    run(main())


def test_batches_with_a_fast_path() -> None:
    """The sink's own method gets events, deadline and the condition for stopping."""

    async def main() -> None:
        sink = FastSink("a", YES, DOWN, YES)
        await open_sink(sink, opening())
        receipts = await deliver_many(sink, [EVENT] * 20, deadline=5, until=lambda receipt: receipt.at_fault)
        assert [receipt.outcome for receipt in receipts[:2]] == [Outcome.CONFIRMED, Outcome.UNREACHABLE]
        assert receipts[-1].outcome is Outcome.SKIPPED
        assert set(sink.deadlines) == {5}
        assert len(receipts) == 20

    run(main())


def test_a_batch_that_is_cancelled_leaves_no_task() -> None:
    """All that was under way ends with it."""

    async def main() -> None:
        sink = Bare()
        task = asyncio.ensure_future(deliver_many(sink, [EVENT] * 200))
        await asyncio.sleep(0.01)
        assert sink.running == 64
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_opening_what_needs_none() -> None:
    """A sink without `open` is left alone."""

    async def main() -> None:
        await open_sink(Bare(), opening())
        sink = PlainSink("a")
        await open_sink(sink, opening())
        assert sink.opened

    run(main())


def test_watching() -> None:
    """A sink that has news tells each watcher; one that has none is left alone."""
    heard: list[object] = []
    sink = PlainSink("a")
    watch(sink, heard.append)
    watch(Bare(), heard.append)
    sink.tell(Silence("a", None, 1.0))
    assert heard == [Silence("a", None, 1.0)]
    assert isinstance(heard[0], Silence | LateConfirmation)


@pytest.mark.parametrize("value", [1, 0.001, 1e9])
def test_seconds(value: float) -> None:
    """Any positive number; zero where it means something; always a float afterwards."""
    assert check_seconds("timeout", value) == value
    assert isinstance(check_seconds("timeout", value), float)
    assert check_seconds("drain", 0, zero=True) == 0.0


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), float("-inf"), True, "1", None, 1j])
def test_bad_seconds(value: Any) -> None:
    """Anything else is refused with its name."""
    with pytest.raises(ConfigError, match="timeout must be a number of seconds, more than 0, not "):
        check_seconds("timeout", value)
    if value != 0:
        with pytest.raises(ConfigError, match="drain must be a number of seconds, 0 or more, not "):
            check_seconds("drain", value, zero=True)


@pytest.mark.parametrize("name", ["", None, 5, b"a"])
def test_bad_names(name: Any) -> None:
    """A name is text and not empty."""
    with pytest.raises(ConfigError, match="the name of a sink must be a non-empty string, not "):
        check_name("sink", name)
    assert check_name("sink", "a") == "a"


def test_what_a_tree_is_opened_with() -> None:
    """Without more said, chance is its own and nobody observes."""
    given = Opening(None, lambda _: PlainSink("a"))
    assert isinstance(given.rng, random.Random)
    assert given.observers == ()
    assert given.rng is not Opening(None, lambda _: PlainSink("a")).rng
