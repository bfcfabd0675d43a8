"""A port of our own that can be listened on, refused and made a black hole of, and back, without losing its number."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from failover.sim.faults import Fault
from failover.sim.hosts import PROCESS
from failover.sim.loop import SimulatedLoop
from failover.subscriber.listening import stop_listening

__all__ = ["Port"]

_BACKLOG: Final = 1024
_FILLERS: Final = 3  # connects that fill a queue of length 0


class Port:
    """A port, reserved from `open` to `aclose`.

    On real sockets a socket that is bound and never listens keeps the number; in a simulation nobody takes it.

    Args:
        loop: The loop.
        host: Where: an address or a name.
        number: 0 lets the system choose.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, number: int) -> None:
        self.number = number
        self._loop = loop
        self._host = host
        self._family = socket.AF_INET
        self._reserved: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._listening = asyncio.Lock()
        self._changes = 0  # how often it was said what becomes of connects
        self._hole: list[socket.socket] = []
        self._fault: Fault | None = None

    @property
    def listening(self) -> bool:
        """Whether connects are answered."""
        return self._server is not None and self._fault is None

    async def open(self) -> None:
        """Reserve the number.

        Raises:
            OSError: somebody else has it, or the host isn't this one.
        """
        if isinstance(self._loop, SimulatedLoop):
            return
        found = await self._loop.getaddrinfo(self._host, self.number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self._family, kind, protocol, _, address = found[0]
        self._reserved = reserved = socket.socket(self._family, kind, protocol)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(address)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # only now: nobody else's port is shared
        self.number = reserved.getsockname()[1]

    async def listen(self, accept: Callable[[], asyncio.Protocol], **options: Any) -> None:
        """Answer connects, unless something else is said of them before that is so.

        Args:
            accept: Makes the protocol of each connection.
            options: More for the loop's `create_server`.
        """
        self.refuse()
        change = self._changes
        if self._reserved is not None:
            options["reuse_port"] = True
        host = self._host if self._reserved is None else self._reserved.getsockname()[0]
        async with self._listening:
            if change != self._changes:
                return
            server = await self._loop.create_server(accept, host, self.number, backlog=_BACKLOG, **options)
            if change != self._changes:
                server.close()
                return
        self._server = server
        if self._reserved is None:
            self.number = server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Refuse connects."""
        self._changes += 1
        if self._fault is not None:
            self._fault.repair()
            self._fault = None
        for sock in self._hole:
            sock.close()
        self._hole.clear()
        if self._server is not None:
            self._server.close()
            self._server = None

    def swallow(self) -> None:
        """Leave connects without an answer: nobody accepts, and on Linux a full queue drops them.

        In a simulation the network loses all packets to this port, those of connections that exist included.
        """
        process = PROCESS.get()
        if isinstance(self._loop, SimulatedLoop) and process is not None:
            if self._fault is None:
                self._fault = self._loop.network.black_hole(process.host.name, self.number)
            return
        if self._reserved is None or self._hole:
            return
        self.refuse()
        address = self._reserved.getsockname()
        hole = socket.socket(self._family)
        hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        hole.bind(address)
        hole.listen(0)
        self._hole = [hole, *(socket.socket(self._family) for _ in range(_FILLERS))]
        for filler in self._hole[1:]:
            filler.setblocking(False)  # noqa: FBT003  # how the standard library signs it
            with suppress(BlockingIOError):
                filler.connect(address)

    async def aclose(self) -> None:
        """Refuse connects and give the number back; whoever was accepted by then is connected first. Idempotent."""
        try:
            if self._server is not None:
                await stop_listening(self._server)
        finally:
            self.refuse()
            if self._reserved is not None:
                self._reserved.close()
                self._reserved = None
