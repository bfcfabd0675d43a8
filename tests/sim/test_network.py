"""The network: rules of one's own, observers, links, and what can't be meant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from failover.errors import ConfigError
from failover.sim import (
    DROP,
    HOLD,
    PASS,
    RESET,
    Deliver,
    Fault,
    Kind,
    Network,
    Packet,
    Simulation,
    SimulationError,
    Verdict,
    log_normal,
    uniform,
)
from tests.sim.programs import after, ask, connect


def test_a_rule_of_your_own(simulation: Simulation) -> None:
    """A rule sees every packet, in order, with all that is in it, and each of its verdicts is obeyed."""
    seen: list[tuple[Kind, bytes]] = []
    verdicts: dict[bytes, Verdict] = {b"1\n": PASS, b"2\n": Deliver(1.0), b"3\n": DROP, b"4\n": HOLD, b"5\n": RESET}

    def rule(packet: Packet) -> Verdict:
        seen.append((packet.kind, packet.data))
        assert (packet.source, packet.destination, packet.destination_port) == ("main", "app1", 80)
        return verdicts.pop(packet.data, PASS)

    async def main() -> list[float]:
        await asyncio.sleep(1)
        fault = simulation.network.fault("mine", rule, source="main", destination="app1", port=80)
        reader, writer = await connect()
        took = [await ask(reader, writer, b"%d\n" % number) for number in (1, 2, 3)]
        await after(7, fault.repair)
        took.append(await ask(reader, writer, b"4\n"))
        simulation.network.fault("mine", rule, source="main", destination="app1")
        writer.write(b"5\n")
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        return took

    assert simulation.run(main()) == pytest.approx([0.02, 1.02, 0.22, 7.02])
    data = [data for kind, data in seen if kind is Kind.DATA]
    assert data == [b"1\n", b"2\n", b"3\n", b"3\n", b"4\n", b"5\n"]
    assert [kind for kind, _ in seen][:2] == [Kind.SYN, Kind.ACK]


def test_what_observers_are_told(simulation: Simulation) -> None:
    """Observers hear of packets, faults and repairs, in order and with times."""
    records: list[str] = []
    simulation.network.observers.append(lambda record: records.append(str(record)))

    async def main() -> None:
        await asyncio.sleep(1)
        with simulation.network.refuse(["app1"], 80), pytest.raises(ConnectionRefusedError):
            await connect()

    simulation.run(main())
    assert records == [
        "1.000000000 network fault refuse * > app1:80 0",
        "1.000000000 main:32768 > app1:80 syn reset 0",
        "1.000000000 network repair refuse * > app1:80 0",
    ]


def test_repair_all(simulation: Simulation) -> None:
    """All faults can be ended at once; ending one twice does nothing."""

    async def main() -> None:
        await asyncio.sleep(1)
        faults = [
            simulation.network.refuse("app1"),
            simulation.network.black_hole(None),
            simulation.network.loss(1.0, None),
        ]
        simulation.network.repair_all()
        faults[0].repair()
        assert [fault.active for fault in faults] == [False] * 3
        assert repr(faults[0]) == "<Fault refuse * > app1 repaired>"
        await ask(*await connect())

    simulation.run(main())


WRONG: list[Callable[[Network], object]] = [
    lambda network: network.loss(1.5, "app1"),
    lambda network: network.bandwidth(0, "app1"),
    lambda network: network.reset("nobody"),
    lambda network: network.link("a", "b", latency=-1),
    lambda network: network.link("a", "b", cut=2),
    lambda network: network.link("a", "b", loss=-1),
    lambda network: network.link("a", "b", bandwidth=0),
    lambda network: network.link("a", "b", buffer=0),
    lambda network: network.host("localhost"),
    lambda network: network.host("10.0.0.1"),
    lambda network: network.host("x", address="198.18.0.1"),
    lambda network: network.host("x", address="app1"),
    lambda network: network.host("app1", address="10.0.0.1"),
    lambda _: uniform(2, 1),
    lambda _: log_normal(0),
    lambda _: Simulation(seed=1, cut=7),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_can_not_be_meant(simulation: Simulation, number: int) -> None:
    """A number out of its range, or a host that is none, is refused where it is declared."""
    with pytest.raises(ConfigError):
        WRONG[number](simulation.network)


class Collect(asyncio.DatagramProtocol):
    """Keeps what comes, with the time."""

    def __init__(self) -> None:
        self.came: list[tuple[int, float]] = []
        self.errors: list[str] = []

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """A datagram."""
        self.came.append((int(data), asyncio.get_running_loop().time()))

    def error_received(self, exc: Exception) -> None:
        """An error."""
        self.errors.append(type(exc).__name__)


async def send_datagrams(
    simulation: Simulation, count: int, *, meanwhile: Callable[[], object] = lambda: None
) -> Collect:
    """Send numbered datagrams from main to app1, one each millisecond, and wait for them."""
    loop = asyncio.get_running_loop()

    async def receive() -> Collect:
        _, protocol = await loop.create_datagram_endpoint(Collect, local_addr=("0.0.0.0", 90))  # noqa: S104
        return protocol

    receiver = await simulation.network.host("app1").run(receive())
    transport, sender = await loop.create_datagram_endpoint(Collect, remote_addr=("app1", 90))
    for number in range(count):
        if number == count // 2:
            meanwhile()
        transport.sendto(b"%d" % number)
        await asyncio.sleep(0.001)
    await asyncio.sleep(10)
    transport.close()
    receiver.errors += sender.errors
    return receiver


def test_datagrams_are_lost_late_and_out_of_order(simulation: Simulation) -> None:
    """On a lossy and jittery link some datagrams never come, and others overtake."""
    simulation.network.link("main", "app1", latency=uniform(0.0, 0.02), loss=0.2)
    came = [number for number, _ in simulation.run(send_datagrams(simulation, 200)).came]
    assert 130 <= len(came) <= 190
    assert sorted(came) != came
    assert len(set(came)) == len(came)


def test_faults_of_datagrams(simulation: Simulation) -> None:
    """A fault drops, holds, delays or rejects datagrams as it does segments."""

    def run(fault: Callable[[Network], Any]) -> Collect:
        made = Simulation(seed=1, latency=0.01)
        made.network.host("app1")

        def meanwhile() -> None:
            active = fault(made.network)
            if isinstance(active, Fault):
                made.loop.call_later(3, active.repair)

        return made.run(send_datagrams(made, 10, meanwhile=meanwhile))

    dropped = run(lambda network: network.black_hole("app1", 90))
    assert [number for number, _ in dropped.came] == [0, 1, 2, 3, 4]
    held = run(lambda network: network.hold("main", "app1"))
    assert [number for number, _ in held.came] == list(range(10))
    assert [time >= 3 for _, time in held.came] == [False] * 5 + [True] * 5
    delayed = run(lambda network: network.latency(1.0, "app1"))
    assert [time >= 1 for _, time in delayed.came] == [False] * 5 + [True] * 5
    rejected = run(lambda network: network.fault("reject", lambda _: RESET, destination="app1"))
    assert len(rejected.came) == 5
    assert rejected.errors == ["ConnectionRefusedError"] * 5
    silent = run(lambda network: network.host("app1").crash("silent"))
    assert (len(silent.came), silent.errors) == (0, [])
    simulation.run(asyncio.sleep(0))


def test_datagrams_to_nobody(simulation: Simulation) -> None:
    """A datagram to an unused address is gone; one that would leave the network, or names a name, is an error."""

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(Collect, local_addr=("main", 0))
        with pytest.raises(OSError, match="address already in use"):
            await loop.create_datagram_endpoint(Collect, local_addr=transport.get_extra_info("sockname"))
        transport.sendto(b"1", ("198.18.200.1", 1))
        transport.sendto(b"1", ("app1", 1))
        transport.sendto(b"1")
        with pytest.raises(SimulationError, match=r"network\.host\(name, address='192\.0\.2\.1'\) would make it one"):
            transport.sendto(b"1", ("192.0.2.1", 1))
        with pytest.raises(SimulationError, match="allow_broadcast"):
            await loop.create_datagram_endpoint(Collect, local_addr=("main", 1), allow_broadcast=True)
        transport.abort()
        transport.sendto(b"1", ("198.18.0.1", 1))
        await asyncio.sleep(1)
        return protocol.errors

    assert simulation.run(main()) == ["OSError", "OSError"]


def test_a_small_buffer_and_a_lost_acknowledgement(simulation: Simulation) -> None:
    """With a full buffer the writer waits for the reader's word that there is room, which can be lost or held too."""
    simulation.network.link("main", "app1", buffer=10_000)

    async def read(faults: Callable[[], Fault]) -> float:
        loop = asyncio.get_running_loop()

        async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with faults() as fault:
                loop.call_later(1, fault.repair)
                await reader.read()
            ended.set_result(loop.time())
            writer.close()

        ended: asyncio.Future[float] = loop.create_future()

        async def start() -> asyncio.Server:
            return await asyncio.start_server(sink, "app1", 0)

        server = await simulation.network.host("app1").run(start())
        began = loop.time()
        _, writer = await connect("app1", server.sockets[0].getsockname()[1])
        writer.write(bytes(100_000))
        writer.close()
        took = await ended - began
        server.close()
        return took

    async def main() -> list[float]:
        network = simulation.network
        return [
            await read(lambda: network.latency(0.0, "app1")),
            await read(lambda: network.partition("app1", "main", one_way=True)),
            await read(lambda: network.hold("app1", "main")),
        ]

    free, lost, held = simulation.run(main())
    assert free == pytest.approx(0.03 + 0.02 * 9)
    assert 1.1 < lost < 1.5
    assert held == pytest.approx(1.03 + 0.02 * 9, abs=0.05)


def test_hosts_and_links_are_made_once(simulation: Simulation) -> None:
    """The same name is the same host, whatever its case; settings of a link stay until they are changed."""
    network = simulation.network
    assert network.host("APP1") is network.host("app1")
    link = network.link("a", "b", latency=1.0, cut=0.5)
    assert network.link("a", "b", bandwidth=10.0) is link
    assert (link.fixed, link.cut, link.bandwidth) == (1.0, 0.5, 10.0)
    assert link.arrival(0.0, 10) == 2.0
    assert network.link("a", "a").fixed == 0.0
    simulation.run(asyncio.sleep(0))
