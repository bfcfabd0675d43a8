"""The JSON-RPC sink keeps the promises of any sink, over real sockets, alone and under strategies and groups."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from failover.build import build
from failover.group import Group
from failover.net.options import ConnectionOptions
from failover.net.peers import Peers
from failover.schemes import Defaults
from failover.sink import Opening, Sink, open_sink
from failover.sinks.jsonrpc import JsonRpcSink, jsonrpc
from failover.strategies import Failover, Parallel, RoundRobin
from tests.contract import check_sink
from tests.scripted import Call, Run, ScriptedPeer


def soon(call: Call) -> None:
    """Confirm after 3 ms."""
    asyncio.get_running_loop().call_later(0.003, call.confirm)


Make = Callable[[str], JsonRpcSink]

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dedicated": {"dedicated": True},
    "narrow": {"options": ConnectionOptions(in_flight=16)},
}
TREES: dict[str, Callable[[Make], Sink]] = {
    "alone": lambda make: make("a"),
    "failover": lambda make: Failover(make("a"), make("b")),
    "round robin": lambda make: RoundRobin(make("a"), make("b")),
    "parallel": lambda make: Parallel(make("a"), make("b")),
    "group": lambda make: Group("g", make("a"), drain=0),
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("tree", list(TREES))
def test_contract(run: Run, tree: str, kind: str) -> None:
    """What `check_sink` asks of any sink holds."""

    async def main() -> None:
        async with ScriptedPeer(soon) as peer:

            async def make() -> Sink:
                sink = TREES[tree](lambda name: jsonrpc(peer.address, name=name, **KINDS[kind]))
                await open_sink(sink, Opening(Peers.current(), partial(build, defaults=Defaults())))
                return sink

            await check_sink(make)

    run(main)
