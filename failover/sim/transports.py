"""asyncio's transport over a simulated endpoint, callback for callback as the selector loop's."""

# ruff: noqa: SLF001  asyncio's own server and TLS protocol call, and are called by, underscored names
# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import asyncio.base_events
import contextvars
import logging
import sys
from asyncio import transports
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

from failover.sim.sockets import SimulatedSocket
from failover.sim.timers import Call

if TYPE_CHECKING:
    from failover.sim.loop import SimulatedLoop
    from failover.sim.streams import Endpoint

__all__ = ["StreamTransport", "wake"]

logger = logging.getLogger("asyncio")

WARN_AFTER: Final = 5
"""Writes to a lost connection before asyncio logs a warning."""


def wake(waiter: asyncio.Future[None]) -> None:
    """Let a waiter go on, unless it was cancelled meanwhile."""
    if not waiter.done():
        waiter.set_result(None)


class StreamTransport(transports._FlowControlMixin, transports.Transport):
    """The transport of a simulated connection.

    Args:
        loop: The loop.
        endpoint: The kernel's part.
        protocol: Whom to call.
        waiter: A future that is set once `connection_made` has run.
        server: The server that accepted it.
    """

    _start_tls_compatible = True

    def __init__(
        self,
        loop: SimulatedLoop,
        endpoint: Endpoint,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        server: asyncio.base_events.Server | None = None,
    ) -> None:
        extra = {
            "socket": SimulatedSocket(endpoint.local, endpoint.remote, endpoint=endpoint),
            "sockname": endpoint.local,
            "peername": endpoint.remote,
        }
        super().__init__(extra, loop)
        self._loop: SimulatedLoop = loop
        self.number = loop.sequence()
        self.endpoint: Endpoint | None = endpoint
        self._context = contextvars.copy_context()
        self._buffer: deque[bytes] = deque()
        self._buffered = 0
        self._eof = False
        self._started = False
        self._paused = False
        self._ended = False  # the peer's end of stream was reported
        self._draining = False
        self._closing = False
        self._conn_lost = 0
        self._server = server
        self.set_protocol(protocol)
        endpoint.transport = self
        if server is not None:
            attach(server, self)
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(self._start)
        if waiter is not None:
            loop.call_soon(wake, waiter)

    def __hash__(self) -> int:
        return self.number

    __eq__ = object.__eq__

    def __repr__(self) -> str:
        extra = self._extra  # type: ignore[attr-defined]
        state = "closed" if self.endpoint is None else "closing" if self._closing else "open"
        return f"<StreamTransport {extra['sockname']} > {extra['peername']} {state} buffered={self._buffered}>"

    # -- reading -------------------------------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """As asyncio's."""
        self._protocol: asyncio.BaseProtocol | None = protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            self._data_received = self._fill
        else:
            self._data_received = cast("asyncio.Protocol", protocol).data_received

    def get_protocol(self) -> asyncio.BaseProtocol:
        """As asyncio's."""
        return cast("asyncio.BaseProtocol", self._protocol)

    def is_reading(self) -> bool:
        """As asyncio's."""
        return not self._closing and not self._paused

    def _start(self) -> None:
        self._started = True
        self.look()

    def pause_reading(self) -> None:
        """As asyncio's: what arrives stays with the kernel, and its buffer pushes back on the peer."""
        if not self._closing and not self._paused:
            self._paused = True
            if self.endpoint is not None:
                self.endpoint.receive = None

    def resume_reading(self) -> None:
        """As asyncio's, which looks again and so reports an end that it has reported before."""
        if not self._closing and self._paused:
            self._paused = self._ended = False
            self.look()

    def look(self) -> None:
        """Something may be there to read, or an error to notice: look in the next turn, as a selector would say."""
        if not self._draining:
            self._draining = True
            self._loop.soon(Call(self._drain))

    def _drain(self) -> None:
        """Read what is there; once nothing is left, let the kernel hand over what comes."""
        self._draining = False
        endpoint = self.endpoint
        if endpoint is None or self._conn_lost:
            return
        if self._buffer and endpoint.broken:
            self.flush()
            return
        if self._closing or self._paused or self._ended or not self._started:
            return
        try:
            data = endpoint.read()
        except OSError as error:
            self._fatal_error(error, "Fatal read error on socket transport")
            return
        if data is None:
            endpoint.receive = self.receive
        elif data:
            self.receive(data)
            self.look()
        else:
            self._report_end(endpoint)

    def receive(self, data: bytes) -> None:
        """Data came, and nothing was left unread."""
        try:
            self._context.run(self._data_received, data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  as asyncio: whatever a protocol raises ends the connection
            self._fatal_error(error, "Fatal error: protocol.data_received() call failed.")

    def _fill(self, data: bytes) -> None:
        """Hand data to a protocol that has its own buffer, as much as that takes at a time."""
        rest = memoryview(data)
        while rest:
            protocol = cast("asyncio.BufferedProtocol", self._protocol)
            buffer = memoryview(cast("bytearray", protocol.get_buffer(-1)))
            size = min(len(buffer), len(rest))
            if not size:
                raise RuntimeError("get_buffer() returned an empty buffer")
            buffer[:size] = rest[:size]
            rest = rest[size:]
            protocol.buffer_updated(size)
            if rest and (self._paused or self._closing) and self.endpoint is not None:
                self.endpoint.unread.appendleft(bytes(rest))
                self.endpoint.incoming.outstanding += len(rest)
                return

    def _report_end(self, endpoint: Endpoint) -> None:
        self._ended = True
        endpoint.receive = None
        protocol = cast("asyncio.Protocol", self._protocol)
        try:
            keep_open = self._context.run(protocol.eof_received)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  as above
            self._fatal_error(error, "Fatal error: protocol.eof_received() call failed.")
            return
        if not keep_open:
            self.close()

    # -- writing -------------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """As asyncio's."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data:
            return
        endpoint = self.endpoint
        if self._conn_lost or endpoint is None:
            if self._conn_lost >= WARN_AFTER:
                logger.warning("socket.send() raised exception.")
            self._conn_lost += 1
            return
        octets = data if type(data) is bytes else bytes(data)
        if not self._buffer:
            try:
                sent = endpoint.write(octets)
            except OSError as error:
                self._fatal_error(error, "Fatal write error on socket transport")
                return
            if sent == len(octets):
                return
            octets = octets[sent:]
        self._buffer.append(octets)
        self._buffered += len(octets)
        self._maybe_pause_protocol()  # type: ignore[attr-defined]

    def flush(self) -> None:
        """The kernel has room again: give it what waits."""
        endpoint = self.endpoint
        if self._conn_lost or endpoint is None or not self._buffer:
            return
        try:
            while self._buffer:
                octets = self._buffer[0]
                sent = endpoint.write(octets)
                self._buffered -= sent
                if sent < len(octets):
                    self._buffer[0] = octets[sent:]
                    break
                self._buffer.popleft()
        except OSError as error:
            self._fatal_error(error, "Fatal write error on socket transport")
            return
        self._context.run(self._maybe_resume_protocol)  # type: ignore[attr-defined]
        if not self._buffer:
            if self._closing:
                self._context.run(self._call_connection_lost, None)
            elif self._eof:
                endpoint.shut_down()  # it has just taken the last bytes, so it is connected

    def writelines(self, list_of_data: Any) -> None:
        """As asyncio's."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """As asyncio's: the peer reads the end of the stream, and may still write."""
        if self._closing or self._eof:
            return
        self._eof = True
        if not self._buffer and self.endpoint is not None:
            self.endpoint.shut_down()

    def can_write_eof(self) -> bool:
        """True."""
        return True

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._buffered

    # -- the end -------------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """As asyncio's."""
        return self._closing

    def close(self) -> None:
        """As asyncio's: what is buffered is still sent."""
        if self._closing:
            return
        self._closing = True
        if self.endpoint is not None:
            self.endpoint.receive = None
        if not self._buffer:
            self._conn_lost += 1
            self._loop.call_soon(self._call_connection_lost, None)

    def abort(self) -> None:
        """As asyncio's: what is buffered here is dropped; what the kernel has already is sent, and then a FIN."""
        self._force_close(None)

    def vanish(self) -> None:
        """The process died: nobody is told."""
        self._conn_lost += 1
        self._closing = True
        self._buffer.clear()
        self._buffered = 0
        self.endpoint = None
        if self._server is not None:
            detach(self._server, self)

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        if not isinstance(exc, OSError):
            self._loop.call_exception_handler(
                {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
            )
        self._force_close(exc)

    def _force_close(self, exc: BaseException | None) -> None:
        if self._conn_lost:
            return
        self._buffer.clear()
        self._buffered = 0
        self._closing = True
        if self.endpoint is not None:
            self.endpoint.receive = None
        self._conn_lost += 1
        self._loop.call_soon(self._call_connection_lost, exc, context=self._context)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        endpoint, self.endpoint = self.endpoint, None
        if endpoint is None:  # the process died meanwhile
            return
        try:
            if self._protocol is not None:
                self._protocol.connection_lost(cast("Exception | None", exc))
        finally:
            endpoint.close()
            self._protocol = None
            del self._data_received
            if self._server is not None:
                detach(self._server, self)
                self._server = None


def attach(server: asyncio.base_events.Server, transport: StreamTransport) -> None:
    """Tell asyncio's server of a connection."""
    if sys.version_info >= (3, 13):
        server._attach(transport)  # type: ignore[attr-defined]
    else:
        server._attach()  # type: ignore[attr-defined]


def detach(server: asyncio.base_events.Server, transport: StreamTransport) -> None:
    """Tell asyncio's server that a connection has ended."""
    if sys.version_info >= (3, 13):
        server._detach(transport)  # type: ignore[attr-defined]
    else:
        server._detach()  # type: ignore[attr-defined]
