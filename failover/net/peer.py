"""One peer: at most one live connection to it, made when it is wanted and made again when it breaks."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from random import Random
from typing import Final, Protocol

from attrs import frozen

from failover.net.connection import Connection
from failover.net.dialing import GRACE, dial
from failover.net.options import ConnectionOptions
from failover.net.sweep import Sweep
from failover.pacing import PolicyState, delay
from failover.protocol.pipeline import MAX_ID
from failover.records import BadReply, ConnectionChanged, Observer, notify

__all__ = ["Lease", "Peer", "PeerKey", "PeerOwner"]

_JITTER: Final = 0.1  # share of a reconnect's delay by which it is stretched at random, at most


@frozen
class PeerKey:
    """What makes two sinks share a connection.

    Args:
        scheme: `tcp` or `tls`.
        host: Name or address, as declared.
        port: TCP port.
        ssl: The TLS context, or None.
        server_name: The name that TLS verifies, or None for the host.
    """

    scheme: str
    host: str
    port: int
    ssl: ssl.SSLContext | None = None
    server_name: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class PeerOwner(Protocol):
    """Whoever keeps peers, and what they all share."""

    loop: asyncio.AbstractEventLoop
    sweep: Sweep
    rng: Random
    """For first ids and jitter."""
    linger: float
    """Seconds for which a connection outlives its last lease."""

    def drop(self, peer: Peer) -> None:
        """It is closed."""


class Lease:
    """A sink's claim on a peer; the connection lives as long as there is one.

    Args:
        peer: The peer.
        observers: Who is told about its connection.
        lazy: Whether this sink wants no connection before its first event.
    """

    __slots__ = (
        "lazy",
        "observers",
        "peer",
    )

    def __init__(self, peer: Peer, observers: tuple[Observer, ...], *, lazy: bool) -> None:
        self.peer = peer
        self.observers = observers
        self.lazy = lazy

    def connection(self) -> Connection | None:
        """The connection as it is, or a new one on its way; never blocks. None once the peer is closed."""
        return None if self.peer.closed else self.peer.connection()

    @property
    def down(self) -> bool:
        """Whether the connection is known to be down."""
        return self.peer.down

    async def probe(self, timeout: float) -> str:
        """Whether a new connection can be made, TLS included; empty if so, else why not. It is closed at once.

        Args:
            timeout: Seconds for it.
        """
        return await self.peer.probe(timeout)

    async def aclose(self) -> None:
        """Give the claim back; if it was the last one, wait until nothing is left of the connection. Idempotent."""
        self.peer.release(self)
        if self.peer.closed:
            await self.peer.aclose()


class Peer:
    """Owns the connection to one peer.

    Args:
        key: Which one.
        options: Bounds and habits of its connection.
        owner: Has what it shares with other peers, and is told when it is closed.
    """

    __slots__ = (
        "_connecting",
        "_connection",
        "_failing_since",
        "_failures",
        "_leases",
        "_made",
        "_owner",
        "_pause",
        "_timer",
        "_waited",
        "closed",
        "key",
        "options",
    )

    def __init__(self, key: PeerKey, options: ConnectionOptions, owner: PeerOwner) -> None:
        self.key = key
        self.options = options
        self._owner = owner
        self._leases: tuple[Lease, ...] = ()
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failures = 0
        self._failing_since = 0.0
        self._waited = 0.0
        self._pause = 0.0  # before the newest reconnect
        self._made = 0.0  # loop time at which the connection was made
        self.closed = False

    def lease(self, observers: tuple[Observer, ...], *, lazy: bool) -> Lease:
        """Claim the connection; unless lazy, it is being made from now on."""
        if not self._leases:
            self._stop_timer()
        lease = Lease(self, observers, lazy=lazy)
        self._leases = (*self._leases, lease)
        if not lazy:
            self.connection()
        return lease

    def release(self, lease: Lease) -> None:
        """Give a claim back; the last one closes the connection after the linger."""
        if lease not in self._leases:
            return
        self._leases = tuple(other for other in self._leases if other is not lease)
        if self._leases or self.closed:
            return
        self._stop_timer()
        if self._owner.linger:
            self._timer = self._owner.loop.call_later(self._owner.linger, self.close)
        else:
            self.close()

    def connection(self) -> Connection:
        """The connection as it is, or a new one on its way: a delivery starts or joins one connect at once."""
        connection = self._connection
        if connection is None or connection.closed:
            connection = self._connect()
        return connection

    @property
    def down(self) -> bool:
        """Whether the connection is known to be down."""
        return self.closed or (self._connection is not None and self._connection.closed)

    def close(self) -> None:
        """Close the connection; what is in it gets its outcome. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._stop_timer()
        if self._connection is not None:
            self._connection.close()
        if self._connecting is not None:
            self._connecting.cancel()
        self._owner.drop(self)

    async def aclose(self) -> None:
        """Close and wait until nothing of it runs any more."""
        self.close()
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        if self._connection is not None:
            await self._connection.wait_gone(2 * GRACE)

    def lost(self, connection: Connection, reason: str) -> None:
        """A connection broke; have a new one made in the background, at the policy's pace."""
        if connection is not self._connection or self.closed:
            return
        now = self._owner.loop.time()
        self._tell(connected=False, reason=reason, now=now)
        if self.closed or all(lease.lazy for lease in self._leases):
            return
        if connection.established and now - self._made >= self._pause:  # else it comes and goes: wait longer
            self._failures = 0
        if not self._failures:
            self._failing_since = now
            self._waited = 0.0
        self._failures += 1
        state = PolicyState(self._failures, self._failing_since, now, self._waited)
        self._pause = delay(self.options.reconnect, state) * (1.0 + self._owner.rng.random() * _JITTER)
        self._waited += self._pause
        self._stop_timer()
        self._timer = self._owner.loop.call_later(self._pause, self.connection)

    def odd(self, problem: str, excerpt: bytes) -> None:
        """Tell observers of something that the peer sent."""
        record = BadReply(str(self.key), problem, excerpt, self._owner.loop.time())
        for lease in self._leases:
            notify(lease.observers, record)

    def _connect(self) -> Connection:
        self._stop_timer()
        first_id = self._owner.rng.randint(1, MAX_ID)
        connection = self._connection = Connection(self, self._owner.loop, self._owner.sweep, self.options, first_id)
        self._connecting = self._owner.loop.create_task(self._dial(connection))
        return connection

    async def probe(self, timeout: float) -> str:
        """Whether it can be connected to; see `Lease.probe`."""
        try:
            transport = await self._reach(asyncio.Protocol, timeout)
        except OSError as error:
            return f"connect: {error}"
        transport.close()
        return ""

    async def _reach(self, protocol: Callable[[], asyncio.Protocol], seconds: float) -> asyncio.Transport:
        """Make a connection; an OSError says why there is none, in words of ours."""
        key, loop = self.key, self._owner.loop
        try:
            async with asyncio.timeout(seconds):
                return await dial(loop, protocol, key.host, key.port, ssl=key.ssl, server_name=key.server_name)
        except TimeoutError:
            raise OSError(f"no answer within {seconds:g} s") from None
        except Exception as error:  # resolving, connecting and TLS fail in many ways; whatever it is, nothing left
            raise OSError(_reason(error)) from error

    async def _dial(self, connection: Connection) -> None:
        task = asyncio.current_task()
        try:
            transport = await self._reach(lambda: connection, self.options.connect_timeout)
        except OSError as error:
            connection.break_off(f"connect: {error}")
        except asyncio.CancelledError:
            connection.break_off("closed while connecting")
            raise
        else:
            self._keep_alive(transport)
            self._made = self._owner.loop.time()
            self._tell(connected=True, reason="", now=self._made)
        finally:
            if self._connecting is task:
                self._connecting = None

    def _keep_alive(self, transport: asyncio.Transport) -> None:
        seconds = self.options.keepalive
        sock = transport.get_extra_info("socket")
        if seconds is None or sock is None:
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
            if hasattr(socket, option):  # not on every system
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), int(seconds))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self, *, connected: bool, reason: str, now: float) -> None:
        record = ConnectionChanged(str(self.key), connected, reason, now)
        for lease in self._leases:
            notify(lease.observers, record)


def _reason(error: Exception) -> str:
    """Why a connect failed, in the system's words rather than the loop's, which differ."""
    if isinstance(error, OSError) and not isinstance(error, (ssl.SSLError, socket.gaierror)) and error.errno:
        return os.strerror(error.errno)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ConnectionError) and not str(error):  # how asyncio tells it
        return "closed by the peer during the handshake"
    return str(error) or type(error).__name__
