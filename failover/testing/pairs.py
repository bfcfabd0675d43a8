"""One connection through a fault proxy: from a client to the proxy, and from the proxy to whom it stands before."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Protocol, cast

from failover.testing.link import reset_transport
from failover.testing.pipes import END, LIMIT, RESET, Pipe, Way

__all__ = ["Pair", "PairOwner", "Side"]


class PairOwner(Protocol):
    """The proxy that a connection belongs to."""

    up: Way
    down: Way
    buffer: int
    upstream: tuple[str, int]

    def connected(self, pair: Pair) -> int:
        """A client was accepted. Returns its number; 0 if it may not be served."""
        ...

    def lost(self, pair: Pair) -> None:
        """Both ends of a connection are gone."""

    def spent(self, pair: Pair) -> None:
        """A connection has reached the limit of its bytes."""

    def record(self, what: str, connection: int = 0, key: str = "") -> object:
        """Note what happened."""
        ...


class Side(asyncio.Protocol):
    """One end: what comes from it goes into `forward`, and what goes to it comes by `back`.

    Args:
        pair: The connection.
        forward: The pipe away from this end.
        back: The pipe to this end.
    """

    def __init__(self, pair: Pair, forward: Pipe, back: Pipe) -> None:
        self.transport: asyncio.Transport | None = None
        self.over = False
        self.forward = forward
        self._pair = pair
        self._back = back

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's call."""
        self.transport = self.forward.source = cast("asyncio.Transport", transport)
        self._pair.made(self)

    def data_received(self, data: bytes) -> None:
        """Asyncio's call: send it on its way."""
        if self._pair.forgotten:
            self._pair.cut()
        else:
            self.forward.take(data)

    def eof_received(self) -> bool:
        """Asyncio's call: the end is sent on its way too."""
        if self._pair.forgotten:
            return False
        self.forward.end(END)
        return True

    def pause_writing(self) -> None:
        """Asyncio's call: this end doesn't read."""
        self._back.full = True
        self._back.regulate()

    def resume_writing(self) -> None:
        """Asyncio's call: it reads again."""
        self._back.full = False
        self._back.move()

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's call."""
        self.over = True
        self._pair.lost(self)


class Pair:
    """A client's connection, and the one that is made for it.

    Args:
        owner: The proxy.
        loop: Its loop.
    """

    def __init__(self, owner: PairOwner, loop: asyncio.AbstractEventLoop) -> None:
        self.number = 0
        self.forgotten = False
        """Half open: one end has lost it, the other isn't told until it sends."""
        self.gone: asyncio.Future[None] = loop.create_future()
        """Done when both ends are."""
        self.up = Pipe(owner.up, loop, owner.buffer, partial(self._arrived, "up"))
        self.down = Pipe(owner.down, loop, owner.buffer, partial(self._arrived, "down"))
        self.client = Side(self, self.up, self.down)
        self.server = Side(self, self.down, self.up)
        self._owner = owner
        self._loop = loop
        self._connecting: asyncio.Task[Any] | None = None
        self._ended: set[str] = set()  # the ways on which the end of the stream has arrived
        self._closing = False

    def made(self, side: Side) -> None:
        """One of the two is connected."""
        if side is self.client:
            self.number = self._owner.connected(self)
            if self.number:
                self._connecting = self._loop.create_task(self._connect())
            else:
                self.cut()

    async def _connect(self) -> None:
        try:
            await self._loop.create_connection(lambda: self.server, *self._owner.upstream)
        except OSError as error:
            self._owner.record(f"upstream unreachable: {error}", self.number)
            self._connecting = None
            self.cut()
            return
        self._connecting = None
        client, server = self.client.transport, self.server.transport
        if client is None or server is None or self._closing:
            self.cut()
            return
        self.up.connect(server)
        self.down.connect(client)

    def move(self) -> None:
        """Settings of a way have changed."""
        self.up.move()
        self.down.move()

    def cut(self) -> None:
        """Break both ends by a RST now; what is on its way is lost."""
        self._end(reset=True)

    def close(self) -> None:
        """End it in an orderly way: what is on its way arrives at once, unless it is stopped."""
        self.up.move(at_once=True)
        self.down.move(at_once=True)
        self._end(reset=False)

    def abort(self) -> None:
        """End it now, without a RST."""
        for transport in self._transports():
            transport.abort()

    def forget(self) -> None:
        """Half open: the server's end is reset, and the client isn't told until it sends something."""
        self.forgotten = True
        self.up.drop()
        self.down.drop()
        if self.server.transport is not None:
            reset_transport(self.server.transport)

    def lost(self, side: Side) -> None:
        """One of the two is gone."""
        other = self.server if side is self.client else self.client
        if self.forgotten and side is self.server and not self.client.over:
            return
        if other.transport is None or other.over:
            self._finish()
        elif not self._closing:
            side.forward.end(RESET)

    def _transports(self) -> list[asyncio.Transport]:
        return [side.transport for side in (self.client, self.server) if side.transport is not None and not side.over]

    def _end(self, *, reset: bool) -> None:
        self._closing = True
        self.up.drop()
        self.down.drop()
        if self._connecting is not None:
            self._connecting.cancel()
        for transport in self._transports():
            if reset:
                reset_transport(transport)
            else:
                transport.close()

    def _arrived(self, way: str, what: str) -> None:
        """The end of the stream, a reset, or the limit has got to the other end."""
        if what == LIMIT:
            self._owner.spent(self)
        elif what == RESET:
            self.cut()
        else:
            self._ended.add(way)
            drain = (self.up if way == "up" else self.down).drain
            if len(self._ended) == 2:  # noqa: PLR2004  # both ways
                self._end(reset=False)
            elif drain is not None and not drain.is_closing():
                drain.write_eof()

    def _finish(self) -> None:
        self.up.drop()
        self.down.drop()
        if self._connecting is not None:
            self._connecting.cancel()
        if not self.gone.done():
            self.gone.set_result(None)
            self._owner.lost(self)
