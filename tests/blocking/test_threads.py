"""The blocking face with the thread that all facades of a process share, on real sockets."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from queue import SimpleQueue

import pytest

from failover import (
    ClosedError,
    ConfigError,
    ConnectionOptions,
    Event,
    Group,
    Outcome,
    Receipt,
    UsageError,
    jsonrpc,
)
from failover.blocking import BlockingGroup, handover
from failover.blocking.calls import GRACE
from failover.blocking.process import this_process
from failover.strategies import Failover, Parallel
from tests.blocking.parts import Broken, Forgetful, Gate, Late, Refusing, Stubborn, Unclosable

EVENT = Event("E_ACC_CDR", {"callid": "a84b4c76e66710"})
LONG = 20.0  # seconds: a deadline that no test waits for


def results(receipt: Receipt) -> object:
    """What the subscriber answered."""
    return receipt.attempts[-1].result


def ignored(_: Receipt) -> None:
    """Nobody wants it."""


def at_once(group: BlockingGroup, hand_over: Callable[[], object]) -> handover.HandOver:
    """Hand over on the loop's thread, where it can't begin anything before it has all."""
    way = group._way()
    assert isinstance(way, handover.HandOver)
    way._loop.call_soon_threadsafe(hand_over)
    return way


def loop_threads() -> list[threading.Thread]:
    """The threads of ours that there are."""
    return [thread for thread in threading.enumerate() if thread.name == "failover"]


def test_deliver(echo: str) -> None:
    """A blocking caller gets the receipt of the whole tree."""
    with Group("billing", Failover(echo)).blocking() as group:
        receipt = group.deliver(EVENT)
    assert receipt.confirmed
    assert results(receipt) == EVENT.params
    assert [node.sink for node in receipt.walk()] == ["Failover", echo]


def test_deliver_many(echo: str) -> None:
    """A batch has its receipts in the order of its events; an empty one has none."""
    events = [Event("E_ACC_CDR", {"number": number}) for number in range(500)]
    with Group("billing", echo).blocking() as group:
        receipts = group.deliver_many(events, within=LONG)
        assert group.deliver_many([]) == []
    assert [receipt.event for receipt in receipts] == events
    assert [results(receipt) for receipt in receipts] == [event.params for event in events]


def test_many_threads(echo: str) -> None:
    """Each of many threads gets the receipts of its own events, whichever way it hands them over."""

    def work(thread: int) -> None:
        called: SimpleQueue[Receipt] = SimpleQueue()
        for turn in range(20):
            one = Event("E_ONE", {"thread": thread, "turn": turn})
            assert results(group.deliver(one, within=LONG)) == one.params
            group.submit(one, called.put, within=LONG)
            assert [results(receipt) for receipt in group.deliver_many([one, EVENT], within=LONG)] == [
                one.params,
                EVENT.params,
            ]
            assert results(called.get(timeout=LONG)) == one.params

    with Group("billing", Failover(echo)).blocking() as group, ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(16)))


def test_one_thread_for_all(echo: str) -> None:
    """All facades share one thread: started with the first, ended with the last."""
    assert loop_threads() == []
    with Group("a", echo).blocking() as first:
        (thread,) = loop_threads()
        assert thread.daemon
        with Group("b", echo).blocking() as second:
            assert loop_threads() == [thread]
            assert second.deliver(EVENT).confirmed
        assert loop_threads() == [thread]
        assert first.deliver(EVENT).confirmed
    assert loop_threads() == []


def test_first_use_opens(echo: str) -> None:
    """Without `with`, the first call opens the group; closed, it says so until it is opened again."""
    group = Group("billing", echo).blocking()
    assert not group.is_open
    assert group.status().reason == "not open"
    assert repr(group) == "<BlockingGroup 'billing', not open>"
    assert group.deliver(EVENT).confirmed
    assert repr(group) == "<BlockingGroup 'billing', open>"
    assert group.status().up
    for _ in range(2):
        group.close()
        assert not group.is_open
    with pytest.raises(ClosedError, match="'billing' was closed"):
        group.deliver(EVENT)
    with pytest.raises(ClosedError, match="'billing' was closed"):
        group.submit(EVENT, print)
    with group as again:
        again.open()
        assert again.deliver(EVENT).confirmed


def test_never_opened() -> None:
    """A facade that was never used is closed without a thread; it can't be used after."""
    group = Group("billing", "jsonrpc:127.0.0.1:9").blocking()
    group.close()
    with pytest.raises(ClosedError):
        group.deliver(EVENT)
    assert loop_threads() == []


def test_open_elsewhere(echo: str) -> None:
    """A group that is open on another loop isn't opened twice, and leaves no thread."""

    async def main() -> None:
        async with Group("billing", echo) as group:
            facade = group.blocking()
            with pytest.raises(UsageError, match="open already"):
                facade.open()
            assert loop_threads() == []
            assert (await group.deliver(EVENT)).confirmed

    asyncio.run(main())


def test_bad_arguments(echo: str) -> None:
    """What can't be meant is refused in the caller, at once."""
    declared = Group("billing", echo)
    for within in (0, -1, float("nan"), "1"):
        with pytest.raises(ConfigError, match="within must be a number of seconds"):
            declared.blocking(within=within)  # type: ignore[arg-type]  # that is the point
    with declared.blocking() as group:
        for call in (
            lambda: group.deliver(EVENT, within=0),
            lambda: group.deliver_many([EVENT], within=0),
            lambda: group.submit(EVENT, print, within=0),
        ):
            with pytest.raises(ConfigError, match="within must be"):
                call()
        for call in (
            lambda: group.deliver("E"),  # type: ignore[arg-type]
            lambda: group.deliver_many([EVENT, "E"]),  # type: ignore[list-item]
            lambda: group.submit("E", print),  # type: ignore[arg-type]
        ):
            with pytest.raises(TypeError, match="an Event was expected, not 'E'"):
                call()
        with pytest.raises(TypeError, match="on_receipt must be a function, not None"):
            group.submit(EVENT, None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="call_from_thread must be a function, not 1"):
            group.submit(EVENT, print, 1)  # type: ignore[arg-type]


def test_submit(echo: str) -> None:
    """The function is called on the loop's thread; or where the caller wants it, e.g. on another loop."""
    called: SimpleQueue[tuple[str, bool]] = SimpleQueue()

    def on_receipt(receipt: Receipt) -> None:
        called.put((threading.current_thread().name, receipt.confirmed))

    async def on_a_loop() -> None:
        arrived: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        group.submit(EVENT, arrived.set_result, asyncio.get_running_loop().call_soon_threadsafe)
        assert (await arrived).confirmed

    with Group("billing", echo).blocking() as group:
        group.submit(EVENT, on_receipt)
        assert called.get(timeout=LONG) == ("failover", True)
        asyncio.run(on_a_loop())


def test_submit_from_the_loop(echo: str) -> None:
    """A callback may submit; what would wait for the thread it runs on is refused."""
    refused: SimpleQueue[str] = SimpleQueue()
    again: SimpleQueue[Receipt] = SimpleQueue()
    other = Group("other", echo).blocking()

    def on_receipt(_: Receipt) -> None:
        waiting: list[Callable[[], object]] = [
            lambda: group.deliver(EVENT),
            lambda: group.deliver_many([EVENT]),
            group.close,
            other.open,
        ]
        for call in waiting:
            try:
                call()
            except UsageError as error:
                refused.put(str(error))
        assert group.status().up
        group.submit(EVENT, again.put)

    with Group("billing", echo).blocking() as group:
        group.submit(EVENT, on_receipt)
        assert again.get(timeout=LONG).confirmed
    assert refused.qsize() == 4
    assert "'billing': this thread runs its loop" in refused.get()
    assert not other.is_open


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_failing_callback(echo: str, caplog: pytest.LogCaptureFixture, error: type[BaseException]) -> None:
    """A callback that raises is logged, and harms nobody."""
    called = threading.Event()

    def on_receipt(_: Receipt) -> None:
        called.set()
        raise error

    with Group("billing", echo).blocking() as group:
        group.submit(EVENT, on_receipt)
        assert called.wait(LONG)
        assert group.deliver(EVENT).confirmed
    assert [record.getMessage() for record in caplog.records if "on_receipt" in record.getMessage()] == [
        f"on_receipt {on_receipt!r} failed for event 'E_ACC_CDR'"
    ]


def test_slow_event_holds_back_nobody(gate: Gate) -> None:
    """Of events handed over together each has its receipt when there is one, and each its own deadline."""
    ended: SimpleQueue[tuple[str, Outcome]] = SimpleQueue()

    def on_receipt(receipt: Receipt) -> None:
        ended.put((receipt.event.name, receipt.outcome))

    with Group("billing", gate.subscriber.socket).blocking() as group:
        group.submit(Event("E_SLOW"), on_receipt, within=LONG)
        group.submit(Event("E_SHORT"), on_receipt, within=0.05)
        for number in range(8):
            group.submit(Event(f"E_FAST_{number}"), on_receipt, within=LONG)
        order = [ended.get(timeout=LONG) for _ in range(9)]
        assert order == [
            *((f"E_FAST_{number}", Outcome.CONFIRMED) for number in range(8)),
            ("E_SHORT", Outcome.ABANDONED),
        ]
        gate.open()
        assert ended.get(timeout=LONG) == ("E_SLOW", Outcome.CONFIRMED)


def test_total_deadline(silent: Callable[[], str]) -> None:
    """With all sockets silent under 100 callers nobody waits for longer than the deadline, and most not at all."""
    within, timeout = 0.3, 0.05
    sinks = [jsonrpc(silent(), timeout=timeout) for _ in range(2)]

    def work(_: int) -> list[float]:
        waited: list[float] = []
        for _ in range(10):
            began = time.monotonic()
            receipt = group.deliver(EVENT)
            waited.append(time.monotonic() - began)
            assert not receipt.confirmed
        return waited

    with Group("billing", Failover(*sinks)).blocking(within=within) as group, ThreadPoolExecutor(100) as threads:
        waited = [seconds for thread in threads.map(work, range(100)) for seconds in thread]
    assert len(waited) == 1000
    assert max(waited) < within + GRACE
    assert sum(seconds >= timeout for seconds in waited) < 300


def test_short_deadline(silent: Callable[[], str]) -> None:
    """A call's own deadline counts: not earlier, and hardly later."""
    with Group("billing", silent()).blocking() as group:
        for within in (0.02, 0.1):
            began = time.monotonic()
            assert group.deliver(EVENT, within=within).outcome is Outcome.ABANDONED
            assert within <= time.monotonic() - began < within + GRACE
        assert [receipt.outcome for receipt in group.deliver_many([EVENT, EVENT], within=0.02)] == [
            Outcome.ABANDONED,
            Outcome.ABANDONED,
        ]


def test_interrupted_caller(gate: Gate) -> None:
    """KeyboardInterrupt in a waiting caller leaves nothing broken: the event goes on, and so do the others."""
    main = threading.get_ident()

    def interrupt() -> None:
        gate.arrived.get(timeout=LONG)
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    with Group("billing", gate.subscriber.socket).blocking(within=LONG) as group:
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            group.deliver(EVENT)
        interrupter.join()
        assert group.status().in_flight == 1
        assert group.deliver(Event("E_FAST")).confirmed
        gate.open()
        assert group.deliver(Event("E_LAST")).confirmed
        assert group.status().in_flight == 0


@pytest.mark.parametrize("drain", [0, LONG])
def test_close_while_calls_wait(gate: Gate, drain: float) -> None:
    """Closing gives each call that waits its receipt: confirmed if its answer comes in time, else abandoned."""
    ended: SimpleQueue[Receipt] = SimpleQueue()
    group = Group("billing", Failover(gate.subscriber.socket), drain=drain).blocking(within=LONG)
    with ThreadPoolExecutor(4) as threads, group:
        calls = [threads.submit(group.deliver, Event(f"E_{number}")) for number in range(3)]
        many = threads.submit(group.deliver_many, [EVENT, EVENT])
        group.submit(EVENT, ended.put)
        for _ in range(6):
            gate.arrived.get(timeout=LONG)
        if drain:
            gate.open()
        group.close()
        receipts = [*(call.result(LONG) for call in calls), *many.result(LONG), ended.get(timeout=LONG)]
    expected = Outcome.CONFIRMED if drain else Outcome.UNCONFIRMED
    assert {receipt.outcome for receipt in receipts} == {expected}
    assert all(receipt.attempts[0].outcome is not Outcome.UNCONFIRMED for receipt in receipts)


def test_call_races_with_close(echo: str) -> None:
    """Calls that meet the closing get a receipt or a ClosedError, and none is left waiting."""

    def work(_: int) -> set[str]:
        ends: set[str] = set()
        try:
            while True:
                ends.add(group.deliver(EVENT, within=LONG).outcome.value)
                begun.set()
        except ClosedError:
            return ends

    for _ in range(8):
        begun = threading.Event()
        group = Group("billing", echo).blocking()
        with ThreadPoolExecutor(4) as threads, group:
            ends = [threads.submit(work, number) for number in range(4)]
            assert begun.wait(LONG)
            group.close()
            assert set().union(*(end.result(LONG) for end in ends)) <= {"confirmed", "skipped"}


def test_handed_over_too_late(echo: str) -> None:
    """A call that is handed over when the group has just been closed is skipped, with the loop ended or not."""
    called: SimpleQueue[Receipt] = SimpleQueue()
    for other in (Group("other", echo).blocking(), None):
        group = Group("billing", echo).blocking()
        group.open()
        way = group._way()
        assert isinstance(way, handover.HandOver)
        if other is not None:
            other.open()
        assert group.deliver(EVENT).confirmed
        group.close()
        group._here.way, group._here.closed = way, False  # as a thread sees it that looked before
        group.submit(EVENT, called.put)
        way._closed = False  # or looked between the last drain and the end
        group.submit(EVENT, called.put)
        way._closed = True
        for receipt in (*group.deliver_many([EVENT, EVENT]), called.get(timeout=LONG), called.get(timeout=LONG)):
            assert (receipt.outcome, receipt.reason) == (Outcome.SKIPPED, "the group was closed")
        group._here.way, group._here.closed = None, True
        if other is not None:
            other.close()


def test_bounded(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """More calls under way than the bound allows are skipped at once, and say why."""
    monkeypatch.setattr(handover, "OUTSTANDING", 2)
    ended: SimpleQueue[Receipt] = SimpleQueue()
    with Group("billing", gate.subscriber.socket).blocking(within=LONG) as group:
        for _ in range(3):
            group.submit(EVENT, ended.put)
        receipt = ended.get(timeout=LONG)
        assert receipt.outcome is Outcome.SKIPPED
        assert "under way already" in receipt.reason
        for _ in range(2):
            gate.arrived.get(timeout=LONG)
        gate.open()
        assert all(ended.get(timeout=LONG).confirmed for _ in range(2))


def test_tasks_are_kept_and_bounded(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """What delivered one event delivers the next; of those that have nothing to do only some are kept."""
    monkeypatch.setattr(handover, "KEPT", 2)
    ended: SimpleQueue[Receipt] = SimpleQueue()
    with Group("billing", Parallel(gate.subscriber.socket)).blocking(within=LONG) as group:
        way = group._way()
        assert isinstance(way, handover.HandOver)
        for _ in range(5):
            assert group.deliver(Event("E_FAST")).confirmed
        assert len(way._tasks) == 1
        for _ in range(5):
            group.submit(EVENT, ended.put)
        for _ in range(5):
            gate.arrived.get(timeout=LONG)
        gate.open()
        assert all(ended.get(timeout=LONG).confirmed for _ in range(5))
        group.status()
        assert len(way._tasks) == 2


def test_no_task_while_nothing_unusual_happens(gate: Gate) -> None:
    """What is delivered to a socket, or in order to several, needs no task; nothing of it is left when it has ended."""
    ended: SimpleQueue[Receipt] = SimpleQueue()
    events = [Event(f"E_{number}") for number in range(50)]
    with Group("billing", Failover(gate.subscriber.socket)).blocking(within=LONG) as group:
        way = at_once(group, lambda: [group.submit(event, ended.put) for event in events])
        for _ in events:
            gate.arrived.get(timeout=LONG)
        assert way._under_way == 50
        gate.open()
        assert {ended.get(timeout=LONG).event for _ in events} == set(events)
        group.status()
        assert (way._under_way, way._together, way._tasks) == (0, set(), set())


def test_the_same_event_again(gate: Gate) -> None:
    """One and the same event may be handed over again while it is under way: each has a receipt of its own."""
    ended: SimpleQueue[Receipt] = SimpleQueue()
    with Group("billing", gate.subscriber.socket).blocking(within=LONG) as group:
        for _ in range(5):
            group.submit(EVENT, ended.put)
            group.submit(Event("E_OTHER"), ended.put)
        for _ in range(10):
            gate.arrived.get(timeout=LONG)
        gate.open()
        receipts = [ended.get(timeout=LONG) for _ in range(10)]
    assert len({receipt.attempts[0].request_id for receipt in receipts}) == 10
    assert [receipt.event for receipt in receipts].count(EVENT) == 5


def test_odd_events(echo: str) -> None:
    """An event of a class of its own, whatever that does, harms none of those that are handed over with it."""

    class Odd(Event):
        __slots__ = ()
        __hash__ = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

        def __eq__(self, other: object) -> bool:
            raise ZeroDivisionError

    ended: SimpleQueue[Receipt] = SimpleQueue()
    with Group("billing", Failover(echo)).blocking(within=LONG) as group:
        for number in range(10):
            group.submit(Odd("E_ODD", {"n": number}), ended.put)
            group.submit(Event("E_EVEN", {"n": number}), ended.put)
        assert all(ended.get(timeout=LONG).confirmed for _ in range(20))


def test_in_order(gate: Gate) -> None:
    """What one thread hands over leaves in that order, whatever deadlines it has."""
    with Group("billing", Failover(gate.subscriber.socket)).blocking(within=LONG) as group:
        for number in range(60):
            group.submit(Event(f"E_{number}"), ignored, within=LONG + number // 7 % 3)
        assert [gate.arrived.get(timeout=LONG) for _ in range(60)] == [f"E_{number}" for number in range(60)]
        gate.open()


def test_one_that_moves_on_holds_back_nobody(gate: Gate, echo: str) -> None:
    """Of events handed over together one that its socket refuses goes to the next one while the others still wait."""
    ended: SimpleQueue[Receipt] = SimpleQueue()
    events = [Event(name) for name in ("E_SLOW", "E_REFUSED", "E_FAST", "E_SLOW")]
    with Group("billing", Failover(gate.subscriber.socket, echo)).blocking(within=LONG) as group:
        at_once(group, lambda: [group.submit(event, ended.put) for event in events])
        first = {(receipt.event.name, len(receipt.attempts)) for receipt in (ended.get(timeout=LONG) for _ in range(2))}
        assert first == {("E_REFUSED", 2), ("E_FAST", 1)}
        assert ended.empty()
        gate.open()
        assert [ended.get(timeout=LONG).event.name for _ in range(2)] == ["E_SLOW", "E_SLOW"]


def test_a_few_have_tasks(gate: Gate) -> None:
    """Fewer events than are worth beginning together have tasks, as the same one again and again has."""
    ended: SimpleQueue[Receipt] = SimpleQueue()
    for events in ([Event("E_A"), Event("E_B")], [EVENT] * 6, [EVENT, Event("E_A")] * 3):
        with Group("billing", Failover(gate.subscriber.socket)).blocking(within=LONG) as group:

            def hand_over(group: BlockingGroup = group, events: list[Event] = events) -> None:
                for event in events:
                    group.submit(event, ended.put)

            way = at_once(group, hand_over)
            for event in events:
                assert gate.arrived.get(timeout=LONG) == event.name
            assert len(way._tasks) == len(events)
            gate.open()
            assert {ended.get(timeout=LONG).event for _ in events} == set(events)


def test_receipts_in_nobodys_context(echo: str) -> None:
    """A callback doesn't run in the context of who happened to open the group, or to hand over first."""
    where: ContextVar[str] = ContextVar("where", default="nowhere")
    where.set("a caller")
    seen: SimpleQueue[str] = SimpleQueue()

    def on_receipt(_: Receipt) -> None:
        seen.put(where.get())

    with Group("billing", Failover(echo)).blocking(within=LONG) as group:
        at_once(group, lambda: [group.submit(Event(f"E_{number}"), on_receipt) for number in range(10)])
        assert {seen.get(timeout=LONG) for _ in range(10)} == {"nowhere"}


def test_deadlines_near_each_other() -> None:
    """Of events that are begun together none has its deadline early, and none more than a moment late."""
    sink = Forgetful()
    ends: dict[str, float] = {}

    def hand_over() -> None:
        for number in range(40):
            ends[f"E_{number}"] = time.monotonic() + 1 + number / 1000
            group.submit(Event(f"E_{number}"), ignored, within=1 + number / 1000)
        handed.set()

    handed = threading.Event()
    with Group("billing", sink, drain=0).blocking() as group:
        at_once(group, hand_over)
        assert handed.wait(LONG)
        group.status()
    assert 5 < len(sink.begun) < 20
    skew = 0.001  # seconds, between two looks at the clock
    for events, deadline in sink.begun:
        assert deadline is not None
        assert all(-skew <= deadline - ends[event.name] <= handover.NEAR + 10 * skew for event in events)


def test_handed_over_while_it_closes() -> None:
    """What is still in the queue when the group closes is begun, in nobody's context, and has its receipt in time."""
    where: ContextVar[str] = ContextVar("where", default="nowhere")
    ended: SimpleQueue[tuple[str, str]] = SimpleQueue()
    where.set("whoever closes")
    with Group("billing", Late(), drain=0).blocking(within=LONG) as group:
        way = group._way()
        assert isinstance(way, handover.HandOver)
        way._awake = True  # as if the loop were just about to look
        for number in range(5):
            group.submit(Event(f"E_{number}"), lambda receipt: ended.put((receipt.reason, where.get())))
    assert {ended.get(timeout=LONG) for _ in range(5)} == {("late", "nowhere")}


@pytest.mark.parametrize(("sink", "reason"), [(Forgetful(), "the group was closed"), (Refusing(), "ZeroDivisionError")])
def test_sink_that_begins_and_forgets(sink: Broken, reason: str) -> None:
    """What a sink never tells of, or refuses against the rules, has one receipt all the same, when the group closes."""
    ended: SimpleQueue[Receipt] = SimpleQueue()
    events = [Event(f"E_{number}") for number in range(5)]
    with Group("billing", sink, drain=0).blocking(within=LONG) as group:
        at_once(group, lambda: [group.submit(event, ended.put) for event in events])
        group.status()
        group.status()  # by then the loop has seen what it was handed
    receipts = [ended.get(timeout=LONG) for _ in events]
    assert [(receipt.outcome, receipt.maybe_processed) for receipt in receipts] == [(Outcome.ABANDONED, True)] * 5
    assert all(reason in receipt.reason for receipt in receipts)
    assert {receipt.event for receipt in receipts} == set(events)
    assert ended.empty()


def test_broken_sink(caplog: pytest.LogCaptureFixture) -> None:
    """What a sink raises against the rules reaches the caller; a callback's caller finds it in receipt and log."""
    ended: SimpleQueue[Receipt] = SimpleQueue()
    with Group("billing", Broken()).blocking() as group:
        with pytest.raises(ZeroDivisionError, match="E_ACC_CDR"):
            group.deliver(EVENT)
        with pytest.raises(BaseExceptionGroup):
            group.deliver_many([EVENT])
        group.submit(EVENT, ended.put)
        receipt = ended.get(timeout=LONG)
    assert receipt.outcome is Outcome.ABANDONED
    assert receipt.maybe_processed
    assert "ZeroDivisionError('E_ACC_CDR')" in receipt.reason
    assert "the delivery of event 'E_ACC_CDR' failed" in caplog.text


def test_stubborn_sink() -> None:
    """A sink that keeps no deadline makes nobody wait for ever; closing cuts it off, and says so."""
    ended: SimpleQueue[Receipt] = SimpleQueue()
    with Group("billing", Stubborn(), drain=0).blocking(within=0.02) as group:
        receipt = group.deliver(EVENT)
        assert (receipt.outcome, receipt.maybe_processed) == (Outcome.ABANDONED, True)
        assert "something keeps the loop busy" in receipt.reason
        assert [receipt.outcome for receipt in group.deliver_many([EVENT, EVENT])] == [Outcome.ABANDONED] * 2
        group.submit(EVENT, ended.put)
    receipt = ended.get(timeout=LONG)
    assert (receipt.outcome, receipt.reason) == (Outcome.ABANDONED, "the group was closed")


def test_sink_that_fails_to_close() -> None:
    """What a sink raises when it is closed reaches who closes; the facade is closed all the same, the thread ended."""
    group = Group("billing", Unclosable()).blocking()
    group.open()
    with pytest.raises(TimeoutError, match="unclosable"):
        group.close()
    assert not group.is_open
    group.close()
    assert loop_threads() == []


def test_busy_loop(echo: str) -> None:
    """A callback that blocks the loop makes nobody wait past the deadline."""
    blocked, go_on = threading.Event(), threading.Event()

    def on_receipt(_: Receipt) -> None:
        blocked.set()
        go_on.wait(LONG)

    with Group("billing", echo).blocking(within=0.02) as group:
        group.submit(EVENT, on_receipt, within=LONG)
        assert blocked.wait(LONG)
        assert group.deliver(EVENT).outcome is Outcome.ABANDONED
        with pytest.raises(TimeoutError, match="keeps its loop busy"):
            group.status()
        go_on.set()
        assert group.deliver(EVENT, within=LONG).confirmed


def test_interrupted_opening(echo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """KeyboardInterrupt while the group opens leaves neither an open group nor a thread."""
    group = Group("billing", echo)
    opened = group.open
    main = threading.get_ident()

    async def interrupted() -> None:
        await opened()
        signal.pthread_kill(main, signal.SIGINT)
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(group, "open", interrupted)
    facade = group.blocking()
    with pytest.raises(KeyboardInterrupt):
        facade.open()
    assert loop_threads() == []
    monkeypatch.undo()
    with facade:
        assert facade.deliver(EVENT).confirmed


def test_refused_opening(echo: str) -> None:
    """A group that can't be opened says why, and the others are as they were."""
    other = Group("other", jsonrpc(echo, options=ConnectionOptions(in_flight=1))).blocking()
    with Group("billing", echo).blocking() as group:
        with pytest.raises(ConfigError, match="shared and already has other options"):
            other.open()
        assert not other.is_open
        assert group.deliver(EVENT).confirmed


def test_facades_share_connections() -> None:
    """Groups on the shared thread share the connection to a peer, and one that closes takes it from nobody."""
    gate = Gate()
    with gate.subscriber.blocking():
        socket = gate.subscriber.socket
        with Group("a", socket).blocking() as first:
            assert first.deliver(Event("E_FAST")).confirmed
            with Group("b", socket).blocking() as second:
                assert second.deliver(Event("E_FAST")).confirmed
                assert gate.subscriber.status().accepted == 1
            assert first.deliver(Event("E_FAST")).confirmed
            assert gate.subscriber.status().connections == 1


def test_process_leaves_once() -> None:
    """Who doesn't use the loop thread can't end it for others."""
    process = this_process()
    process.leave(object())
    user = object()
    process.join(user)
    process.leave(object())
    assert len(loop_threads()) == 1
    process.leave(user)
    assert loop_threads() == []
