"""Print the whole history of one simulation: programs of streams and datagrams, a group, faults; nothing but the seed.

Run: `python tests/sim/history.py SEED`
"""

from __future__ import annotations

import asyncio
import random
import sys
import uuid
import zlib
from functools import partial
from typing import Any

from failover import Event, Group, jsonrpc
from failover.sim import Network, Record, Simulation, log_normal
from failover.strategies import Failover, Parallel, RoundRobin
from failover.subscriber import RpcError, Subscriber

APPS = ("app1", "app2", "app3")
KINDS = 9


def history(seed: int) -> list[str]:
    """The lines of it."""
    lines: list[str] = []
    simulation = Simulation(seed, latency=log_normal(0.002), cut=0.3, loss=0.1, buffer=16_384)
    network = simulation.network

    def observe(record: Record) -> None:
        lines.append(f"{record} {zlib.crc32(record.data):08x}")

    network.observers.append(observe)
    for name in APPS:
        network.host(name, start=partial(serve, name, lines))
    simulation.run(main(network, lines))
    lines.append(repr(simulation.loop.now))
    return lines


async def serve(name: str, lines: list[str]) -> None:
    """A subscriber, an echo by streams and one by datagrams."""
    subscriber = Subscriber("0.0.0.0", 80)  # noqa: S104

    @subscriber.default
    async def on_event(method: str, params: Any) -> str:
        await asyncio.sleep(random.expovariate(200))
        lines.append(f"{name} {method} {params}")
        if random.random() < 0.1:
            raise RpcError(-32000, "refused")
        return "ok"

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except OSError as error:
            lines.append(f"{name} {error!r}")
        finally:
            writer.close()

    class Datagrams(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data, addr)

    await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, local_addr=("0.0.0.0", 82))  # noqa: S104
    server = await asyncio.start_server(echo, "0.0.0.0", 81)  # noqa: S104
    async with subscriber, server:
        await server.serve_forever()


async def main(network: Network, lines: list[str]) -> None:
    """Deliver, talk, and break things, until it is enough."""
    await asyncio.sleep(1)

    def observe(record: object) -> None:
        lines.append(f"{asyncio.get_running_loop().time():.9f} {type(record).__name__}")

    sockets = [jsonrpc(f"{name}:80", timeout=0.2) for name in ("app1", "app2", "app2", "app3")]
    tree = Failover(RoundRobin(*sockets[:2], quarantine=2), Parallel(*sockets[2:], require="any"), quarantine=0.5)
    async with Group("calls", tree, observers=[observe]) as group, asyncio.TaskGroup() as tasks:
        faults = tasks.create_task(break_things(network))
        for name in APPS:
            tasks.create_task(talk(name, lines))
            tasks.create_task(datagrams(name, lines))
        for number in range(60):
            receipt = await group.deliver(Event("E_TEST", {"n": number, "call": str(uuid.uuid4())}), within=1.0)
            lines.append(receipt.explain())
            await asyncio.sleep(random.expovariate(20))
        await faults


async def talk(name: str, lines: list[str]) -> None:
    """Lines to an echo server, on a new connection after each that broke."""
    for _ in range(20):
        writer = None
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection(name, 81)
                for size in (10, 1000, 30_000):
                    writer.write(random.randbytes(size).replace(b"\n", b" ") + b"\n")
                    lines.append(f"{name} answered {len(await reader.readline())}")
        except (OSError, ValueError) as error:
            lines.append(f"{name} {error!r}")
        finally:
            if writer is not None:
                writer.close()
        await asyncio.sleep(random.random())


async def datagrams(name: str, lines: list[str]) -> None:
    """Datagrams to an echo."""

    class Count(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            lines.append(f"{data!r} from {addr}")

        def error_received(self, exc: Exception) -> None:
            lines.append(f"{name} {exc!r}")

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Count, remote_addr=(name, 82))
    for number in range(30):
        transport.sendto(b"%d" % number)
        await asyncio.sleep(0.1)
    transport.close()


async def break_things(network: Network) -> None:
    """Every verb there is, each for a while, at random hosts."""
    for round_ in range(3):
        for kind in random.sample(range(KINDS), KINDS):
            name = random.choice(APPS)
            host = network.host(name)
            acts: list[Any] = [
                lambda name=name: network.refuse(name),
                lambda name=name: network.black_hole(name),
                lambda name=name: network.partition("main", name, one_way=True),
                lambda name=name: network.hold(name, "main"),
                lambda name=name: network.loss(0.3, name),
                lambda name=name: network.jitter(0.1, name),
                lambda name=name: network.bandwidth(100_000, name),
                lambda name=name: network.reset(name),
                lambda name=name: network.half_open(name),
            ]
            fault = acts[kind]()
            await asyncio.sleep(random.random())
            if not isinstance(fault, int):
                fault.repair()
        host = network.host(APPS[round_])
        host.crash("silent" if round_ % 2 else "reset")
        await asyncio.sleep(0.5)
        host.restart()


if __name__ == "__main__":
    sys.stdout.write("\n".join(history(int(sys.argv[1]))))
