"""Datagrams to one place, over a socket that is opened in the background, and anew after an error."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from errno import EMSGSIZE
from typing import Final, cast

from failover.net.unix import UnixDatagramTransport

__all__ = ["GRACE", "DatagramSocket"]

GRACE: Final = 0.02
"""Seconds in which the place may say that nobody is there, once it has said so before."""


class DatagramSocket:
    """Sends datagrams to one place.

    What the kernel took may be lost without a word. Sometimes there is one: over UDP, the other machine may say that
    nobody listens there, a moment after the datagram has left. Then the place is *doubted*: whoever sends next should
    wait for a moment and see (`hears`).

    Args:
        loop: The loop it lives on.
        place: A host and a port for UDP; a path for a Unix socket.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, place: tuple[str, int] | str) -> None:
        self.doubted = False
        """Whether what was sent last was not taken by anybody."""
        self.problem = ""
        """Why the last datagram could not be sent, or the socket not be opened; empty once that has gone well."""
        self.errors = 0
        """How often a socket had to be given up because of an error."""
        self._loop = loop
        self._place = place
        self._closed = False
        self._opening: asyncio.Task[None] | None = None
        self._endpoint: _Endpoint | None = None

    @property
    def ready(self) -> bool:
        """Whether a datagram can be handed over at once, with nothing to wait for."""
        return self._endpoint is not None and not self._endpoint.full and not self.doubted

    @property
    def full(self) -> bool:
        """Whether the kernel has no room, and what was handed over last still waits."""
        return self._endpoint is not None and self._endpoint.full

    def begin(self) -> None:
        """Begin to open it, unless that is done or under way."""
        if self._endpoint is None and self._opening is None and not self._closed:
            self._opening = self._loop.create_task(self._open())

    async def opened(self) -> bool:
        """Wait until it is open, or can't be opened: `problem` says why."""
        self.begin()
        if self._opening is not None:
            await asyncio.wait({self._opening})
        return self._endpoint is not None

    async def room(self) -> bool:
        """Wait until the kernel has taken all; False if the socket was given up instead."""
        endpoint = self._endpoint
        while endpoint is not None and endpoint.full and not endpoint.over.done():
            await asyncio.wait({endpoint.change})
        return endpoint is not None and not endpoint.over.done()

    def send(self, data: bytes) -> bool:
        """Hand over one datagram; it has to be open and not full, and may be full afterwards.

        Returns:
            Whether it was taken; if not, `problem` says why, and the socket was given up.

        Raises:
            ValueError: the kernel sends none that large.
        """
        endpoint = self._endpoint
        if endpoint is None or endpoint.transport is None:
            return False
        endpoint.too_large = False
        endpoint.transport.sendto(data)
        if endpoint.too_large:
            raise ValueError(f"{len(data)} bytes, and the system sends no datagram that large")
        return not endpoint.over.done()

    async def hears(self) -> bool:
        """Wait a moment whether the place takes what was sent; doubt ends if it doesn't say no."""
        endpoint = self._endpoint
        if endpoint is None:
            return False
        await asyncio.wait({endpoint.over}, timeout=GRACE)
        if endpoint.over.done():
            return False
        self.doubted = False
        self.problem = ""
        return True

    def give_up(self) -> None:
        """Drop the socket, and what the kernel had no room for."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.end()

    async def aclose(self) -> None:
        """Close it. Idempotent."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        endpoint = self._endpoint
        self.give_up()
        if endpoint is not None:
            await endpoint.lost.wait()

    def failed(self, endpoint: _Endpoint, error: Exception) -> None:
        """Learn from an endpoint that its datagrams don't arrive."""
        self.errors += 1
        self.problem = _reason(error)
        self.doubted = not isinstance(self._place, str)  # a Unix socket's errors come at once or never
        if endpoint is self._endpoint:
            self._endpoint = None
        endpoint.end()

    async def _open(self) -> None:
        endpoint = _Endpoint(self._loop, self)
        try:
            if isinstance(self._place, str):
                own = getattr(self._loop, "open_unix", None)  # a simulated loop has no sockets of the system's
                if own is None:
                    UnixDatagramTransport(self._loop, endpoint, self._place)
                else:
                    own(endpoint, None, self._place)
            else:
                await self._loop.create_datagram_endpoint(lambda: endpoint, remote_addr=self._place)
        except Exception as error:  # noqa: BLE001  # resolving and connecting fail in many ways; whatever it is, nothing left
            self.problem = f"connect: {_reason(error)}"
        except asyncio.CancelledError:
            endpoint.end()  # uvloop would leave it open
            raise
        else:
            if not endpoint.over.done():
                self._endpoint = endpoint
                self.problem = self.problem if self.doubted else ""
        finally:
            self._opening = None


class _Endpoint(asyncio.DatagramProtocol):
    """One socket, from its opening to the first error."""

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: DatagramSocket) -> None:
        self.transport: asyncio.DatagramTransport | None = None
        self.full = False
        self.too_large = False
        self.over: asyncio.Future[None] = loop.create_future()
        """Done once nothing more goes over it."""
        self.lost = asyncio.Event()
        self._loop = loop
        self._owner = owner
        self.change: asyncio.Future[None] = loop.create_future()
        """Done as soon as there is room, or it is over; another one takes its place."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)
        if self.over.done():
            self.transport.abort()
            return
        with suppress(AttributeError):  # a transport that never waits has no limits
            cast("asyncio.WriteTransport", transport).set_write_buffer_limits(high=0)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError) and exc.errno == EMSGSIZE:
            self.too_large = True
        elif not self.over.done():
            self._owner.failed(self, exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        if not self.over.done():
            self._owner.failed(self, exc or OSError("the socket was closed"))

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._tell()

    def end(self) -> None:
        """Send nothing more, not even what waits."""
        if self.over.done():
            return
        self.over.set_result(None)
        self._tell()
        if self.transport is not None:
            self.transport.abort()

    def _tell(self) -> None:
        change, self.change = self.change, self._loop.create_future()
        change.set_result(None)


def _reason(error: Exception) -> str:
    """What went wrong, in the system's words rather than the loop's, which differ."""
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return (isinstance(error, OSError) and error.strerror) or str(error)
