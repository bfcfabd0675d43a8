"""Making a connection: every address of a name gets its chance, the first that answers wins."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from errno import ECONNRESET
from ipaddress import ip_address
from itertools import chain, zip_longest
from ssl import SSLContext
from typing import Any, Final, cast

__all__ = ["GRACE", "HEAD_START", "dial"]

HEAD_START: Final = 0.1
"""Seconds that an address has for itself before the next one is tried beside it. RFC 8305 section 5 allows 0.1 to 2."""

GRACE: Final = 1.0
"""Seconds in which a peer has to take its part in an orderly end, before the connection is cut."""


async def dial(
    loop: asyncio.AbstractEventLoop,
    protocol: Callable[[], asyncio.Protocol],
    host: str,
    port: int,
    *,
    ssl: SSLContext | None = None,
    server_name: str | None = None,
) -> asyncio.Transport:
    """Connect to the first address of a host that answers, TLS included.

    Args:
        loop: The loop to connect on.
        protocol: Makes the protocol; called once, for the address that won.
        host: Name or IP address.
        port: TCP port.
        ssl: For TLS.
        server_name: Name to ask for and to verify; the host by default.

    Raises:
        OSError: none of them answered (`ssl.SSLError` among them); of several failures the first.

    Source: RFC 8305 (Happy Eyeballs version 2), sections 4 and 5.
    """
    secure: dict[str, Any] = {}
    if ssl is not None:
        secure = {"ssl": ssl, "server_hostname": server_name or host, "ssl_shutdown_timeout": GRACE}

    async def connect(address: str) -> asyncio.Transport:
        transport, _ = await loop.create_connection(_Silent, address, port, **secure)
        return transport

    transport = await _race(loop, [connect(address) for address in await _addresses(loop, host, port)])
    silent = transport.get_protocol()
    if transport.is_closing():  # already: e.g. with TLS 1.3 a certificate is refused after the handshake
        reason = silent.reason if isinstance(silent, _Silent) else None
        raise reason or ConnectionResetError(ECONNRESET, "closed by the peer as soon as it was made")
    winner = protocol()
    transport.set_protocol(winner)
    winner.connection_made(transport)
    transport.resume_reading()
    if isinstance(silent, _Silent):
        for data in silent.early:
            winner.data_received(data)
    return transport


class _Silent(asyncio.Protocol):
    """Holds a connection until it is known whether it wins; nothing that comes meanwhile is missed."""

    def __init__(self) -> None:
        self.early: list[bytes] = []
        self.reason: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).pause_reading()  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        self.early.append(data)  # uvloop begins to read although it was told not to

    def connection_lost(self, exc: Exception | None) -> None:
        self.reason = exc


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[str]:
    """Every address of a host, in the order in which they are tried."""
    try:
        ip_address(host)
    except ValueError:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return _interleaved([(family, str(address[0])) for family, _, _, _, address in found])
    return [host]  # needs no resolver, whose threads may all be waiting for other names


async def _race(
    loop: asyncio.AbstractEventLoop, connects: Sequence[Coroutine[Any, Any, asyncio.Transport]]
) -> asyncio.Transport:
    """The first that succeeds; each has a head start on the next, which begins at once when it fails."""
    waiting = list(reversed(connects))
    begun: list[asyncio.Task[asyncio.Transport]] = []
    running: set[asyncio.Task[asyncio.Transport]] = set()
    failures: list[OSError] = []
    winner: asyncio.Task[asyncio.Transport] | None = None
    try:
        while waiting or running:
            if waiting:
                begun.append(loop.create_task(waiting.pop()))
                running.add(begun[-1])
            done, running = await asyncio.wait(
                running, timeout=HEAD_START if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                try:
                    transport = task.result()
                except OSError as failure:
                    failures.append(failure)
                else:
                    winner = task
                    return transport
    finally:
        for connect in waiting:
            connect.close()
        losers = [task for task in begun if task is not winner]
        for task in losers:
            task.cancel()
        for lost in await asyncio.gather(*losers, return_exceptions=True):
            if not isinstance(lost, BaseException):
                lost.abort()
    raise failures[0] if failures else OSError("the name has no address")


def _interleaved(addresses: Sequence[tuple[int, str]]) -> list[str]:
    """Take the families in turn, beginning with the resolver's first choice, each address once."""
    families: dict[int, list[str]] = {}
    for family, address in dict.fromkeys(addresses):
        families.setdefault(family, []).append(address)
    turns = chain.from_iterable(zip_longest(*families.values()))
    return [address for address in turns if address is not None]
