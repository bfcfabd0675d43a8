"""Datagram sinks over real sockets, UDP and Unix, and in the simulation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import pytest

import failover.sinks.datagram as module
from failover.build import build
from failover.errors import AddressError, ConfigError, UsageError
from failover.event import Event
from failover.group import Group
from failover.interface import EventInterface
from failover.net.peers import Peers
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.records import AttemptEnded, Record
from failover.schemes import Defaults, parse_address
from failover.sim import Simulation
from failover.sink import Opening, Sink, open_sink
from failover.sinks.datagram import DatagramSink, UnixAddress, udp, unix
from failover.strategies import Failover
from tests.contract import check_sink
from tests.scripted import Run, opened, turns, until

EVENT = Event("E_PIKE_BLOCKED", {"ip": "192.168.2.11"})
WIRE = b'{"jsonrpc":"2.0","method":"E_PIKE_BLOCKED","params":{"ip":"192.168.2.11"}}'
SENT, UNREACHABLE, SKIPPED, ABANDONED = Outcome.SENT, Outcome.UNREACHABLE, Outcome.SKIPPED, Outcome.ABANDONED


class Receiver:
    """A bound datagram socket."""

    def __init__(self, family: int, place: Any) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)  # noqa: FBT003  # how the standard library signs it
        self.socket.bind(place)

    def taken(self) -> list[bytes]:
        """What has come since it was asked last."""
        found: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(70_000))
        return found


@contextlib.contextmanager
def udp_receiver(port: int = 0) -> Generator[tuple[Receiver, int]]:
    """A receiver on loopback, and its port."""
    receiver = Receiver(socket.AF_INET, ("127.0.0.1", port))
    with receiver.socket:
        yield receiver, receiver.socket.getsockname()[1]


@contextlib.contextmanager
def unix_receiver(path: str) -> Generator[Receiver]:
    """A receiver at a path, which is gone afterwards."""
    receiver = Receiver(socket.AF_UNIX, path)
    with receiver.socket:
        yield receiver
    os.unlink(path)  # noqa: PTH108  # as the application does it


@pytest.fixture
def path() -> Generator[str]:
    """Where a Unix socket can be; short, whatever the test is called."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"{folder}/s"


def outcomes(receipts: list[Receipt]) -> list[Outcome]:
    """How they ended."""
    return [receipt.outcome for receipt in receipts]


@pytest.mark.parametrize("kind", ["udp", "unix"])
@pytest.mark.parametrize("tree", ["alone", "failover"])
def test_contract(run: Run, path: str, kind: str, tree: str) -> None:
    """What `check_sink` asks of any sink holds, but that SENT is all that can be had."""

    async def main() -> None:
        with udp_receiver() as (_, port), unix_receiver(path) as receiver:
            if kind == "unix":
                asyncio.get_running_loop().add_reader(receiver.socket, receiver.taken)

            async def make() -> Sink:
                sink: Sink = udp(f"127.0.0.1:{port}", name="a") if kind == "udp" else unix(path, name="a")
                if tree == "failover":
                    sink = Failover(sink)
                await open_sink(sink, Opening(Peers.current(), partial(build, defaults=Defaults())))
                return sink

            await check_sink(make, SENT)
            asyncio.get_running_loop().remove_reader(receiver.socket)

    run(main)


@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_contract_in_the_simulation(kind: str) -> None:
    """The same in virtual time."""
    simulation = Simulation(1, latency=0.001)
    simulation.network.host("app", start=_listening("app"))
    simulation.network.host("main", start=_listening("/run/events.sock"))

    async def main() -> None:
        await asyncio.sleep(0)

        async def make() -> Sink:
            sink = udp("app:9000") if kind == "udp" else unix("/run/events.sock")
            await open_sink(sink, Opening(Peers.current(), partial(build, defaults=Defaults())))
            return sink

        await check_sink(make, SENT)

    simulation.run(main())


def test_each_event_is_a_datagram(run: Run, path: str) -> None:
    """Over UDP and Unix sockets, in both formats, with the id if it's asked for."""

    async def main() -> None:
        event = Event("E_X", {"a": 1}, id="i-1")
        with udp_receiver() as (receiver, port), unix_receiver(path) as local:
            for sink, of in (
                (udp(f"127.0.0.1:{port}", id_param="ref"), receiver),
                (unix(path, format="text", id_param="ref"), local),
                (udp(f"udp:127.0.0.1:{port}", format="text"), receiver),
                (unix(f"unix:{path}"), local),
            ):
                async with opened(sink):
                    assert outcomes([await sink.deliver(event), await sink.deliver(event)]) == [SENT, SENT]
                    assert sink.status().outcomes == {SENT: 2}
                    wire = sink.datagrams.encode(event)
                    assert of.taken() == [wire, wire]

    run(main)


def test_what_does_not_fit_is_skipped(run: Run) -> None:
    """It is never truncated, is nobody's fault, and a next sink that can carry it gets it."""

    async def main() -> None:
        with udp_receiver() as (receiver, port):
            small = udp(f"127.0.0.1:{port}", name="text", format="text")
            tree = Failover(small, udp(f"127.0.0.1:{port}", name="json"))
            async with Group("g", tree) as group:
                receipt = await group.deliver(Event("E_X", ["x" * 20_000]))
                assert (
                    receipt.explain()
                    .splitlines()[1]
                    .endswith("text skipped: 20006 bytes as text, and a datagram has at most 16384")
                )
                assert outcomes(list(receipt.children)) == [SKIPPED, SENT]
                assert (await group.deliver(Event("E_X", ["x" * 70_000]))).outcome is SKIPPED
                assert outcomes(list((await group.deliver(EVENT)).children)) == [SENT]  # no quarantine
            await turns()
            assert [len(data) for data in receiver.taken()] == [20_046, len(small.datagrams.encode(EVENT))]

    run(main)


def test_what_the_system_finds_too_large(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system with a smaller bound is told apart from a peer that is gone: SKIPPED, and the socket stays."""
    monkeypatch.setattr("failover.protocol.datagrams.JSONRPC_LIMIT", 10**7)

    async def main() -> None:
        with udp_receiver() as (receiver, port):
            sink = udp(f"127.0.0.1:{port}")
            async with opened(sink):
                receipts = [await sink.deliver(event) for event in (EVENT, Event("E_X", ["x" * 66_000]), EVENT)]
            assert outcomes(receipts) == [SENT, SKIPPED, SENT]
            assert "the system sends no datagram that large" in receipts[1].explain()
            await turns()
            assert receiver.taken() == [WIRE, WIRE]

    run(main)


def test_nobody_listens_at_a_port(run: Run) -> None:
    """The first event is lost unseen; then the system says so, for every event until somebody listens again."""

    async def main() -> None:
        with udp_receiver() as (_, port):
            pass
        sink = udp(f"127.0.0.1:{port}")
        async with opened(sink):
            receipts = [await sink.deliver(EVENT)]
            await until(lambda: sink.status().reason)
            receipts += [await sink.deliver(EVENT) for _ in range(2)]
            assert outcomes(receipts) == [SENT, UNREACHABLE, UNREACHABLE]
            assert receipts[1].explain().endswith("Connection refused")
            assert not receipts[1].maybe_processed
            assert receipts[1].at_fault
            assert outcomes(await asyncio.gather(*[sink.deliver(EVENT) for _ in range(3)])) == [UNREACHABLE] * 3
            with udp_receiver(port) as (receiver, _):
                receipts = [await sink.deliver(EVENT) for _ in range(2)]
                assert outcomes(receipts) == [SENT, SENT]
                assert receipts[0].took > 0.01  # in doubt it waits for a moment
                assert sink.status().reason == ""
                await turns()
                assert receiver.taken() == [WIRE, WIRE]

    run(main)


def test_failover_over_datagrams(run: Run) -> None:
    """A group in OpenSIPS's syntax moves on from a port where nobody is, and quarantines it."""

    async def main() -> None:
        with udp_receiver() as (_, dead):
            pass
        with udp_receiver() as (receiver, port):
            events = EventInterface()
            events.subscribe("E_PIKE_BLOCKED", f"virtual:FAILOVER udp:127.0.0.1:{dead} udp:127.0.0.1:{port}")
            async with events:
                receipts: list[Receipt] = []
                for _ in range(3):
                    receipts += await events.raise_event(EVENT)
                    await turns(50)
            assert [outcomes(list(receipt.children)) for receipt in receipts] == [
                [SENT],
                [UNREACHABLE, SENT],
                [SKIPPED, SENT],
            ]
            assert receiver.taken() == [WIRE, WIRE]

    run(main)


def test_nobody_at_a_path(run: Run, path: str) -> None:
    """Known at once, whether there is no socket, or it was closed; a new one is found with the next event."""

    async def main() -> None:
        sink = unix(path)
        async with opened(sink):
            reasons = [(await sink.deliver(EVENT)).explain()]
            for _ in range(2):
                with unix_receiver(path) as receiver:
                    assert (await sink.deliver(EVENT)).outcome is SENT
                    assert receiver.taken() == [WIRE]
                    receiver.socket.close()
                    receipt = await sink.deliver(EVENT)
                    assert receipt.outcome is UNREACHABLE
                    reasons.append(receipt.explain())
            with unix_receiver(path) as receiver:  # replaced between two events
                assert (await sink.deliver(EVENT)).outcome is SENT
            with unix_receiver(path) as receiver:
                assert (await sink.deliver(EVENT)).outcome is SENT
                assert receiver.taken() == [WIRE]
        assert reasons[0].endswith("connect: No such file or directory")
        assert [reason.endswith("connect: Connection refused") for reason in reasons[1:]] == [True, True]

    run(main)


def test_a_name_that_does_not_resolve() -> None:
    """UNREACHABLE, with the resolver's words."""

    async def main() -> Receipt:
        sink = udp("nowhere:9000")
        async with opened(sink):
            return await sink.deliver(EVENT)

    receipt = Simulation(1).run(main())
    assert receipt.outcome is UNREACHABLE
    assert "connect: Name or service not known" in receipt.explain()


@pytest.mark.parametrize("deadline", [None, 0.01])
def test_an_address_that_is_not_found_in_time(deadline: float | None) -> None:
    """A resolver that takes for ever: UNREACHABLE by the sink's own timeout, ABANDONED by an earlier deadline."""

    async def main() -> Receipt:
        loop = asyncio.get_running_loop()

        async def never(*_: object, **__: object) -> Any:
            await loop.create_future()

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(loop, "create_datagram_endpoint", never, raising=False)
            sink = udp("slow.invalid:9000", timeout=0.05)
            async with opened(sink):
                return await sink.deliver(EVENT, deadline=None if deadline is None else loop.time() + deadline)

    receipt = asyncio.run(main())
    if deadline is None:
        assert receipt.outcome is UNREACHABLE
        assert receipt.explain().endswith("connect: no address within 0.05 s")
    else:
        assert receipt.outcome is ABANDONED
    assert not receipt.maybe_processed


async def _fill(sink: DatagramSink) -> int:
    """Send until the kernel has no room.

    Returns:
        How many it took.
    """
    for number in range(100_000):
        waiting = asyncio.ensure_future(sink.deliver(EVENT))
        await turns(3)
        if not waiting.done():
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            return number
        assert waiting.result().outcome is SENT
    raise AssertionError("the kernel takes everything")


def test_a_full_socket_waits_for_room(run: Run, path: str) -> None:
    """Whoever finds the kernel full waits, and is SENT once the receiver has read; who is cancelled never is."""

    async def main() -> None:
        with unix_receiver(path) as receiver:
            sink = unix(path, timeout=10.0)
            async with opened(sink):
                room = await _fill(sink)
                waiting = [
                    asyncio.ensure_future(sink.deliver(Event("E_X", {"n": number}))) for number in range(2 * room)
                ]
                await turns()
                assert sink.status().in_flight == 2 * room
                waiting[1].cancel()
                await turns()
                found: list[bytes] = []
                while len(found) < 3 * room - 1:
                    found += receiver.taken()
                    await asyncio.sleep(0)
                receipts = await asyncio.gather(*waiting, return_exceptions=True)
                assert isinstance(receipts.pop(1), asyncio.CancelledError)
                assert {receipt.outcome for receipt in receipts if isinstance(receipt, Receipt)} == {SENT}
                numbers = [json.loads(data)["params"]["n"] for data in found[room:]]
                assert sorted(numbers) == [0, *range(2, 2 * room)]
                assert receiver.taken() == []

    run(main)


def test_no_room_for_all_of_the_time(run: Run, path: str) -> None:
    """SKIPPED with that reason, at the timeout or the deadline, and it doesn't leave afterwards."""

    async def main() -> None:
        with unix_receiver(path) as receiver:
            sink = unix(path, timeout=0.05)
            async with opened(sink):
                loop = asyncio.get_running_loop()
                room = await _fill(sink)
                receipts = await asyncio.gather(
                    *[sink.deliver(EVENT) for _ in range(3)], sink.deliver(EVENT, deadline=loop.time() + 0.01)
                )
                for receipt in receipts:
                    assert receipt.outcome is SKIPPED
                    assert receipt.explain().endswith("no room: the kernel takes no more datagrams at present")
                    assert not receipt.maybe_processed
                assert len(receiver.taken()) == room
                await turns(50)
                assert receiver.taken() == []
                assert (await sink.deliver(EVENT)).outcome is SENT

    run(main)


def test_only_so_many_wait(run: Run, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a bound there is no use in waiting: SKIPPED at once."""
    monkeypatch.setattr(module, "_WAITING", 2)

    async def main() -> None:
        with unix_receiver(path):
            sink = unix(path, timeout=10.0)
            async with opened(sink):
                await _fill(sink)
                waiting = [asyncio.ensure_future(sink.deliver(EVENT)) for _ in range(2)]
                await turns()
                receipt = await sink.deliver(EVENT)
                assert receipt.outcome is SKIPPED
                assert receipt.took < 1
            for receipt in await asyncio.gather(*waiting):
                assert receipt.outcome is ABANDONED
                assert receipt.explain().endswith("the group was closed")

    run(main)


def test_the_receiver_goes_while_events_wait(run: Run, path: str) -> None:
    """What waits for room is sent to the next receiver if there is one by then, and else UNREACHABLE."""

    async def main() -> None:
        sink = unix(path, timeout=10.0)
        async with opened(sink):
            with unix_receiver(path):
                await _fill(sink)
                waiting = [asyncio.ensure_future(sink.deliver(EVENT)) for _ in range(3)]
                await turns()
            assert outcomes(await asyncio.gather(*waiting)) == [UNREACHABLE] * 3

    run(main)


def test_observers_and_standing(run: Run) -> None:
    """Every attempt is told; the sink is up while it's open, and can't be opened twice."""

    async def main() -> None:
        told: list[Record] = []
        with udp_receiver() as (_, port):
            sink = udp(f"127.0.0.1:{port}", name="u")
            assert (sink.status().up, sink.status().reason) == (False, "not open")
            async with opened(sink, observers=[told.append]):
                assert sink.status().up
                with pytest.raises(UsageError, match="u is open already"):
                    await sink.open(Opening(None, build))
                receipt = await sink.deliver(EVENT)
                assert [record.attempt for record in told if isinstance(record, AttemptEnded)] == [receipt]
        assert repr(sink) == "<DatagramSink 'u'>"

    run(main)


def test_a_closed_group_opens_again() -> None:
    """On another loop too, and blocking."""
    with udp_receiver() as (receiver, port):
        group = Group("g", udp(f"127.0.0.1:{port}"))

        async def main() -> None:
            async with group:
                assert (await group.deliver(EVENT)).outcome is SENT

        for _ in range(2):
            asyncio.run(main())
        for thread in (True, False):
            with group.blocking(thread=thread) as facade:
                assert outcomes([facade.deliver(EVENT), *facade.deliver_many([EVENT, EVENT])]) == [SENT] * 3
        assert receiver.taken() == [WIRE] * 8


# Addresses.


@pytest.mark.parametrize("text", ["udp:10.0.0.5:9000", "udp:[::1]:9000", "udp:sip.example.org:1", "unix:/run/a b.sock"])
def test_addresses_read_and_print(text: str) -> None:
    """What is parsed prints as it was written, and makes a sink of that name with the group's settings."""
    address = parse_address(text)
    assert str(address) == text
    assert parse_address(str(address)) == address
    sink = build(address, Defaults(timeout=0.3, id_param="ref"))
    assert isinstance(sink, DatagramSink)
    assert (sink.name, sink.timeout, sink.datagrams.id_param, sink.datagrams.format) == (text, 0.3, "ref", "jsonrpc")


def test_addresses_stand_in_virtual_ones() -> None:
    """Beside other schemes, in any policy."""
    text = "virtual:PARALLEL udp:a:1 unix:/run/b jsonrpc:c:1/m"
    assert str(parse_address(text)) == text


BAD: list[tuple[str, int, str]] = [
    ("udp:10.0.0.5:9000/method", 17, "a method"),
    ("udp:10.0.0.5", 12, "no port after the host"),
    ("unix:relative", 5, "no absolute path"),
    ("unix:", 5, "no absolute path"),
    ("unix:/a\x00b", 7, "'\\x00' in a path"),
    ("unix:/\ud800", 6, "'\\ud800' in a path"),
    (f"unix:/{'ž' * 60}", 5, "a path of 121 bytes"),
]


@pytest.mark.parametrize(("text", "position", "problem"), BAD)
def test_bad_addresses(text: str, position: int, problem: str) -> None:
    """Each is one error with its place, the same for the text and for the function."""
    for declare in (parse_address, udp if text.startswith("udp") else unix):
        with pytest.raises(AddressError) as caught:
            declare(text)
        assert (caught.value.position, caught.value.problem) == (position, problem)


def test_an_address_made_by_hand() -> None:
    """What can't be written can't be made."""
    assert str(UnixAddress("unix", "/run/x")) == "unix:/run/x"
    with pytest.raises(AddressError, match="no absolute path"):
        UnixAddress("unix", "x")


@pytest.mark.parametrize(
    "wrong",
    [{"timeout": 0}, {"name": ""}, {"format": "xml"}, {"id_param": ""}, {"id_param": "a\nb", "format": "text"}],
    ids=str,
)
def test_arguments_out_of_range(wrong: dict[str, Any]) -> None:
    """Refused where the sink is declared."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        udp("127.0.0.1:9", **wrong)


# In the simulation.


def _listening(place: str, taken: list[bytes] | None = None) -> Callable[[], Any]:
    """What a host of the simulated network runs: its name, or the path of a Unix socket."""

    class Keeps(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            if taken is not None:
                taken.append(data)

    async def listen() -> None:
        loop = asyncio.get_running_loop()
        if place.startswith("/"):
            await loop.create_datagram_endpoint(Keeps, local_addr=place, family=socket.AF_UNIX)
        else:
            await loop.create_datagram_endpoint(Keeps, local_addr=(place, 9000))
        await asyncio.get_running_loop().create_future()

    return listen


def test_unix_sockets_in_the_simulation() -> None:
    """Each host has its own, at its own paths, and a reader that ends or comes back is noticed as on a real machine."""
    simulation = Simulation(3)
    network = simulation.network
    kept: list[bytes] = []
    simulation.network.host("other", start=_listening("/run/other.sock"))

    async def main() -> list[str]:
        tree = Failover(unix("/run/events.sock", name="a"), unix("/run/other.sock", name="b"), quarantine=0)
        said: list[str] = []
        async with Group("g", tree) as group:

            async def deliver() -> None:
                receipt = await group.deliver(Event("E_X", {"n": len(said)}))
                said.append(
                    " ".join(f"{one.sink} {one.outcome.value} {one.reason}".strip() for one in receipt.children)
                )

            await deliver()
            reader = network.hosts["main"].spawn(_listening("/run/events.sock", kept)())
            await asyncio.sleep(0.001)
            await deliver()
            await asyncio.sleep(0.001)
            network.hosts["main"].paths["/run/events.sock"].close()
            await deliver()
            network.hosts["main"].spawn(_listening("/run/events.sock", kept)())
            await asyncio.sleep(0.001)
            await deliver()
            await asyncio.sleep(0.001)
            reader.cancel()
        return said

    no_file, refused = "connect: No such file or directory", "connect: Connection refused"
    assert simulation.run(main()) == [
        f"a unreachable {no_file} b unreachable {no_file}",
        "a sent",
        f"a unreachable {refused} b unreachable {no_file}",
        "a sent",
    ]
    assert [b'"n":1' in data or b'"n":3' in data for data in kept] == [True, True]


def test_faults_in_the_simulation() -> None:
    """A crash is told by the other machine and leads to the next sink; a black hole swallows without a word."""
    simulation = Simulation(3, latency=0.002)
    network = simulation.network
    kept: dict[str, list[bytes]] = {"app1": [], "app2": []}
    first, _ = (network.host(name, start=_listening(name, taken)) for name, taken in kept.items())

    async def main() -> list[Receipt]:
        receipts: list[Receipt] = []
        tree = Failover(udp("app1:9000", name="a"), udp("app2:9000", name="b"), quarantine=5)
        async with Group("g", tree) as group:

            async def deliver() -> None:
                receipts.append(await group.deliver(EVENT))
                await asyncio.sleep(0.1)

            await deliver()
            first.crash()
            await deliver()  # lost: nobody has said so yet
            await deliver()
            first.restart()
            await asyncio.sleep(5)
            await deliver()
            with network.black_hole("app1"):
                await deliver()
        return receipts

    receipts = simulation.run(main())
    assert [outcomes(list(receipt.children)) for receipt in receipts] == [
        [SENT],
        [SENT],
        [UNREACHABLE, SENT],
        [SENT],
        [SENT],
    ]
    assert {name: len(taken) for name, taken in kept.items()} == {"app1": 2, "app2": 1}


def test_doubt_takes_no_longer_than_the_deadline() -> None:
    """The wait for a refusal is cut short by a deadline, by closing or by cancelling: it has left all the same."""
    simulation = Simulation(3, latency=0.001)
    host = simulation.network.host("app", start=_listening("app"))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        sink = udp("app:9000")
        async with opened(sink):
            host.crash()
            await sink.deliver(EVENT)
            await asyncio.sleep(0.1)
            host.restart()
            receipt = await sink.deliver(EVENT, deadline=loop.time() + 0.005)
            assert receipt.outcome is SENT
            assert receipt.took == pytest.approx(0.005)
            cancelled = asyncio.ensure_future(sink.deliver(EVENT))
            await asyncio.sleep(0.005)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await cancelled
            left = getattr(caught.value, "receipt", None)
            assert isinstance(left, Receipt)
            assert left.outcome is ABANDONED
            assert left.maybe_processed
            waiting = asyncio.ensure_future(sink.deliver(EVENT))
            await asyncio.sleep(0.005)
        assert (await waiting).outcome is SENT

    simulation.run(main())
