"""Bytes per event in flight beyond its payload, and bytes per idle connection."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any, Final

from attrs import frozen

from failover import ConnectionOptions, Event, Group, jsonrpc
from failover.net.peer import PeerKey
from failover.net.peers import Peers
from failover.strategies import Failover
from tests.benchmarks.bystanders import opened_sinks
from tests.benchmarks.payload import METHOD, request_params
from tests.benchmarks.processes import Subscriber
from tests.benchmarks.race import Result, Settings
from tests.benchmarks.sheet import Bound, Sheet, work

__all__ = ["Memory", "main"]

_TIMEOUT: Final = 60.0  # longer than the measurement
_BYTES: Final = "bytes"


@frozen
class Memory:
    """What tracemalloc counts: everything that Python allocates, and nothing of the kernel's."""

    name: str = "memory"
    title: str = "Bytes that Python has allocated (tracemalloc)"

    def run(self, settings: Settings) -> Result:
        """Measure each case in a process of its own."""
        sheet = Sheet(self.name, (_BYTES,), digits=0)
        full = settings.seconds >= 1
        for case, count, name, bounds in (
            ("payload", 20_000, "the payload: an event and its params, encoded", ()),
            ("many", 20_000, "per event in flight, deliver_many of a group", (Bound(_BYTES, 400),)),
            ("start", 20_000, "per event in flight, futures of a socket's start", (Bound(_BYTES, 400),)),
            ("await", 20_000, "per event in flight, a task each that awaits deliver of a group", ()),
            ("task", 20_000, "  of which a task that awaits a bare future", ()),
            ("leases", 2000, "per idle connection and its lease, all in all", (Bound(_BYTES, 2560),)),
            ("bare", 2000, "  of which asyncio's socket, transport and an empty protocol", ()),
            ("sinks", 2000, "the same with a sink of its own, declared and opened in a strategy", ()),
        ):
            settings.say(f"{self.name}: {case}")
            with Subscriber(*(() if case in {"sinks", "leases", "bare"} else ("--silent-after", "0"))) as subscriber:
                found = work("memory", case, [subscriber.port, count if full else count // 4])
            sheet.add(name, {_BYTES: found["bytes"]}, *bounds, raw=found)
        return sheet.result


def _events(count: int) -> list[Event]:
    return [Event(METHOD, request_params()) for _ in range(count)]


async def _grown(count: int, build: Callable[[], Awaitable[object]], settled: Callable[[], bool]) -> float:
    """Bytes for each of so many of what `build` makes, once all of it is there."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = await build()
    while not settled():  # noqa: ASYNC110  # the framework tells no event that isn't in the way of what is measured
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)  # what is on its way to the kernel
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    del kept
    return grown / count


async def _payload(_port: int, count: int) -> float:
    async def build() -> list[Event]:
        return _events(count)

    return await _grown(count, build, lambda: True)


async def _in_flight(port: int, count: int, case: str) -> float:
    events = _events(count)
    options = ConnectionOptions(in_flight=count, write_buffer=2**26)
    sinks = [jsonrpc(f"127.0.0.1:{port}", name=name, timeout=_TIMEOUT, options=options) for name in ("a", "b")]
    group = Group("memory", Failover(*sinks), drain=0)
    first = sinks[0]
    tasks: list[asyncio.Task[Any]] = []
    async with group:
        tasks.append(asyncio.create_task(group.deliver(events[0])))  # connects, and stays in flight
        await asyncio.sleep(0.1)

        async def build() -> object:
            if case == "many":
                tasks.append(asyncio.create_task(group.deliver_many(events)))
            elif case == "start":
                return [first.start(event) for event in events]
            else:
                tasks.extend([asyncio.create_task(group.deliver(event)) for event in events])
            return None

        grown = await _grown(count, build, lambda: first.status().in_flight == count + 1 or case == "many")
        assert first.status().in_flight == (count if case == "many" else count + 1), first.status()
    await asyncio.gather(*tasks)
    return grown


async def _task(_port: int, count: int) -> float:
    """What anybody pays who waits in a task."""
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        await asyncio.Future(loop=loop)

    tasks: list[asyncio.Task[None]] = []

    async def build() -> object:
        tasks.extend([asyncio.create_task(wait()) for _ in range(count)])
        return None

    grown = await _grown(count, build, lambda: True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return grown


async def _sinks(port: int, count: int) -> float:
    peers = Peers.current()
    groups: list[Group] = []

    async def build() -> object:
        groups.append(opened_sinks(port, count))
        await groups[0].open()
        return None

    grown = await _grown(count, build, lambda: _established(peers) == count)
    await groups[0].aclose()
    return grown


async def _leases(port: int, count: int) -> float:
    peers = Peers()
    key = PeerKey("tcp", "127.0.0.1", port, None, None)
    options = ConnectionOptions(connect_timeout=_TIMEOUT)

    async def build() -> object:
        return [peers.lease(key, options, dedicated=True) for _ in range(count)]

    grown = await _grown(count, build, lambda: _established(peers) == count)
    await peers.aclose()
    return grown


def _established(peers: Peers) -> int:
    connections = [peer._connection for peer in peers._dedicated]  # pyright: ignore[reportPrivateUsage]
    return sum(one is not None and one.established for one in connections)


async def _bare(port: int, count: int) -> float:
    loop = asyncio.get_running_loop()
    transports: list[asyncio.Transport] = []

    async def build() -> object:
        for _ in range(count):
            transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
            transports.append(transport)
        return None

    grown = await _grown(count, build, lambda: True)
    for transport in transports:
        transport.abort()
    return grown


def main() -> None:
    """Measure one case and print the figure."""
    case, (port, count) = sys.argv[1], json.loads(sys.argv[2])
    if case in {"many", "start", "await"}:
        grown = asyncio.run(_in_flight(port, count, case))
    else:
        cases = {"payload": _payload, "task": _task, "sinks": _sinks, "leases": _leases, "bare": _bare}
        grown = asyncio.run(cases[case](port, count))
    print(json.dumps({"bytes": grown, "count": count, "python": sys.version.split()[0]}))


if __name__ == "__main__":
    main()
