"""What `get_extra_info("socket")` and a server's `sockets` give: a socket to look at, without a file descriptor."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

from failover.sim.errors import SimulationError

if TYPE_CHECKING:
    from failover.sim.streams import Endpoint

__all__ = ["SimulatedSocket", "family_of"]


def family_of(address: str) -> socket.AddressFamily:
    """The address family of a numeric address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class SimulatedSocket:
    """The read-only side of a socket; options are remembered, and SO_LINGER with a timeout of 0 resets on close.

    Args:
        local: Address and port, or the path of a Unix socket.
        remote: The peer's, or None.
        type: SOCK_STREAM or SOCK_DGRAM.
        endpoint: The stream it belongs to, if it is one.
        family: What its addresses are; by default as `local` says.
    """

    def __init__(
        self,
        local: tuple[Any, ...] | str,
        remote: tuple[Any, ...] | str | None = None,
        type: socket.SocketKind = socket.SOCK_STREAM,
        endpoint: Endpoint | None = None,
        *,
        family: socket.AddressFamily | None = None,
    ) -> None:
        self.local = local
        self.remote = remote
        self.family = family_of(local[0]) if family is None else family
        self.type = type
        internet = socket.IPPROTO_TCP if type == socket.SOCK_STREAM else socket.IPPROTO_UDP
        self.proto = 0 if self.family == socket.AF_UNIX else internet
        self._endpoint = endpoint
        self._options: dict[tuple[int, int], int | bytes] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.type.name} {self.local} {self.remote}>"

    def getsockname(self) -> tuple[Any, ...] | str:
        """Its own address and port."""
        return self.local

    def getpeername(self) -> tuple[Any, ...] | str:
        """The peer's address and port.

        Raises:
            OSError: it has no peer.
        """
        if self.remote is None:
            raise OSError(107, "Transport endpoint is not connected")
        return self.remote

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """Remember an option; of all of them only SO_LINGER changes what the network does."""
        self._options[level, option] = value
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER) and self._endpoint and isinstance(value, bytes):
            on, seconds = struct.unpack("ii", value)
            self._endpoint.linger = not (on and seconds == 0)

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        """An option as it was set; 0 if it was not."""
        return self._options.get((level, option), bytes(size) if size else 0)

    def fileno(self) -> int:
        """-1, as of a closed socket: there is no file descriptor."""
        return -1

    def dup(self) -> socket.socket:
        """Raises SimulationError: there is nothing to duplicate."""
        raise SimulationError("a simulated socket has no file descriptor to duplicate")

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001  as socket.socket's
        """Does nothing: no call on it waits."""

    def gettimeout(self) -> float:
        """0, as of a socket that never blocks."""
        return 0.0
