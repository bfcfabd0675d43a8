"""The package itself in the simulation: a group and its subscribers, unchanged, to the millisecond."""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trustme

from failover import ConnectionOptions, Event, Group, Outcome, jsonrpc
from failover.net.peers import CURRENT, Peers
from failover.sim import Network, Simulation, current
from failover.strategies import Failover
from failover.subscriber import Subscriber

NAMES = ("app1", "app2", "app3")


async def subscribe(seen: list[str], name: str, context: ssl.SSLContext | None = None) -> None:
    """Confirm every event, for ever."""
    subscriber = Subscriber("0.0.0.0", 80, ssl_context=context)  # noqa: S104

    @subscriber.default
    def _confirm(method: str, _params: object) -> str:
        seen.append(f"{name} {method}")
        return "ok"

    async with subscriber:
        await asyncio.get_running_loop().create_future()


def run(break_it: Callable[[Network], object]) -> Any:
    """Deliver one event to three subscribers in order, after something went wrong.

    Returns:
        The outcome of each child in order, seconds that it took, and who saw it.
    """
    simulation = Simulation(seed=1, latency=0.001)
    seen: list[str] = []
    for name in NAMES:
        simulation.network.host(name, start=partial(subscribe, seen, name))

    async def main() -> tuple[str, float]:
        await asyncio.sleep(1)
        sockets = [jsonrpc(f"{name}:80", timeout=0.2) for name in NAMES]
        async with Group("three", Failover(*sockets)) as group:
            await asyncio.sleep(1)
            break_it(simulation.network)
            began = asyncio.get_running_loop().time()
            receipt = await group.deliver(Event("E_TEST", {"n": 1}))
            took = asyncio.get_running_loop().time() - began
            return " ".join(child.outcome.value for child in receipt.children), took

    outcomes, took = simulation.run(main())
    return outcomes, took, seen


def test_a_delivery_takes_a_round_trip() -> None:
    """With nothing broken the first subscriber confirms after one round trip."""
    assert run(lambda _: None) == ("confirmed", pytest.approx(0.002), ["app1 E_TEST"])


def test_a_silent_primary_costs_its_timeout() -> None:
    """A primary that falls silent costs its timeout, at most 10 ms more, and then the second confirms."""
    outcomes, took, seen = run(lambda network: network.black_hole("app1"))
    assert outcomes == "unconfirmed confirmed"
    assert 0.2 + 0.002 - 1e-9 <= took <= 0.212
    assert seen == ["app2 E_TEST"]


def test_a_dead_primary_costs_nothing() -> None:
    """A primary that has crashed refuses the reconnect at once."""

    def crash(network: Network) -> None:
        network.host("app1").crash()
        network.host("app2").crash()

    outcomes, took, seen = run(crash)
    assert outcomes.endswith("confirmed")
    assert took < 0.05
    assert seen == ["app3 E_TEST"]


def test_a_reply_that_is_lost_is_a_possible_duplicate() -> None:
    """With the way back cut the event is processed, unconfirmed, and processed again elsewhere."""
    outcomes, _, seen = run(lambda network: network.partition("app1", "main", one_way=True))
    assert outcomes == "unconfirmed confirmed"
    assert seen == ["app1 E_TEST", "app2 E_TEST"]


def test_groups_on_two_hosts_share_nothing() -> None:
    """Groups with the same sockets on two hosts have connections of their own; on one host they share."""
    simulation = Simulation(seed=1)
    seen: list[str] = []
    simulation.network.host("app1", start=partial(subscribe, seen, "app1"))

    async def deliver() -> Outcome:
        async with Group("a", jsonrpc("app1:80")) as one, Group("b", jsonrpc("app1:80")) as other:
            await one.deliver(Event("E_TEST"))
            await asyncio.sleep(1)
            return (await other.deliver(Event("E_TEST"))).outcome

    async def main() -> tuple[list[Outcome], int]:
        await asyncio.sleep(1)
        hosts = [simulation.network.host(name) for name in ("client1", "client2")]
        tasks = [host.spawn(deliver()) for host in hosts]
        await asyncio.sleep(0.5)
        connections = len(current().host("app1").process.endpoints)
        return [await task for task in tasks], connections

    assert simulation.run(main()) == ([Outcome.CONFIRMED] * 2, 2)


def test_tls() -> None:
    """A group delivers over TLS, handshakes and all, and no real time is waited for."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("app1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    simulation = Simulation(seed=1, latency=1.0)
    seen: list[str] = []
    simulation.network.host("app1", start=partial(subscribe, seen, "app1", server))

    async def main() -> tuple[Outcome, float]:
        await asyncio.sleep(1)
        slow = ConnectionOptions(connect_timeout=100)
        async with Group("secure", jsonrpc("app1:80", timeout=200, ssl=client, options=slow)) as group:
            receipt = await group.deliver(Event("E_TEST"))
            return receipt.outcome, asyncio.get_running_loop().time()

    began = time.perf_counter()
    outcome, virtual = simulation.run(main())
    assert (outcome, seen) == (Outcome.CONFIRMED, ["app1 E_TEST"])
    assert virtual >= 6
    assert time.perf_counter() - began < 5


def test_the_peers_of_a_host_are_seeded() -> None:
    """First request ids, which are drawn at random, come from the simulation's seed."""

    def wire(seed: int) -> bytes:
        simulation = Simulation(seed)
        seen: list[str] = []
        sent: list[bytes] = []
        simulation.network.observers.append(lambda record: sent.append(record.data))
        simulation.network.host("app1", start=partial(subscribe, seen, "app1"))

        async def main() -> None:
            assert isinstance(CURRENT.get(), Peers)
            await asyncio.sleep(1)
            async with Group("one", jsonrpc("app1:80")) as group:
                await group.deliver(Event("E_TEST"))

        simulation.run(main())
        return b"".join(sent)

    assert wire(1) == wire(1) != wire(2)
