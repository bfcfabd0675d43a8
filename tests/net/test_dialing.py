"""Making a connection: all addresses of a name, in turns and side by side, and nothing left of those that lose."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from failover.event import Event
from failover.net.dialing import HEAD_START, dial
from failover.net.options import ConnectionOptions
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.records import BadReply, Record
from failover.sinks.jsonrpc import jsonrpc
from tests.scripted import Run, ScriptedPeer, black_hole, opened, raw, turns, until

EVENT = Event("E_TEST")
Resolve = Callable[..., None]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Let `peer.test` have these addresses; the sockets behind them are real."""

    def to(*addresses: str) -> None:
        def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
            name = host.decode() if isinstance(host, bytes) else host
            if name != "peer.test":
                return real(host, port, *args, **kwargs)
            if not addresses:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [entry for address in addresses for entry in real(address, port, type=socket.SOCK_STREAM)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    real = socket.getaddrinfo
    return to


def on_asyncio(program: Callable[[], Any]) -> Any:
    """Run where names are resolved by Python's own `socket`, in a thread, as asyncio does it and uvloop doesn't."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        value = runner.run(asyncio.wait_for(program(), 20))
    gc.collect()
    return value


def deliver(port: int, **options: Any) -> Any:
    """Deliver one event to `peer.test`."""

    async def delivering() -> Receipt:
        sink = jsonrpc(f"peer.test:{port}", **options)
        async with opened(sink):
            return await sink.deliver(EVENT)

    return delivering()


def test_a_name_without_an_address(resolve: Resolve) -> None:
    """A name that can't be resolved is UNREACHABLE with the resolver's reason."""
    resolve()

    async def main() -> Receipt:
        receipt: Receipt = await deliver(9)
        return receipt

    receipt = on_asyncio(main)
    assert receipt.outcome is Outcome.UNREACHABLE
    assert receipt.reason == "connect: Name or service not known"


def test_the_second_address_when_the_first_refuses(resolve: Resolve) -> None:
    """A first address that refuses costs no head start: the second is tried at once."""
    resolve("127.0.0.2", "127.0.0.1")

    async def main() -> Receipt:
        async with ScriptedPeer() as peer:
            receipt: Receipt = await deliver(peer.port)
            return receipt

    receipt = on_asyncio(main)
    assert receipt.confirmed
    assert receipt.took < HEAD_START


def test_the_second_address_when_the_first_is_a_black_hole(resolve: Resolve) -> None:
    """A first address that gives no answer costs its head start and no more, and its socket is closed."""
    resolve("127.0.0.2", "127.0.0.1")

    async def main() -> Receipt:
        async with ScriptedPeer() as peer:
            with black_hole("127.0.0.2", peer.port):
                receipt: Receipt = await deliver(peer.port)
                return receipt

    receipt = on_asyncio(main)
    assert receipt.confirmed
    assert HEAD_START <= receipt.took < HEAD_START + 0.2


def test_all_addresses_refuse(resolve: Resolve) -> None:
    """Of several failures the first is the reason."""
    resolve("127.0.0.2", "127.0.0.3")

    async def main() -> Receipt:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            receipt: Receipt = await deliver(sock.getsockname()[1])
            return receipt

    receipt = on_asyncio(main)
    assert (receipt.outcome, receipt.reason) == (Outcome.UNREACHABLE, "connect: Connection refused")


def test_families_take_turns() -> None:
    """Families alternate, beginning with the resolver's first choice; an address that is given twice is tried once."""
    tried: list[str] = []

    class Loop(asyncio.SelectorEventLoop):
        async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
            v6 = [(socket.AF_INET6, 1, 6, "", (address, 9, 0, 0)) for address in ("::6", "::6", "::7", "::8")]
            v4 = [(socket.AF_INET, 1, 6, "", (address, 9)) for address in ("192.0.2.1", "192.0.2.2")]
            return [*v6, *v4]

        async def create_connection(self, _: Any, host: Any = None, port: Any = None, **__: Any) -> Any:  # type: ignore[override]
            tried.append(host)
            raise OSError(host)

    async def main() -> None:
        with pytest.raises(OSError, match="::6"):
            await dial(asyncio.get_running_loop(), asyncio.Protocol, "peer.test", 9)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
    assert tried == ["::6", "192.0.2.1", "::7", "192.0.2.2", "::8"]


def test_two_addresses_that_answer_in_the_same_turn() -> None:
    """If both connects are done in one loop turn, one wins and the other's socket is closed."""

    class Loop(asyncio.SelectorEventLoop):
        """Holds back what connects until both have."""

        async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
            return [(socket.AF_INET, 1, 6, "", (f"127.0.0.{last}", 9)) for last in (1, 2)]

        async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:  # type: ignore[override]
            made = await super().create_connection(factory, "127.0.0.1", peers[0].port)
            ready.append(host)
            await until(lambda: len(ready) == 2)
            return made

    peers: list[ScriptedPeer] = []
    ready: list[str] = []

    async def main() -> None:
        async with ScriptedPeer() as peer:
            peers.append(peer)
            transport = await dial(asyncio.get_running_loop(), asyncio.Protocol, "peer.test", 9)
            await peer.accepted(2)
            await peer.when(lambda: sum(link.lost.done() for link in peer.links) == 1)
            transport.abort()
            await peer.when(lambda: all(link.lost.done() for link in peer.links))

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(asyncio.wait_for(main(), 10))
    gc.collect()


def test_an_address_needs_no_resolver() -> None:
    """While every thread of the resolver hangs on other names, peers given by address are reached at once."""
    release = threading.Event()

    async def main() -> Receipt:
        loop = asyncio.get_running_loop()
        hanging = [loop.run_in_executor(None, release.wait) for _ in range(64)]
        try:
            async with ScriptedPeer() as peer:
                sink = jsonrpc(peer.address)
                async with opened(sink):
                    return await sink.deliver(EVENT)
        finally:
            release.set()
            await asyncio.gather(*hanging)

    assert on_asyncio(main).confirmed


def test_a_dial_that_is_given_up_leaves_nothing(run: Run) -> None:
    """Closing while a connect is under way ends it: no task and no socket stays."""

    async def main() -> None:
        before = asyncio.all_tasks()
        with black_hole() as address:
            sink = jsonrpc(address)
            async with opened(sink):
                await turns(3)
                assert asyncio.all_tasks() > before
            await turns(9)
            assert asyncio.all_tasks() == before

    run(main)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6(run: Run) -> None:
    """An address in brackets is reached over IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        pytest.skip("no ::1")

    async def main() -> Receipt:
        async with ScriptedPeer(host="::1") as peer:
            sink = jsonrpc(peer.address)
            async with opened(sink):
                return await sink.deliver(EVENT)

    assert run(main).confirmed


def test_keepalive_is_set(run: Run) -> None:
    """The kernel probes a silent peer at the given pace, or never."""

    async def main() -> list[tuple[int, int, int]]:
        found: list[tuple[int, int, int]] = []
        async with ScriptedPeer() as peer:
            for keepalive in (7.0, None):
                sink = jsonrpc(peer.address, options=ConnectionOptions(keepalive=keepalive))
                async with opened(sink):
                    await sink.deliver(EVENT)
                    connection = sink._connection
                    assert connection is not None
                    assert connection._transport is not None
                    sock = connection._transport.get_extra_info("socket")
                    found.append(
                        (
                            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                        )
                    )
        return found

    with_it, without = run(main)
    assert with_it == (1, 7, 7)
    assert without[0] == 0


def test_a_peer_that_speaks_first(run: Run) -> None:
    """What a peer sends before anything was asked is read by whoever takes the connection over: nothing is missed."""

    async def main() -> list[str]:
        records: list[Record] = []
        async with ScriptedPeer(on_connect=lambda link: link.write(b'{"id":1,"result":"hi"}{"id":')) as peer:
            peer.script = [raw(b'ID,"result":1}')]
            sink = jsonrpc(peer.address)
            async with opened(sink, observers=[records.append]):
                assert (await sink.deliver(EVENT)).confirmed
        return [record.problem for record in records if isinstance(record, BadReply)]

    assert run(main) == ["a reply to an id that was never given out"]
