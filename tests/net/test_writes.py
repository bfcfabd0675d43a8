"""Writes: what one turn of the loop sends is joined, but a peer with nothing to do gets the first half at once."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from failover.event import Event
from failover.net.options import ConnectionOptions
from failover.sinks.jsonrpc import JsonRpcSink, jsonrpc
from tests.scripted import Run, ScriptedPeer, confirm, opened

EVENT = Event("E_TEST")


class Counting:
    """The transport of a connection, and how many requests each write to it held."""

    def __init__(self, sink: JsonRpcSink) -> None:
        assert sink._connection is not None
        self._transport = sink._connection._transport
        sink._connection._transport = self  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        self.writes: list[int] = []

    def write(self, data: bytes) -> None:
        """Count, and pass on."""
        self.writes.append(data.count(b'{"id":'))
        assert self._transport is not None
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@pytest.mark.parametrize(
    ("count", "writes"),
    [(1, [1]), (3, [1, 2]), (20, [1, 19]), (64, [1, 32, 31]), (300, [1, 32, 33, 66, 132, 36])],
)
def test_writes_of_one_turn(run: Run, count: int, writes: list[int]) -> None:
    """The first leaves at once; the rest is joined, in parts that grow with what the peer has to do already."""

    async def main() -> list[int]:
        async with ScriptedPeer(confirm) as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                assert (await sink.deliver(EVENT)).confirmed
                counting = Counting(sink)
                receipts = await asyncio.gather(*(sink.start(EVENT) for _ in range(count)))
                assert all(receipt.confirmed for receipt in receipts)
                return counting.writes

    assert run(main) == writes


@pytest.mark.parametrize(
    ("window", "count", "writes"), [(64, 64, [32, 32]), (64, 20, [20]), (256, 256, [128, 128]), (8, 8, [8])]
)
def test_writes_of_a_batch(run: Run, window: int, count: int, writes: list[int]) -> None:
    """A batch that fills the window leaves in halves; a small one in one write."""

    async def main() -> list[int]:
        async with ScriptedPeer(confirm) as peer:
            sink = jsonrpc(peer.address, options=ConnectionOptions(in_flight=window))
            async with opened(sink):
                assert (await sink.deliver(EVENT)).confirmed
                counting = Counting(sink)
                receipts = await sink.deliver_many([EVENT] * count)
                assert all(receipt.confirmed for receipt in receipts)
                return counting.writes

    assert run(main) == writes
