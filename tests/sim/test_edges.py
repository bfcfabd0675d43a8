"""Races and rare ways: ends that meet faults, crashes that meet segments in flight, servers that fail to accept."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

import pytest

from failover.sim import DROP, HOLD, PASS, RESET, Kind, Packet, Simulation, SimulationError, Verdict, simulate
from tests.sim.programs import KEPT, ask, connect


def on(kind: Kind, *verdicts: Verdict) -> Callable[[Packet], Verdict]:
    """A rule that gives packets of one kind these verdicts, one after the other, and then lets them pass."""
    left = list(verdicts)

    def rule(packet: Packet) -> Verdict:
        return left.pop(0) if packet.kind is kind and left else PASS

    return rule


class Listening(asyncio.Protocol):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Data."""
        self.heard.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The loss."""
        self.heard.append(type(exc).__name__)
        self.lost.set_result(None)


async def listening() -> tuple[asyncio.Transport, Listening]:
    """A connection to the echo server of app1."""
    return await asyncio.get_running_loop().create_connection(Listening, "app1", 80)


@pytest.mark.parametrize(
    ("kind", "back", "seconds"),
    [(Kind.SYN, False, 1.0), (Kind.SYN_ACK, True, 1.0), (Kind.ACK, False, 0.2)],
)
def test_a_lost_packet_of_the_handshake(simulation: Simulation, kind: Kind, back: bool, seconds: float) -> None:  # noqa: FBT001
    """Each packet of a handshake is sent again after its time, and the connection works."""

    async def main() -> float:
        await asyncio.sleep(1)
        source, destination = ("app1", "main") if back else ("main", "app1")
        simulation.network.fault("one lost", on(kind, DROP), source=source, destination=destination)
        began = asyncio.get_running_loop().time()
        await ask(*await connect())
        return asyncio.get_running_loop().time() - began

    assert simulation.run(main()) == pytest.approx(0.04 + seconds)


def test_a_connect_at_any_time_gives_up(simulation: Simulation) -> None:
    """A SYN is sent again exactly six times, also where adding seconds to the time rounds."""
    sent: list[float] = []

    async def main() -> None:
        chance = random.Random(1)
        simulation.network.observers.append(lambda record: sent.append(record.time))
        with simulation.network.black_hole("app1"):
            for _ in range(50):
                await asyncio.sleep(chance.random())
                sent.clear()
                with pytest.raises(TimeoutError):
                    await connect()
                tries = [when - sent[0] for when in sent]
                assert tries == pytest.approx([0, 1, 3, 7, 15, 31, 63])

    simulation.run(main())


def test_a_refusal_that_is_lost(simulation: Simulation) -> None:
    """A lost RST of a refusal makes the client ask again."""

    async def main() -> float:
        await asyncio.sleep(1)
        simulation.network.fault("one lost", on(Kind.RST, DROP, RESET), source="app1", destination="main")
        with pytest.raises(ConnectionRefusedError):
            await connect(port=81)
        return asyncio.get_running_loop().time()

    assert simulation.run(main()) == pytest.approx(1 + 3 + 0.02)


@pytest.mark.parametrize(
    ("verdict", "heard"),
    [(PASS, ["ConnectionResetError"]), (DROP, []), (HOLD, ["ConnectionResetError"])],
)
def test_a_reset_meets_a_fault(simulation: Simulation, verdict: Verdict, heard: list[str]) -> None:
    """A RST that is lost is never sent again; one that is held comes when it is released."""

    async def main() -> list[str]:
        await asyncio.sleep(1)
        _, client = await listening()
        await asyncio.sleep(1)
        fault = simulation.network.fault("rst", on(Kind.RST, verdict), source="app1", destination="main")
        simulation.network.host("app1").crash()
        await asyncio.sleep(10)
        fault.repair()
        await asyncio.sleep(10)
        return client.heard

    assert simulation.run(main()) == heard


def test_a_reset_behind_what_is_held(simulation: Simulation) -> None:
    """What is held on the wire still arrives before the RST that was sent after it."""

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[asyncio.Transport] = loop.create_future()

        class Server(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                accepted.set_result(transport)  # type: ignore[arg-type]

        await loop.create_server(Server, "main", 81)
        transport, client = await loop.create_connection(Listening, "main", 81)
        server = await accepted
        with simulation.network.hold("main", "main"):
            server.write(b"data")
            linger = struct.pack("ii", 1, 0)
            server.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            server.close()
            await asyncio.sleep(1)
        await client.lost
        KEPT.append(transport)
        return client.heard

    assert simulation.run(main()) == [b"data", "ConnectionResetError"]


def test_a_crash_in_silence_with_segments_in_flight(simulation: Simulation) -> None:
    """Segments that come to a machine without power are sent again, in order, until it is back and resets them."""

    async def main() -> tuple[list[Any], float]:
        loop = asyncio.get_running_loop()
        app1 = simulation.network.host("app1")
        await asyncio.sleep(1)
        transport, client = await listening()
        for line in (b"1\n", b"2\n", b"3\n"):
            transport.write(line)
            await asyncio.sleep(0.001)
        app1.crash("silent")
        transport.write(b"4\n")
        transport.write_eof()
        loop.call_later(5, app1.restart)
        await client.lost
        return client.heard, loop.time()

    heard, when = simulation.run(main())
    assert heard == ["ConnectionResetError"]
    assert 6 < when < 8  # sent again after 0.2, 0.6, 1.4, 3.0 and 6.2 s


def test_a_connect_meets_a_crash(simulation: Simulation) -> None:
    """A host that crashes while a handshake is under way resets it, or leaves it to time out."""

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        app1 = simulation.network.host("app1")
        outcomes: list[str] = []
        for delay in (0.005, 0.015, 0.025):
            await asyncio.sleep(1)
            loop.call_later(delay, app1.crash)
            try:
                _, client = await listening()
            except OSError as error:
                outcomes.append(type(error).__name__)
            else:
                await client.lost
                outcomes.append(str(client.heard))
            app1.restart()
        return outcomes

    assert simulation.run(main()) == ["ConnectionRefusedError", "['ConnectionResetError']", "['ConnectionResetError']"]


def test_a_dead_process_goes_no_further() -> None:
    """After a crash nothing of it runs on: clean-up that waits is cut short, errors of it are nobody's."""
    lines: list[str] = []

    async def cleans_up() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            lines.append("begins")
            try:
                await asyncio.sleep(1)
                lines.append("never")
            finally:
                lines.append("cut")
                raise ValueError("too late")

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(1)
                lines.append("tick")
            except asyncio.CancelledError:
                lines.append("no")

    async def sends() -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("main", 1)
        )
        try:
            await asyncio.sleep(1000)
        finally:
            transport.sendto(b"x", ("198.18.0.1", 1))
            asyncio.get_running_loop().call_later(1, lines.append, "timer")

    async def main() -> None:
        victim = simulation.network.host("victim")
        tasks = [victim.spawn(coro) for coro in (cleans_up(), stubborn(), sends())]
        await asyncio.sleep(1.5)
        victim.crash()
        await asyncio.sleep(0)
        assert victim.process.dead
        await asyncio.sleep(100)
        assert all(task.done() for task in tasks)

    simulation = Simulation(seed=1)
    simulation.run(main())
    assert lines == ["tick", "begins", "no", "cut"]


def test_a_host_may_crash_itself() -> None:
    """A task that crashes its own host runs until it waits, and no further."""
    lines: list[str] = []
    simulation = Simulation(seed=1)

    async def suicide() -> None:
        simulation.network.host("app1").crash()
        lines.append("still here")
        await asyncio.sleep(0)
        lines.append("never")

    async def main() -> None:
        simulation.network.host("app1").spawn(suicide())
        simulation.network.host("app2", start=suicide).crash()  # before it has started
        await asyncio.sleep(1)

    simulation.run(main())
    assert lines == ["still here"]


def test_a_server_that_fails_to_accept(simulation: Simulation, caplog: pytest.LogCaptureFixture) -> None:
    """A protocol factory that raises drops the connection; in debug mode asyncio's words say so."""

    def factory() -> asyncio.Protocol:
        raise ValueError("no protocol")

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        await loop.create_server(factory, "main", 81)
        transport, client = await loop.create_connection(Listening, "main", 81)
        await client.lost
        KEPT.append(transport)
        return client.heard

    with caplog.at_level(logging.ERROR, "asyncio"):
        assert simulation.run(main()) == ["NoneType"]
    assert "Error on transport creation for incoming connection" in caplog.text


def test_a_tls_client_that_speaks_no_tls(simulation: Simulation) -> None:
    """A server drops a client whose handshake is garbage, or never comes within its time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        await loop.create_server(asyncio.Protocol, "main", 81, ssl=context, ssl_handshake_timeout=30.0)
        transport, client = await loop.create_connection(Listening, "main", 81)
        transport.write(b"GET / HTTP/1.1\r\n\r\n")
        await client.lost
        began = loop.time()
        transport, silent = await loop.create_connection(Listening, "main", 81)
        await silent.lost
        KEPT.append(transport)
        return [type(end).__name__ for end in (client.heard[-1], silent.heard[-1])], loop.time() - began

    assert simulation.run(main()) == (["str", "str"], pytest.approx(30))


def test_debug_mode(simulation: Simulation) -> None:
    """In asyncio's debug mode everything works the same."""

    async def main() -> float:
        simulation.loop.set_debug(True)
        await asyncio.sleep(1)
        async with asyncio.timeout(5):
            return await ask(*await connect())

    assert simulation.run(main()) == pytest.approx(0.02)


def test_the_clean_up_after_too_many_steps() -> None:
    """A run that is stopped by a bound still cancels and cleans up what runs."""
    lines: list[str] = []

    async def work() -> None:
        try:
            while True:  # noqa: ASYNC110
                await asyncio.sleep(1)
        finally:
            await asyncio.sleep(1)
            lines.append("cleaned up")

    with pytest.raises(SimulationError, match="max_steps=50"):
        simulate(work(), seed=1, max_steps=50)
    assert lines == ["cleaned up"]


def test_an_echo_of_another_process_survives_garbage_collection() -> None:
    """What a host was started with is kept, although nobody else refers to it."""

    async def start() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> bool:
        app1 = simulation.network.host("app1", start=start)
        for _ in range(60_000):
            await asyncio.sleep(0.001)
        return len(app1.process.tasks) == 1

    simulation = Simulation(seed=1)
    assert simulation.run(main())
