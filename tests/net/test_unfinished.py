"""A reply that never ends doesn't keep a connection for ever: all that comes after it would only make it longer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager

from failover.event import Event
from failover.group import Group
from failover.receipt import Receipt
from failover.records import ConnectionChanged, LateConfirmation, Record
from failover.sim import Simulation
from failover.sinks.jsonrpc import jsonrpc
from failover.strategies import Failover
from tests.doubles import now, of

EVENT = Event("E_A")
Reply = Callable[[int, asyncio.StreamWriter], Coroutine[object, object, None]]
"""Answers the request of this id."""


def simulated(*replies: Reply, main: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run with a subscriber that answers its requests one after the other so, the last way for all after it."""
    script = list(replies)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                for text in data.replace(b"}{", b"}\n{").splitlines():
                    reply = script.pop(0) if len(script) > 1 else script[0]
                    await reply(json.loads(text)["id"], writer)
        finally:
            writer.close()

    async def start() -> None:
        server = await asyncio.start_server(serve, "app", 80)
        async with server:
            await server.serve_forever()

    simulation = Simulation(1, latency=0.001)
    simulation.network.host("app", start=start)
    simulation.run(main())


async def whole(number: int, writer: asyncio.StreamWriter) -> None:
    """As it should be."""
    writer.write(b'{"id":%d,"result":1}' % number)


async def without_its_end(number: int, writer: asyncio.StreamWriter) -> None:
    """The last bracket got lost."""
    writer.write(b'{"id":%d,"result":1' % number)


@asynccontextmanager
async def opened(records: list[Record]) -> AsyncGenerator[Group]:
    """One socket with a timeout of half a second."""
    tree = Failover(jsonrpc("app:80", timeout=0.5), quarantine=0)
    async with Group("g", tree, observers=[records.append], drain=0) as group:
        await asyncio.sleep(0.1)
        yield group


def test_it_breaks_the_connection() -> None:
    """After ten times the timeout; the next event has a new connection, and is confirmed."""
    records: list[Record] = []

    async def main() -> None:
        async with opened(records) as group:
            first = await group.deliver(EVENT)
            assert first.attempts[0].reason == "no reply within the timeout"
            await asyncio.sleep(5)
            (lost,) = [record for record in of(ConnectionChanged, records) if not record.connected]
            assert lost.reason == "a reply that doesn't end"
            assert 5.0 <= lost.at - first.began < 5.02
            assert (await group.deliver(EVENT)).confirmed

    simulated(without_its_end, whole, main=main)


def test_it_breaks_the_connection_amid_traffic() -> None:
    """Also where new requests keep coming, whose replies it swallows: they are told why, and later ones confirmed."""

    async def main() -> None:
        async with opened([]) as group:
            tasks: list[asyncio.Task[Receipt]] = []
            for _ in range(1000):
                tasks.append(asyncio.ensure_future(group.deliver(EVENT)))
                await asyncio.sleep(0.01)
            receipts = await asyncio.gather(*tasks)
            assert {receipt.attempts[0].reason for receipt in receipts if not receipt.confirmed} == {
                "no reply within the timeout",
                "a reply that doesn't end",
            }
            assert sum(receipt.confirmed for receipt in receipts) >= 490
            assert all(receipt.ended - receipt.began < 0.51 for receipt in receipts)

    simulated(without_its_end, whole, main=main)


def test_it_counts_from_its_own_beginning() -> None:
    """However long the connection was idle before, and whatever came last."""
    records: list[Record] = []

    async def begun_at_once(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"id":%d,' % number)
        await asyncio.sleep(0.4)
        writer.write(b'"result":1}')

    async def main() -> None:
        async with opened(records) as group:
            for _ in range(3):
                assert (await group.deliver(EVENT)).confirmed
                await asyncio.sleep(100)
            assert [record.connected for record in of(ConnectionChanged, records)] == [True]

    simulated(begun_at_once, whole, begun_at_once, main=main)


def test_one_that_takes_its_time_is_read() -> None:
    """A long reply that comes in pieces for less than that is whole when it ends, be it late."""
    records: list[Record] = []

    async def dribbled(number: int, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(b'{"id":%d,"result":[' % number)
        for _ in range(40):
            await asyncio.sleep(0.1)
            writer.write(b"1,")
        writer.write(b"1]}")

    async def main() -> None:
        async with opened(records) as group:
            receipt = await group.deliver(EVENT)
            assert receipt.attempts[0].reason == "no reply within the timeout"
            await asyncio.sleep(5)
            (late,) = of(LateConfirmation, records)
            assert late.at - receipt.began > 4
            assert [record.connected for record in of(ConnectionChanged, records)] == [True]
            assert (await group.deliver(EVENT)).confirmed
            assert now() < 7

    simulated(dribbled, whole, main=main)
