"""The simulator is true: programs of streams and protocols have one outcome on the kernel's network and on it."""

# ruff: noqa: D102  the methods of protocols are asyncio's
from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

Same = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]

HOST = "127.0.0.1"


class Recorder(asyncio.Protocol):
    """Writes down what it is called with; data of one stream is joined, wherever it was cut."""

    def __init__(self, *, keep_open: bool = False) -> None:
        self.keep_open = keep_open
        self.calls: list[Any] = []
        self.made: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.calls.append("made")
        self.transport = transport
        self.made.set_result(transport)

    def data_received(self, data: bytes) -> None:
        if isinstance(self.calls[-1], bytes):
            self.calls[-1] += data
        else:
            self.calls.append(data)

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(("lost", type(exc).__name__))
        self.lost.set_result(None)


class Echo(Recorder):
    """Sends back what comes."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that no call tells of."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def pair(
    client: Callable[[], Recorder] = Recorder, server: Callable[[], Recorder] = Recorder
) -> AsyncGenerator[tuple[Any, Any], None]:
    """Two protocols that are connected to each other, client and server."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Recorder] = loop.create_future()

    def accept() -> Recorder:
        protocol = server()
        accepted.set_result(protocol)
        return protocol

    listening = await loop.create_server(accept, HOST, 0)
    port = listening.sockets[0].getsockname()[1]
    _, protocol = await loop.create_connection(client, HOST, port)
    other = await accepted
    await other.made
    try:
        yield protocol, other
    finally:
        for side in (protocol, other):
            if not side.lost.done():
                side.transport.abort()
                await side.lost
        listening.close()
        await listening.wait_closed()


def test_echo_over_streams(same: Same) -> None:
    """Lines go to a stream server and come back; the end of the stream follows."""

    async def program() -> Any:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(echo, HOST, 0)
        async with server:
            reader, writer = await asyncio.open_connection(HOST, server.sockets[0].getsockname()[1])
            lines: list[bytes] = []
            for number in range(20):
                writer.write(b"line %d\n" % number)
                lines.append(await reader.readline())
            writer.write_eof()
            lines.append(await reader.read())
            writer.close()
            await writer.wait_closed()
            return lines

    assert same(program)[-2:] == [b"LINE 19\n", b""]


def test_echo_over_protocols(same: Same) -> None:
    """A protocol hears made, data, the end and the loss in that order, on both sides."""

    async def program() -> Any:
        async with pair(server=Echo) as (client, server):
            client.transport.write(b"hello")
            await until(lambda: client.calls[-1] == b"hello")
            client.transport.close()
            await server.lost
            return client.calls, server.calls

    assert same(program) == (
        ["made", b"hello", ("lost", "NoneType")],
        ["made", b"hello", "eof", ("lost", "NoneType")],
    )


def test_pipelining(same: Same) -> None:
    """A hundred requests in one write have a hundred replies, in order."""

    async def program() -> Any:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError):
                while True:
                    (size,) = struct.unpack("!H", await reader.readexactly(2))
                    writer.write(struct.pack("!H", size) + (await reader.readexactly(size))[::-1])
            writer.close()

        async with await asyncio.start_server(answer, HOST, 0) as server:
            reader, writer = await asyncio.open_connection(HOST, server.sockets[0].getsockname()[1])
            writer.writelines(struct.pack("!H", n) + bytes(range(n)) for n in range(100))
            replies: list[bytes] = []
            for _ in range(100):
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                replies.append(await reader.readexactly(size))
            writer.close()
            await writer.wait_closed()
            return replies

    assert same(program)[3] == b"\x02\x01\x00"


def test_half_close(same: Same) -> None:
    """After `write_eof` the other side may still write, and its data arrives."""

    async def program() -> Any:
        async with pair(server=lambda: Recorder(keep_open=True)) as (client, server):
            client.transport.write(b"question")
            client.transport.write_eof()
            await until(lambda: server.calls[-1] == "eof")
            server.transport.write(b"answer")
            server.transport.close()
            await client.lost
            return client.calls, server.calls

    assert same(program) == (
        ["made", b"answer", "eof", ("lost", "NoneType")],
        ["made", b"question", "eof", ("lost", "NoneType")],
    )


def test_refused_connect(same: Same) -> None:
    """A port that nobody listens on refuses, with the kernel's number and asyncio's words."""

    async def program() -> Any:
        async with pair() as (client, _):
            port = client.transport.get_extra_info("sockname")[1]
            try:
                await asyncio.get_running_loop().create_connection(asyncio.Protocol, HOST, port)
            except OSError as error:
                return type(error), error.errno, str(error).replace(str(port), "PORT")

    assert same(program) == (
        ConnectionRefusedError,
        errno.ECONNREFUSED,
        f"[Errno 111] Connect call failed ('{HOST}', PORT)",
    )


def reset_on_close(transport: asyncio.Transport) -> None:
    """Let the next close send a RST, as programs do it: SO_LINGER with a timeout of 0."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_reset_amid_a_reply(same: Same) -> None:
    """What came before a RST is delivered, then the loss says ConnectionResetError."""

    async def program() -> Any:
        async with pair() as (client, server):
            server.transport.write(b"the first ha")
            reset_on_close(server.transport)
            server.transport.close()
            await client.lost
            return client.calls, server.calls

    assert same(program) == (
        ["made", b"the first ha", ("lost", "ConnectionResetError")],
        ["made", ("lost", "NoneType")],
    )


def test_reset_while_reading_is_paused(same: Same) -> None:
    """A paused reader notices the RST when it resumes, after the data that was there before."""

    async def program() -> Any:
        async with pair() as (client, server):
            client.transport.pause_reading()
            server.transport.write(b"kept")
            reset_on_close(server.transport)
            server.transport.close()
            await server.lost
            await asyncio.sleep(0.1)
            before = list(client.calls)
            client.transport.resume_reading()
            await client.lost
            return before, client.calls

    assert same(program) == (["made"], ["made", b"kept", ("lost", "ConnectionResetError")])


def test_reset_noticed_by_a_write(same: Same) -> None:
    """A write after a RST that nobody read fails with ConnectionResetError."""

    async def program() -> Any:
        async with pair() as (client, server):
            client.transport.pause_reading()
            reset_on_close(server.transport)
            server.transport.close()
            await server.lost
            await asyncio.sleep(0.1)
            client.transport.write(b"x")
            await client.lost
            return client.calls

    assert same(program) == ["made", ("lost", "ConnectionResetError")]


def test_abort(same: Same) -> None:
    """`abort` drops what asyncio has buffered and gives the socket back: the peer sees an ordinary end."""

    async def program() -> Any:
        async with pair() as (client, server):
            client.transport.write(b"sent before")
            client.transport.abort()
            await server.lost
            return client.calls, server.calls

    assert same(program) == (
        ["made", ("lost", "NoneType")],
        ["made", b"sent before", "eof", ("lost", "NoneType")],
    )


def test_abort_with_a_full_buffer(same: Same) -> None:
    """What the kernel had taken before an abort arrives, the rest does not."""

    async def program() -> Any:
        async with pair() as (client, server):
            server.transport.pause_reading()
            client.transport.write(bytes(50_000_000))
            client.transport.abort()
            server.transport.resume_reading()
            await server.lost
            received = len(server.calls[1])
            return 0 < received < 50_000_000, server.calls[2:], client.calls

    assert same(program) == (True, ["eof", ("lost", "NoneType")], ["made", "pause", ("lost", "NoneType")])


def test_close_with_unread_data(same: Same) -> None:
    """Who closes without having read everything resets the connection, as Linux does."""

    async def program() -> Any:
        async with pair() as (client, server):
            server.transport.pause_reading()
            client.transport.write(b"never read")
            await asyncio.sleep(0.1)
            server.transport.close()
            await client.lost
            return client.calls, server.calls

    assert same(program) == (["made", ("lost", "ConnectionResetError")], ["made", ("lost", "NoneType")])


def test_close_sends_what_is_buffered(same: Same) -> None:
    """`close` right after a large write loses nothing."""

    async def program() -> Any:
        async with pair() as (client, server):
            data = bytes(range(256)) * 20_000
            client.transport.write(data)
            client.transport.close()
            await server.lost
            return server.calls[1] == data, server.calls[2:], client.calls

    assert same(program) == (True, ["eof", ("lost", "NoneType")], ["made", "pause", "resume", ("lost", "NoneType")])


def test_writes_to_a_peer_that_has_closed(same: Same) -> None:
    """The first write to a closed peer brings a RST; after its FIN that reads as BrokenPipeError."""

    async def program() -> Any:
        async with pair(client=lambda: Recorder(keep_open=True)) as (client, server):
            server.transport.close()
            await until(lambda: client.calls[-1] == "eof")
            while not client.lost.done():
                client.transport.write(b"x")
                await asyncio.sleep(0.01)
            return client.calls

    assert same(program) == ["made", "eof", ("lost", "BrokenPipeError")]


def test_a_slow_reader_pushes_back(same: Same) -> None:
    """A reader that pauses makes the writer pause; when it reads again everything arrives and the writer resumes."""

    async def program() -> Any:
        async with pair() as (client, server):
            server.transport.pause_reading()
            written = 0
            while "pause" not in client.calls:
                client.transport.write(bytes(65536))
                written += 65536
                await asyncio.sleep(0)
            held = client.transport.get_write_buffer_size()
            server.transport.resume_reading()
            await until(lambda: client.calls[-1] == "resume")
            client.transport.close()
            await server.lost
            return len(server.calls[1]) == written, held > 65536, server.calls[2:], client.calls

    assert same(program) == (
        True,
        True,
        ["eof", ("lost", "NoneType")],
        ["made", "pause", "resume", ("lost", "NoneType")],
    )


def test_pausing_inside_data_received(same: Same) -> None:
    """A protocol that pauses at every call and resumes later gets every byte once and in order."""

    async def program() -> Any:
        class Stutter(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                self.transport.pause_reading()
                asyncio.get_running_loop().call_soon(self.transport.resume_reading)

        async with pair(server=Stutter) as (client, server):
            data = bytes(range(256)) * 4_000
            for start in range(0, len(data), 10_000):
                client.transport.write(data[start : start + 10_000])
            client.transport.write_eof()
            await server.lost
            return server.calls[1] == data, server.calls[2:]

    assert same(program) == (True, ["eof", ("lost", "NoneType")])


def test_a_buffered_protocol(same: Same) -> None:
    """A protocol with a buffer of its own is given as much as fits, until it has had all."""

    async def program() -> Any:
        class Small(asyncio.BufferedProtocol):
            def __init__(self) -> None:
                self.octets = bytearray(7)
                self.received = b""
                self.made = asyncio.get_running_loop().create_future()
                self.lost = asyncio.get_running_loop().create_future()

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport = transport
                self.made.set_result(None)

            def get_buffer(self, sizehint: int) -> bytearray:
                return self.octets

            def buffer_updated(self, nbytes: int) -> None:
                self.received += self.octets[:nbytes]

            def connection_lost(self, exc: Exception | None) -> None:
                self.lost.set_result(None)

        async with pair(server=Small) as (client, server):  # type: ignore[arg-type]
            client.transport.write(bytes(range(100)))
            client.transport.close()
            await server.lost
            return server.received

    assert same(program) == bytes(range(100))


def test_misuse(same: Same) -> None:
    """Misuse of a transport is answered as asyncio answers it."""

    async def program() -> Any:
        async with pair() as (client, _):
            transport = client.transport
            answers: list[Any] = [transport.can_write_eof(), transport.is_reading(), transport.is_closing()]
            for action in (
                lambda: transport.write("text"),
                lambda: transport.write(b""),
                transport.write_eof,
                lambda: transport.write(b"x"),
                transport.close,
                transport.close,
                transport.pause_reading,
                transport.resume_reading,
            ):
                try:
                    answers.append(action())
                except Exception as error:  # noqa: BLE001  whatever it is, it must be the same
                    answers.append((type(error).__name__, str(error)))
            return [*answers, transport.is_closing(), transport.is_reading()]

    assert same(program)[3][0] == "TypeError"


def test_addresses(same: Same) -> None:
    """Each side knows its own address and the other's, in asyncio's form."""

    async def program() -> Any:
        async with pair() as (client, server):
            mine, yours = client.transport.get_extra_info, server.transport.get_extra_info
            shown = mine("socket")
            return (
                mine("sockname") == yours("peername") == shown.getsockname(),
                mine("peername") == yours("sockname") == shown.getpeername(),
                mine("sockname")[0],
                shown.family,
                shown.type,
                mine("no such thing", 7),
            )

    assert same(program) == (True, True, HOST, socket.AF_INET, socket.SOCK_STREAM, 7)


def test_a_protocol_that_raises(same: Same) -> None:
    """An exception in `data_received` ends that connection, and the loop is told."""

    async def program() -> Any:
        told: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(str(context["message"])))

        class Fragile(Recorder):
            def data_received(self, data: bytes) -> None:
                raise ValueError("no")

        async with pair(server=Fragile) as (client, server):
            client.transport.write(b"x")
            await client.lost
            await server.lost
            return told, server.calls, client.calls

    assert same(program) == (
        ["Fatal error: protocol.data_received() call failed."],
        ["made", ("lost", "ValueError")],
        ["made", "eof", ("lost", "NoneType")],
    )
