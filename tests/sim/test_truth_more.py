"""The simulator is true: datagrams, TLS, servers and the loop's own order, on the kernel's network and on it."""

# pyright: reportUnknownMemberType=false
# ruff: noqa: D102  the methods of protocols are asyncio's
from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trustme

Same = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]

HOST = "127.0.0.1"


class Datagrams(asyncio.DatagramProtocol):
    """Writes down what comes, and lets a test wait for so many."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.came = asyncio.Event()
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.calls.append((data, addr))
        self.came.set()

    def error_received(self, exc: Exception) -> None:
        self.calls.append(type(exc).__name__)
        self.came.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(exc)


class DatagramEcho(Datagrams):
    """Sends back what comes."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


def test_datagrams(same: Same) -> None:
    """Datagrams go there and back whole, and carry the address they came from."""

    async def program() -> Any:
        loop = asyncio.get_running_loop()
        there, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=(HOST, 0))
        address = there.get_extra_info("sockname")
        here, protocol = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
        for data in (b"one", b"2", bytes(1000)):
            protocol.came.clear()
            here.sendto(data)
            await protocol.came.wait()
        unconnected, other = await loop.create_datagram_endpoint(Datagrams, local_addr=(HOST, 0))
        unconnected.sendto(b"to", address)
        await other.came.wait()
        came = [(data, addr == address) for data, addr in protocol.calls + other.calls]
        for transport in (here, there, unconnected):
            transport.close()
        await asyncio.sleep(0.01)
        return came, protocol.calls[3:], here.is_closing()

    assert same(program) == ([(b"one", True), (b"2", True), (bytes(1000), True), (b"to", True)], [None], True)


def test_unix_datagrams(same: Same) -> None:
    """They go there and back whole, and carry the path that they came from, if there is one."""
    with TemporaryDirectory() as folder:
        there_at, here_at = f"{folder}/there", f"{folder}/here"

        async def program() -> Any:
            loop = asyncio.get_running_loop()
            there, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=there_at, family=socket.AF_UNIX)
            here, protocol = await loop.create_datagram_endpoint(
                Datagrams, local_addr=here_at, remote_addr=there_at, family=socket.AF_UNIX
            )
            for data in (b"one", bytes(200_000)):
                protocol.came.clear()
                here.sendto(data)
                await protocol.came.wait()
            there.set_protocol(echo := Datagrams())
            unbound, _ = await loop.create_datagram_endpoint(Datagrams, remote_addr=there_at, family=socket.AF_UNIX)
            unbound.sendto(b"from nowhere")
            await echo.came.wait()
            shown = there.get_extra_info("socket")
            names = shown.family, shown.getsockname() == there_at, here.get_extra_info("peername") == there_at
            with pytest.raises(ValueError, match="Invalid address"):
                here.sendto(b"x", here_at)
            for transport in (here, there, unbound):
                transport.close()
            await asyncio.sleep(0.01)
            came = [(len(data), addr == there_at) for data, addr in protocol.calls[:2]]
            return names, came, protocol.calls[2:], echo.calls

        assert same(program) == (
            (socket.AF_UNIX, True, True),
            [(3, True), (200_000, True)],
            [None],
            [(b"from nowhere", None), None],
        )


def test_unix_datagrams_to_nobody(same: Same) -> None:
    """A path without a socket, one that was closed, one that another took, too much at once: each tells its error."""
    with TemporaryDirectory() as folder:
        path, bare_path = f"{folder}/s", f"{folder}/b"

        async def program() -> Any:
            loop = asyncio.get_running_loop()
            told: list[Any] = []

            async def opens(**places: Any) -> Any:
                try:
                    return await loop.create_datagram_endpoint(Datagrams, family=socket.AF_UNIX, **places)
                except OSError as error:
                    told.append(type(error).__name__)

            await opens(remote_addr=f"{folder}/not there")
            first, _ = await opens(local_addr=path)
            here, protocol = await opens(remote_addr=path)
            here.sendto(bytes(212_961))
            first.close()
            await asyncio.sleep(0.01)
            here.sendto(b"x")
            await opens(remote_addr=path)
            second, reader = await opens(local_addr=path)
            bare, errors = await opens(local_addr=bare_path)
            for to in (f"{folder}/not there", path):
                bare.sendto(b"y", to)
            await reader.came.wait()
            for transport in (here, second, bare):
                transport.close()
            await asyncio.sleep(0.01)
            return told, protocol.calls, [data for data, _ in reader.calls[:1]], errors.calls

        assert same(program) == (
            ["FileNotFoundError", "ConnectionRefusedError"],
            ["OSError", "ConnectionRefusedError", None],
            [b"y"],
            ["FileNotFoundError", None],
        )


def test_datagrams_to_a_closed_port(same: Same) -> None:
    """A connected socket is told that nobody listens; one that sends too much is told too."""

    async def program() -> Any:
        loop = asyncio.get_running_loop()
        gone, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=(HOST, 0))
        address = gone.get_extra_info("sockname")
        gone.close()
        await asyncio.sleep(0.01)
        here, protocol = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
        here.sendto(b"anyone?")
        await protocol.came.wait()
        here.sendto(bytes(70_000))
        refused = ""
        try:
            here.sendto(b"x", (HOST, 1))
        except ValueError as error:
            refused = str(error).replace(str(address[1]), "PORT")
        here.close()
        return list(protocol.calls), refused

    assert same(program)[0] == ["ConnectionRefusedError", "OSError"]


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS contexts of a server that is 127.0.0.1 and of a client that trusts its certificate."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, until the end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()


def test_tls(same: Same, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """TLS streams carry data both ways, more than fits into any buffer."""

    async def program() -> Any:
        server = await asyncio.start_server(echo, HOST, 0, ssl=contexts[0])
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection(HOST, port, ssl=contexts[1])
            data = bytes(range(256)) * 8_000
            writer.write(data)
            back = await reader.readexactly(len(data))
            subject = writer.get_extra_info("peercert") is not None
            version = writer.get_extra_info("ssl_object").version()
            writer.close()
            await writer.wait_closed()
            return back == data, subject, version

    assert same(program) == (True, True, "TLSv1.3")


def test_tls_with_a_certificate_that_nobody_trusts(same: Same, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """A certificate that does not verify fails the connect, and the server goes on."""

    async def program() -> Any:
        async with await asyncio.start_server(echo, HOST, 0, ssl=contexts[0]) as server:
            port = server.sockets[0].getsockname()[1]
            refused: Any = None
            try:
                await asyncio.open_connection(HOST, port, ssl=ssl.create_default_context())
            except ssl.SSLError as error:
                refused = type(error).__name__, error.reason
            reader, writer = await asyncio.open_connection(HOST, port, ssl=contexts[1])
            writer.write(b"still there")
            back = await reader.readexactly(11)
            writer.close()
            await writer.wait_closed()
            return refused, back

    assert same(program) == (("SSLCertVerificationError", "CERTIFICATE_VERIFY_FAILED"), b"still there")


def test_tls_to_a_server_without_it(same: Same, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """A server that speaks no TLS fails the handshake."""

    async def program() -> Any:
        async with await asyncio.start_server(echo, HOST, 0) as server:
            try:
                await asyncio.open_connection(HOST, server.sockets[0].getsockname()[1], ssl=contexts[1])
            except ssl.SSLError as error:
                return type(error).__name__

    assert same(program) == "SSLError"


def test_start_tls(same: Same, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """A plain connection can be upgraded to TLS by both sides."""

    async def program() -> Any:
        upgraded = asyncio.Event()

        async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await writer.start_tls(contexts[0])
            await echo(reader, writer)
            upgraded.set()

        async with await asyncio.start_server(upgrade, HOST, 0) as server:
            reader, writer = await asyncio.open_connection(HOST, server.sockets[0].getsockname()[1])
            writer.write(b"STARTTLS\n")
            plain = await reader.readline()
            await writer.start_tls(contexts[1], server_hostname=HOST)
            writer.write(b"secret")
            secret = await reader.readexactly(6)
            encrypted = writer.get_extra_info("cipher") is not None
            writer.close()
            await upgraded.wait()
            return plain, secret, encrypted

    assert same(program) == (b"STARTTLS\n", b"secret", True)


def test_servers(same: Same) -> None:
    """A closed server refuses, its connections go on; a port is bound once; what is bound before it serves refuses."""

    async def program() -> Any:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echo, HOST, 0)
        port = server.sockets[0].getsockname()[1]
        outcomes: list[Any] = [server.is_serving(), len(server.sockets)]
        try:
            await loop.create_server(asyncio.Protocol, HOST, port)
        except OSError as error:
            outcomes.append((error.errno, str(error).replace(str(port), "PORT")))
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"accepted?")
        outcomes.append(await reader.readexactly(9))
        server.close()
        outcomes.append((server.is_serving(), server.sockets))
        try:
            await asyncio.open_connection(HOST, port)
        except ConnectionRefusedError:
            outcomes.append("refused")
        writer.write(b"still here")
        outcomes.append(await reader.readexactly(10))
        writer.close()
        await writer.wait_closed()
        await server.wait_closed()
        waiting = await asyncio.start_server(echo, HOST, 0, start_serving=False)
        port = waiting.sockets[0].getsockname()[1]
        try:
            await asyncio.open_connection(HOST, port)
        except ConnectionRefusedError:
            outcomes.append("not yet")
        await waiting.start_serving()
        _, writer = await asyncio.open_connection(HOST, port)
        writer.close()
        await writer.wait_closed()
        waiting.close()
        return outcomes

    outcomes = same(program)
    assert outcomes[-3:] == ["refused", b"still here", "not yet"]


def test_errors_of_opening(same: Same) -> None:
    """What can't be opened is refused with asyncio's own exceptions."""

    async def program() -> Any:
        loop: Any = asyncio.get_running_loop()  # what is wrong here is wrong to a type checker too
        outcomes: list[Any] = []
        attempt: Any
        for attempt in (
            lambda: loop.create_connection(asyncio.Protocol),
            lambda: loop.create_connection(asyncio.Protocol, HOST, 1, server_hostname="x"),
            lambda: loop.create_connection(asyncio.Protocol, HOST, 1, ssl_handshake_timeout=1),
            lambda: loop.create_connection(asyncio.Protocol, None, 1, ssl=True),
            lambda: loop.create_connection(asyncio.Protocol, HOST, 70_000),
            lambda: loop.create_server(asyncio.Protocol),
            lambda: loop.create_server(asyncio.Protocol, HOST, 0, ssl=True),
            lambda: loop.create_server(asyncio.Protocol, HOST, 0, ssl_handshake_timeout=1),
            lambda: loop.create_datagram_endpoint(asyncio.DatagramProtocol),
            lambda: loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr="x"),
            lambda: loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("x", 1), family=socket.AF_UNIX),
        ):
            try:
                await attempt()
            except Exception as error:  # noqa: BLE001  whatever it is, it must be the same
                outcomes.append((type(error).__name__, str(error)))
        return outcomes

    assert len(same(program)) == 11


def test_the_order_of_callbacks(same: Same) -> None:
    """What is ready runs in order; a timer that is due waits for the turn after the one it was set in."""

    async def program() -> Any:
        loop = asyncio.get_running_loop()
        order: list[str] = []
        done = loop.create_future()

        def first() -> None:
            order.append("first")
            loop.call_later(0, order.append, "due")
            loop.call_soon(order.append, "next turn")
            loop.call_soon(lambda: loop.call_soon(lambda: loop.call_soon(done.set_result, None)))

        loop.call_soon(first)
        loop.call_soon(order.append, "second")
        cancelled = loop.call_later(0.001, order.append, "never")
        loop.call_later(0.002, order.append, "later")
        cancelled.cancel()
        await done
        await asyncio.sleep(0.01)
        return order

    assert same(program) == ["first", "second", "next turn", "due", "later"]


def test_timeouts_and_cancellation(same: Same) -> None:
    """A read that times out leaves the stream in order; a cancelled connect leaves nothing behind."""

    async def program() -> Any:
        async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"late")
            writer.close()

        async with await asyncio.start_server(late, HOST, 0) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                async with asyncio.timeout(0.01):
                    await reader.read()
            except TimeoutError:
                writer.write(b"?")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            connecting = asyncio.create_task(asyncio.open_connection(HOST, port))
            await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait([connecting])
            return answer, connecting.cancelled(), writer.is_closing()

    assert same(program) == (b"late", True, True)
