"""Groups: opening and closing, draining, loops, nesting, observers, and misuse that is told at once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Any

import pytest

from failover.errors import AddressError, ClosedError, ConfigError, UsageError, WrongLoopError
from failover.event import Event
from failover.group import Group
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.records import DeliveryEnded, LateConfirmation, Quarantined, Record
from failover.schemes import Defaults
from failover.sink import Opening
from failover.strategies import Failover, Parallel
from tests.doubles import DOWN, SILENT, YES, Collector, FastSink, PlainSink, begun, now, of, outcomes, run

EVENT = Event("E_A", {"n": 1})


def test_open_and_close() -> None:
    """Within `async with` it delivers; before and after it is closed, which is told and harms nothing."""

    async def main() -> None:
        sink = PlainSink("a")
        group = Group("billing", sink)
        assert repr(group) == "<Group 'billing', closed>"
        assert not group.status().up
        assert group.status().reason == "not open"
        with pytest.raises(ClosedError, match="group 'billing' is not open; use 'async with group:'"):
            await group.deliver(EVENT)
        with pytest.raises(ClosedError, match="not open"):
            await group.deliver_many([EVENT])
        with pytest.raises(ClosedError, match="not open"):
            _ = group.sink
        await group.aclose()
        async with group as same:
            assert same is group
            assert repr(group) == "<Group 'billing', open>"
            assert (await group.deliver(EVENT)).confirmed
            assert group.sink is sink
            assert group.status().up
            assert await group.deliver_many([]) == []
        assert sink.closes == 1
        await group.aclose()
        assert sink.closes == 1
        with pytest.raises(ClosedError):
            await group.deliver(EVENT)

    run(main())


def test_open_twice() -> None:
    """An open group can't be opened again; neither can a strategy stand in two of them."""

    async def main() -> None:
        strategy = Failover(PlainSink("a"))
        async with Group("one", strategy) as group:
            with pytest.raises(UsageError, match="group 'one' is open already; close it first"):
                await group.open()
            with pytest.raises(UsageError, match="Failover is open already; declare a strategy of its own"):
                await Group("two", strategy).open()
            assert (await group.deliver(EVENT)).confirmed

    run(main())


def test_open_again_after_closing() -> None:
    """It starts anew: what was in quarantine is tried."""

    async def main() -> None:
        sink = PlainSink("a", DOWN, YES)
        group = Group("g", Failover(sink, PlainSink("b")))
        async with group:
            assert outcomes(await group.deliver(EVENT)) == [("a", "unreachable"), ("b", "confirmed")]
            assert outcomes(await group.deliver(EVENT)) == [("a", "skipped"), ("b", "confirmed")]
        async with group:
            assert outcomes(await group.deliver(EVENT)) == [("a", "confirmed")]

    run(main())


def test_opening_that_fails_leaves_nothing_open() -> None:
    """A child that can't be opened closes those that were; the group may be opened later."""

    class Stubborn(PlainSink):
        async def open(self, opening: Opening) -> None:
            if not self.closes:
                self.closes = 1
                raise ConfigError("not yet")
            await super().open(opening)

    async def main() -> None:
        first, second = PlainSink("a", DOWN), Stubborn("b")
        group = Group("g", Failover(first, second))
        with pytest.raises(ConfigError, match="not yet"):
            await group.open()
        assert first.closes == 1
        assert not group.status().up
        async with group:
            assert (await group.deliver(EVENT)).confirmed

    run(main())


def test_closing_drains() -> None:
    """Closing takes no new events and waits for those under way, as long as it is told; the rest is abandoned."""

    async def main() -> None:
        cases = ((5.0, None, "confirmed", 2.0), (5.0, 1.0, "abandoned", 1.0), (0.0, None, "abandoned", 0.0))
        for drain, given, ends, at in cases:
            began = now()
            group = Group("g", Failover(FastSink("a", YES.after(2))), drain=drain)
            await group.open()
            running = [asyncio.ensure_future(group.deliver(EVENT)) for _ in range(3)]
            batch = asyncio.ensure_future(group.deliver_many([EVENT, EVENT]))
            together = asyncio.ensure_future(begun(group, [EVENT]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert group.status().in_flight == 6
            closing = asyncio.ensure_future(group.aclose(drain=given))
            await asyncio.sleep(0)
            with pytest.raises(ClosedError):
                await group.deliver(EVENT)
            await closing
            assert now() - began == at
            receipts: list[Receipt] = [*await asyncio.gather(*running), *await batch, *await together]
            assert [receipt.outcome.value for receipt in receipts if receipt.children[0].outcome is not Outcome.SKIPPED]
            assert {receipt.children[0].outcome.value for receipt in receipts} <= {ends, "skipped"}
            assert receipts[0].children[0].outcome.value == ends

    run(main())


def test_closing_is_bounded_with_nested_groups() -> None:
    """The outermost group waits, the groups within it don't wait once more."""

    async def main() -> None:
        inner = [Group(f"inner{n}", PlainSink("a", SILENT.after(100)), drain=50) for n in range(3)]
        group = Group("outer", Parallel(*inner), drain=1)
        await group.open()
        task = asyncio.ensure_future(group.deliver(EVENT))
        await asyncio.sleep(0)
        await group.aclose()
        assert now() == 1
        receipt = await task
        assert [child.outcome.value for child in receipt.children] == ["abandoned"] * 3

    run(main())


@pytest.mark.parametrize("drain", [-1, float("nan"), float("inf"), "1", None])
def test_bad_drain(drain: Any) -> None:
    """A drain is a finite number of seconds, 0 or more."""
    with pytest.raises(ConfigError, match="drain must be a number of seconds, 0 or more"):
        Group("g", PlainSink("a"), drain=drain)


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("observers", print, "observers must be a list of functions, not <built-in function print>; write observers="),
        ("observers", [3], "an observer is a function that is called with each record, not 3"),
        ("defaults", {"timeout": 1}, "defaults must be a Defaults, e.g. Defaults(…), or None, not {'timeout': 1}"),
        ("peers", 1, "peers must be a Peers"),
        ("rng", 1, "rng must be a Random"),
    ],
)
def test_settings_of_another_kind(setting: str, value: Any, text: str) -> None:
    """What would fail at the first event, or be logged with each, is refused where it is declared."""
    with pytest.raises(ConfigError, match=re.escape(text)):
        Group("g", PlainSink("a"), **{setting: value})


def test_a_batch_of_something_else() -> None:
    """One event in place of a batch is told so; any iterable is a batch."""

    async def main() -> None:
        async with Group("g", PlainSink("a")) as group:
            with pytest.raises(TypeError, match="a sequence of Events was expected, not Event"):
                await group.deliver_many(EVENT)  # type: ignore[arg-type]
            receipts = await group.deliver_many(EVENT for _ in range(3))  # type: ignore[arg-type]
            assert [receipt.confirmed for receipt in receipts] == [True] * 3

    run(main())


@pytest.mark.parametrize("deadline", ["1", float("nan"), True])
def test_a_deadline_that_is_none(deadline: Any) -> None:
    """What is no time is refused where it is given, for one event and for a batch, and nothing is delivered."""

    async def main() -> None:
        sink = PlainSink("a")
        async with Group("g", Failover(sink)) as group:
            with pytest.raises(ConfigError, match=r"deadline must be absolute loop time in seconds, .* take within"):
                await group.deliver(EVENT, deadline=deadline)
            with pytest.raises(ConfigError, match="deadline must be absolute loop time in seconds"):
                await group.deliver_many([EVENT], deadline=deadline, within=1)
            assert not sink.given
            for end in (round(now()) + 10, float("inf")):
                assert (await group.deliver(EVENT, deadline=end)).confirmed

    run(main())


def test_bad_declarations() -> None:
    """Names, children and addresses are checked where the group is declared."""
    with pytest.raises(ConfigError, match="the name of a group must be a non-empty string, not ''"):
        Group("", PlainSink("a"))
    with pytest.raises(ConfigError, match=r"a child of group 'g' must be a sink or an address, not 5$"):
        Group("g", 5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"not \[.*\]; pass several one by one to a strategy, e.g. Failover\(a, b\)"):
        Group("g", [PlainSink("a"), PlainSink("b")])  # type: ignore[arg-type]
    with pytest.raises(AddressError):
        Group("g", "jsonrpc:a")
    with pytest.raises(AddressError):
        Group("g", "virtual:FAILOVER")
    with pytest.raises(ConfigError, match="timeout must be a number of seconds, more than 0"):
        Group("g", "jsonrpc:a:1", defaults=Defaults(timeout=-1))
    with pytest.raises(ConfigError, match="quarantine must be a number of seconds, 0 or more"):
        Defaults(quarantine=float("nan"))


@pytest.mark.parametrize("thing", [None, "E_A", {"name": "E_A"}, 5])
def test_only_events_are_delivered(thing: Any) -> None:
    """Anything else is misuse, also within a batch."""

    async def main() -> None:
        sink = PlainSink("a")
        async with Group("g", sink) as group:
            with pytest.raises(TypeError, match="an Event was expected, not"):
                await group.deliver(thing)
            with pytest.raises(TypeError, match="an Event was expected, not"):
                await group.deliver_many([EVENT, thing])
            assert sink.given == []
            assert group.status().in_flight == 0

    run(main())


def test_within_and_deadline() -> None:
    """`within` counts from now; of both the earlier one counts."""

    async def main() -> None:
        sink = FastSink("a")
        async with Group("g", sink) as group:
            await asyncio.sleep(10)
            await group.deliver(EVENT, within=2)
            await group.deliver(EVENT, within=2, deadline=11)
            await group.deliver(EVENT, within=2, deadline=99)
            await group.deliver(EVENT, deadline=15)
            await group.deliver(EVENT)
            await group.deliver_many([EVENT], within=0.5)
            assert sink.deadlines == [12, 11, 12, 15, None, 10.5]
            for bad in (0, -1, float("nan"), True, "1"):
                with pytest.raises(ConfigError, match="within must be a number of seconds, more than 0"):
                    await group.deliver(EVENT, within=bad)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    run(main())


def test_wrong_loop() -> None:
    """Called from another loop it refuses and says where to go; nothing is delivered, the group goes on."""
    sink = PlainSink("a")
    group = Group("g", sink)
    with asyncio.Runner() as one, asyncio.Runner() as two:
        one.run(group.open())
        for call in (group.deliver(EVENT), group.deliver_many([EVENT])):
            with pytest.raises(WrongLoopError, match="group 'g' is open on another event loop; deliver there, or use"):
                two.run(_passed(call))
        with pytest.raises(WrongLoopError):
            two.run(begun(group, [EVENT]))
        assert sink.given == []
        assert one.run(_passed(group.deliver(EVENT))).confirmed
        one.run(group.aclose())


def test_two_loops() -> None:
    """Two groups in two loops of one process, and the same group on one loop after the other."""
    groups = [Group(name, Failover(PlainSink("a"))) for name in ("one", "two")]
    with asyncio.Runner() as one, asyncio.Runner() as two:
        runners = [one, two]
        for runner, group in zip(runners, groups, strict=True):
            runner.run(group.open())
        for _ in range(3):
            for runner, group in zip(runners, groups, strict=True):
                assert runner.run(_passed(group.deliver(EVENT))).confirmed
        for runner, group in zip(runners, groups, strict=True):
            runner.run(group.aclose())
        for runner, group in zip(runners, reversed(groups), strict=True):
            runner.run(group.open())
            assert runner.run(_passed(group.deliver(EVENT))).confirmed
            runner.run(group.aclose())


async def _passed(call: Coroutine[Any, Any, Any]) -> Any:
    return await call


def test_observers() -> None:
    """Each delivery is told, batches event by event; one observer that fails harms neither the event nor the others."""
    records: list[Record] = []

    def broken(record: Record) -> None:
        raise RuntimeError(type(record).__name__)

    async def main() -> list[Receipt]:
        sink = Failover(PlainSink("a", DOWN), PlainSink("b"))
        async with Group("g", sink, observers=[broken, records.append]) as group:
            one, many = await begun(group, [EVENT]), await group.deliver_many([EVENT, EVENT])
            return [*one, *many, await group.deliver(EVENT), *await begun(group, [Event("E_A"), Event("E_B")])]

    receipts = run(main())
    assert of(DeliveryEnded, records) == [DeliveryEnded("g", receipt) for receipt in receipts]
    assert [record.child for record in of(Quarantined, records)] == ["a"]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_cancellation_tells_observers_first(depth: int, *, together: bool) -> None:
    """The partial receipt is with the observers when the cancellation reaches the caller, from any depth."""
    records: list[Record] = []

    async def main() -> None:
        tree: Any = (PlainSink if together else FastSink)("slow", YES.after(9))
        for level in range(depth):
            tree = Failover(FastSink("down", DOWN), tree, name=f"level{level}")
        async with Group("g", tree, observers=[records.append]) as group:
            task = asyncio.ensure_future(group.deliver(EVENT))
            if together:
                task.cancel()
                collector = Collector([EVENT])
                group.begin_many([EVENT], collector)
                await asyncio.sleep(0.5)
                task = collector.begun[EVENT]
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert group.status().in_flight == 0
            assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())
    (told,) = of(DeliveryEnded, records)
    assert [attempt.sink for attempt in told.receipt.attempts] == ["down"] * depth + ["slow"]
    assert told.receipt.attempts[-1].outcome is Outcome.ABANDONED
    assert told.receipt.attempts[-1].reason == "cancelled"


def test_a_group_within_a_group() -> None:
    """It has its own name in the receipt of the whole, its own observers, and is judged as one child."""
    inside: list[Record] = []
    outside: list[Record] = []

    async def main() -> None:
        inner = Group("inner", Failover(PlainSink("a", DOWN), PlainSink("b", DOWN)), observers=[inside.append])
        outer = Group("outer", Failover(inner, PlainSink("c")), observers=[outside.append])
        async with outer:
            receipt = await outer.deliver(EVENT)
            assert outcomes(receipt) == [("inner", "unreachable"), ("c", "confirmed")]
            assert outcomes(receipt.children[0]) == [("Failover", "unreachable")]
            assert [attempt.sink for attempt in receipt.attempts] == ["a", "b", "c"]
            (again,) = await outer.deliver_many([EVENT])
            assert outcomes(again) == [("inner", "skipped"), ("c", "confirmed")]
            assert [child.name for child in outer.status().children[0].children] == ["inner", "c"]

    run(main())
    assert [(record.group, record.part) for record in of(DeliveryEnded, inside)] == [("inner", False)]
    told = [(record.group, record.part) for record in of(DeliveryEnded, outside)]
    assert told == [("inner", True), ("outer", False), ("outer", False)]
    assert {record.child for record in of(Quarantined, inside)} == {"a", "b"}
    assert {record.child for record in of(Quarantined, outside)} == {"a", "b", "inner"}


def test_begun_together_within_a_group() -> None:
    """A group within a group has its name in the receipts of events that were begun together, and tells its own."""
    inside: list[Record] = []
    outside: list[Record] = []
    events = [Event("E_A"), Event("E_B")]

    async def main() -> None:
        inner = Group("inner", Failover(FastSink("a"), FastSink("b")), observers=[inside.append])
        async with Group("outer", Failover(inner, FastSink("c")), observers=[outside.append]) as outer:
            for receipt in await begun(outer, events):
                assert outcomes(receipt) == [("inner", "confirmed")]
                assert outcomes(receipt.children[0]) == [("Failover", "confirmed")]
            assert outer.status().in_flight == 0

    run(main())
    assert [(record.group, record.part) for record in of(DeliveryEnded, inside)] == [("inner", False)] * 2
    told = [(record.group, record.part) for record in of(DeliveryEnded, outside)]
    assert told == [("inner", True), ("outer", False)] * 2


def test_begun_together_where_it_is_not_open() -> None:
    """Events are begun together only where the group is open; one whose sink breaks the rules raises by itself."""

    class Broken(PlainSink):
        async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
            raise ZeroDivisionError(event.name)

    async def main() -> None:
        group = Group("g", Broken("a"))
        with pytest.raises(ClosedError):
            group.begin_many([EVENT], Collector([EVENT]))
        async with group:
            with pytest.raises(ZeroDivisionError):
                await begun(group, [EVENT])
            assert group.status().in_flight == 0

    run(main())


def test_late_confirmations_reach_whoever_holds_the_group() -> None:
    """They go up through the group to the strategy that holds it."""
    heard: list[object] = []

    async def main() -> None:
        group = Group("g", Failover(FastSink("a", YES.after(2))))
        outer = Failover(group, FastSink("b"))
        async with Group("outer", outer) as whole:
            whole.watchers.append(heard.append)
            receipt = await whole.deliver(EVENT, deadline=1)
            assert receipt.confirmed
            outer.take_out(outer.children[0], 30, "test", now())
            await asyncio.sleep(3)
            assert outer.children[0].out_until == 0

    run(main())
    assert [type(news) for news in heard] == [LateConfirmation]


def test_forget() -> None:
    """After a fork a group is as declared again: nothing is closed, nothing is in quarantine, it can be opened."""

    async def main() -> None:
        sink = PlainSink("a", DOWN, YES)
        group = Group("g", Failover(sink))
        await group.open()
        await group.deliver(EVENT)
        group.forget()
        assert sink.closes == 0
        assert not group.status().up
        async with group:
            assert outcomes(await group.deliver(EVENT)) == [("a", "confirmed")]

    run(main())
