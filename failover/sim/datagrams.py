"""Datagrams: each goes its own way, may be lost, and may overtake another."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import socket
import sys
from abc import abstractmethod
from asyncio import transports
from typing import TYPE_CHECKING, Any, Final, cast

from failover.sim.errors import SimulationError
from failover.sim.hosts import any_of
from failover.sim.names import is_simulated, numeric, sockaddr
from failover.sim.rules import DROP, HOLD, PASS, RESET, Kind
from failover.sim.sockets import SimulatedSocket
from failover.sim.streams import system_error
from failover.sim.timers import Call
from failover.sim.transports import wake

if TYPE_CHECKING:
    from failover.sim.hosts import Process
    from failover.sim.links import Link
    from failover.sim.loop import SimulatedLoop

__all__ = ["DatagramTransport", "Datagrams"]

LARGEST: Final = 65507
"""Bytes of payload that UDP over IPv4 can carry."""


class Datagrams(transports.DatagramTransport):
    """What transports of datagrams have in common, wherever these go.

    Args:
        loop: The loop.
        process: Whose it is.
        protocol: Whom to call.
        shown: What `get_extra_info("socket")` gives.
        remote: Where it is connected to, as its protocol knows it; None if it is not.
        key: What its process knows it by.
    """

    largest: int
    """Bytes that one can carry."""

    def __init__(
        self,
        loop: SimulatedLoop,
        process: Process,
        protocol: asyncio.DatagramProtocol,
        shown: SimulatedSocket,
        *,
        remote: Any,
        key: tuple[str, int],
    ) -> None:
        super().__init__({"socket": shown, "sockname": shown.local, "peername": remote})
        self._loop = loop
        self._process = process
        self._protocol: asyncio.DatagramProtocol | None = protocol
        self.number = loop.sequence()
        self.remote = remote
        self._key = key
        self._context = contextvars.copy_context()
        self._closing = False
        process.datagrams[key] = self

    def __hash__(self) -> int:
        return self.number

    __eq__ = object.__eq__

    def __repr__(self) -> str:
        shown = self.get_extra_info("sockname")
        return f"<{type(self).__name__} {shown} > {self.remote} {'closing' if self._closing else 'open'}>"

    def get_protocol(self) -> asyncio.BaseProtocol:
        """As asyncio's."""
        return cast("asyncio.BaseProtocol", self._protocol)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """As asyncio's."""
        self._protocol = cast("asyncio.DatagramProtocol", protocol)

    def is_closing(self) -> bool:
        """As asyncio's."""
        return self._closing

    def get_write_buffer_size(self) -> int:
        """0: a datagram is on its way at once, or lost."""
        return 0

    def sendto(self, data: bytes | bytearray | memoryview[Any], addr: Any = None) -> None:
        """As asyncio's; the address must be numeric, as there."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self.remote is not None:
            if addr not in (None, self.remote):
                raise ValueError(f"Invalid address: must be None or {self.remote}")
            addr = self.remote
        if self._closing or self._process.dead or (not data and sys.version_info < (3, 13)):  # before 3.13 asyncio does
            return
        if addr is None:
            self._fail(errno.EDESTADDRREQ)
        elif len(data) > self.largest:
            self._fail(errno.EMSGSIZE)
        else:
            self._send(bytes(data), addr)

    @abstractmethod
    def _send(self, data: bytes, addr: Any) -> None:
        """Send it on its way."""

    def _fail(self, number: int) -> None:
        self._protocol_call("error_received", system_error(number))

    def receive(self, data: bytes, source: tuple[Any, ...] | str | None) -> None:
        """A datagram came."""
        self._protocol_call("datagram_received", data, source)

    def _protocol_call(self, name: str, *arguments: object) -> None:
        if self._closing or self._protocol is None:
            return
        try:
            self._context.copy().run(getattr(self._protocol, name), *arguments)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  as asyncio: the loop reports what a callback raises
            self._loop.call_exception_handler(
                {"message": f"Exception in {name}()", "exception": error, "transport": self, "protocol": self._protocol}
            )

    def close(self) -> None:
        """As asyncio's."""
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._call_connection_lost, None)

    def abort(self) -> None:
        """As asyncio's."""
        self.close()

    def vanish(self) -> None:
        """The process died: nobody is told."""
        self._closing = True
        self._protocol = None
        self._leave()

    def _leave(self) -> None:
        self._process.datagrams.pop(self._key, None)

    def _call_connection_lost(self, error: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        self._leave()
        if protocol is not None:
            protocol.connection_lost(error)


class DatagramTransport(Datagrams):
    """The transport of a simulated UDP socket.

    Args:
        loop: The loop.
        process: Whose it is.
        protocol: Whom to call.
        local: The address and port it is bound to.
        remote: The address and port it is connected to, or None.
        waiter: A future that is set once `connection_made` has run.
    """

    largest = LARGEST

    def __init__(
        self,
        loop: SimulatedLoop,
        process: Process,
        protocol: asyncio.DatagramProtocol,
        local: tuple[Any, ...],
        remote: tuple[Any, ...] | None,
        *,
        waiter: asyncio.Future[None],
    ) -> None:
        shown = SimulatedSocket(local, remote, type=socket.SOCK_DGRAM)
        super().__init__(loop, process, protocol, shown, remote=remote, key=(local[0], local[1]))
        self.local = local
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(wake, waiter)

    def _send(self, data: bytes, addr: Any) -> None:
        name, port = addr[0], addr[1]
        loop, process = self._loop, self._process
        address = numeric(name)
        if address is None:
            self._protocol_call("error_received", system_error(errno.EINVAL, f"{name!r} is no numeric address"))
            return
        host = loop.network.at(address, process)
        if host is None:
            if not is_simulated(address):
                raise SimulationError(
                    f"a datagram to {address}:{port}, which is no address of the simulated network: "
                    f"network.host(name, address={address!r}) would make it one"
                )
            return
        link = loop.network.link(process.host.name, host.name)
        fate, delay = link.judge(Kind.DATAGRAM, self.local[1], port, data)
        if fate is PASS and link.loses():
            fate = DROP
        arrive = Call(self._arrive, data, address, port, link)
        if fate is HOLD:
            link.held.append(lambda: loop.soon(arrive))
        elif fate is RESET:
            self._unreachable(link)
        elif fate is PASS:
            loop.defer(link.arrival(loop.now, len(data)) + delay, arrive)

    def _arrive(self, data: bytes, address: str, port: int, link: Link) -> None:
        network = self._loop.network
        host = network.hosts[link.destination]
        if host.silent:
            return
        if network.observers:
            route = f"{link.source}:{self.local[1]}", f"{link.destination}:{port}"
            network.tell(Kind.DATAGRAM.value, "arrived", *route, data)
        datagrams = host.process.datagrams
        receiver = datagrams.get((address, port)) or datagrams.get((any_of(address), port))
        source = self._source(address)
        if not isinstance(receiver, DatagramTransport) or (
            receiver.remote is not None and receiver.remote[:2] != source[:2]
        ):
            self._unreachable(link)
        else:
            receiver.receive(data, source)

    def _source(self, address: str) -> tuple[Any, ...]:
        """The address that the receiver sees, which for an unbound socket depends on the way."""
        if self.local[0] == any_of(address):
            return sockaddr(self._process.host.source_for(address), self.local[1])
        return self.local

    def _unreachable(self, link: Link) -> None:
        """No one is at that port: ICMP says so, and only a connected socket hears it."""
        loop = self._loop
        if self.remote is not None:
            back = loop.network.link(link.destination, link.source)
            loop.defer(back.arrival(loop.now, 0), Call(self._fail, errno.ECONNREFUSED))
