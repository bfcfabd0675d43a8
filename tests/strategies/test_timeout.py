"""Timeout: a deadline of its own, which is nobody's fault."""

from __future__ import annotations

import asyncio

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome
from failover.sink import Sink, deliver_many, open_sink
from failover.strategies import Failover, Timeout
from tests.contract import check_sink
from tests.doubles import ANSWERS, NO, SILENT, YES, FastSink, PlainSink, now, opened, opening, outcomes, run

EVENT = Event("E_A")


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("name", list(ANSWERS))
@pytest.mark.parametrize("batch", [False, True])
def test_every_outcome(kind: type[PlainSink], name: str, *, batch: bool) -> None:
    """In time it is the child's; after it, the attempt is abandoned, and nobody above is quarantined for it."""

    async def main() -> None:
        for delay, late in ((0.5, False), (2.0, True)):
            sink = kind("a", ANSWERS[name].after(delay))
            async with opened(Failover(Timeout(sink, 1.0))) as tree:
                began = now()
                receipt = (await deliver_many(tree, [EVENT]))[0] if batch else await tree.deliver(EVENT)
                assert now() - began == min(delay, 1.0)
                (child,) = receipt.children[0].children
                assert child.outcome is (Outcome.ABANDONED if late else ANSWERS[name].outcome)
                assert receipt.settled == child.settled
                assert bool(tree.children[0].out_until) == child.at_fault
                assert not (late and child.at_fault)

    run(main())


def test_the_earlier_deadline_counts() -> None:
    """The caller's, if that is earlier; together for all attempts below."""

    async def main() -> None:
        for deadline, end in ((None, 3.0), (2.0, 2.0), (9.0, 3.0)):
            sinks = [FastSink(letter, SILENT.after(99)) for letter in "ab"]
            async with opened(Timeout(Failover(*sinks), 3.0)) as tree:
                began = now()
                await tree.deliver(EVENT, deadline=None if deadline is None else began + deadline)
                assert now() - began == end
                assert [sink.deadlines for sink in sinks] == [[began + end / 2], [began + end]]

    run(main())


def test_each_event_of_a_batch_has_its_time() -> None:
    """A long batch over a slow child ends as its events would alone: the time runs from when the child gets it."""

    async def main() -> None:
        events = [Event("E_A", {"n": number}) for number in range(300)]
        async with opened(Timeout(PlainSink("a", YES.after(0.9)), 1.0)) as tree:
            assert all(receipt.confirmed for receipt in await deliver_many(tree, events))

    run(main())


def test_silence_is_told_upwards() -> None:
    """A peer that never answers is taken out above although nobody waited for it."""

    async def main() -> None:
        async with opened(Failover(Timeout(FastSink("a", SILENT.after(2)), 1.0), FastSink("b"))) as tree:
            assert (await tree.deliver(EVENT)).confirmed
            assert not tree.children[0].out_until
            await asyncio.sleep(2)
            assert tree.children[0].out_until == 32

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_contract(kind: type[PlainSink]) -> None:
    """What `check_sink` asks of any sink holds."""

    async def make() -> Sink:
        tree = Timeout(kind("a", YES.after(0.01)), 1.0)
        await open_sink(tree, opening())
        return tree

    run(check_sink(make))


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_cancelled(kind: type[PlainSink]) -> None:
    """It leaves no task and nothing in flight, and what was done travels with the cancellation."""

    async def main() -> None:
        async with opened(Timeout(kind("a", NO.after(1)), 5)) as tree:
            task = asyncio.ensure_future(tree.deliver(EVENT))
            await asyncio.sleep(0.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert outcomes(getattr(caught.value, "receipt")) == [("a", "abandoned")]  # noqa: B009
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert tree.status().in_flight == 0

    run(main())


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), True, "1"])
def test_bad_declarations(seconds: float) -> None:
    """What is no time is refused where it is declared."""
    with pytest.raises(ConfigError, match="a Timeout's seconds must be a number of seconds, more than 0, not "):
        Timeout(PlainSink("a"), seconds)
