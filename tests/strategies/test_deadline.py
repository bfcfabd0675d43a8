"""Deadline: an event's own time counts, it is nobody's fault, and a fault in the function costs no event."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome
from failover.sink import Sink, deliver_many, open_sink
from failover.strategies import Deadline, Failover
from tests.contract import check_sink
from tests.doubles import ANSWERS, SILENT, YES, FastSink, PlainSink, now, opened, opening, outcomes, run


def until(end: Any) -> Event:
    """An event whose time is over then."""
    return Event("E_A", {"end": end})


def at(event: Event) -> float | None:
    """When its time is over."""
    params: Any = event.params or {}
    return params.get("end")


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("name", list(ANSWERS))
@pytest.mark.parametrize("batch", [False, True])
def test_every_outcome(kind: type[PlainSink], name: str, *, batch: bool) -> None:
    """In time it is the child's; after it, the attempt is abandoned, and nobody above is quarantined for it."""

    async def main() -> None:
        for delay, late in ((0.5, False), (2.0, True)):
            sink = kind("a", ANSWERS[name].after(delay))
            async with opened(Failover(Deadline(sink, at))) as tree:
                began = now()
                event = until(began + 1)
                receipt = (await deliver_many(tree, [event]))[0] if batch else await tree.deliver(event)
                assert now() - began == min(delay, 1.0)
                (child,) = receipt.children[0].children
                assert child.outcome is (Outcome.ABANDONED if late else ANSWERS[name].outcome)
                assert receipt.settled == child.settled
                assert bool(tree.children[0].out_until) == child.at_fault
                assert not (late and child.at_fault)

    run(main())


def test_the_earlier_deadline_counts() -> None:
    """The caller's, if that is earlier; an event without a time has the caller's alone."""

    async def main() -> None:
        sink = FastSink("a")
        async with opened(Deadline(sink, at)) as tree:
            for own, callers in ((5, None), (5, 4), (4, 5), (None, 5), (None, None)):
                await tree.deliver(until(own), deadline=callers)
            assert sink.deadlines == [5, 4, 4, 5, None]
        never = FastSink("a")
        async with opened(Deadline(never, lambda _: float("inf"))) as tree:
            await tree.deliver(Event("E_A"))
            assert never.deadlines == [None]

    run(main())


@pytest.mark.parametrize("batch", [False, True])
def test_a_stale_event_is_skipped(*, batch: bool) -> None:
    """It reaches no socket behind it, and the strategy above may put it elsewhere; its neighbours are delivered."""

    async def main() -> None:
        await asyncio.sleep(10)
        sink, archive = FastSink("a"), FastSink("b")
        async with opened(Failover(Deadline(sink, at), archive)) as tree:
            events = [until(8.5), until(99), until(10), until(-1e9)]
            receipts = await tree.deliver_many(events) if batch else [await tree.deliver(event) for event in events]
            assert [receipt.children[-1].sink for receipt in receipts] == ["b", "Deadline", "b", "b"]
            stale = receipts[0].children[0]
            assert (stale.outcome, stale.settled, stale.at_fault) == (Outcome.SKIPPED, False, False)
            assert stale.reason == "stale: its time was over 1.5 s ago"
            assert sink.given == [events[1]]
            assert not tree.children[0].out_until

    run(main())


@pytest.mark.parametrize("end", ["soon", True, float("nan"), KeyError("end")])
@pytest.mark.parametrize("batch", [False, True])
def test_a_function_that_fails_costs_no_event(end: Any, caplog: pytest.LogCaptureFixture, *, batch: bool) -> None:
    """One that raises or returns no time is logged, and the event has the caller's deadline alone."""

    def broken(_: Event) -> Any:
        if isinstance(end, Exception):
            raise end
        return end

    async def main() -> None:
        sink = FastSink("a")
        event = Event("E_A")
        async with opened(Deadline(sink, broken)) as tree:
            receipts = (
                await tree.deliver_many([event], deadline=5) if batch else [await tree.deliver(event, deadline=5)]
            )
            assert receipts[0].confirmed
            assert sink.deadlines == [5]

    run(main())
    assert "no deadline can be had of Event('E_A')" in caplog.text


def test_silence_is_told_upwards() -> None:
    """A peer that never answers is taken out above although nobody waited for it."""

    async def main() -> None:
        async with opened(Failover(Deadline(FastSink("a", SILENT.after(2)), at), FastSink("b"))) as tree:
            assert (await tree.deliver(until(1))).confirmed
            assert not tree.children[0].out_until
            await asyncio.sleep(2)
            assert tree.children[0].out_until == 32

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_cancelled(kind: type[PlainSink]) -> None:
    """It leaves no task and nothing in flight, and what was done travels with the cancellation."""

    async def main() -> None:
        async with opened(Deadline(kind("a", YES.after(1)), at)) as tree:
            task = asyncio.ensure_future(tree.deliver(until(9)))
            await asyncio.sleep(0.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert outcomes(getattr(caught.value, "receipt")) == [("a", "abandoned")]  # noqa: B009
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert tree.status().in_flight == 0

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("end", [None, 1e9])
def test_contract(kind: type[PlainSink], end: float | None) -> None:
    """What `check_sink` asks of any sink holds, for events with a time of their own and without."""

    async def make() -> Sink:
        tree = Deadline(kind("a", YES.after(0.01)), lambda _: end)
        await open_sink(tree, opening())
        return tree

    run(check_sink(make))


@pytest.mark.parametrize("wrong", [60, None, "ts"])
def test_bad_declarations(wrong: Any) -> None:
    """What is no function is refused where it is declared, and the error says what else may be meant."""
    with pytest.raises(ConfigError, match=r"at of Deadline must be a function of the event .* take Timeout"):
        Deadline(PlainSink("a"), wrong)
