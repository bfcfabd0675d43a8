"""Closing: what is in flight gets its receipt, what was promised is written, nothing stays open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from failover.errors import ClosedError
from failover.event import Event
from failover.group import Group
from failover.net.options import ConnectionOptions
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.records import AttemptEnded, Quarantined, Record, Silence
from failover.sink import Sink
from failover.sinks.jsonrpc import jsonrpc
from failover.strategies import Failover, Parallel, RoundRobin
from tests.scripted import Run, ScriptedPeer, black_hole, confirm, opened, silent, turns, until

EVENT = Event("E_TEST")
TREES = [Failover, Parallel, RoundRobin]


@pytest.mark.parametrize("tree", TREES)
def test_closing_without_a_drain(run: Run, tree: Callable[..., Sink]) -> None:
    """Each event in flight gets its receipt when its group closes: abandoned by us, and no peer is blamed."""

    async def main() -> tuple[list[Receipt], list[Record]]:
        records: list[Record] = []
        async with ScriptedPeer(silent) as one, ScriptedPeer(silent) as two:
            group = Group("g", tree(jsonrpc(one.address), jsonrpc(two.address)), drain=0, observers=[records.append])
            async with group:
                tasks = [asyncio.create_task(group.deliver(EVENT)) for _ in range(50)]
                await until(lambda: len(one.calls) + len(two.calls) >= 50)
            return await asyncio.gather(*tasks), records

    receipts, records = run(main)
    for receipt in receipts:
        assert not receipt.settled
        assert {attempt.outcome for attempt in receipt.attempts} == {Outcome.ABANDONED}
        assert {attempt.reason for attempt in receipt.attempts} == {"the group was closed"}
    assert not [record for record in records if isinstance(record, (Quarantined, Silence))]


@pytest.mark.parametrize("tree", TREES)
def test_closing_amid_a_batch(run: Run, tree: Callable[..., Sink]) -> None:
    """A batch under way gets all its receipts, and nothing of it is sent once its group has closed."""

    async def main() -> tuple[list[Receipt], int, int]:
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(in_flight=8))
            neighbour = jsonrpc(peer.address, options=ConnectionOptions(in_flight=8))
            async with opened(neighbour):
                group = Group("g", tree(sink), drain=0)
                async with group:
                    task = asyncio.create_task(group.deliver_many([EVENT] * 100))
                    await peer.got(8)
                receipts = await task
                await turns(20)
                return receipts, len(peer.calls), len(peer.links)

    receipts, sent, links = run(main)
    assert sent == 8
    assert links == 1
    outcomes = [receipt.children[0].outcome for receipt in receipts]
    assert outcomes == [Outcome.ABANDONED] * 8 + [Outcome.SKIPPED] * 92


def test_draining(run: Run) -> None:
    """With a drain closing waits for the replies that come in time; new events are refused meanwhile."""

    async def main() -> list[Receipt]:
        async with ScriptedPeer(silent) as peer:
            group = Group("g", f"jsonrpc:{peer.address}", drain=5)
            async with group:
                tasks = [asyncio.create_task(group.deliver(EVENT)) for _ in range(10)]
                await peer.got(10)
                closing = asyncio.create_task(group.aclose())
                await turns(3)
                assert not closing.done()
                with pytest.raises(ClosedError):
                    await group.deliver(EVENT)
                for call in peer.calls:
                    call.confirm()
                await closing
            return await asyncio.gather(*tasks)

    assert all(receipt.confirmed for receipt in run(main))


def test_a_drain_that_runs_out(run: Run) -> None:
    """What is left when the drain is over is abandoned and says so."""

    async def main() -> Receipt:
        async with ScriptedPeer(silent) as peer:
            async with Group("g", f"jsonrpc:{peer.address}", drain=0.02) as group:
                task = asyncio.create_task(group.deliver(EVENT))
                await peer.got(1)
            return await task

    assert run(main).outcome is Outcome.ABANDONED


def test_notifications_are_written_to_the_end(run: Run) -> None:
    """What was SENT leaves although the group closes right after it, also if the peer reads later."""

    async def main() -> None:
        async with ScriptedPeer(silent, reads=False) as peer:
            sink = jsonrpc(peer.address, confirm=False, timeout=5)
            async with opened(sink):
                link = await peer.accepted()
                begun = [sink.start(Event("E", [n, "x" * 1000])) for n in range(2000)]
                await turns(10)
                link.transport.resume_reading()
                receipts = await asyncio.gather(*begun)
            assert {receipt.outcome for receipt in receipts} == {Outcome.SENT}
            await link.lost
            assert [call.params[0] for call in peer.calls] == list(range(2000))

    run(main)


def test_a_peer_that_never_reads_does_not_keep_us(run: Run) -> None:
    """Closing waits a second for a peer that doesn't read what was written, then cuts the connection."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with ScriptedPeer(reads=False) as peer:
            sink = jsonrpc(peer.address, confirm=False, options=ConnectionOptions(write_buffer=2**20))
            async with opened(sink):
                await peer.accepted()
                start = [sink.start(Event("E", ["x" * 50_000])) for _ in range(200)]
                await turns(10)
                began = loop.time()
            assert all(one.done() for one in start)
            return loop.time() - began

    assert 0.9 < run(main) < 1.6


def test_closing_while_connecting(run: Run) -> None:
    """What waits for a connect when the group closes is abandoned; nothing of it left."""

    async def main() -> Receipt:
        with black_hole() as address:
            async with Group("g", f"jsonrpc:{address}", drain=0) as group:
                task = asyncio.create_task(group.deliver(EVENT))
                await turns(3)
            return await task

    receipt = run(main)
    assert receipt.outcome is Outcome.ABANDONED
    assert not receipt.maybe_processed


def test_a_closed_group_and_one_that_opens_again(run: Run) -> None:
    """A closed group refuses events with a clear error, and can be opened again."""

    async def main() -> None:
        async with ScriptedPeer() as peer:
            group = Group("g", Failover(f"jsonrpc:{peer.address}"))
            for _ in range(3):
                with pytest.raises(ClosedError, match="group 'g' is not open"):
                    await group.deliver(EVENT)
                with pytest.raises(ClosedError):
                    await group.deliver_many([EVENT])
                async with group:
                    assert (await group.deliver(EVENT)).confirmed
                await group.aclose()

    run(main)


def test_an_observer_that_closes_the_group(run: Run) -> None:
    """An observer may have the group closed from within a record: every delivery still gets its receipt."""

    async def main() -> list[Receipt]:
        closing: list[asyncio.Task[None]] = []

        def close(record: Record) -> None:
            if isinstance(record, AttemptEnded) and not closing:
                closing.append(asyncio.create_task(group.aclose(drain=0)))

        async with ScriptedPeer(confirm, silent) as peer:
            group = Group("g", Failover(f"jsonrpc:{peer.address}"), observers=[close])
            async with group:
                receipts = await asyncio.gather(*(group.deliver(EVENT) for _ in range(20)))
                await closing[0]
        return receipts

    outcomes = [receipt.attempts[0].outcome for receipt in run(main)]
    assert outcomes[0] is Outcome.CONFIRMED
    assert set(outcomes[1:]) <= {Outcome.ABANDONED, Outcome.CONFIRMED}


def test_the_end_of_the_peer_is_seen_with_data_still_to_write(run: Run) -> None:
    """A peer that ends its side while it reads nothing is gone at once: no event waits for a dead connection."""

    async def main() -> tuple[list[Receipt], Receipt]:
        async with ScriptedPeer(silent, reads=False) as peer:
            sink = jsonrpc(peer.address, timeout=5)
            async with opened(sink):
                link = await peer.accepted()
                begun = [sink.start(Event("E", ["x" * 50_000])) for _ in range(200)]
                await turns(10)
                link.transport.write_eof()
                receipts = await asyncio.gather(*begun)
                peer.reads = True
                peer.script = [confirm]
                return receipts, await sink.deliver(EVENT)

    receipts, after = run(main)
    assert {receipt.outcome for receipt in receipts} == {Outcome.UNCONFIRMED, Outcome.UNREACHABLE}
    assert max(receipt.took for receipt in receipts) < 1
    assert after.confirmed
