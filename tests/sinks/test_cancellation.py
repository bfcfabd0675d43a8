"""Cancellation at every point leaves nothing behind and harms no neighbour on the connection."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from failover.event import Event
from failover.group import Group
from failover.net.options import ConnectionOptions
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.records import (
    AttemptEnded,
    ConnectionChanged,
    DeliveryEnded,
    LateConfirmation,
    Quarantined,
    Record,
    Silence,
)
from failover.sink import Sink
from failover.sinks.jsonrpc import JsonRpcSink, jsonrpc
from failover.strategies import Failover, Parallel, RoundRobin
from tests.scripted import Call, Run, ScriptedPeer, black_hole, confirm, opened, silent, turns, until

EVENT = Event("E_TEST")


def ended(records: Sequence[Record]) -> list[Receipt]:
    """The receipts of deliveries that observers were told of."""
    return [record.receipt for record in records if isinstance(record, DeliveryEnded)]


def pending(sink: JsonRpcSink) -> int:
    """Everything that its connection still holds."""
    connection = sink._connection
    if connection is None:
        return 0
    return connection.pipeline.pending + len(connection._held) + len(connection._out)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def answer(calls: Sequence[Call]) -> None:
    """Confirm all that came."""
    for call in calls:
        call.confirm()


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4, 6])
def test_cancelled_some_turns_after_its_start(run: Run, depth: int) -> None:
    """Before the write, in its turn or after it: observers get its receipt, neighbours are confirmed."""

    async def main() -> tuple[list[Receipt], list[Receipt]]:
        records: list[Record] = []
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address)
            async with Group("g", Failover(sink), observers=[records.append]) as group:
                await peer.accepted()
                await until(lambda: sink.status().up)
                neighbours = [asyncio.create_task(group.deliver(Event(f"E_{n}"))) for n in range(3)]
                task = asyncio.create_task(group.deliver(EVENT))
                neighbours += [asyncio.create_task(group.deliver(Event(f"E_{n}"))) for n in range(3, 6)]
                await turns(depth)
                task.cancel()
                await peer.when(lambda: sum(call.method != "E_TEST" for call in peer.calls) == 6)
                await turns(2)
                await answer(peer.calls)
                receipts = await asyncio.gather(*neighbours)
                assert task.cancelled()
                await until(lambda: not pending(sink))
                return receipts, ended(records)

    receipts, told = run(main)
    assert all(receipt.confirmed for receipt in receipts)
    if depth == 0:  # the task was cancelled before it began
        assert len(told) == 6
        return
    (mine,) = [receipt for receipt in told if not receipt.confirmed]
    assert mine.event is EVENT
    assert mine.outcome in (Outcome.ABANDONED, Outcome.UNCONFIRMED)
    (child,) = mine.children
    assert child.event is EVENT
    assert child.outcome is Outcome.ABANDONED
    assert child.reason == "cancelled"


def test_cancelled_while_the_connection_is_being_made(run: Run) -> None:
    """What waits for a connect is taken back at once and never sent; the receipt says that nothing left."""

    async def main() -> tuple[list[Record], int]:
        records: list[Record] = []
        with black_hole() as address:
            sink = jsonrpc(address, options=ConnectionOptions(connect_timeout=5))
            async with opened(sink, observers=[records.append]):
                tasks = [asyncio.create_task(sink.deliver(EVENT)) for _ in range(10)]
                await turns(3)
                assert pending(sink) >= 10
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                return records, pending(sink)

    records, left = run(main)
    attempts = [record.attempt for record in records if isinstance(record, AttemptEnded)]
    assert [(attempt.outcome, attempt.sent) for attempt in attempts] == [(Outcome.ABANDONED, False)] * 10
    assert left == 0


def test_a_notification_cancelled_while_it_waits_is_never_sent(run: Run) -> None:
    """A notification that waits for room is taken back as a request is."""

    async def main() -> tuple[list[Record], list[str]]:
        records: list[Record] = []
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address, confirm=False, lazy=True)
            async with opened(sink, observers=[records.append]):
                first = asyncio.create_task(sink.deliver(Event("E_FIRST")))
                second = asyncio.create_task(sink.deliver(Event("E_SECOND")))
                await turns(1)
                await cancelled(first)
                assert (await second).outcome is Outcome.SENT
                await sink.deliver(Event("E_LAST"))
                await peer.when(lambda: peer.calls and peer.calls[-1].method == "E_LAST")
                return records, [call.method for call in peer.calls]

    records, methods = run(main)
    assert methods == ["E_SECOND", "E_LAST"]
    first = next(record.attempt for record in records if isinstance(record, AttemptEnded))
    assert (first.event.name, first.outcome, first.sent) == ("E_FIRST", Outcome.ABANDONED, False)


@pytest.mark.parametrize("cancel_first", [True, False])
def test_cancelled_in_the_turn_of_the_reply(run: Run, *, cancel_first: bool) -> None:
    """Cancellation and reply in the same loop turn, in either order: no result is set on a done future."""

    async def main() -> tuple[list[Record], Receipt]:
        records: list[Record] = []
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address)
            async with Group("g", Failover(sink), observers=[records.append]) as group:
                task = asyncio.create_task(group.deliver(EVENT))
                neighbour = asyncio.create_task(group.deliver(Event("E_OTHER")))
                calls = await peer.got(2)
                connection = sink._connection
                assert connection is not None
                replies = b"".join(call.reply(result="ok") for call in calls)
                if cancel_first:
                    task.cancel()
                    connection.data_received(replies)
                else:
                    connection.data_received(replies)
                    task.cancel()
                await asyncio.wait([task])
                assert pending(sink) == 0
                return records, await neighbour

    records, neighbour = run(main)
    assert neighbour.confirmed
    late = [record for record in records if isinstance(record, LateConfirmation)]
    told = next(receipt for receipt in ended(records) if receipt.event is EVENT)
    if cancel_first:
        assert len(late) == 1
        assert late[0].attempt.event is EVENT
        assert told.children[0].outcome is Outcome.ABANDONED
        assert told.children[0].maybe_processed
    else:
        assert not late
        assert told.confirmed


def test_cancelled_with_a_deadline_in_the_turn_of_the_reply(run: Run) -> None:
    """The timer of the deadline goes with it: nothing fires after the sink is closed."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                begun = sink.start(EVENT, deadline=loop.time() + 0.03)
                (call,) = await peer.got(1)
                begun.cancel()
                assert sink._connection is not None
                sink._connection.data_received(call.reply(result=1))
            done = loop.create_future()
            loop.call_later(0.05, done.set_result, None)
            await done

    run(main)


def test_a_whole_parallel(run: Run) -> None:
    """Cancelling a Parallel abandons every child, those under a strategy too, and the receipt lists all of them."""

    async def main() -> tuple[list[Record], int]:
        records: list[Record] = []
        async with ScriptedPeer(silent) as peer:
            sinks = [jsonrpc(f"{peer.address}/{name}") for name in "abc"]
            tree = Parallel(sinks[0], Failover(sinks[1], name="inner"), RoundRobin(sinks[2], name="other"))
            async with Group("g", tree, observers=[records.append]) as group:
                task = asyncio.create_task(group.deliver(EVENT))
                await peer.got(3)
                await cancelled(task)
                await answer(peer.calls)
                await until(lambda: sum(isinstance(record, LateConfirmation) for record in records) >= 3)
                return records, sum(map(pending, sinks))

    records, left = run(main)
    assert left == 0
    (receipt,) = ended(records)
    assert [attempt.outcome for attempt in receipt.attempts] == [Outcome.ABANDONED] * 3
    assert {attempt.event for attempt in receipt.attempts} == {EVENT}


def test_a_failover_that_is_moving_on(run: Run) -> None:
    """Cancelled at its second child, the receipt has the first one's failure and the second's abandonment."""

    async def main() -> list[Record]:
        records: list[Record] = []
        async with ScriptedPeer(lambda call: call.link.reset()) as broken, ScriptedPeer(silent) as second:
            tree = Failover(jsonrpc(broken.address), jsonrpc(second.address))
            async with Group("g", tree, observers=[records.append]) as group:
                task = asyncio.create_task(group.deliver(EVENT))
                await second.got(1)
                await cancelled(task)
        return records

    (receipt,) = ended(run(main))
    assert [attempt.outcome for attempt in receipt.attempts] == [Outcome.UNCONFIRMED, Outcome.ABANDONED]
    assert receipt.possible_duplicates == 1


@pytest.mark.parametrize("wrap", [None, Failover, Parallel, RoundRobin])
def test_a_batch(run: Run, wrap: Callable[..., Sink] | None) -> None:
    """A cancelled batch sends no more, what is in flight is abandoned, and neighbours go on."""

    async def main() -> None:
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(in_flight=16))
            root = sink if wrap is None else wrap(sink)
            async with Group("g", root) as group:
                task = asyncio.create_task(group.deliver_many([EVENT] * 100))
                await peer.got(16)
                await cancelled(task)
                peer.script = [confirm]
                await answer(peer.calls)
                assert (await group.deliver(EVENT)).confirmed
                assert len(peer.calls) == 17
                await until(lambda: not pending(sink))

    run(main)


def test_thousands_are_cancelled_at_once(run: Run) -> None:
    """Cancelling 4,000 deliveries that wait takes linear time: well under a second."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        with black_hole() as address:
            sink = jsonrpc(address, timeout=30, options=ConnectionOptions(connect_timeout=20))
            async with Group("g", Failover(sink)) as group:
                tasks = [asyncio.create_task(group.deliver(EVENT)) for _ in range(4000)]
                await turns(3)
                began = loop.time()
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                assert pending(sink) == 0
                return loop.time() - began

    assert run(main) < 1.0


def test_a_healthy_peer_is_never_quarantined_by_impatience(run: Run) -> None:
    """Callers that give up before every reply don't take a peer out that answers, and closing blames nobody."""

    async def main() -> list[Record]:
        records: list[Record] = []
        loop = asyncio.get_running_loop()
        async with ScriptedPeer(silent) as peer:
            strategy = Failover(jsonrpc(peer.address, timeout=0.2))
            async with Group("g", strategy, observers=[records.append]) as group:
                await until(
                    lambda: any(isinstance(record, ConnectionChanged) for record in records)
                )  # what waits for one might not leave in time
                for number in range(10):
                    receipt = await group.deliver(EVENT, deadline=loop.time() + 0.005)
                    assert receipt.attempts[0].outcome is Outcome.ABANDONED
                    (await peer.got(number + 1))[-1].confirm()
                await until(lambda: sum(isinstance(record, LateConfirmation) for record in records) == 10)
                assert (await group.deliver(EVENT, deadline=loop.time() + 0.005)).attempts
        return records

    records = run(main)
    assert not [record for record in records if isinstance(record, (Quarantined, Silence))]


def test_a_silent_peer_is_quarantined_by_impatient_callers(run: Run) -> None:
    """A primary that never answers is taken out after its own timeout, though no caller ever waits that long."""

    async def main() -> tuple[list[Record], Receipt]:
        records: list[Record] = []
        loop = asyncio.get_running_loop()
        async with ScriptedPeer(silent) as dead, ScriptedPeer() as alive:
            tree = Failover(jsonrpc(dead.address, timeout=0.04, name="dead"), jsonrpc(alive.address, name="alive"))
            async with Group("g", tree, observers=[records.append]) as group:
                began = loop.time()
                while not any(isinstance(record, Quarantined) for record in records):
                    assert loop.time() - began < 1
                    await group.deliver(EVENT, deadline=loop.time() + 0.01)
                return records, await group.deliver(EVENT, deadline=loop.time() + 0.5)

    records, receipt = run(main)
    assert next(record.child for record in records if isinstance(record, Quarantined)) == "dead"
    assert receipt.confirmed
    assert [child.outcome for child in receipt.children] == [Outcome.SKIPPED, Outcome.CONFIRMED]


def test_a_late_confirmation_ends_the_quarantine(run: Run) -> None:
    """A reply after the timeout finds its attempt: counted, told with the attempt unchanged, and the child is back."""

    async def main() -> tuple[Attempt, list[Record], int]:
        records: list[Record] = []
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address, timeout=0.02)
            strategy = Failover(sink)
            async with Group("g", strategy, observers=[records.append]) as group:
                receipt = await group.deliver(EVENT)
                assert strategy.children[0].out_until > 0
                peer.calls[0].confirm()
                peer.calls[0].confirm()
                await until(lambda: strategy.children[0].out_until == 0)
                return receipt.attempts[0], records, sink.status().late

    attempt, records, late = run(main)
    assert attempt.outcome is Outcome.UNCONFIRMED
    assert late == 1
    told = [record for record in records if isinstance(record, LateConfirmation)]
    assert told[0].attempt.request_id == attempt.request_id
    assert told[0].confirmed
    assert told[0].group == "g"


@pytest.mark.parametrize("end", ["broken", "answered", "expired", "closed"])
def test_cancelled_in_the_turn_of_its_end(run: Run, end: str) -> None:
    """Whatever ends an attempt between its cancellation and the word of it, its receipt is the one that was told."""

    async def main() -> tuple[Receipt, Attempt]:
        loop = asyncio.get_running_loop()
        records: list[Record] = []
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink, observers=[records.append]):
                before = loop.time()
                task = asyncio.create_task(sink.deliver(EVENT))
                (call,) = await peer.got(1)
                sent = loop.time()
                await until(lambda: loop.time() > sent)  # uvloop's has milliseconds only
                connection = sink._connection
                assert connection is not None
                task.cancel()
                if end == "broken":
                    connection.break_off("lost")
                elif end == "answered":
                    connection.data_received(call.reply(result=1))
                elif end == "expired":
                    connection.sweep(loop.time() + 2)
                else:
                    connection.close()
                with pytest.raises(asyncio.CancelledError) as raised:
                    await task
                left: Attempt = getattr(raised.value, "receipt")  # noqa: B009
                assert before <= left.began < left.ended
                assert left.request_id == call.id
                return left, next(record.attempt for record in records if isinstance(record, AttemptEnded))

    left, told = run(main)
    assert left is told
    assert left.outcome is Outcome.ABANDONED


def test_what_it_did_not_begin_can_not_be_abandoned(run: Run) -> None:
    """Of a future that is not its own a sink knows nothing, and says so."""

    async def main() -> None:
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                assert sink.abandon(asyncio.get_running_loop().create_future(), "cancelled") is None

    run(main)


def test_cancelled_before_the_write_in_the_turn_of_the_break(run: Run) -> None:
    """What had not left is abandoned as such: counted, told, and without an id."""

    async def main() -> tuple[Receipt, list[Record], dict[Outcome, int]]:
        records: list[Record] = []
        with black_hole() as address:
            sink = jsonrpc(address, options=ConnectionOptions(connect_timeout=5))
            async with opened(sink, observers=[records.append]):
                task = asyncio.create_task(sink.deliver(EVENT))
                await turns(3)
                assert sink._connection is not None
                task.cancel()
                sink._connection.break_off("lost")
                with pytest.raises(asyncio.CancelledError) as raised:
                    await task
                return getattr(raised.value, "receipt"), records, sink.status().outcomes  # noqa: B009

    left, records, outcomes = run(main)
    assert [record.attempt for record in records if isinstance(record, AttemptEnded)] == [left]
    assert left.event is EVENT
    assert (left.outcome, left.maybe_processed, left.reason) == (Outcome.ABANDONED, False, "cancelled")
    assert outcomes == {Outcome.ABANDONED: 1}


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_cancelled_and_closed_in_one_turn(run: Run, *, nested: bool, batch: bool) -> None:
    """The receipt that observers get is the event's own, also where its sink is closed before it hears of the end."""

    async def main() -> list[Receipt]:
        records: list[Record] = []
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address, name="a")
            group = Group("g", Failover(sink) if nested else sink, observers=[records.append], drain=0)
            await group.open()
            await peer.accepted()
            task = asyncio.create_task(group.deliver_many([EVENT]) if batch else group.deliver(EVENT))
            await peer.got(1)
            task.cancel()
            await group.aclose()
            await asyncio.wait([task])
        return ended(records)

    (receipt,) = run(main)
    assert {node.event for node in receipt.walk()} == {EVENT}
    assert receipt.maybe_processed
    assert [attempt.sink for attempt in receipt.attempts] == ["a"]


def test_a_batch_cancelled_midway(run: Run) -> None:
    """Each event has its receipt: confirmed, abandoned in flight, or skipped since its turn had not come."""

    async def main() -> list[Receipt]:
        records: list[Record] = []
        async with ScriptedPeer(confirm, silent) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(in_flight=2))
            async with Group("g", Failover(sink), observers=[records.append], drain=0) as group:
                await peer.accepted()
                task = asyncio.create_task(group.deliver_many([Event(f"E_{number}") for number in range(5)]))
                await peer.got(3)
                await turns(5)
                await cancelled(task)
                await until(lambda: len(ended(records)) == 5)
        return ended(records)

    receipts = run(main)
    assert [receipt.event.name for receipt in receipts] == [f"E_{number}" for number in range(5)]
    assert [receipt.children[0].outcome.value for receipt in receipts] == [
        "confirmed",
        "abandoned",
        "abandoned",
        "skipped",
        "skipped",
    ]
    assert [receipt.children[0].reason for receipt in receipts[1:]] == ["cancelled"] * 2 + [
        "cancelled before it was sent"
    ] * 2
    assert [receipt.maybe_processed for receipt in receipts] == [True] * 3 + [False] * 2
