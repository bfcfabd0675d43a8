"""How a sink delivers: notifications, deadlines, batches, its own standing and what observers are told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.records import AttemptEnded, Record
from failover.sinks.jsonrpc import jsonrpc
from failover.strategies import Failover
from tests.scripted import (
    Run,
    ScriptedPeer,
    confirm,
    error,
    opened,
    refusing,
    silent,
)

EVENT = Event("E_TEST", {"caller": "alice", "n": 7})


def attempt(receipt: Receipt) -> Attempt:
    """A receipt of a socket, which is an attempt."""
    assert isinstance(receipt, Attempt)
    return receipt


@pytest.mark.parametrize(("null_id", "wire"), [(True, b'{"id":null,"jsonrpc"'), (False, b'{"jsonrpc"')])
def test_a_notification_is_sent(run: Run, wire: bytes, *, null_id: bool) -> None:
    """Without confirmations an event is SENT as soon as it is written, in the dialect that was asked for."""

    async def main() -> tuple[Attempt, bytes]:
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address, confirm=False, null_id=null_id)
            async with opened(sink):
                receipt = attempt(await sink.deliver(EVENT))
                await peer.got(1)
                return receipt, peer.calls[0].raw

    receipt, written = run(main)
    assert receipt.outcome is Outcome.SENT
    assert receipt.settled
    assert receipt.sent
    assert receipt.maybe_processed
    assert not receipt.confirmed
    assert receipt.request_id is None
    assert written == wire + b':"2.0","method":"E_TEST","params":{"caller":"alice","n":7}}'


def test_notifications_fail_over_connection_errors_too(run: Run) -> None:
    """A notification that can't be written is UNREACHABLE, not SENT."""

    async def main() -> Receipt:
        with refusing() as address:
            sink = jsonrpc(address, confirm=False)
            async with opened(sink):
                return await sink.deliver(EVENT)

    assert run(main).outcome is Outcome.UNREACHABLE


def test_a_batch_of_notifications(run: Run) -> None:
    """A batch of notifications, cold and warm, is SENT in order and complete."""
    events = [Event("E", [number]) for number in range(3000)]

    async def main() -> tuple[list[Receipt], list[Any]]:
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address, confirm=False)
            async with opened(sink):
                receipts = [*await sink.deliver_many(events[:1000]), *await sink.deliver_many(events[1000:])]
                await peer.got(len(events))
                return receipts, [call.params[0] for call in peer.calls]

    receipts, numbers = run(main)
    assert {receipt.outcome for receipt in receipts} == {Outcome.SENT}
    assert numbers == list(range(3000))


def test_method_and_event_param(run: Run) -> None:
    """A socket's method replaces the event's name, and the name can lead the params instead."""

    async def main() -> Any:
        async with ScriptedPeer() as peer:
            sink = jsonrpc(f"{peer.address}/my.method", event_param="event")
            async with opened(sink):
                await sink.deliver(EVENT)
                await sink.deliver(Event("E_PLAIN"))
                return [json.loads(call.raw) for call in peer.calls]

    first, second = run(main)
    assert first["method"] == "my.method"
    assert list(first["params"].items()) == [("event", "E_TEST"), ("caller", "alice"), ("n", 7)]
    assert second["params"] == {"event": "E_PLAIN"}


def test_the_id_of_an_event_stays_the_same(run: Run) -> None:
    """With `id_param` every socket and every repetition tells the same id, given or not; without, none is told."""

    async def main() -> list[Any]:
        async with ScriptedPeer(error(-32000)) as first, ScriptedPeer() as second:
            pair = Failover(
                jsonrpc(first.address, name="a", id_param="ref"),
                jsonrpc(second.address, name="b", id_param="ref"),
            )
            async with opened(pair):
                named, bare = Event("E_TEST", {"n": 7}, id="a84b-1"), Event("E_TEST", [7])
                for event in (named, named, bare, bare):
                    assert (await pair.deliver(event)).confirmed
            plain = jsonrpc(second.address)
            async with opened(plain):
                await plain.deliver(named)
            return [json.loads(call.raw)["params"] for call in (*first.calls, *second.calls)]

    *told, without = run(main)
    bare = told[2][-1]
    assert len(bare["ref"]) == 32
    assert told == [{"n": 7, "ref": "a84b-1"}, {"n": 7, "ref": "a84b-1"}, [7, bare], [7, bare]] * 2
    assert without == {"n": 7}


def test_a_deadline_shorter_than_the_timeout_abandons(run: Run) -> None:
    """A deadline that comes before the sink's own timeout is ours, not the peer's: ABANDONED, never at fault."""

    async def main() -> Attempt:
        loop = asyncio.get_running_loop()
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                return attempt(await sink.deliver(EVENT, deadline=loop.time() + 0.02))

    receipt = run(main)
    assert receipt.outcome is Outcome.ABANDONED
    assert receipt.sent
    assert receipt.maybe_processed
    assert not receipt.at_fault
    assert receipt.reason == "the deadline came before the sink's own timeout"
    assert 0.0199 <= receipt.took < 0.2


def test_a_deadline_in_the_past_sends_nothing(run: Run) -> None:
    """With no time left nothing is attempted: SKIPPED, alone and in a batch."""

    async def main() -> tuple[list[Receipt], int]:
        loop = asyncio.get_running_loop()
        async with ScriptedPeer() as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                await sink.deliver(EVENT)
                late = loop.time() - 1
                receipts = [await sink.deliver(EVENT, deadline=late)]
                receipts += await sink.deliver_many([EVENT] * 3, deadline=late)
                await sink.deliver(EVENT)
                return receipts, len(peer.calls)

    receipts, calls = run(main)
    assert [receipt.outcome for receipt in receipts] == [Outcome.SKIPPED] * 4
    assert {receipt.reason for receipt in receipts} == {"no time left before the deadline"}
    assert calls == 2


def test_a_sink_that_is_not_open_skips(run: Run) -> None:
    """Before it is opened and after it was closed a sink says so in its receipts."""

    async def main() -> list[Receipt]:
        async with ScriptedPeer() as peer:
            sink = jsonrpc(peer.address)
            receipts = [await sink.deliver(EVENT)]
            async with opened(sink):
                receipts.append(await sink.deliver(EVENT))
            return [*receipts, await sink.deliver(EVENT), *await sink.deliver_many([EVENT])]

    before, within, after_it, batch = run(main)
    assert within.confirmed
    for receipt in (before, after_it, batch):
        assert (receipt.outcome, receipt.reason) == (Outcome.SKIPPED, "the sink is not open")


def test_observers_see_every_attempt_as_its_receipt(run: Run) -> None:
    """Each attempt's end is told once, with the caller's very receipt; an observer that raises harms nothing."""

    async def main() -> tuple[list[Receipt], list[Record]]:
        records: list[Record] = []

        def raises(record: Record) -> None:
            raise ZeroDivisionError(record)

        async with ScriptedPeer(confirm, error(1), silent) as peer:
            sink = jsonrpc(peer.address, timeout=0.02)
            async with opened(sink, observers=[raises, records.append]):
                return [await sink.deliver(EVENT) for _ in range(3)], records

    receipts, records = run(main)
    told = [record.attempt for record in records if isinstance(record, AttemptEnded)]
    assert [one is other for one, other in zip(told, receipts, strict=True)] == [True] * 3


def test_status_counts_outcomes(run: Run) -> None:
    """A sink's standing has its outcomes counted and what is in flight."""

    async def main() -> None:
        async with ScriptedPeer(confirm, error(1), silent) as peer:
            sink = jsonrpc(peer.address)
            assert (sink.status().up, sink.status().reason) == (False, "not open")
            async with opened(sink):
                await sink.deliver(EVENT)
                await sink.deliver(EVENT)
                waiting = sink.start(EVENT)
                await peer.got(3)
                status = sink.status()
                assert status.up
                assert status.in_flight == 1
                assert status.outcomes == {Outcome.CONFIRMED: 1, Outcome.REJECTED: 1}
                peer.calls[-1].confirm()
                await waiting
                assert sink.status().in_flight == 0

    run(main)
