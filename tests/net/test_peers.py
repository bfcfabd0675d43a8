"""Who owns connections: shared by all sinks of a loop, made again in the background, gone with their last lease."""

from __future__ import annotations

import asyncio
import gc
import weakref
from itertools import pairwise
from random import Random

import pytest
from tenacity.wait import wait_exponential, wait_fixed, wait_incrementing, wait_random_exponential

from failover.errors import ClosedError, ConfigError, UsageError, WrongLoopError
from failover.event import Event
from failover.group import Group
from failover.net.options import ConnectionOptions
from failover.net.peers import Peers
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.records import ConnectionChanged, Record
from failover.sinks.jsonrpc import jsonrpc
from failover.strategies import Failover, Parallel
from tests.scripted import (
    Link,
    Run,
    ScriptedPeer,
    black_hole,
    close_after,
    confirm,
    opened,
    refusing,
    silent,
    turns,
    until,
)

EVENT = Event("E_TEST")


def changes(records: list[Record]) -> list[bool]:
    """Whether there was a connection, change by change."""
    return [record.connected for record in records if isinstance(record, ConnectionChanged)]


def test_sinks_and_groups_share_one_connection(run: Run) -> None:
    """All sinks of a peer on a loop, in however many groups, use one connection; their ids never meet."""

    async def main() -> tuple[int, list[int]]:
        async with ScriptedPeer() as peer:
            groups = [
                Group(name, Parallel(f"jsonrpc:{peer.address}/a", f"tcp:{peer.address}/b", f"jsonrpc:{peer.address}"))
                for name in ("one", "two")
            ]
            async with groups[0], groups[1]:
                receipts = await asyncio.gather(*(group.deliver(EVENT) for group in groups for _ in range(20)))
                assert all(receipt.confirmed for receipt in receipts)
            return len(peer.links), [call.id for call in peer.calls]

    links, ids = run(main)
    assert links == 1
    assert len(ids) == len(set(ids)) == 120


def test_a_dedicated_connection_is_shared_with_nobody(run: Run) -> None:
    """`dedicated` opts out, and may have options of its own."""

    async def main() -> int:
        async with ScriptedPeer() as peer:
            sinks = [
                jsonrpc(peer.address, name="a"),
                jsonrpc(peer.address, name="b", dedicated=True),
                jsonrpc(peer.address, name="c", dedicated=True, options=ConnectionOptions(in_flight=7)),
            ]
            async with opened(*sinks):
                for sink in sinks:
                    assert (await sink.deliver(EVENT)).confirmed
            await peer.when(lambda: all(link.lost.done() for link in peer.links))
            return len(peer.links)

    assert run(main) == 3


def test_conflicting_options_are_refused(run: Run) -> None:
    """Who shares a connection needs the same options; equal ones are the same, whoever made them."""

    async def main() -> None:
        async with ScriptedPeer() as peer:

            def sink(options: ConnectionOptions, name: str) -> Failover:
                return Failover(jsonrpc(peer.address, name=name, options=options))

            def options(**given: int) -> ConnectionOptions:
                return ConnectionOptions(reconnect=wait_exponential(multiplier=0.2, max=5), **given)

            async with Group("first", sink(options(), "a")), Group("second", sink(options(), "b")):
                for other, told in (
                    (options(in_flight=3), r"\(in_flight=1024, not 3\)"),
                    (options(in_flight=3, waiting=4), r"\(in_flight=1024, not 3; waiting=16384, not 4\)"),
                    (
                        ConnectionOptions(reconnect=wait_random_exponential(multiplier=0.2, max=5)),
                        r"\(reconnect=wait_exponential\(multiplier=0.2, .*\), not wait_random_exponential\(.*\)\)",
                    ),
                    (ConnectionOptions(reconnect=wait_fixed(1)), r".*, not wait_fixed\(wait_fixed=1.*\)\)"),
                ):
                    third = Group("third", sink(other, "c"))
                    with pytest.raises(ConfigError, match=f"already has other options {told}"):
                        await third.open()
                    with pytest.raises(ClosedError):
                        await third.deliver(EVENT)

    run(main)


def test_one_of_two_groups_on_a_peer_closes(run: Run) -> None:
    """Closing a group ends its own attempts only; what another has in flight on the connection is confirmed."""

    async def main() -> tuple[Receipt, Receipt]:
        async with ScriptedPeer(silent) as peer:
            address = f"jsonrpc:{peer.address}"
            closing, staying = Group("closing", address, drain=0), Group("staying", address)
            await closing.open()
            async with staying:
                mine = asyncio.create_task(closing.deliver(EVENT))
                theirs = asyncio.create_task(staying.deliver(EVENT))
                await peer.got(2)
                await closing.aclose()
                left = await mine
                for call in peer.calls:
                    call.confirm()
                kept = await theirs
                peer.script = [confirm]
                assert (await staying.deliver(EVENT)).confirmed
                assert len(peer.links) == 1
            await peer.links[0].lost
            return left, kept

    left, kept = run(main)
    assert left.outcome is Outcome.ABANDONED
    assert kept.confirmed


def test_the_last_lease_closes_after_the_linger(run: Run) -> None:
    """The connection outlives its last lease by the linger; a new lease in that time finds it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with ScriptedPeer() as peer, Peers(linger=0.03) as peers:
            for _ in range(3):
                sink = jsonrpc(peer.address)
                async with opened(sink, peers=peers):
                    assert (await sink.deliver(EVENT)).confirmed
            assert len(peer.links) == 1
            began = loop.time()
            await peer.links[0].lost
            assert loop.time() - began >= 0.025
            sink = jsonrpc(peer.address)
            async with opened(sink, peers=peers):
                assert (await sink.deliver(EVENT)).confirmed
            assert len(peer.links) == 2

    run(main)


def test_lazy_and_eager(run: Run) -> None:
    """Opening starts the connect without waiting for it; `lazy` leaves it to the first event."""

    async def main() -> None:
        async with ScriptedPeer() as eager, ScriptedPeer() as lazy:
            sinks = jsonrpc(eager.address), jsonrpc(lazy.address, lazy=True)
            async with opened(*sinks):
                assert not eager.links
                await eager.accepted()
                await turns(20)
                assert not lazy.links
                assert sinks[1].status().up
                assert (await sinks[1].deliver(EVENT)).confirmed
                assert len(lazy.links) == 1

    run(main)


def test_reconnect_in_the_background(run: Run) -> None:
    """A peer that went away and came back is connected to again without an event, and stands as up."""

    async def main() -> list[bool] | None:
        records: list[Record] = []
        options = ConnectionOptions(reconnect=wait_fixed(0.01))
        async with ScriptedPeer() as peer:
            sink = jsonrpc(peer.address, options=options)
            async with opened(sink, observers=[records.append]):
                assert (await sink.deliver(EVENT)).confirmed
                await peer.stop()
                await until(lambda: changes(records).count(False) >= 2)
                assert not sink.status().up
                assert sink.status().reason == "no connection"
                async with ScriptedPeer(port=peer.port) as again:
                    await again.accepted()
                    await until(lambda: changes(records)[-1])
                    assert sink.status().up
                    assert (await sink.deliver(EVENT)).confirmed
                    assert len(again.links) == 1
                    return changes(records)

    seen = run(main)
    assert seen[:2] == [True, False]
    assert seen[-1]


def test_lazy_sinks_are_not_reconnected(run: Run) -> None:
    """If all who share a connection are lazy, it is made again by the next event only."""

    async def main() -> None:
        async with ScriptedPeer(close_after) as peer:
            sink = jsonrpc(peer.address, lazy=True, options=ConnectionOptions(reconnect=wait_fixed(0.0)))
            async with opened(sink):
                assert (await sink.deliver(EVENT)).confirmed
                await peer.links[0].lost
                await turns(50)
                assert len(peer.links) == 1
                assert (await sink.deliver(EVENT)).confirmed
                assert len(peer.links) == 2

    run(main)


def test_a_delivery_does_not_wait_for_the_policy(run: Run) -> None:
    """However long the policy waits, an event starts a connect at once, and others join it."""

    async def main() -> tuple[list[Receipt], int]:
        async with ScriptedPeer() as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(reconnect=wait_fixed(1000)))
            async with opened(sink):
                assert (await sink.deliver(EVENT)).confirmed
                await peer.stop()
                await until(lambda: not sink.status().up)
                down = await sink.deliver(EVENT)
                async with ScriptedPeer(port=peer.port) as again:
                    receipts = await asyncio.gather(*(sink.deliver(EVENT) for _ in range(10)))
                    return [down, *receipts], len(again.links)

    (down, *receipts), links = run(main)
    assert down.outcome is Outcome.UNREACHABLE
    assert all(receipt.confirmed for receipt in receipts)
    assert links == 1


def test_the_policy_paces_reconnects(run: Run) -> None:
    """The pauses between background reconnects are the policy's, stretched by a tenth at most."""
    pauses = [0.01, 0.02, 0.03]

    async def main() -> list[float]:
        records: list[Record] = []
        options = ConnectionOptions(reconnect=wait_incrementing(start=0.01, increment=0.01))
        with refusing() as address:
            sink = jsonrpc(address, options=options)
            async with opened(sink, peers=Peers(rng=Random(1)), observers=[records.append]):
                await until(lambda: len(changes(records)) >= 4)
        return [record.at for record in records if isinstance(record, ConnectionChanged)]

    times = run(main)
    for pause, (before, after) in zip(pauses, pairwise(times), strict=False):
        assert pause * 0.9 <= after - before < pause * 1.1 + 0.05


def test_a_peer_that_comes_and_goes_is_left_alone_for_longer(run: Run) -> None:
    """Connections that are closed as soon as they are made count as failures: the pauses grow."""

    def hang_up(link: Link) -> None:
        link.transport.close()

    async def main() -> list[float]:
        records: list[Record] = []
        options = ConnectionOptions(reconnect=wait_incrementing(start=0.01, increment=0.02))
        async with ScriptedPeer(on_connect=hang_up) as peer:
            sink = jsonrpc(peer.address, options=options)
            async with opened(sink, observers=[records.append]):
                await until(lambda: changes(records).count(False) >= 4)
        return [record.at for record in records if isinstance(record, ConnectionChanged) and not record.connected]

    times = run(main)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[2] >= 0.045


def test_a_black_hole_costs_others_nothing(run: Run) -> None:
    """While connects to one peer get no answer, others go on at once."""

    async def main() -> tuple[list[Receipt], Receipt]:
        with black_hole() as address:
            async with ScriptedPeer() as peer:
                hole = jsonrpc(address, options=ConnectionOptions(connect_timeout=0.3))
                sink = jsonrpc(peer.address)
                async with opened(hole, sink):
                    stuck = asyncio.create_task(hole.deliver(EVENT))
                    receipts = [await sink.deliver(EVENT) for _ in range(50)]
                    assert not stuck.done()
                    return receipts, await stuck

    receipts, stuck = run(main)
    assert all(receipt.confirmed for receipt in receipts)
    assert stuck.reason == "connect: no answer within 0.3 s"


def test_two_loops_in_one_process(run: Run) -> None:
    """Each loop has connections of its own, also one within the other's thread time."""

    async def deliver() -> int:
        async with ScriptedPeer() as peer, Group("g", f"jsonrpc:{peer.address}") as group:
            assert (await group.deliver(EVENT)).confirmed
            return len(peer.links)

    async def main() -> tuple[int, int]:
        def other() -> int:
            return asyncio.run(deliver())

        elsewhere = asyncio.get_running_loop().run_in_executor(None, other)
        return await deliver(), await elsewhere

    assert run(main) == (1, 1)


def test_peers_belong_to_their_loop() -> None:
    """Peers of one loop can't be leased from on another."""

    async def make() -> Peers:
        return Peers()

    async def use(peers: Peers) -> None:
        with pytest.raises(WrongLoopError, match="belong to the loop"):
            await Group("g", "jsonrpc:127.0.0.1:9", peers=peers).open()

    asyncio.run(use(asyncio.run(make())))


def test_closed_peers(run: Run) -> None:
    """Closing peers under open groups gives all in flight a receipt, blames nobody, and nothing connects again."""

    async def main() -> tuple[Receipt, Receipt]:
        async with ScriptedPeer(silent) as peer:
            peers = Peers()
            strategy = Failover(jsonrpc(peer.address))
            async with Group("g", strategy, peers=peers) as group:
                waiting = asyncio.create_task(group.deliver(EVENT))
                await peer.got(1)
                await peers.aclose()
                await peers.aclose()
                first = await waiting
                assert strategy.children[0].out_until == 0
                second = await group.deliver(EVENT)
                await turns(20)
                assert len(peer.links) == 1
                assert not group.status().up
                with pytest.raises(ClosedError, match="these peers are closed"):
                    await Group("late", f"jsonrpc:{peer.address}", peers=peers).open()
            return first, second

    first, second = run(main)
    assert first.attempts[0].outcome is Outcome.ABANDONED
    assert first.attempts[0].sent
    assert second.children[0].outcome is Outcome.SKIPPED


def test_a_sink_is_opened_once(run: Run) -> None:
    """A sink belongs to one place; opening it twice is refused."""

    async def main() -> None:
        sink = jsonrpc("127.0.0.1:9", lazy=True)
        async with opened(sink):
            with pytest.raises(UsageError, match="is open already"):
                async with opened(sink):
                    pass

    run(main)


def test_a_loop_is_let_go() -> None:
    """Nothing keeps a loop, or what was connected on it, alive once it is closed."""

    async def main() -> None:
        async with ScriptedPeer() as peer, Group("g", f"jsonrpc:{peer.address}") as group:
            await group.deliver(EVENT)

    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []
    for _ in range(3):
        loop = asyncio.new_event_loop()
        loops.append(weakref.ref(loop))
        loop.run_until_complete(main())
        loop.close()
        del loop
    gc.collect()
    assert [loop() for loop in loops] == [None] * 3
