"""Hosts: names and addresses, whose code runs where, crash and restart, each with connections of its own."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from failover.net.peers import Peers
from failover.sim import Record, Simulation, SimulationError


async def listen(protocol: Callable[[], asyncio.BaseProtocol] = asyncio.Protocol, host: str | None = None) -> None:
    """Serve on port 80, for ever."""
    server = await asyncio.get_running_loop().create_server(protocol, host, 80)
    await server.serve_forever()


class Listening(asyncio.Protocol):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Data."""
        self.heard.append(data)

    def eof_received(self) -> None:
        """The end."""
        self.heard.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        """The loss."""
        self.heard.append(type(exc).__name__)
        self.lost.set_result(None)


async def connect(name: str = "app1") -> tuple[asyncio.Transport, Listening]:
    """A connection to port 80 of a host."""
    return await asyncio.get_running_loop().create_connection(Listening, name, 80)


def run(main: Callable[[Simulation], Coroutine[Any, Any, Any]], **settings: Any) -> Any:
    """Run a function of a simulation that has listening hosts app1 and app2."""
    simulation = Simulation(seed=5, **settings)
    for name in ("app1", "app2"):
        simulation.network.host(name, start=listen)

    async def later() -> Any:
        await asyncio.sleep(1)
        return await main(simulation)

    return simulation.run(later())


def test_names_and_addresses() -> None:
    """Names resolve to stable addresses of a reserved range, numbers to themselves, localhost to the host itself."""

    async def main(_: Simulation) -> list[Any]:
        lookup = asyncio.get_running_loop().getaddrinfo
        asked = ["app1", "APP2.", "localhost", "10.1.2.3", None]
        found = [(await lookup(name, "80", type=socket.SOCK_STREAM))[0][4] for name in asked]
        six = await lookup("app1", 80, family=socket.AF_INET6)
        name = await asyncio.get_running_loop().getnameinfo(("198.18.0.2", 80))
        return [*found, six[0][4], [kind for _, kind, *_ in six], name]

    assert run(main) == [
        ("198.18.0.1", 80),
        ("198.18.0.2", 80),
        ("127.0.0.1", 80),
        ("10.1.2.3", 80),
        ("127.0.0.1", 80),
        ("2001:db8::1", 80, 0, 0),
        [socket.SOCK_STREAM, socket.SOCK_DGRAM],
        ("app2", "80"),
    ]


@pytest.mark.parametrize(
    ("name", "port", "number"),
    [("nobody", 80, socket.EAI_NONAME), ("app1", "http", socket.EAI_SERVICE)],
)
def test_names_that_do_not_resolve(name: str, port: int | str, number: int) -> None:
    """An unknown host or service fails with the resolver's number, and the text says which hosts there are."""

    async def main(_: Simulation) -> None:
        with pytest.raises(socket.gaierror) as caught:
            await asyncio.get_running_loop().getaddrinfo(name, port)
        assert caught.value.errno == number
        assert "app1, app2, main" in str(caught.value) or number == socket.EAI_SERVICE

    run(main)


def test_addresses_of_no_host() -> None:
    """An unused address of the range is unreachable after ARP's 3 s; one outside of it is an error that says so."""

    async def main(simulation: Simulation) -> None:
        with pytest.raises(OSError, match="Connect call failed") as caught:
            await connect("198.18.9.9")
        assert caught.value.errno == errno.EHOSTUNREACH
        assert simulation.loop.time() == 4
        with pytest.raises(SimulationError, match=r"network\.host\(name, address='192\.0\.2\.1'\) would make it one"):
            await connect("192.0.2.1")
        simulation.network.host("outside", address="192.0.2.1", start=listen)
        await connect("192.0.2.1")

    run(main)


def test_listening_on_one_address() -> None:
    """A port of 127.0.0.1 is for the host itself; another host's address can't be bound; IPv6 works as IPv4 does."""

    async def main(simulation: Simulation) -> None:
        app3 = simulation.network.host("app3")
        app3.boot(lambda: listen(host="127.0.0.1"))
        app4 = simulation.network.host("app4")
        app4.boot(lambda: listen(host="::"))
        await asyncio.sleep(1)
        with pytest.raises(ConnectionRefusedError):
            await connect("app3")
        await app3.run(connect("localhost"))
        await app4.run(connect("::1"))
        six, _ = await connect("2001:db8::5")
        assert six.get_extra_info("peername") == ("2001:db8::5", 80, 0, 0)
        with pytest.raises(OSError, match="ssign requested address") as caught:
            await listen(host="app1")
        assert caught.value.errno == errno.EADDRNOTAVAIL

    run(main)


def test_the_same_port_on_every_host() -> None:
    """Hosts have ports of their own, and each connection knows both its addresses."""

    async def main(simulation: Simulation) -> list[Any]:
        first, _ = await connect("app1")
        second, _ = await connect("app2")
        third, _ = await simulation.network.host("app1").run(connect("app2"))
        return [(t.get_extra_info("sockname"), t.get_extra_info("peername")) for t in (first, second, third)]

    assert run(main) == [
        (("198.18.0.3", 32768), ("198.18.0.1", 80)),
        (("198.18.0.3", 32769), ("198.18.0.2", 80)),
        (("198.18.0.1", 32768), ("198.18.0.2", 80)),
    ]


def test_crash_with_reset() -> None:
    """The process ends: its tasks are cancelled, its timers never fire, peers get a RST, its port refuses."""
    lines: list[str] = []

    async def work() -> None:
        asyncio.get_running_loop().call_later(10, lines.append, "timer")
        try:
            await asyncio.sleep(5)
            lines.append("worked")
        finally:
            lines.append("ended")
            transport, _ = await connect("app2")  # the dying words of a process reach nobody
            transport.write(b"x")
            lines.append("connected")

    async def main(simulation: Simulation) -> Any:
        app1 = simulation.network.host("app1")
        app1.spawn(work())
        _, client = await connect()
        await asyncio.sleep(1)
        app1.crash()
        app1.crash()
        await client.lost
        with pytest.raises(ConnectionRefusedError):
            await connect()
        with pytest.raises(SimulationError, match=r"app1 has crashed: .* before restart\(\)"):
            app1.spawn(listen())
        await asyncio.sleep(100)
        return client.heard, app1.up, repr(app1)

    assert run(main) == (["ConnectionResetError"], False, "<Host app1 198.18.0.1 crashed>")
    assert lines == ["ended"]


def test_crash_in_silence() -> None:
    """The machine loses power: peers are not told, and after a restart what they send brings a RST."""

    async def main(simulation: Simulation) -> Any:
        app1 = simulation.network.host("app1")
        transport, client = await connect()
        await asyncio.sleep(1)
        app1.crash("silent")
        transport.write(b"anyone?")
        connecting = asyncio.create_task(connect())
        await asyncio.sleep(50)
        before = list(client.heard), connecting.done(), repr(app1)
        app1.restart()
        await client.lost
        await connecting
        return before, client.heard, app1.up

    assert run(main) == (([], False, "<Host app1 198.18.0.1 silent>"), ["ConnectionResetError"], True)


def test_restart() -> None:
    """A restart ends what runs and runs the start function again, in a new process with nothing of the old one."""
    starts: list[float] = []

    async def main(simulation: Simulation) -> Any:
        async def start() -> None:
            starts.append(asyncio.get_running_loop().time())
            await listen()

        app3 = simulation.network.host("app3", start=start)
        await asyncio.sleep(1)
        _, client = await connect("app3")
        app3.restart()
        await client.lost
        await asyncio.sleep(0.001)
        await connect("app3")
        return client.heard

    assert run(main) == ["ConnectionResetError"]
    assert starts == [1.0, pytest.approx(2.001)]


def test_a_start_that_fails() -> None:
    """A host whose start function raises fails the simulation with the same exception."""

    async def start() -> None:
        raise ValueError("no configuration")

    async def main(simulation: Simulation) -> None:
        simulation.network.host("app3", start=start)
        await asyncio.sleep(10)

    with pytest.raises(ValueError, match="no configuration") as caught:
        run(main)
    assert "in the start function of the simulated host app3" in caught.value.__notes__


def test_run_on_a_host_that_crashes() -> None:
    """Who waits for something on a host that crashes gets an error, and is not cancelled itself."""

    async def main(simulation: Simulation) -> str:
        app1 = simulation.network.host("app1")
        asyncio.get_running_loop().call_later(1, app1.crash)
        with pytest.raises(SimulationError, match=r"app1 crashed while Task-\d+ ran on it"):
            await app1.run(asyncio.sleep(10))
        return "went on"

    assert run(main) == "went on"


def test_connections_that_wait_to_be_accepted() -> None:
    """More connects at once than the backlog has room for: the rest get in with their second SYN, 1 s later."""

    async def main(simulation: Simulation) -> list[float]:
        loop = asyncio.get_running_loop()

        async def start() -> None:
            server = await loop.create_server(asyncio.Protocol, None, 81, backlog=3, start_serving=False)
            for listener in simulation.network.host("app3").process.listeners.values():
                listener.listen(3)
            await asyncio.sleep(1.5)
            await server.serve_forever()

        simulation.network.host("app3", start=start)
        await asyncio.sleep(0.5)
        times: list[float] = []

        async def one() -> None:
            await loop.create_connection(asyncio.Protocol, "app3", 81)
            times.append(round(loop.time() - 1.5, 1))

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(one())
            await asyncio.sleep(0.1)
            for _ in range(3):
                group.create_task(one())
                await asyncio.sleep(0.01)
        return times

    assert run(main) == [0.0, 0.0, 0.0, 0.1, 1.1, 1.1]


def test_closing_a_listener_with_connections_waiting() -> None:
    """Connections that were never accepted are reset when the listener closes."""

    async def main(simulation: Simulation) -> Any:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, None, 81, start_serving=False)
        (listener,) = simulation.network.host("main").process.listeners.values()
        listener.listen(5)
        _, client = await loop.create_connection(Listening, "localhost", 81)
        await asyncio.sleep(1)
        server.close()
        await client.lost
        return client.heard

    assert run(main) == ["ConnectionResetError"]


def test_every_host_has_peers_of_its_own() -> None:
    """Each process has its own `Peers`, and tasks started on it use them."""

    async def main(simulation: Simulation) -> int:
        async def mine() -> Peers:
            return Peers.current()

        app1 = simulation.network.host("app1")
        found = [Peers.current(), await app1.run(mine()), await simulation.network.host("app2").run(mine())]
        assert await app1.run(mine()) is found[1]
        app1.restart()
        found.append(await app1.run(mine()))
        return len(set(map(id, found)))

    assert run(main) == 4


def test_calling_a_function_on_a_host() -> None:
    """What a plain function opens belongs to the host that it is called on."""

    async def main(simulation: Simulation) -> str:
        def begin() -> asyncio.Task[tuple[asyncio.Transport, Listening]]:
            return asyncio.create_task(connect("app2"))

        transport, _ = await simulation.network.host("app1").call(begin)
        return str(transport.get_extra_info("sockname")[0])

    assert run(main) == "198.18.0.1"


def test_code_that_is_on_no_host() -> None:
    """Code that runs on no host can't use the network, and is told how to be on one."""
    simulation = Simulation(seed=1)

    async def main() -> None:
        context = contextvars.Context()
        with pytest.raises(SimulationError, match=r"runs on no host: start it with Simulation\.run or Host\.spawn"):
            await asyncio.get_running_loop().create_task(connect("main"), context=context)

    simulation.run(main())


def test_a_local_address_of_ones_own() -> None:
    """A connection can be made from a port of one's choice, once; to "any" address it goes to the host itself."""

    async def main(_simulation: Simulation) -> list[Any]:
        loop = asyncio.get_running_loop()
        first, _ = await loop.create_connection(Listening, "app1", 80, local_addr=("main", 5000))
        with pytest.raises(OSError, match="address already in use"):
            await loop.create_connection(Listening, "app2", 80, local_addr=("main", 5000))
        server = await loop.create_server(asyncio.Protocol, ["localhost", "main"], 81)
        itself, _ = await loop.create_connection(Listening, "0.0.0.0", 81)  # noqa: S104
        return [first.get_extra_info("sockname"), itself.get_extra_info("peername"), len(server.sockets)]

    assert run(main) == [("198.18.0.3", 5000), ("127.0.0.1", 81), 2]


def test_a_server_that_can_not_have_all_its_addresses() -> None:
    """When one of several addresses can't be bound none is, and the port stays free."""

    async def main(simulation: Simulation) -> int:
        loop = asyncio.get_running_loop()
        with pytest.raises(OSError, match="ssign requested address"):
            await loop.create_server(asyncio.Protocol, ["main", "app1"], 81)
        return len(simulation.network.host("main").process.listeners)

    assert run(main) == 0


def cancel_at_ack(connecting: asyncio.Task[Any], record: Record) -> None:
    """Cancel a connect when the last packet of its handshake is sent."""
    if record.what == "ack":
        connecting.cancel()


def test_a_connect_that_is_cancelled() -> None:
    """Whenever a connect is cancelled its port is free again, and nothing is left of it at either end."""

    async def main(simulation: Simulation) -> list[int]:
        loop = asyncio.get_running_loop()
        left: list[int] = []
        observers = simulation.network.observers
        for delay in (0.0, 0.0003, 0.0007, None):
            connecting = asyncio.create_task(connect())
            if delay is not None:
                loop.call_later(delay, connecting.cancel)
            else:  # at the last moment: when it is connected and does not know yet
                observers.append(partial(cancel_at_ack, connecting))
            await asyncio.wait([connecting])
            await asyncio.sleep(1)
            assert connecting.cancelled()
            processes = [simulation.network.host(name).process for name in ("main", "app1")]
            left.append(sum(len(process.endpoints) for process in processes) + len(processes[0].ports))
        return left

    assert run(main) == [0, 0, 0, 0]
