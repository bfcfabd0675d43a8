"""A listening port: the queue of connections that wait to be accepted, and their acceptance."""

from __future__ import annotations

import asyncio
import asyncio.base_events
import contextvars
import ssl
from asyncio import sslproto
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from failover.sim.sockets import SimulatedSocket
from failover.sim.transports import StreamTransport

if TYPE_CHECKING:
    from failover.sim.hosts import Process
    from failover.sim.loop import SimulatedLoop
    from failover.sim.streams import Endpoint

__all__ = ["Listener"]


class Listener(SimulatedSocket):
    """A bound socket that listens once its server serves; an item of the loop: it runs when there is one to accept.

    Args:
        loop: The loop.
        process: Whose it is.
        local: The address and port it is bound to.
    """

    def __init__(self, loop: SimulatedLoop, process: Process, local: tuple[Any, ...]) -> None:
        super().__init__(local)
        self._loop = loop
        self._process = process
        self._cancelled = False
        self._accept: Callable[[Endpoint], None] | None = None
        self._context = contextvars.copy_context()
        self._queue: deque[Endpoint] = deque()
        self._backlog = 0
        self._listening = False
        self._key = local[0], local[1]
        process.listeners[self._key] = self

    def listen(self, backlog: int) -> None:
        """Answer handshakes; as many as `backlog` + 1 may wait to be accepted."""
        self._backlog = backlog
        self._listening = True

    @property
    def listening(self) -> bool:
        """Whether a SYN is answered with anything but a RST."""
        return self._listening

    @property
    def full(self) -> bool:
        """Whether a SYN is dropped, as Linux does with a full queue."""
        return len(self._queue) > self._backlog

    def push(self, endpoint: Endpoint) -> bool:
        """A connection is established.

        Returns:
            Whether it may wait here; if not, the port was closed meanwhile.
        """
        if not self._listening:
            return False
        self._queue.append(endpoint)
        if len(self._queue) == 1 and self._accept is not None:
            self._loop.soon(self)
        return True

    def serve(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        context: ssl.SSLContext | None,
        server: asyncio.base_events.Server,
        tls: dict[str, Any],
    ) -> None:
        """Accept what waits and what comes.

        Args:
            factory: Makes a protocol per connection.
            context: For TLS.
            server: Asyncio's server object.
            tls: Timeouts of the TLS protocol, by their names there.
        """
        loop = self._loop

        def accept(endpoint: Endpoint) -> None:
            try:
                protocol = factory()
                if context is None:
                    StreamTransport(loop, endpoint, protocol, server=server)
                    return
                waiter = loop.create_future()
                wrapped = sslproto.SSLProtocol(loop, protocol, context, waiter, server_side=True, **tls)
                transport = StreamTransport(loop, endpoint, wrapped, server=server)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001  as asyncio: a factory that fails drops the connection
                endpoint.close()
                report(error)
                return

            def shaken(waiter: asyncio.Future[None]) -> None:
                if waiter.cancelled() or waiter.exception() is not None:
                    transport.close()

            waiter.add_done_callback(shaken)

        def report(error: BaseException) -> None:
            if loop.get_debug():
                text = "Error on transport creation for incoming connection"
                loop.call_exception_handler({"message": text, "exception": error})

        self._context = contextvars.copy_context()
        self._accept = accept
        if self._queue:
            loop.soon(self)

    def _run(self) -> None:
        accept = self._accept
        if accept is None:
            return
        for _ in range(max(1, self._backlog)):
            if not self._queue:
                return
            self._context.copy().run(accept, self._queue.popleft())
        if self._queue:
            self._loop.soon(self)

    def close(self) -> None:
        """Refuse from now on; who waits to be accepted gets a RST."""
        self._listening = False
        self._accept = None
        self._process.listeners.pop(self._key, None)
        while self._queue:
            endpoint = self._queue.popleft()
            endpoint.linger = False
            endpoint.close()
