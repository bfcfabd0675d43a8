"""How a subscriber begins, drains and ends: on a loop, in a thread of its own, and over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
import trustme

from failover.errors import ConfigError, UsageError
from failover.protocol.framing import Framer
from failover.subscriber import Request, Subscriber
from tests.scripted import Run

OBJECTS = msgspec.json.Decoder(dict[str, Any])
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def call(number: int, method: str = "E") -> bytes:
    """Make a request."""
    return json.dumps({"id": number, "jsonrpc": "2.0", "method": method, "params": [number]}).encode()


def confirms(**settings: Any) -> Subscriber:
    """Make a subscriber that confirms at once."""
    subscriber = Subscriber(**settings)

    @subscriber.default
    def confirm(_method: str, params: object) -> object:
        return params

    assert callable(confirm)
    return subscriber


class Held:
    """A function that begins and waits to be let go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.ends: list[str] = []

    async def function(self, params: object) -> object:
        """Serve one event."""
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        self.ends.append("returned")
        return params


def holds(**settings: Any) -> tuple[Subscriber, Held]:
    """Make a subscriber whose function for G waits."""
    subscriber, held = confirms(**settings), Held()
    subscriber.method("G")(held.function)
    return subscriber, held


@contextlib.asynccontextmanager
async def connected(subscriber: Subscriber, **tls: Any) -> AsyncGenerator[Streams]:
    """Connect to a subscriber."""
    reader, writer = await asyncio.open_connection(*subscriber.address, **tls)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


async def read(reader: asyncio.StreamReader, count: int) -> list[Any]:
    """Read so many replies, or as many as come before the end."""
    framer, replies = Framer(OBJECTS), list[Any]()
    async with asyncio.timeout(20):
        while len(replies) < count and (data := await reader.read(2**18)):
            replies += framer.feed(data)
    return replies


async def turns(count: int) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


# Beginning.


def test_the_address_is_known_once_started() -> None:
    """The port that the system chose is in the address and in the text of the socket, also after closing."""

    async def main() -> None:
        subscriber = confirms()
        with pytest.raises(UsageError, match="start it first"):
            _ = subscriber.address
        async with subscriber:
            host, port = subscriber.address
            assert (host, subscriber.socket) == ("127.0.0.1", f"jsonrpc:127.0.0.1:{port}")
            assert port > 0
        assert subscriber.address == (host, port)

    asyncio.run(main())


def test_an_ipv6_address_is_bracketed() -> None:
    """The text of the socket and of the peer has IPv6 in brackets, as an address is written."""
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    peers: list[str] = []

    async def main() -> None:
        subscriber = Subscriber("::1")

        @subscriber.method("E", whole=True)
        def function(request: Request) -> None:
            peers.append(request.peer)

        assert callable(function)
        try:
            await subscriber.start()
        except OSError as error:
            pytest.skip(f"no IPv6 here: {error}")
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(subscriber.aclose)
            assert subscriber.socket == f"jsonrpc:[::1]:{subscriber.address[1]}"
            reader, writer = await stack.enter_async_context(connected(subscriber))
            writer.write(call(1))
            assert len(await read(reader, 1)) == 1
            assert peers == [f"[::1]:{writer.get_extra_info('sockname')[1]}"]

    asyncio.run(main())


def test_starting_twice_is_refused_and_a_taken_port_is_named() -> None:
    """Both mistakes are told, and the subscriber can be started once they are put right."""

    async def main() -> None:
        async with confirms() as first:
            with pytest.raises(UsageError, match="started already"):
                await first.start()
            host, port = first.address
            second = confirms(port=port)
            with pytest.raises(OSError, match=str(port)):
                await second.start()
        async with second, connected(second) as (reader, writer):
            assert second.address == (host, port)
            writer.write(call(1))
            assert len(await read(reader, 1)) == 1

    asyncio.run(main())


def test_a_closed_subscriber_can_be_started_again() -> None:
    """Killed and brought back on the same port, it serves again and goes on counting."""

    async def main() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        subscriber = confirms(port=port)
        for times in (1, 2, 3):
            async with subscriber, connected(subscriber) as (reader, writer):
                writer.write(call(1))
                assert len(await read(reader, 1)) == 1
                assert subscriber.status().confirmed == times
                await subscriber.aclose(within=0)

    asyncio.run(main())


# Ending.


def test_closing_finishes_what_is_in_flight() -> None:
    """What was received is answered before the connection is closed, in order, what waits for its turn included."""

    async def main() -> None:
        subscriber, held = holds()
        await subscriber.start()
        async with connected(subscriber) as (reader, writer):
            writer.write(call(1, "G") + call(2) + call(3, "G"))
            await held.begun.wait()
            closing = asyncio.create_task(subscriber.aclose())
            await turns(20)
            assert not closing.done()
            held.go.set()
            assert [reply["result"] for reply in await read(reader, 4)] == [[1], [2], [3]]
            await closing
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*subscriber.address)
        assert held.ends == ["returned", "returned"]

    asyncio.run(main())


def test_closing_turns_down_what_still_comes() -> None:
    """A request that comes while draining is refused with -32000 at once: its sender knows that nothing was done."""

    async def main() -> None:
        subscriber, held = holds()
        await subscriber.start()
        async with connected(subscriber) as (reader, writer):
            writer.write(call(1, "G"))
            await held.begun.wait()
            closing = asyncio.create_task(subscriber.aclose())
            await turns(1)
            bad_id = b'{"id":[],"jsonrpc":"2.0","method":"E"}'
            notification = b'{"jsonrpc":"2.0","method":"E"}'
            writer.write(call(2) + b"[" + call(3) + b"]" + bad_id + notification)
            refused = await read(reader, 3)
            assert [reply["id"] for reply in refused] == [2, None, None]
            assert {(reply["error"]["code"], reply["error"]["message"]) for reply in refused} == {(-32000, "Closing")}
            held.go.set()
            assert [reply["result"] for reply in await read(reader, 2)] == [[1]]
            await closing
            assert (subscriber.status().requests, subscriber.status().dropped) == (1, 4)

    asyncio.run(main())


def test_closing_an_idle_subscriber_waits_for_nothing() -> None:
    """Idle connections are closed at once, and so is a subscriber without any; closing again does nothing."""

    async def main() -> None:
        subscriber = confirms(drain=3600)
        await subscriber.aclose()
        async with subscriber:
            pass
        await subscriber.start()
        async with connected(subscriber) as (reader, writer):
            writer.write(call(1))
            assert len(await read(reader, 1)) == 1
            await asyncio.gather(subscriber.aclose(), subscriber.aclose())
            assert await reader.read() == b""
            await subscriber.aclose()
            assert subscriber.status().connections == 0

    asyncio.run(main())


@pytest.mark.parametrize("turns", range(6))
def test_closing_forgets_nobody_who_is_just_accepted(run: Run, turns: int) -> None:
    """However far an accept has come when the subscriber closes, no socket is left and the peer sees the end."""

    async def main() -> socket.socket:
        subscriber = confirms()
        await subscriber.start()
        peer = socket.create_connection(subscriber.address)
        for _ in range(turns):
            await asyncio.sleep(0)
        await subscriber.aclose()
        return peer

    with run(main) as peer, contextlib.suppress(ConnectionResetError):
        peer.settimeout(20)
        assert peer.recv(1) == b""


@pytest.mark.parametrize("in_order", [True, False])
def test_what_takes_too_long_is_cancelled(in_order: bool) -> None:  # noqa: FBT001
    """After its time closing cancels functions, resets their connections, drops what waits, and leaves no task."""

    async def main() -> None:
        subscriber, held = holds(drain=0.01, in_order=in_order)
        before = asyncio.all_tasks()
        await subscriber.start()
        async with connected(subscriber) as (reader, writer):
            writer.write(call(1, "G") + call(2, "G"))
            await held.begun.wait()
            await turns(10)
            await subscriber.aclose()
            assert await read(reader, 1) == []
            assert held.ends == ["cancelled"] * (1 if in_order else 2)
            status = subscriber.status()
            assert (status.dropped, status.failed) == (1 if in_order else 0, 0)
        assert asyncio.all_tasks() == before

    asyncio.run(main())


def test_a_second_closing_may_be_more_urgent() -> None:
    """`within=0` ends a drain that is going on."""

    async def main() -> None:
        subscriber, held = holds(drain=3600)
        await subscriber.start()
        async with connected(subscriber) as (_, writer):
            writer.write(call(1, "G"))
            await held.begun.wait()
            patient = asyncio.create_task(subscriber.aclose())
            await turns(5)
            await subscriber.aclose(within=0)
            await patient
            assert held.ends == ["cancelled"]

    asyncio.run(main())


def test_a_cancelled_closing_closes_at_once() -> None:
    """Cancelling a drain leaves no connection and no function behind."""

    async def main() -> None:
        subscriber, held = holds(drain=3600)
        before = asyncio.all_tasks()
        await subscriber.start()
        async with connected(subscriber) as (reader, writer):
            writer.write(call(1, "G"))
            await held.begun.wait()
            closing = asyncio.create_task(subscriber.aclose())
            await turns(5)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert await read(reader, 1) == []
            assert held.ends == ["cancelled"]
        assert asyncio.all_tasks() == before

    asyncio.run(main())


def test_a_function_that_will_not_end_is_left_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """Closing never hangs: a function that swallows its cancellation is logged."""

    async def main() -> None:
        subscriber = Subscriber()
        begun, end = asyncio.Event(), asyncio.Event()

        @subscriber.method("E")
        async def stubborn(_params: object) -> None:
            begun.set()
            while not end.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await end.wait()

        assert callable(stubborn)
        await subscriber.start()
        async with connected(subscriber) as (_, writer):
            writer.write(call(1))
            await begun.wait()
            await subscriber.aclose(within=0)
            end.set()
            await turns(5)

    asyncio.run(main())
    assert "1 functions went on after they were cancelled" in caplog.text


def test_a_peer_that_reads_nothing_does_not_hold_up_closing() -> None:
    """Replies that nobody reads are given up after the drain's time."""

    async def main() -> None:
        subscriber = Subscriber(drain=0.05, max_unread=1)

        @subscriber.method("E")
        def big(_params: object) -> str:
            return "x" * 2**24

        assert callable(big)
        await subscriber.start()
        with socket.create_connection(subscriber.address) as silent:
            silent.sendall(call(1) + call(2))
            async with asyncio.timeout(10):
                while subscriber.status().confirmed < 1:  # noqa: ASYNC110 - the server's side has no event for us
                    await asyncio.sleep(0)
                await subscriber.aclose()
            assert subscriber.status().connections == 0

    asyncio.run(main())


def test_a_peer_that_was_cut_off_does_not_hold_up_closing() -> None:
    """Who is told that its stream can't be read is given a moment to read that, but not when we close."""

    async def main() -> None:
        subscriber = confirms(drain=3600)
        await subscriber.start()
        with socket.create_connection(subscriber.address) as silent:
            silent.sendall(b"}")
            while subscriber.status().malformed < 1:  # noqa: ASYNC110 - the server's side has no event for us
                await asyncio.sleep(0)
            assert subscriber.status().connections == 1
            await subscriber.aclose()
            assert subscriber.status().connections == 0

    asyncio.run(main())


# In a thread.


def test_blocking_serves_from_a_thread_of_its_own() -> None:
    """A plain program listens in a block; functions run in the one thread, and closing drains."""
    threads: set[str] = set()
    subscriber = confirms()

    @subscriber.method("T")
    async def where(_params: object) -> str:
        await asyncio.sleep(0)
        threads.add(threading.current_thread().name)
        return "here"

    assert callable(where)
    for _ in range(2):
        with (
            subscriber.blocking() as same,
            socket.create_connection(same.address, timeout=10) as client,
            client.makefile("rb") as stream,
        ):
            assert same is subscriber
            client.sendall(call(1, "T") + call(2))
            expected = b'{"jsonrpc":"2.0","id":1,"result":"here"}{"jsonrpc":"2.0","id":2,"result":[2]}'
            assert stream.read(len(expected)) == expected
            assert subscriber.status().connections == 1
    assert threads == {"failover-subscriber"}
    assert subscriber.status().connections == 0
    assert "failover-subscriber" not in {thread.name for thread in threading.enumerate()}


def test_blocking_tells_why_it_can_not_start() -> None:
    """An error of starting is raised where the block is entered, and no thread stays."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"), confirms(port=taken.getsockname()[1]).blocking():
            pass
    with confirms().blocking() as subscriber, pytest.raises(UsageError, match="started already"), subscriber.blocking():
        pass
    assert "failover-subscriber" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("port", 65_536, "port must be a number from 0 .* to 65535, not 65536"),
        ("port", "8080", "port must be a number from 0 .* to 65535, not '8080'"),
        ("host", "", "the name of a host must be a non-empty string, not ''"),
        ("max_frame", "1", "max_frame must be a whole number of 1 or more, not '1'"),
        ("ssl_context", True, "ssl_context must be an ssl.SSLContext or None, not True"),
    ],
)
def test_settings_that_can_not_be_meant(setting: str, value: Any, text: str) -> None:
    """A setting out of its range is refused where it's given: what, what was expected, what it was."""
    with pytest.raises(ConfigError, match=text):
        Subscriber(**{setting: value})


def test_a_host_that_is_not_found_is_named() -> None:
    """A name that nobody knows stands in the error, which the system's own doesn't say."""
    with pytest.raises(OSError, match="can't listen on '::1%nowhere': "), confirms(host="::1%nowhere").blocking():
        pass


def test_an_error_in_the_block_closes_too() -> None:
    """Leaving the block by an exception ends the thread, and the exception is the caller's."""
    with pytest.raises(ZeroDivisionError), confirms().blocking():
        raise ZeroDivisionError
    assert "failover-subscriber" not in {thread.name for thread in threading.enumerate()}


# TLS.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority for these tests."""
    return trustme.CA()


@pytest.fixture
def contexts(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The TLS settings of a server for 127.0.0.1 and of its client."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
    authority.configure_trust(client)  # pyright: ignore[reportUnknownMemberType]
    return server, client


def test_tls_serves_the_same(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """Over TLS requests are confirmed, large ones too, and a stream that can't be read is told and closed."""
    server, client = contexts

    async def main() -> None:
        async with confirms(ssl_context=server) as subscriber:
            async with connected(subscriber, ssl=client) as (reader, writer):
                large = call(1).replace(b"[1]", b'["' + b"x" * 500_000 + b'"]')
                writer.write(large + call(2))
                assert [reply["result"] for reply in await read(reader, 2)] == [["x" * 500_000], [2]]
                writer.write(call(3) + b"}")
                replies = await read(reader, 3)
                assert [reply["id"] for reply in replies] == [3, None]
                assert replies[1]["error"]["code"] == -32700
            async with connected(subscriber, ssl=client) as (reader, writer):
                writer.write(call(4))
                assert len(await read(reader, 1)) == 1
        assert (subscriber.status().accepted, subscriber.status().connections) == (2, 0)

    asyncio.run(main())


def test_who_speaks_no_tls_is_turned_away(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """Plain bytes on a TLS port end that connection, and only that one."""
    server, client = contexts

    async def main() -> None:
        async with confirms(ssl_context=server) as subscriber:
            async with connected(subscriber) as (reader, writer):
                writer.write(call(1))
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            async with connected(subscriber, ssl=client) as (reader, writer):
                writer.write(call(2))
                assert [reply["id"] for reply in await read(reader, 1)] == [2]
            assert subscriber.status().accepted == 1

    asyncio.run(main())
