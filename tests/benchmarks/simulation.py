"""How fast the simulation is: request/response exchanges per second of real time, on one core, and no engine.

Run: `python tests/benchmarks/simulation.py [--exchanges N] [--profile]`
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import time
from collections.abc import Coroutine
from typing import Any

from failover.sim import Simulation, log_normal

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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exchanges", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    cases: list[tuple[str, int, dict[str, Any]]] = [
        ("one in flight", 1, {}),
        ("64 in flight", 64, {}),
        ("one in flight, log-normal latency", 1, {"latency": log_normal(0.001)}),
    ]
    for name, window, settings in cases:
        simulated, program = simulation(options.exchanges, window, **settings)
        profile = cProfile.Profile()
        began, used = time.perf_counter(), time.process_time()
        if options.profile:
            profile.runcall(simulated.run, program)
        else:
            simulated.run(program)
        took, used = time.perf_counter() - began, time.process_time() - used
        print(
            f"{name}: {options.exchanges / used:,.0f} exchanges/s of one core, {options.exchanges / took:,.0f} by the "
            f"clock; {simulated.loop.now:,.1f} s simulated in {took:.2f} s"
        )
        if options.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(14)


if __name__ == "__main__":
    main()
