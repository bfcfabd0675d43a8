"""Probes of a real socket: is anybody there, and does it answer?"""

from __future__ import annotations

import asyncio

import pytest

from failover.event import Event
from failover.health import Health, Probe
from failover.records import Record
from failover.sinks.jsonrpc import jsonrpc
from failover.strategies import Failover
from tests.scripted import Run, ScriptedPeer, black_hole, confirm, error, opened, refusing, silent, until

EVENT = Event("E_TEST")


@pytest.mark.parametrize(
    ("action", "said"), [(confirm, ""), (error(-32601), ""), (silent, "no reply within the timeout")]
)
def test_a_method_is_called(run: Run, action: object, said: str) -> None:
    """Any reply will do, an error as well; none in time is said. Nobody takes it for an event."""
    records: list[Record] = []

    async def main() -> None:
        async with ScriptedPeer(action) as peer:  # type: ignore[arg-type]
            sink = jsonrpc(f"{peer.address}/cdr")
            async with opened(sink, observers=[records.append]):
                assert await sink.probe("ping", 0.05) == said
                assert [call.method for call in peer.calls] == ["ping"]
                assert sink.status().outcomes == {}
                assert sink.status().in_flight == 0

    run(main)
    assert {type(record).__name__ for record in records} <= {"ConnectionChanged"}


def test_a_connect_is_tried(run: Run) -> None:
    """Without a method a connection of its own is made and closed; why there is none is said in words."""

    async def main() -> None:
        async with ScriptedPeer(silent) as peer:
            sink = jsonrpc(peer.address, lazy=True)
            async with opened(sink):
                assert await sink.probe(None, 1.0) == ""
                assert peer.calls == []
        with refusing() as address:
            sink = jsonrpc(address, lazy=True)
            async with opened(sink):
                assert await sink.probe(None, 1.0) == "connect: Connection refused"
        with black_hole() as address:
            sink = jsonrpc(address, lazy=True)
            async with opened(sink):
                assert await sink.probe(None, 0.05) == "connect: no answer within 0.05 s"

    run(main)


def test_one_that_is_not_open(run: Run) -> None:
    """A sink that is closed answers for itself."""

    async def main() -> None:
        assert await jsonrpc("127.0.0.1:1").probe("ping", 1.0) == "not open"

    run(main)


def test_a_socket_comes_back_by_its_probe(run: Run) -> None:
    """A socket that fell silent is out for an hour, and in service again as soon as it answers a probe."""

    async def main() -> None:
        async with ScriptedPeer(silent, confirm) as first, ScriptedPeer(confirm) as second:
            health = Health(quarantine=3600, probe=Probe(method="ping", every=0.02, timeout=0.5))
            strategy = Failover(jsonrpc(first.address, timeout=0.05), jsonrpc(second.address), health=health)
            async with opened(strategy):
                assert len((await strategy.deliver(EVENT)).attempts) == 2
                child = strategy.children[0]
                await until(lambda: child.out_until <= asyncio.get_running_loop().time())
                receipt = await strategy.deliver(EVENT)
                assert [attempt.sink for attempt in receipt.attempts] == [child.name]
                assert [call.method for call in first.calls] == ["E_TEST", "ping", "E_TEST"]

    run(main)
