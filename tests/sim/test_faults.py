"""Every fault: what a program sees of it, when, and what is left when it is repaired."""

from __future__ import annotations

import asyncio

import pytest

from failover.sim import Record, Simulation, uniform
from tests.sim.programs import after, ask, connect, now, serve


def test_latency_of_links(simulation: Simulation) -> None:
    """A connect takes one round trip, an exchange another."""

    async def main() -> tuple[float, float]:
        await asyncio.sleep(1)
        stream = await connect()
        return now(), await ask(*stream)

    connected, exchange = simulation.run(main())
    assert connected == pytest.approx(1.02)
    assert exchange == pytest.approx(0.02)


def test_refuse(simulation: Simulation) -> None:
    """New connections are refused at once, open ones go on, and after the repair new ones are accepted."""

    async def main() -> None:
        await asyncio.sleep(1)
        stream = await connect()
        with simulation.network.refuse("app1", 80):
            with pytest.raises(ConnectionRefusedError, match=r"Connect call failed \('198\.18\.0\.1', 80\)"):
                await connect()
            await ask(*stream)
        await ask(*await connect())

    simulation.run(main())


def test_black_hole_of_a_connect(simulation: Simulation) -> None:
    """A connect into a black hole gives up as Linux does, after 127 s; or goes on when a SYN gets through."""

    async def main() -> tuple[float, float]:
        await asyncio.sleep(1)
        fault = simulation.network.black_hole("app1")
        with pytest.raises(TimeoutError, match="Connect call failed"):
            await connect()
        gave_up = now()
        await after(10, fault.repair)
        await ask(*await connect())
        return gave_up, now() - gave_up

    gave_up, connected = simulation.run(main())
    assert gave_up == 128
    assert connected == pytest.approx(15.04)  # the fifth SYN, 15 s after the first, then two round trips


def test_black_hole_of_a_connection(simulation: Simulation) -> None:
    """An open connection falls silent; what was written meanwhile arrives with the first segment sent again."""

    async def main() -> float:
        await asyncio.sleep(1)
        stream = await connect()
        fault = simulation.network.black_hole("app1", 80)
        began = now()
        await after(1.0, fault.repair)
        await ask(*stream)
        return now() - began

    assert simulation.run(main()) == pytest.approx(1.42)  # sent again after 0.2, 0.6 and 1.4 s


def test_black_hole_for_ever(simulation: Simulation) -> None:
    """A connection whose data is never acknowledged ends with ETIMEDOUT after Linux's quarter of an hour."""

    async def main() -> float:
        await asyncio.sleep(1)
        reader, writer = await connect()
        simulation.network.black_hole("app1")
        began = now()
        writer.write(b"x")
        with pytest.raises(TimeoutError):
            await reader.read()
        return now() - began

    assert simulation.run(main()) == pytest.approx(924.6)


def test_lost_acknowledgements(simulation: Simulation) -> None:
    """Data arrives although no acknowledgement comes back, until the sender gives up; a short cut is never noticed."""

    async def main() -> tuple[float, float]:
        await asyncio.sleep(1)
        reader, writer = await connect()
        fault = simulation.network.partition("app1", "main", one_way=True)
        writer.write(b"1\n")
        await after(700, fault.repair)
        assert await reader.readline() == b"1\n"
        answered = now()
        simulation.network.partition("app1", "main", one_way=True)
        writer.write(b"unfinished")
        with pytest.raises(TimeoutError):
            await reader.read()
        return answered - 1, now() - answered

    answered, gave_up = simulation.run(main())
    assert answered == pytest.approx(804.64)  # sent again every two minutes by then
    assert gave_up == pytest.approx(924.61)


def test_one_way_partition(simulation: Simulation) -> None:
    """One way cut, requests still arrive and replies don't; the other way cut, nothing arrives."""
    arrived: list[str] = []

    def observe(record: Record) -> None:
        if record.what == "data" and record.fate == "arrived":
            arrived.append(record.destination)

    async def main() -> None:
        network = simulation.network
        network.observers.append(observe)
        await asyncio.sleep(1)
        reader, writer = await connect()
        with network.partition("app1", "main", one_way=True):
            writer.write(b"1\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readline(), 0.1)
            assert arrived == ["app1:80"]
        assert await reader.readline() == b"1\n"
        with network.partition("main", "app1", one_way=True):
            writer.write(b"2\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readline(), 0.1)
            assert len(arrived) == 2
        assert await reader.readline() == b"2\n"

    simulation.run(main())


def test_partition_of_groups() -> None:
    """Two groups of hosts are cut from each other and not within."""
    simulation = Simulation(seed=1)
    for name in ("a", "b", "c"):
        simulation.network.host(name, start=serve)

    async def main() -> list[str]:
        await asyncio.sleep(1)
        fault = simulation.network.partition(["main", "a"], ["b", "c"])
        reached: list[str] = []
        for source in ("main", "a", "b", "c"):
            for name in ("a", "b", "c"):

                async def knock(name: str = name) -> None:
                    await asyncio.wait_for(connect(name), 0.5)

                try:
                    await simulation.network.host(source).run(knock())
                    reached.append(f"{source}>{name}")
                except TimeoutError:
                    pass
        assert fault.active
        return reached

    assert simulation.run(main()) == ["main>a", "a>a", "b>b", "b>c", "c>b", "c>c"]


def test_hold_and_release(simulation: Simulation) -> None:
    """What is held arrives in order as soon as it is released, and not before; also a handshake."""

    async def main() -> None:
        await asyncio.sleep(1)
        reader, writer = await connect()
        fault = simulation.network.hold("main", "app1")
        writer.write(b"1\n")
        connecting = asyncio.create_task(connect())
        await asyncio.sleep(100)
        writer.write(b"2\n")
        assert not connecting.done()
        released = now()
        fault.repair()
        assert await reader.readexactly(4) == b"1\n2\n"
        await connecting
        assert now() - released == pytest.approx(0.02)

    simulation.run(main())


def test_a_held_end(simulation: Simulation) -> None:
    """A connection that is closed while it is held ends in order: its data, then its end."""

    async def main() -> bytes:
        ended: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            ended.set_result(await reader.read())
            writer.close()

        async with await asyncio.start_server(read, "0.0.0.0", 81):  # noqa: S104
            _, writer = await asyncio.open_connection("main", 81)
            fault = simulation.network.hold("main", "main")
            writer.write(b"data")
            writer.close()
            await asyncio.sleep(5)
            fault.repair()
            return await ended

    assert simulation.run(main()) == b"data"


def test_reset(simulation: Simulation) -> None:
    """Every open connection of a host is reset at both ends; new ones are not."""

    async def main() -> None:
        await asyncio.sleep(1)
        first, second = await connect(), await connect()
        await ask(*first)
        await ask(*second)
        assert simulation.network.reset("app1", 80, peer="main") == 2
        for reader, _ in (first, second):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        assert simulation.network.reset("app1") == 0
        await ask(*await connect())

    simulation.run(main())


def test_half_open(simulation: Simulation) -> None:
    """A host forgets its connections and its peer learns that only by what it sends."""

    async def main() -> None:
        await asyncio.sleep(1)
        reader, writer = await connect()
        await ask(reader, writer)
        assert simulation.network.half_open("app1") == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 1000)
        writer.write(b"anyone there?\n")
        with pytest.raises(ConnectionResetError):
            await reader.read(1)

    simulation.run(main())


def test_added_latency_and_jitter(simulation: Simulation) -> None:
    """Latency is added both ways or one; jitter is anything up to its bound; the order of a stream stays."""

    async def main() -> list[float]:
        await asyncio.sleep(1)
        stream = await connect()
        took: list[float] = []
        with simulation.network.latency(0.5, "app1"):
            took.append(await ask(*stream))
        with simulation.network.latency(0.5, "app1", one_way=True):
            took.append(await ask(*stream))
        with simulation.network.latency(uniform(1.0, 2.0), "app1"):
            took.append(await ask(*stream))
        with simulation.network.jitter(0.1, "app1", 80):
            for number in range(50):
                stream[1].write(b"%d\n" % number)
                await asyncio.sleep(0.001)
            assert [int(await stream[0].readline()) for _ in range(50)] == list(range(50))
        took.append(await ask(*stream))
        return took

    both, one, drawn, none = simulation.run(main())
    assert both == pytest.approx(1.02)
    assert one == pytest.approx(0.52)
    assert 2.02 <= drawn <= 4.02
    assert none == pytest.approx(0.02)


def test_loss(simulation: Simulation) -> None:
    """A stream on a bad line is late and complete."""

    async def main() -> tuple[float, bool]:
        await asyncio.sleep(1)
        reader, writer = await connect()
        lines = b"".join(b"%d\n" % number for number in range(200))
        began = now()
        with simulation.network.loss(0.2, "app1"):
            for line in lines.splitlines(keepends=True):
                writer.write(line)
                await asyncio.sleep(0.01)
            answer = await reader.readexactly(len(lines))
        return now() - began, answer == lines

    took, complete = simulation.run(main())
    assert complete
    assert took > 2.2  # without loss: 200 pauses of 10 ms and a round trip


def test_bandwidth(simulation: Simulation) -> None:
    """A bound on bytes per second holds for a link and for a fault, shared by the connections there."""

    async def main() -> list[float]:
        await asyncio.sleep(1)
        streams = [await connect(), await connect()]
        line = bytes(9_999) + b"\n"
        took: list[float] = []
        with simulation.network.bandwidth(10_000, "app1"):
            began = now()
            await asyncio.gather(*(ask(*stream, line) for stream in streams))
            took.append(now() - began)
        simulation.network.link("main", "app1", bandwidth=20_000)
        took.append(await ask(*streams[0], line))
        return took

    fault, link = simulation.run(main())
    assert fault == pytest.approx(3.02)  # 1 s each there; the second reply ends 1 s after the second request
    assert link == pytest.approx(0.52)
