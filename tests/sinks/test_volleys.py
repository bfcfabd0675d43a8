"""What leaves as one: whatever happens to an event of a batch, it is as if it had been sent alone."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from failover.event import Event
from failover.net.exchange import Exchange
from failover.net.options import ConnectionOptions
from failover.net.volley import Batched, Gathered
from failover.outcome import Outcome
from failover.protocol.pipeline import MAX_ID
from failover.receipt import Attempt, Receipt
from failover.records import AttemptEnded, LateConfirmation, Record
from failover.sinks.each import Each
from failover.sinks.jsonrpc import JsonRpcSink, jsonrpc
from tests.doubles import begun
from tests.scripted import (
    Action,
    Run,
    ScriptedPeer,
    after,
    close,
    confirm,
    error,
    opened,
    raw,
    result,
    silent,
    turns,
    until,
)

EVENTS = [Event("E", [number]) for number in range(7)]

Way = Callable[[JsonRpcSink, Sequence[Event]], Awaitable[Sequence[Receipt]]]


def waiting(sink: JsonRpcSink) -> set[type]:
    """What waits for replies."""
    assert sink._connection is not None
    return {type(one) for lane in sink._connection.pipeline._lanes for one in lane.values()}


async def alone(sink: JsonRpcSink, events: Sequence[Event]) -> list[Receipt]:
    """Each event on its own: nothing is gathered for a sink that doesn't wait at its limit."""
    begun = [sink.start(event) for event in events]
    assert waiting(sink) == {Exchange}
    return await asyncio.gather(*begun)


async def in_one_turn(sink: JsonRpcSink, events: Sequence[Event]) -> list[Receipt]:
    """One by one in the same turn of the loop: the first leaves by itself, and then the others as one."""
    begun = [sink.start(event) for event in events]
    await asyncio.sleep(0)
    assert waiting(sink) == {Exchange, Gathered}
    return await asyncio.gather(*begun)


async def with_deadlines(sink: JsonRpcSink, events: Sequence[Event]) -> list[Receipt]:
    """The same, each with a deadline that comes before the timeout, but later than all that happens here."""
    now = asyncio.get_running_loop().time()
    begun = [sink.start(event, deadline=now + sink.timeout * 0.99) for event in events]
    await asyncio.sleep(0)
    assert waiting(sink) == {Exchange, Gathered}
    return await asyncio.gather(*begun)


async def as_a_batch(sink: JsonRpcSink, events: Sequence[Event]) -> list[Receipt]:
    """The same as a batch, which leaves as one."""
    batch = asyncio.ensure_future(sink.deliver_many(events))
    await asyncio.sleep(0)
    assert Batched in waiting(sink)
    return await batch


async def begun_together(sink: JsonRpcSink, events: Sequence[Event]) -> list[Receipt]:
    """The same begun together, which leaves as one but is waited for by nobody."""
    waiting = asyncio.ensure_future(begun(sink, events))
    await asyncio.sleep(0)
    assert sink._connection is not None
    assert any(isinstance(one, Each) for lane in sink._connection.pipeline._lanes for one in lane.values())
    return await waiting


def facts(receipt: Receipt) -> tuple[Any, ...]:
    """What a receipt says, but for the times and the id."""
    assert isinstance(receipt, Attempt)
    assert receipt.began <= receipt.ended
    return (
        receipt.event.params,
        receipt.outcome,
        receipt.verdict,
        re.sub(r"\d+ bytes", "some bytes", receipt.reason),
        receipt.sent,
        receipt.error,
        receipt.result,
        receipt.request_id is None,
    )


@pytest.mark.parametrize(
    "unusual",
    [
        confirm,
        result({"seen": True}),
        error(-32000),
        error(-32600),
        raw(b'{"jsonrpc":"2.0","id":ID,"result":1,"error":null}'),
        raw(b'{"jsonrpc":"2.0","id":ID}'),
        after(confirm, confirm),
        silent,
        close,
        raw(b"}"),
    ],
)
@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("together", [in_one_turn, with_deadlines, as_a_batch, begun_together])
def test_as_if_it_had_been_sent_alone(run: Run, together: Way, unusual: Action, watched: bool) -> None:  # noqa: FBT001  # a parameter
    """Confirmed, refused, malformed, twice, never or cut off: together or alone, receipts and counters are the same."""
    if together is with_deadlines and unusual is silent:
        pytest.skip("its deadline cuts it short")

    async def main(way: Way) -> tuple[Any, ...]:
        records: list[Record] = []
        async with ScriptedPeer(confirm, *[confirm] * 3, unusual, confirm) as peer:
            timeout = 0.2 if unusual is silent else 10
            sink = jsonrpc(peer.address, name="a", timeout=timeout, at_limit="next" if way is alone else "wait")
            async with opened(sink, observers=[records.append] if watched else []):
                await sink.deliver(EVENTS[0])
                receipts = await way(sink, EVENTS)
                status = sink.status()
                told = sorted(str(facts(record.attempt)) for record in records if isinstance(record, AttemptEnded))
                return [facts(receipt) for receipt in receipts], status.outcomes, status.in_flight, told

    assert run(lambda: main(together)) == run(lambda: main(alone))


def test_an_event_of_a_batch_that_is_late(run: Run) -> None:
    """A batch that is cut short abandons what has no reply; each of those still gets its late confirmation."""

    async def main() -> tuple[list[Receipt], list[Record], int]:
        records: list[Record] = []
        async with ScriptedPeer(confirm, confirm, confirm, silent) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                sink.watchers.append(records.append)
                await sink.deliver(EVENTS[0])
                loop = asyncio.get_running_loop()
                receipts = await sink.deliver_many(EVENTS, deadline=loop.time() + 0.1)
                for call in (await peer.got(1 + len(EVENTS)))[3:]:
                    call.confirm()
                await until(lambda: sink.status().late == 5)
                return receipts, records, sink.status().in_flight

    receipts, records, in_flight = run(main)
    assert [receipt.outcome for receipt in receipts] == [Outcome.CONFIRMED] * 2 + [Outcome.ABANDONED] * 5
    late = [record.attempt for record in records if isinstance(record, LateConfirmation)]
    assert late == receipts[2:]  # the very same
    assert in_flight == 0


def test_looking_costs_nothing(run: Run) -> None:
    """Whoever asks for the status of a sink makes no exchanges of what left as one."""

    async def main() -> tuple[int, set[type], list[Receipt]]:
        async with ScriptedPeer(lambda call: (confirm if call.params == [0] else silent)(call)) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                await sink.deliver(EVENTS[0])
                begun = [sink.start(event) for event in EVENTS[1:]]
                calls = (await peer.got(len(EVENTS)))[1:]
                in_flight = sink.status().in_flight
                assert sink._connection is not None
                kinds = waiting(sink)
                made = sum(
                    len(one._exchanges) for _, one in sink._connection.pipeline.entries() if type(one) is Gathered
                )
                for call in calls:
                    call.confirm()
                receipts = await asyncio.gather(*begun)
                return in_flight + made, kinds, receipts

    in_flight, kinds, receipts = run(main)
    assert in_flight == len(EVENTS) - 1
    assert kinds == {Exchange, Gathered}  # the first left by itself
    assert all(receipt.confirmed for receipt in receipts)


def test_looking_amid_a_batch_changes_nothing(run: Run) -> None:
    """Asked for its status while a batch is in flight, a sink counts all of it, and goes on as before."""

    async def main() -> tuple[list[Receipt], list[int]]:
        async with ScriptedPeer(confirm, silent) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                await sink.deliver(EVENTS[0])
                batch = asyncio.ensure_future(sink.deliver_many(EVENTS))
                await peer.got(1 + len(EVENTS))
                counts: list[int] = []
                for call in peer.calls[1:]:
                    counts.append(sink.status().in_flight)
                    call.confirm()
                    await until(lambda: sink.status().in_flight < counts[-1])
                return await batch, counts

    receipts, counts = run(main)
    assert all(receipt.confirmed for receipt in receipts)
    assert counts == [7, 6, 5, 4, 3, 2, 1]


def test_a_batch_at_the_end_of_the_ids(run: Run) -> None:
    """Where there are no ids in a row a batch's events go one by one, and then together again: each has its own id."""

    async def main() -> list[int]:
        async with ScriptedPeer(confirm) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                await sink.deliver(EVENTS[0])
                assert sink._connection is not None
                sink._connection.pipeline._next = MAX_ID - 3
                receipts = [*await sink.deliver_many(EVENTS), *await as_a_batch(sink, EVENTS)]
                peer.script = [silent]
                late = sink.start(EVENTS[0])
                await peer.got(16)
                peer.script = [confirm]
                sink._connection.pipeline._next = 10  # 2^31 later; 11 is still waiting
                receipts += await sink.deliver_many(EVENTS)
                peer.calls[15].confirm()
                receipts.append(await late)
                assert all(receipt.confirmed for receipt in receipts)
                return [call.id for call in peer.calls[1:]]

    ids = run(main)
    assert ids[:14] == [MAX_ID - 3, MAX_ID - 2, MAX_ID - 1, MAX_ID, *range(1, 11)]
    assert ids[14:] == [11, 10, *range(12, 18)]


def test_a_batch_keeps_its_place(run: Run) -> None:
    """What was handed over before a batch, in the same turn, leaves before it."""

    async def main() -> list[Any]:
        async with ScriptedPeer(confirm) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                await sink.deliver(EVENTS[0])
                first = [sink.start(event) for event in EVENTS[:3]]
                receipts = [*await sink.deliver_many(EVENTS[3:]), *await asyncio.gather(*first)]
                assert all(receipt.confirmed for receipt in receipts)
                return [call.params[0] for call in peer.calls[1:]]

    assert run(main) == list(range(7))


def test_a_batch_larger_than_the_buffer(run: Run) -> None:
    """What is more than may be buffered is written piece by piece as long as the peer takes it."""

    async def main() -> list[Receipt]:
        async with ScriptedPeer(confirm) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(write_buffer=1000))
            async with opened(sink):
                await sink.deliver(EVENTS[0])
                return list(await as_a_batch(sink, [Event("E", ["x" * 400]) for _ in range(7)]))

    assert all(receipt.confirmed for receipt in run(main))


def test_others_leave_before_replies_are_written_down(run: Run) -> None:
    """The moment replies have been read, as many others are under way: the peer needn't wait until we are ready."""

    async def main() -> tuple[int, int]:
        async with ScriptedPeer(lambda call: (confirm if call.params == [0] else silent)(call)) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(in_flight=3))
            async with opened(sink):
                await sink.deliver(EVENTS[0])
                batch = asyncio.create_task(sink.deliver_many(EVENTS[1:]))
                await until(lambda: len(peer.calls) == 4)
                connection = sink._connection
                assert connection is not None
                before = connection.pipeline.pending
                connection.data_received(
                    b"".join(b'{"jsonrpc":"2.0","id":%d,"result":0}' % call.id for call in peer.calls[1:])
                )
                batch.cancel()
                return before, connection.pipeline.pending

    assert run(main) == (3, 3)


def test_a_batch_that_the_peer_does_not_take(run: Run) -> None:
    """To a peer that doesn't read, what was not written stays unsent; it leaves once the peer reads again."""

    async def main(reads: bool) -> list[Receipt]:  # noqa: FBT001  # a parameter
        async with ScriptedPeer(confirm) as peer:
            sink = jsonrpc(peer.address, timeout=5 if reads else 0.2, options=ConnectionOptions(write_buffer=100_000))
            async with opened(sink):
                await sink.deliver(EVENTS[0])
                assert sink._connection is not None
                peer.links[0].transport.pause_reading()
                big = [Event("E", ["x" * 1_000_000]) for _ in range(20)]
                batch = asyncio.create_task(as_a_batch(sink, big))
                await until(lambda: sink._connection is None or sink._connection._held)
                if reads:
                    peer.links[0].transport.resume_reading()
                return await batch

    assert all(receipt.confirmed for receipt in run(lambda: main(reads=True)))
    receipts = run(lambda: main(reads=False))
    sent = [isinstance(receipt, Attempt) and receipt.sent for receipt in receipts]
    assert sent[0]
    assert not sent[-1]
    assert sent == sorted(sent, reverse=True)
    outcomes = [receipt.outcome for receipt in receipts]
    assert outcomes == [Outcome.UNCONFIRMED if left else Outcome.SKIPPED for left in sent]


@pytest.mark.parametrize("unusual", [confirm, error(-32000), silent])
def test_nothing_of_a_batch_is_left(run: Run, unusual: Action) -> None:
    """A batch that has its receipts is gone at once, also with the garbage collector off."""

    async def main() -> int:
        async with ScriptedPeer(confirm, confirm, unusual, confirm) as peer:
            sink = jsonrpc(peer.address, timeout=0.2)
            async with opened(sink):
                await sink.deliver(EVENTS[0])
                gc.collect()
                gc.disable()
                try:
                    await as_a_batch(sink, EVENTS)
                    await turns()
                    return sum(type(thing) is Batched for thing in gc.get_objects())
                finally:
                    gc.enable()

    assert run(main) == 0
