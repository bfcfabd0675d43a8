"""Back-pressure is explicit: what may be in flight, what may wait, what may be buffered, and what happens beyond."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tenacity.wait import wait_none

from failover.errors import ConfigError
from failover.event import Event
from failover.net.options import ConnectionOptions
from failover.outcome import Outcome, Verdict
from failover.receipt import Attempt, Receipt
from failover.sinks.jsonrpc import JsonRpcSink, jsonrpc
from failover.strategies import Failover
from tests.scripted import Call, Run, ScriptedPeer, confirm, opened, silent, turns

EVENT = Event("E_TEST")


def start(sink: JsonRpcSink, count: int, event: Event = EVENT) -> list[asyncio.Future[Receipt]]:
    """Begin so many deliveries."""
    return [sink.start(event) for _ in range(count)]


def test_wait_for_a_slot(run: Run) -> None:
    """At the limit a delivery waits; the reply to another one lets it go."""

    async def main() -> list[Receipt]:
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(in_flight=2))
            async with opened(sink):
                await peer.accepted()
                begun = start(sink, 3)
                await peer.got(2)
                await turns(20)
                assert len(peer.calls) == 2
                peer.script = [confirm]
                peer.calls[0].confirm()
                await peer.got(3)
                peer.calls[1].confirm()
                return await asyncio.gather(*begun)

    assert all(receipt.confirmed for receipt in run(main))


def test_a_wait_that_runs_out_is_skipped(run: Run) -> None:
    """No slot within the timeout: SKIPPED with that reason, nothing was sent, and the peer is not at fault."""

    async def main() -> Receipt:
        async with ScriptedPeer(silent) as peer:
            options = ConnectionOptions(in_flight=2)
            slow, quick = (jsonrpc(peer.address, timeout=timeout, options=options) for timeout in (5, 0.03))
            async with opened(slow, quick):
                await peer.accepted()
                start(slow, 2)
                receipt = await quick.deliver(EVENT)
                assert len(peer.calls) == 2
                return receipt

    receipt = run(main)
    assert isinstance(receipt, Attempt)
    assert (receipt.outcome, receipt.reason) == (Outcome.SKIPPED, "no slot within the timeout: too much in flight")
    assert not receipt.sent
    assert not receipt.at_fault
    assert receipt.took >= 0.029


@pytest.mark.parametrize(("at_limit", "verdict", "settled"), [("next", None, False), ("reject", Verdict.STOP, True)])
def test_next_and_reject(run: Run, at_limit: Any, verdict: Verdict | None, *, settled: bool) -> None:
    """At the limit a delivery can be skipped at once, for the next sink or for good."""

    async def main() -> tuple[Receipt, Receipt]:
        async with ScriptedPeer(silent) as peer, ScriptedPeer() as second:
            sink = jsonrpc(peer.address, at_limit=at_limit, options=ConnectionOptions(in_flight=2))
            strategy = Failover(sink, jsonrpc(second.address))
            async with opened(strategy):
                await peer.accepted()
                start(sink, 2)
                return await sink.deliver(EVENT), await strategy.deliver(EVENT)

    alone, within = run(main)
    assert (alone.outcome, alone.verdict, alone.settled) == (Outcome.SKIPPED, verdict, settled)
    assert alone.reason.startswith("no slot")
    assert alone.took == 0
    assert within.confirmed is not settled
    assert within.settled


@pytest.mark.parametrize("at_limit", ["next", "reject"])
def test_a_connection_that_is_being_made_is_not_full(run: Run, at_limit: Any) -> None:
    """While the connection is being made as many wait for it as may be in flight; only what is beyond is too much."""

    async def main() -> list[Receipt]:
        async with ScriptedPeer() as peer:
            sink = jsonrpc(peer.address, at_limit=at_limit, options=ConnectionOptions(in_flight=5))
            async with opened(sink):
                return await asyncio.gather(*start(sink, 7))

    outcomes = [receipt.outcome for receipt in run(main)]
    assert outcomes == [Outcome.CONFIRMED] * 5 + [Outcome.SKIPPED] * 2


def test_what_waits_is_bounded(run: Run) -> None:
    """Beyond `waiting` a delivery is skipped at once, whatever `at_limit` says, alone or in a batch."""

    async def main() -> list[Receipt]:
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(in_flight=1, waiting=3))
            async with opened(sink):
                peer.script = [confirm, silent]
                await sink.deliver(EVENT)
                begun = start(sink, 6)
                assert [one.done() for one in begun] == [False] * 4 + [True] * 2
                peer.script = [confirm]
                (await peer.got(2))[1].confirm()
                return await asyncio.gather(*begun)

    assert [receipt.outcome for receipt in run(main)] == [Outcome.CONFIRMED] * 4 + [Outcome.SKIPPED] * 2


def test_no_more_than_the_limit_is_unanswered(run: Run) -> None:
    """Batches and single deliveries together never have more in flight than the limit; all are confirmed."""
    worst = 0

    def count(call: Call) -> None:
        nonlocal worst
        waiting.append(call)
        worst = max(worst, len(waiting))
        if len(waiting) == 1:
            asyncio.get_running_loop().call_soon(answer)

    def answer() -> None:
        calls, waiting[:] = waiting[:], []
        for call in calls:
            call.confirm()

    waiting: list[Call] = []

    async def main() -> list[Any]:
        async with ScriptedPeer(count) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(in_flight=16))
            async with opened(sink):
                single = start(sink, 100)
                events = [Event("E", [n]) for n in range(500)]
                batches = await asyncio.gather(*(sink.deliver_many(events) for _ in range(3)))
                assert all(receipt.confirmed for batch in batches for receipt in batch)
                assert all(receipt.confirmed for receipt in await asyncio.gather(*single))
                return [[receipt.event for receipt in batch] == events for batch in batches]

    assert run(main) == [True] * 3
    assert 8 <= worst <= 16


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_peer_that_never_reads(run: Run, *, confirmed: bool) -> None:
    """What waits for a peer that doesn't read is not written but held, where it can still be taken back."""
    big = Event("E_BIG", {"data": "x" * 20_000})

    async def main() -> tuple[int, list[Receipt]]:
        async with ScriptedPeer(reads=False) as peer:
            sink = jsonrpc(
                peer.address, confirm=confirmed, timeout=0.3, options=ConnectionOptions(write_buffer=64 * 1024)
            )
            async with opened(sink):
                link = await peer.accepted()
                begun = start(sink, 1000, big)
                await turns(30)
                connection = sink._connection
                assert connection is not None
                assert connection._transport is not None
                buffered = connection._transport.get_write_buffer_size()
                receipts = await asyncio.gather(*begun)
                link.reset()  # closing would wait a second for what it doesn't read
                return buffered, receipts

    buffered, receipts = run(main)
    assert 0 < buffered < 300_000
    unsent = [receipt for receipt in receipts if not receipt.attempts or not receipt.maybe_processed]
    assert len(unsent) > 500
    assert {receipt.outcome for receipt in unsent} == {Outcome.SKIPPED}
    assert {receipt.outcome for receipt in receipts if receipt.maybe_processed} == {
        Outcome.UNCONFIRMED if confirmed else Outcome.SENT
    }


def test_a_sweep_between_a_notification_and_its_write(run: Run) -> None:
    """A notification that is held back just after a sweep ends in time all the same."""

    async def main() -> list[Receipt]:
        async with ScriptedPeer(reads=False) as peer:
            sink = jsonrpc(peer.address, confirm=False, timeout=0.05)
            async with opened(sink):
                link = await peer.accepted()
                await turns(5)
                connection = sink._connection or sink._connect()
                assert connection is not None
                connection._flushing = True  # as if others had been written in this turn: the write is put off
                begun = start(sink, 1000, Event("E_BIG", {"data": "x" * 20_000}))
                if not connection.sweep(0.0):  # as the loop's sweep does it
                    connection._sweep.discard(connection)
                connection._flush()
                receipts = await asyncio.gather(*begun)
                link.reset()  # closing would wait a second for what it doesn't read
                return receipts

    assert {receipt.outcome for receipt in run(main)} == {Outcome.SENT, Outcome.SKIPPED}


def test_a_peer_that_reads_again(run: Run) -> None:
    """When the peer reads again, what was held goes out in order and is confirmed."""

    async def main() -> tuple[list[Receipt], list[int]]:
        async with ScriptedPeer(reads=False) as peer:
            sink = jsonrpc(peer.address, timeout=10)
            async with opened(sink):
                link = await peer.accepted()
                begun = [sink.start(Event("E", [n, "x" * 20_000])) for n in range(500)]
                await turns(30)
                link.transport.resume_reading()
                receipts = await asyncio.gather(*begun)
                return receipts, [call.params[0] for call in peer.calls]

    receipts, numbers = run(main)
    assert all(receipt.confirmed for receipt in receipts)
    assert numbers == list(range(500))


def test_a_batch_stops_at_a_peer_that_failed(run: Run) -> None:
    """Through a Failover a batch doesn't go on against a peer that is gone: each event is confirmed by the second."""

    async def main() -> tuple[list[Receipt], int, int]:
        async with ScriptedPeer(*[confirm] * 50, lambda call: call.link.reset()) as first, ScriptedPeer() as second:
            options = ConnectionOptions(in_flight=32)
            tree = Failover(jsonrpc(first.address, options=options), jsonrpc(second.address, options=options))
            async with opened(tree):
                receipts = await tree.deliver_many([EVENT] * 500)
                return receipts, len(first.calls), len(second.calls)

    receipts, first, second = run(main)
    assert all(receipt.confirmed for receipt in receipts)
    assert 51 <= first <= 50 + 64
    assert 450 - 64 <= second <= 500  # a reset may take confirmations with it that are on their way


@pytest.mark.parametrize(
    "wrong",
    [
        {"in_flight": 0},
        {"in_flight": 1.5},
        {"in_flight": True},
        {"waiting": 0},
        {"write_buffer": -1},
        {"connect_timeout": 0},
        {"connect_timeout": float("inf")},
        {"connect_timeout": "1"},
        {"keepalive": 0.5},
        {"keepalive": -1},
        {"reconnect": 5},
        {"max_frame": 0},
        {"max_depth": 0},
        {"busy_poll": -1},
        {"busy_poll": 1.5},
        {"busy_poll": True},
        {"busy_poll": 10_001},
    ],
)
def test_options_out_of_range(wrong: dict[str, Any]) -> None:
    """An option out of its range is refused where it is declared, by its name."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ConnectionOptions(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"timeout": 0}, "timeout must be a number of seconds, more than 0"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"name": ""}, "name"),
        ({"event_param": ""}, "event_param"),
        ({"id_param": ""}, "id_param"),
        ({"at_limit": "later"}, "at_limit must be one of 'wait', 'next', 'reject'"),
        ({"options": {"in_flight": 3}}, "options must be a ConnectionOptions, e.g. ConnectionOptions"),
        ({"verdicts": {"x": "next"}}, "error code must be an integer"),
        ({"verdicts": {1: "maybe"}}, "verdict of error code 1 must be one of 'next', 'stop', 'busy', 'confirm'"),
        ({"options": ConnectionOptions(reconnect=wait_none()), "server_name": "x"}, "server_name is for TLS"),
    ],
)
def test_arguments_out_of_range(wrong: dict[str, Any], message: str) -> None:
    """A sink's argument out of its range is refused where it is declared, with what was expected."""
    with pytest.raises(ConfigError, match=message):
        jsonrpc("127.0.0.1:9", **wrong)
