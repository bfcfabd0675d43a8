"""The loop's calls that open something: connections, servers, datagram endpoints, and the names these are opened by."""

# ruff: noqa: SLF001
# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
import asyncio.base_events
import errno
import socket
import ssl as tls
import sys
from asyncio import sslproto
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from failover.sim.connecting import Attempt
from failover.sim.datagrams import DatagramTransport
from failover.sim.errors import SimulationError
from failover.sim.hosts import PROCESS, Process, any_of
from failover.sim.listeners import Listener
from failover.sim.names import AddressInfo, is_simulated, lookup, sockaddr
from failover.sim.streams import Endpoint, system_error
from failover.sim.timers import Call
from failover.sim.transports import StreamTransport, wake
from failover.sim.unix import UnixTransport

if TYPE_CHECKING:
    from failover.sim.loop import SimulatedLoop
    from failover.sim.network import Network

__all__ = ["Opening"]

NEIGHBOUR_TIMEOUT = 3.0
"""Seconds until Linux says that there is no such host on its own network."""

Factory = Callable[[], asyncio.BaseProtocol]


class Opening:
    """The part of `SimulatedLoop` that reaches the network."""

    network: Network
    create_future: Callable[[], asyncio.Future[Any]]
    defer: Callable[[float, Call], None]
    time: Callable[[], float]

    # -- names ---------------------------------------------------------------------------------------------------

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """As asyncio's, answered by the simulated network."""
        await asyncio.sleep(0)
        return lookup(self.network, host, port, family=family, type=type, flags=flags)

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int = 0) -> tuple[str, str]:
        """As asyncio's, answered by the simulated network."""
        await asyncio.sleep(0)
        host = self.network.at(sockaddr[0], self._process())
        numeric = host is None or flags & socket.NI_NUMERICHOST
        return (sockaddr[0] if numeric or host is None else host.name), str(sockaddr[1])

    def _process(self) -> Process:
        process = PROCESS.get()
        if process is None:
            raise SimulationError(
                "the network is used by code that runs on no host: start it with Simulation.run or Host.spawn"
            )
        return process

    async def _live(self) -> Process:
        """The process that is running; one that has crashed never gets any further."""
        process = self._process()
        if process.dead:
            await self.create_future()
        return process

    # -- connections ---------------------------------------------------------------------------------------------

    async def create_connection(  # noqa: C901, PLR0912  the checks are asyncio's, in its order
        self,
        protocol_factory: Factory,
        host: str | None = None,
        port: int | str | None = None,
        *,
        ssl: bool | tls.SSLContext | None = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: Any = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[Any, Any]:
        """As asyncio's; addresses are tried one after the other, whatever `happy_eyeballs_delay` says."""
        if sock is not None:
            raise SimulationError("create_connection(sock=...): a real socket belongs to the real network")
        if server_hostname is not None and not ssl:
            raise ValueError("server_hostname is only meaningful with ssl")
        if ssl_handshake_timeout is not None and not ssl:
            raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
        if ssl_shutdown_timeout is not None and not ssl:
            raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")
        if host is None and port is None:
            raise ValueError("host and port was not specified and no sock specified")
        if ssl and server_hostname is None:
            if not host:
                raise ValueError("You must set server_hostname when using ssl without a host")
            server_hostname = host
        process = await self._live()
        found = await self.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags)
        errors: list[OSError] = []
        for *_, address in found:
            try:
                endpoint = await self._connect(process, address, local_addr)
                break
            except OSError as error:
                errors.append(error)
        else:
            raise failure(errors, all_errors=all_errors)
        loop = cast("SimulatedLoop", self)
        waiter: asyncio.Future[None] = self.create_future()
        try:
            protocol = protocol_factory()
            transport: Any
            if ssl:
                wrapped = sslproto.SSLProtocol(
                    loop,
                    protocol,
                    cast("tls.SSLContext", None if ssl is True else ssl),
                    waiter,
                    server_hostname=server_hostname,
                    ssl_handshake_timeout=ssl_handshake_timeout,  # type: ignore[arg-type]
                    ssl_shutdown_timeout=ssl_shutdown_timeout,
                )
                StreamTransport(loop, endpoint, wrapped)
                transport = wrapped._app_transport
            else:
                transport = StreamTransport(loop, endpoint, protocol, waiter)
        except BaseException:
            endpoint.close()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def _connect(self, process: Process, address: tuple[Any, ...], local: tuple[str, int] | None) -> Endpoint:
        name, port = address[0], address[1]
        host = self.network.at(name, process)
        if host is None:
            if not is_simulated(name):
                raise SimulationError(
                    f"connect to {name}:{port}, which is no address of the simulated network: "
                    f"network.host(name, address={name!r}) would make it one"
                )
            gone: asyncio.Future[None] = self.create_future()
            self.defer(self.time() + NEIGHBOUR_TIMEOUT, Call(wake, gone))
            await gone
            raise system_error(errno.EHOSTUNREACH, f"Connect call failed {address}")
        if name == any_of(name):
            address = sockaddr("::1" if ":" in name else "127.0.0.1", port)
        source = process.host.source_for(address[0])
        number = 0
        if local is not None:
            (*_, bound) = (await self.getaddrinfo(local[0], local[1], type=socket.SOCK_STREAM))[0]
            source, number = bound[0], bound[1]
            if number in process.ports or process.taken((*process.listeners,), source, number):
                raise unbound(errno.EADDRINUSE, (source, number))
        number = number or process.host.free_port()
        process.ports.add(number)
        attempt = Attempt(self.network, process, host, sockaddr(source, number), address)
        attempt.send()
        try:
            return await attempt.established
        except BaseException:
            established = attempt.established
            if established.done() and not established.cancelled() and established.exception() is None:
                established.result().close()
            process.ports.discard(number)
            raise

    # -- servers -------------------------------------------------------------------------------------------------

    async def create_server(  # noqa: C901  likewise
        self,
        protocol_factory: Factory,
        host: str | Iterable[str] | None = None,
        port: int | str | None = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: Any = None,
        backlog: int = 100,
        ssl: tls.SSLContext | None = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> asyncio.base_events.Server:
        """As asyncio's; without a host it listens on IPv4 alone."""
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        if sock is not None:
            raise SimulationError("create_server(sock=...): a real socket belongs to the real network")
        if ssl_handshake_timeout is not None and ssl is None:
            raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
        if ssl_shutdown_timeout is not None and ssl is None:
            raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")
        if host is None and port is None:
            raise ValueError("Neither host/port nor sock were specified")
        process = await self._live()
        wanted = [host or None] if host is None or isinstance(host, str) else list(host)
        addresses: dict[tuple[Any, ...], None] = {}
        for name in wanted:
            found = await self.getaddrinfo(name, port, family=family, type=socket.SOCK_STREAM, flags=flags)
            addresses.update((address, None) for *_, address in found)
        loop = cast("SimulatedLoop", self)
        sockets: list[Listener] = []
        try:
            for address in addresses:
                bound = self._bind(process, address, (*process.listeners,))
                sockets.append(Listener(loop, process, bound))
        except OSError:
            for listener in sockets:
                listener.close()
            raise
        server = asyncio.base_events.Server(
            loop,
            cast("Any", sockets),
            protocol_factory,
            ssl,
            backlog,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )
        if start_serving:
            await server.start_serving()
        return server

    def _bind(self, process: Process, address: tuple[Any, ...], bound: Iterable[tuple[str, int]]) -> tuple[Any, ...]:
        name, port = address[0], address[1]
        host = process.host
        if not host.owns(name):
            raise unbound(errno.EADDRNOTAVAIL, address)
        if not port:
            return sockaddr(name, host.free_port())
        if process.taken(bound, name, port):
            raise unbound(errno.EADDRINUSE, address)
        return address

    def _start_serving(  # noqa: PLR0917  called by asyncio's Server
        self,
        protocol_factory: Factory,
        sock: Listener,
        sslcontext: tls.SSLContext | None = None,
        server: asyncio.base_events.Server | None = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        *_: object,
    ) -> None:
        limits = {"ssl_handshake_timeout": ssl_handshake_timeout, "ssl_shutdown_timeout": ssl_shutdown_timeout}
        sock.serve(protocol_factory, sslcontext, cast("asyncio.base_events.Server", server), limits)

    def _stop_serving(self, sock: Listener) -> None:  # called by asyncio's Server
        sock.close()

    # -- datagrams -----------------------------------------------------------------------------------------------

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        local_addr: tuple[str, int] | str | None = None,
        remote_addr: tuple[str, int] | str | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: Any = None,
    ) -> tuple[Any, Any]:
        """As asyncio's; there is no broadcast and no multicast."""
        if sock is not None:
            raise SimulationError("create_datagram_endpoint(sock=...): a real socket belongs to the real network")
        if allow_broadcast:
            raise SimulationError("create_datagram_endpoint(allow_broadcast=True): the simulated network has none")
        if not local_addr and not remote_addr and family == 0:
            raise ValueError("unexpected address family")
        process = await self._live()
        if family == socket.AF_UNIX:
            if not isinstance(local_addr, str | None) or not isinstance(remote_addr, str | None):
                raise TypeError("string is expected")
            endpoint = cast("asyncio.DatagramProtocol", protocol_factory())
            return self.open_unix(endpoint, local_addr, remote_addr), endpoint
        local, remote = [
            None if given is None else await self._end(given, family, proto, flags)
            for given in (local_addr, remote_addr)
        ]
        if local is None:
            six = family == socket.AF_INET6 or (remote is not None and ":" in remote[0])
            name = process.host.source_for(remote[0]) if remote is not None else "::" if six else any_of("")
            local = sockaddr(name, 0)
        local = self._bind(process, local, (*process.datagrams,))
        protocol = protocol_factory()
        waiter: asyncio.Future[None] = self.create_future()
        transport = DatagramTransport(
            cast("SimulatedLoop", self),
            process,
            cast("asyncio.DatagramProtocol", protocol),
            local,
            remote,
            waiter=waiter,
        )
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def _end(self, given: tuple[str, int] | str, family: int, proto: int, flags: int) -> tuple[Any, ...]:
        if isinstance(given, str) or len(given) != 2:  # noqa: PLR2004  a host and a port
            raise TypeError("2-tuple is expected")
        found = await self.getaddrinfo(*given, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags)
        return found[0][4]

    def open_unix(self, protocol: asyncio.DatagramProtocol, local: str | None, remote: str | None) -> UnixTransport:
        """Open a Unix datagram socket of this host.

        Args:
            protocol: Whom to call, `connection_made` at once.
            local: The path it is bound to, or None.
            remote: The path it is connected to, or None.

        Raises:
            OSError: nobody receives at `remote`.
        """
        transport = UnixTransport(cast("SimulatedLoop", self), self._process(), protocol, local, remote)
        protocol.connection_made(transport)
        return transport


def unbound(number: int, address: tuple[Any, ...]) -> OSError:
    """The error of a bind that failed, in the words of this Python's asyncio."""
    error = system_error(number)
    words = str(error) if sys.version_info >= (3, 13) else error.strerror or ""
    return system_error(number, f"error while attempting to bind on address {address!r}: {words.lower()}")


def failure(errors: list[OSError], *, all_errors: bool) -> Exception:
    """What asyncio raises when no address could be connected to."""
    if all_errors:
        return ExceptionGroup("create_connection failed", errors)
    if all(str(error) == str(errors[0]) for error in errors):
        return errors[0]
    return OSError(f"Multiple exceptions: {', '.join(map(str, errors))}")
