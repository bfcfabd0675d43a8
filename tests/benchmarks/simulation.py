"""How fast the simulation is on one core: bare exchanges, deliveries of a group, and a day of both with faults.

Run: `python tests/benchmarks/simulation.py [--exchanges N] [--profile]`
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import random
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from failover import Event, Group, jsonrpc
from failover.sim import Fault, Simulation, log_normal
from failover.strategies import Failover
from failover.subscriber import Subscriber

REQUEST = b'{"id":1234567,"jsonrpc":"2.0","method":"E_ACC_CDR","params":{"callid":"a84b4c76e66710","duration":35}}'
REPLY = b'{"id":1234567,"jsonrpc":"2.0","result":"ok"}'


class Server(asyncio.Protocol):
    """Answers each request that arrives."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer."""
        self._transport.write(REPLY * (len(data) // len(REQUEST)))


class Client(asyncio.Protocol):
    """Keeps so many requests in flight, each in a write of its own, until it has had so many replies."""

    def __init__(self, exchanges: int, window: int) -> None:
        self._unsent = exchanges
        self._unanswered = exchanges
        self._window = window
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._request(self._window)

    def data_received(self, data: bytes) -> None:
        """Count the replies, and send as many requests."""
        replies = len(data) // len(REPLY)
        self._unanswered -= replies
        if self._unanswered <= 0 and not self.done.done():
            self.done.set_result(None)
        self._request(replies)

    def _request(self, count: int) -> None:
        count = min(count, self._unsent)
        self._unsent -= count
        for _ in range(count):
            self._transport.write(REQUEST)


def simulation(exchanges: int, window: int, **settings: Any) -> tuple[Simulation, Coroutine[Any, Any, None]]:
    """A simulation of one client and one server, and what to run on it."""
    simulated = Simulation(seed=1, **settings)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Server, "app1", 80)
        await server.serve_forever()

    async def main() -> None:
        simulated.network.host("app1", start=serve)
        await asyncio.sleep(1)
        transport, client = await asyncio.get_running_loop().create_connection(
            lambda: Client(exchanges, window), "app1", 80
        )
        await client.done
        transport.close()

    return simulated, main()


APPS = ("app1", "app2", "app3")


async def subscribe() -> None:
    """Confirm every event, for ever."""
    subscriber = Subscriber("0.0.0.0", 80)  # noqa: S104

    @subscriber.default
    def _confirm(_method: str, _params: object) -> str:
        return "ok"

    async with subscriber:
        await asyncio.get_running_loop().create_future()


def three() -> Group:
    """A group of three subscribers, one after the other."""
    return Group("three", Failover(*(jsonrpc(f"{name}:80", timeout=0.2) for name in APPS), quarantine=5))


def delivering(deliveries: int, window: int) -> tuple[Simulation, Coroutine[Any, Any, None]]:
    """A simulation of a group without faults, so many deliveries at a time."""
    simulated = Simulation(seed=1)
    for name in APPS:
        simulated.network.host(name, start=subscribe)

    async def main() -> None:
        await asyncio.sleep(1)
        async with three() as group:

            async def some() -> None:
                for number in range(deliveries // window):
                    receipt = await group.deliver(Event("E_ACC_CDR", {"callid": "a84b4c76e66710", "n": number}))
                    assert receipt.settled

            async with asyncio.TaskGroup() as tasks:
                for _ in range(window):
                    tasks.create_task(some())

    return simulated, main()


def with_faults(seconds: float, rate: float) -> tuple[Simulation, Coroutine[Any, Any, None]]:
    """A simulation of a group at so many events per second, with a fault every ten seconds."""
    simulated = Simulation(seed=1, latency=log_normal(0.001), cut=0.1)
    network = simulated.network
    for name in APPS:
        network.host(name, start=subscribe)
    verbs: list[Callable[[str], object]] = [
        network.refuse,
        network.black_hole,
        network.reset,
        network.half_open,
        partial(network.latency, 0.1),
    ]

    async def main() -> None:
        await asyncio.sleep(1)
        loop, chance = asyncio.get_running_loop(), random.Random(1)
        async with three() as group, asyncio.TaskGroup() as tasks:
            end = loop.time() + seconds

            async def break_things() -> None:
                while loop.time() < end:
                    name = chance.choice(APPS)
                    if chance.random() < 0.2:
                        network.host(name).crash("silent")
                        await asyncio.sleep(2)
                        network.host(name).restart()
                    else:
                        fault = chance.choice(verbs)(name)
                        await asyncio.sleep(2)
                        if isinstance(fault, Fault):
                            fault.repair()
                    await asyncio.sleep(8)

            tasks.create_task(break_things())
            while loop.time() < end:
                tasks.create_task(group.deliver(Event("E_ACC_CDR", {"callid": "a84b4c76e66710"}), within=1.0))
                await asyncio.sleep(chance.expovariate(rate))

    return simulated, main()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exchanges", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    options = parser.parse_args()
    cases: list[tuple[str, int, dict[str, Any]]] = [
        ("one in flight", 1, {}),
        ("64 in flight", 64, {}),
        ("one in flight, log-normal latency", 1, {"latency": log_normal(0.001)}),
    ]
    for name, window, settings in cases:
        report(f"exchanges, {name}", options.exchanges, *simulation(options.exchanges, window, **settings), options)
    for window in (1, 64):
        deliveries = options.exchanges // 4
        report(f"deliveries, {window} in flight", deliveries, *delivering(deliveries, window), options)
    for rate, seconds in ((10, 2000), (100, 200)):
        report(f"deliveries, {rate}/s with faults", rate * seconds, *with_faults(seconds, rate), options)


def report(
    name: str, count: int, simulated: Simulation, program: Coroutine[Any, Any, None], options: argparse.Namespace
) -> None:
    """Run one case and print its line."""
    profile = cProfile.Profile()
    began = time.process_time()
    if options.profile:
        profile.runcall(simulated.run, program)
    else:
        simulated.run(program)
    used = time.process_time() - began
    print(f"{name}: {count / used:,.0f} per second of one core; {simulated.loop.now / used:,.0f} times real time")
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(14)


if __name__ == "__main__":
    main()
