"""The kernel's part of a stream: two endpoints, with what TCP lets a program see.

Facts, measured on Linux over loopback: what has arrived before a RST can still be read; `close` with unread data
sends a RST, otherwise a FIN; the first `send` after a RST raises ECONNRESET, or EPIPE if a FIN had come before it, and
every later one EPIPE; the first `send` to a peer that has closed succeeds and brings the RST.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from failover.sim.channels import READ, Channel
from failover.sim.rules import Kind

if TYPE_CHECKING:
    from failover.sim.hosts import Process
    from failover.sim.listeners import Listener
    from failover.sim.loop import SimulatedLoop
    from failover.sim.transports import StreamTransport

__all__ = ["Endpoint", "system_error"]

DATA: Final = Kind.DATA


def system_error(number: int, text: str | None = None) -> OSError:
    """The exception that the kernel's error number stands for."""
    return OSError(number, os.strerror(number) if text is None else text)


class Endpoint:
    """One end of a connection, as the kernel holds it: it exists before a transport has it and after.

    Args:
        loop: The loop.
        process: Whose socket it is.
        local: Its own address and port.
        remote: The peer's.
    """

    __slots__ = (
        "_error",
        "_finished",
        "_shut",
        "broken",
        "gone",
        "incoming",
        "label",
        "linger",
        "listener",
        "local",
        "loop",
        "outgoing",
        "process",
        "receive",
        "remote",
        "transport",
        "unread",
    )

    outgoing: Channel
    incoming: Channel

    def __init__(self, loop: SimulatedLoop, process: Process, local: tuple[Any, ...], remote: tuple[Any, ...]) -> None:
        self.loop = loop
        self.process = process
        self.local = local
        self.remote = remote
        self.label = f"{process.host.name}:{local[1]}"
        self.transport: StreamTransport | None = None
        self.receive: Callable[[bytes], None] | None = None  # the transport's, while it reads
        self.listener: Listener | None = None
        self.unread: deque[bytes] = deque()
        self.linger = True
        self.gone = False
        self._shut = False
        self._finished = False
        self.broken = False
        self._error = 0
        process.endpoints[self] = None

    # -- called by the transport ---------------------------------------------------------------------------------

    def write(self, data: bytes) -> int:
        """Take as many bytes as there is room for.

        Returns:
            How many, 0 if the buffer is full.

        Raises:
            OSError: as the kernel's `send`.
        """
        if self.broken:
            raise self.take_error() or system_error(errno.EPIPE)
        channel = self.outgoing
        room = channel.link.buffer - channel.outstanding
        size = len(data)
        if size > room:
            channel.starved = True
            if room <= 0:
                return 0
            data = data[:room]
            size = room
        channel.outstanding += size
        channel.send(DATA, data)
        return size

    def read(self) -> bytes | None:
        """What has arrived and was not read, at most what asyncio reads at once.

        Returns:
            Bytes; empty at the end of the stream; None if there is nothing yet.

        Raises:
            OSError: as the kernel's `recv`.
        """
        unread = self.unread
        if unread:
            parts: list[bytes] = []
            size = 0
            while unread and size < READ:
                parts.append(unread.popleft())
                size += len(parts[-1])
            self.incoming.consumed(size)
            return b"".join(parts)
        if self._finished:
            return b""
        if self.broken:
            error = self.take_error()
            if error is not None:
                raise error
            return b""
        return None

    def take_error(self) -> OSError | None:
        """The error that is pending, which asking clears."""
        number, self._error = self._error, 0
        return system_error(number) if number else None

    def shut_down(self) -> None:
        """Send no more: the peer reads the end of the stream after all that was written.

        Raises:
            OSError: ENOTCONN, the connection is over.
        """
        if self.broken:
            raise system_error(errno.ENOTCONN)
        if not self._shut:
            self._shut = True
            self.outgoing.send(Kind.FIN)

    def close(self) -> None:
        """Give the socket back to the kernel."""
        if self.gone:
            return
        self._leave()
        if self.broken:
            return
        if self.unread or not self.linger:
            self.unread.clear()
            self.outgoing.reset()
        elif not self._shut:
            self._shut = True
            self.outgoing.send(Kind.FIN)

    def vanish(self, *, reset: bool) -> None:
        """The process died, and its transport with it; the peer learns it by a RST, or not at all."""
        if self.transport is not None:
            self.transport.vanish()
        self._leave()
        self.unread.clear()
        if reset and not self.broken:
            self.outgoing.reset()
        else:
            self.outgoing.purge()

    def _leave(self) -> None:
        self.gone = True
        self.receive = None
        self.transport = None
        self.process.endpoints.pop(self, None)
        if self.listener is None:
            self.process.ports.discard(self.local[1])

    # -- called by the network -----------------------------------------------------------------------------------

    def establish(self) -> None:
        """The last packet of the handshake came: the connection waits to be accepted."""
        listener = self.listener
        if self.gone:
            self._stray(Kind.ACK, b"")
        elif listener is None or not listener.push(self):
            self._leave()
            self.outgoing.reset()

    def arrived(self, data: bytes) -> None:
        """Data came."""
        if self.gone or self.broken:
            self._stray(DATA, data)
            return
        receive = self.receive
        if receive is None:
            self.unread.append(data)
            return
        channel = self.incoming
        channel.outstanding -= len(data)
        if channel.starved:
            channel.consumed(0)
        receive(data)

    def finish(self) -> None:
        """The peer's FIN came."""
        if self.gone:
            self._stray(Kind.FIN, b"")
            return
        self._finished = True
        if self.transport is not None:
            self.transport.look()

    def reset(self) -> None:
        """A RST came."""
        self.fail(errno.EPIPE if self._finished else errno.ECONNRESET)

    def fail(self, number: int) -> None:
        """The connection is over, by a RST or because the peer is silent; the transport learns it if it looks."""
        if self.gone or self.broken:
            return
        self.broken = True
        self._error = number
        self.outgoing.purge()
        if self.transport is not None:
            self.transport.look()

    def writable(self) -> None:
        """There is room again."""
        if self.transport is not None:
            self.transport.flush()

    def _stray(self, kind: Kind, data: bytes) -> None:
        """Something came for a socket that is no more: a RST answers it, unless the machine has no power."""
        if self.process.host.silent:
            self.incoming.lose(kind, data)
        elif kind is not Kind.FIN:
            self.outgoing.reset()
