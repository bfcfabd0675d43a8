"""The socket that datagrams leave by: what a loop may tell it, at any time."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Callable
from typing import Any, cast

import pytest

from failover.net.datagrams import DatagramSocket
from failover.net.unix import UnixDatagramTransport
from tests.scripted import Run, turns, until


def bound() -> tuple[socket.socket, tuple[str, int]]:
    """A UDP socket on loopback, and where it is."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    return made, made.getsockname()


@pytest.mark.parametrize("count", range(6))
def test_closing_while_it_opens(run: Run, count: int) -> None:
    """Whenever that happens nothing stays open, and it doesn't open again."""

    async def main() -> None:
        receiver, place = bound()
        with receiver:
            to = DatagramSocket(asyncio.get_running_loop(), place)
            to.begin()
            await turns(count)
            await asyncio.gather(to.aclose(), to.aclose())
            assert not await to.opened()
            assert not to.send(b"x")
            assert not await to.room()
            assert not await to.hears()

    run(main)


Tell = Callable[[asyncio.DatagramProtocol], object]
TELLS: list[tuple[str, Tell, str]] = [
    ("an error", lambda protocol: protocol.error_received(OSError(111, "x")), "Connection refused"),
    ("an odd error", lambda protocol: protocol.error_received(ValueError("odd")), "odd"),
    ("the end", lambda protocol: protocol.connection_lost(None), "the socket was closed"),
    ("an end by an error", lambda protocol: protocol.connection_lost(OSError(101, "x")), "Network is unreachable"),
]


@pytest.mark.parametrize(("tell", "problem"), [each[1:] for each in TELLS], ids=[each[0] for each in TELLS])
@pytest.mark.parametrize("early", [False, True])
def test_what_goes_wrong_gives_the_socket_up(tell: Tell, problem: str, *, early: bool) -> None:
    """An error or an end, as soon as it is opened or later, told twice too: it is opened anew for the next datagram."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        receiver, place = bound()
        protocols: list[asyncio.DatagramProtocol] = []
        create = loop.create_datagram_endpoint

        async def creating(factory: Callable[[], asyncio.DatagramProtocol], **arguments: Any) -> Any:
            made = await create(factory, **arguments)
            protocols.append(made[1])
            if early and len(protocols) == 1:
                tell(made[1])
            return made

        with receiver, pytest.MonkeyPatch.context() as patched:
            patched.setattr(loop, "create_datagram_endpoint", creating)
            to = DatagramSocket(loop, place)
            assert await to.opened() is not early
            if not early:
                tell(protocols[0])
            tell(protocols[0])
            assert (to.errors, to.problem, to.doubted) == (1, problem, True)
            assert not to.send(b"x")
            assert await to.opened()
            assert to.send(b"x")
            assert await to.hears()
            assert (to.problem, to.doubted) == ("", False)
            await to.aclose()
            assert receiver.recv(10) == b"x"

    asyncio.run(main())


class Told(asyncio.DatagramProtocol):
    """Notes what a transport tells."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self.told.append("made")

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self.told.append("lost")

    def error_received(self, exc: Exception) -> None:
        """Something went wrong."""
        self.told.append(type(exc).__name__)

    def pause_writing(self) -> None:
        """It holds one."""
        self.told.append("pause")

    def resume_writing(self) -> None:
        """It holds none."""
        self.told.append("resume")


class Kernel:
    """A socket whose sends end as a list says."""

    def __init__(self, inner: socket.socket, ends: list[Exception | None]) -> None:
        self.inner = inner
        self.ends = ends
        self.sent: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def send(self, data: bytes) -> None:
        """Send, or don't."""
        end = self.ends.pop(0)
        if end is not None:
            raise end
        self.sent.append(data)


ENDS: list[tuple[list[Exception | None], list[str]]] = [
    ([None], []),
    ([ConnectionRefusedError()], ["ConnectionRefusedError"]),
    ([BlockingIOError(), None], ["pause", "resume"]),
    ([BlockingIOError(), BlockingIOError(), InterruptedError(), None], ["pause", "resume"]),
    ([BlockingIOError(), ConnectionResetError()], ["pause", "ConnectionResetError"]),
]


@pytest.mark.parametrize(("ends", "told"), ENDS)
def test_a_unix_transport(run: Run, ends: list[Exception | None], told: list[str]) -> None:
    """It tells what asyncio's own would: an error, or that it holds the datagram until the kernel has room."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(f"{folder}/s")
            protocol = Told()
            transport = UnixDatagramTransport(asyncio.get_running_loop(), protocol, f"{folder}/s")
            inside = cast("Any", transport)
            kernel = inside._socket = Kernel(inside._socket, list(ends))
            transport.sendto(b"x")
            await until(lambda: not kernel.ends)
            assert protocol.told == ["made", *told]
            assert kernel.sent == ([b"x"] if ends[-1] is None else [])
            transport.abort()
            await turns(2)
            assert protocol.told[-1] == "lost"

    run(main)
