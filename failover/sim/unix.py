"""Unix datagram sockets: they never leave their host, so nothing is late, lost or out of order on the way."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any, Final

from failover.sim.datagrams import Datagrams
from failover.sim.rules import Kind
from failover.sim.sockets import SimulatedSocket
from failover.sim.streams import system_error
from failover.sim.timers import Call

if TYPE_CHECKING:
    from failover.sim.hosts import Process
    from failover.sim.loop import SimulatedLoop

__all__ = ["UnixTransport"]

LARGEST: Final = 212_960
"""Bytes that fit into the send buffer that Linux gives to a socket (`net.core.wmem_default`)."""


class UnixTransport(Datagrams):
    """The transport of a simulated Unix datagram socket.

    As with asyncio, one that is bound takes the place of whatever was bound to its path, and leaves the path behind
    when it is closed: it is there then, and refuses. A path belongs to the host and outlives a crash.

    Args:
        loop: The loop.
        process: Whose it is.
        protocol: Whom to call.
        local: The path it is bound to, or None.
        remote: The path it is connected to, or None.

    Raises:
        OSError: nobody receives at `remote`.
    """

    largest = LARGEST

    def __init__(
        self,
        loop: SimulatedLoop,
        process: Process,
        protocol: asyncio.DatagramProtocol,
        local: str | None,
        remote: str | None,
    ) -> None:
        self._paths = process.host.paths
        self._connected = None if remote is None else self._at(remote)
        self._local = local
        shown = SimulatedSocket(local or "", remote, type=socket.SOCK_DGRAM, family=socket.AF_UNIX)
        key = local or "", -loop.sequence()  # as there may be many of one path, or of none, and no port is negative
        super().__init__(loop, process, protocol, shown, remote=remote, key=key)
        if local is not None:
            self._paths[local] = self

    def _send(self, data: bytes, addr: Any) -> None:
        try:
            to = self._connected or self._at(addr)
            if to.is_closing():  # what it is connected to was closed, whatever is at the path by now
                raise system_error(errno.ECONNREFUSED)
        except OSError as error:
            self._protocol_call("error_received", error)
        else:
            self._loop.soon(Call(to.arrive, data, self._local))

    def arrive(self, data: bytes, source: str | None) -> None:
        """A datagram came."""
        name = self._process.host.name
        self._loop.network.tell(Kind.DATAGRAM.value, "arrived", name, f"{name}:{self._local}", data)
        self.receive(data, source)

    def _at(self, path: str) -> UnixTransport:
        to = self._paths.get(path)
        if to is None:
            raise system_error(errno.ENOENT)
        if to.is_closing():
            raise system_error(errno.ECONNREFUSED)
        return to
