"""Route: one child an event, by pattern or predicate, with or without a default."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome
from failover.sink import Sink, deliver_many, open_sink
from failover.strategies import Failover, Route
from tests.contract import check_sink
from tests.doubles import ANSWERS, SILENT, YES, FastSink, PlainSink, now, opened, opening, outcomes, run


def long(event: Event) -> bool:
    """Whether a call took a minute."""
    assert isinstance(event.params, dict)
    return event.params.get("duration", 0) > 60


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize(
    ("event", "child"),
    [
        (Event("E_UL_AOR_INSERT", {}), "ul"),
        (Event("E_UL_", {"duration": 100}), "ul"),
        (Event("E_ACC_CDR", {"duration": 100}), "long"),
        (Event("E_ACC_CDR", {"duration": 10}), "acc"),
        (Event("E_ACC_EVENT", {}), "default"),
        (Event("e_acc_cdr", {}), "default"),
        (Event("XE_UL_A", {}), "default"),
    ],
)
def test_the_first_route_that_fits(kind: type[PlainSink], event: Event, child: str) -> None:
    """Patterns fit whole names, letters as they are; routes are asked in order; the rest goes to the default."""

    async def main() -> None:
        ul, over, acc, rest = (kind(name) for name in ("ul", "long", "acc", "default"))
        route = Route(("E_UL_*", ul), (long, over), ("E_ACC_[A-D]*", acc), default=rest)
        async with opened(route):
            assert outcomes(await route.deliver(event)) == [(child, "confirmed")]
            assert outcomes((await deliver_many(route, [event]))[0]) == [(child, "confirmed")]
            assert sum(len(sink.given) for sink in (ul, over, acc, rest)) == 2

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
@pytest.mark.parametrize("name", list(ANSWERS))
def test_every_outcome(kind: type[PlainSink], name: str) -> None:
    """The outcome is that of the one child; no other child gets the event, whatever that one did."""

    async def main() -> None:
        chosen, other = kind("chosen", ANSWERS[name]), kind("other")
        async with opened(Route(("E_A", chosen), default=other)) as route:
            for _ in range(2):  # nobody is quarantined
                receipt = await route.deliver(Event("E_A"))
                (child,) = receipt.children
                assert receipt.verdict == child.verdict
                assert receipt.settled == child.settled
                assert receipt.at_fault == child.at_fault
                assert receipt.outcome is (Outcome.UNCONFIRMED if name == "LEFT" else child.outcome)
            assert len(chosen.given) == 2
            assert not other.given

    run(main())


@pytest.mark.parametrize("batch", [False, True])
def test_without_a_default(*, batch: bool) -> None:
    """What fits no route is skipped, says why, and goes on to the next one above."""

    async def main() -> None:
        async with opened(Failover(Route(("E_B", FastSink("b"))), FastSink("rest"))) as tree:
            event = Event("E_A")
            receipt = (await deliver_many(tree, [event]))[0] if batch else await tree.deliver(event)
            assert outcomes(receipt) == [("Route", "skipped"), ("rest", "confirmed")]
            assert receipt.children[0].reason == "no route fits it"

    run(main())


@pytest.mark.parametrize("batch", [False, True])
def test_a_predicate_that_fails_costs_no_event(caplog: pytest.LogCaptureFixture, *, batch: bool) -> None:
    """It is logged, and the route doesn't fit that event; the other events and routes are as ever."""

    def duration(event: Event) -> bool:
        assert isinstance(event.params, dict)
        return bool(event.params["duration"] > 60)

    async def main() -> None:
        async with opened(Route((duration, FastSink("long")), ("E_A", FastSink("a")))) as route:
            events = [Event("E_A", {}), Event("E_A", {"duration": 61}), Event("E_B", {"duration": "x"})]
            receipts = await deliver_many(route, events) if batch else [await route.deliver(event) for event in events]
            assert [outcomes(receipt) for receipt in receipts] == [[("a", "confirmed")], [("long", "confirmed")], []]
            assert receipts[2].reason == "no route fits it"

    run(main())
    assert caplog.text.count("fits Event('E_") == caplog.text.count("it is taken not to") == 2


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_a_batch_ends_as_its_events_would_alone(kind: type[PlainSink]) -> None:
    """Each event of a batch goes its own way, the others' failures notwithstanding; the way has all of the time."""

    async def main() -> None:
        names = ["E_A", "E_B", "E_C", "E_A", "E_C", "E_B"] * 3
        events = [Event(name) for name in names]
        ends: list[Any] = []
        for batch in (True, False):
            sinks = kind("a"), kind("b", SILENT.after(0.25)), kind("c", YES.after(0.5))
            async with opened(Route(("E_A", sinks[0]), ("E_B", sinks[1]), default=sinks[2])) as route:
                end = now() + 100
                receipts = (
                    await deliver_many(route, events, deadline=end)
                    if batch
                    else [await route.deliver(event, deadline=end) for event in events]
                )
                assert {deadline for sink in sinks for deadline in sink.deadlines} == {end}
                ends.append([outcomes(receipt) for receipt in receipts])
        assert ends[0] == ends[1]

    run(main())


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_contract(kind: type[PlainSink]) -> None:
    """What `check_sink` asks of any sink holds."""

    async def make() -> Sink:
        slow = YES.after(0.01)
        route = Route(("E_CONTRACT", kind("a", slow)), (long, kind("b", slow)), default=kind("c", slow))
        await open_sink(route, opening())
        return route

    run(check_sink(make))


@pytest.mark.parametrize("kind", [PlainSink, FastSink])
def test_cancelled(kind: type[PlainSink]) -> None:
    """It leaves no task and nothing in flight, and what was done travels with the cancellation."""

    async def main() -> None:
        async with opened(Route(("*", kind("a", YES.after(1))))) as route:
            task = asyncio.ensure_future(route.deliver(Event("E_A")))
            await asyncio.sleep(0.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert outcomes(getattr(caught.value, "receipt")) == [("a", "abandoned")]  # noqa: B009
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert route.status().in_flight == 0

    run(main())


@pytest.mark.parametrize(
    "declare",
    [
        Route,
        lambda: Route(default=PlainSink("a")),
        lambda: Route(("", PlainSink("a"))),
        lambda: Route((None, PlainSink("a"))),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        lambda: Route(PlainSink("a")),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        lambda: Route(("E_A", PlainSink("a")), ("E_B", PlainSink("a"))),
    ],
)
def test_bad_declarations(declare: Callable[[], Route]) -> None:
    """What can't be meant is refused where it is declared."""
    with pytest.raises(
        ConfigError, match=r"has no routes: give it at least one|a route must be a|two children named 'a'"
    ):
        declare()
