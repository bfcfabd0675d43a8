"""One direction of a proxied connection: bytes wait, are cut, changed, held and counted on their way."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

from failover.testing.delays import Delay, draw

__all__ = ["END", "LIMIT", "RESET", "Pipe", "Way"]

END: Final = "end"
"""The stream's end: the sender will send no more."""
LIMIT: Final = "limit"
"""As many bytes have passed as may."""
RESET: Final = "reset"
"""The sender broke the connection."""


class Way:
    """What happens to all that goes one way through a proxy; settings take effect at once.

    Args:
        rng: Where its randomness comes from.

    Attributes:
        latency: Seconds that everything takes, or a distribution of them; nothing overtakes anything.
        jitter: At most so many seconds more, drawn anew for each piece.
        bandwidth: Bytes per second, shared by all connections; None for no bound.
        slicing: The most bytes of a piece, whose size is drawn anew each time; None to leave pieces as they come.
        pause: Seconds between two pieces of what came as one.
        corrupt: Probability, 0 to 1, that a byte is replaced by another one.
        limit: Bytes of a connection after which it is cut; None for no bound.
        stopped: Why nothing goes on at present; empty if it does.
    """

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.latency: Delay = 0.0
        self.jitter = 0.0
        self.bandwidth: float | None = None
        self.slicing: int | None = None
        self.pause = 0.0005
        self.corrupt = 0.0
        self.limit: int | None = None
        self.stopped: set[str] = set()
        self._free = 0.0

    def pieces(self, data: bytes) -> list[bytes]:
        """Cut what came at once."""
        if self.slicing is None:
            return [data]
        cut: list[bytes] = []
        while data:
            size = self.rng.randint(1, self.slicing)
            cut.append(data[:size])
            data = data[size:]
        return cut

    def changed(self, data: bytes) -> bytes:
        """Replace bytes at random."""
        if not self.corrupt:
            return data
        octets = bytearray(data)
        place = self._gap()
        while place < len(octets):
            octets[place] ^= self.rng.randrange(1, 256)
            place += 1 + self._gap()
        return bytes(octets)

    def _gap(self) -> int:
        """How many bytes stay as they are before the next that doesn't."""
        if self.corrupt >= 1:
            return 0
        return int(math.log(1.0 - self.rng.random()) / math.log(1.0 - self.corrupt))

    def arrival(self, now: float, size: int) -> float:
        """The loop time at which a piece arrives that begins its way now."""
        if self.bandwidth is not None:
            self._free = now = max(now, self._free) + size / self.bandwidth
        return now + draw(self.latency, self.rng) + (self.rng.uniform(0.0, self.jitter) if self.jitter else 0.0)


class Pipe:
    """What is on its way from one socket to another.

    Args:
        way: What happens to it.
        loop: The loop.
        bound: Bytes that may be on their way, or wait to be read, until no more are read.
        arrived: Called with `END` or `RESET` when it has arrived, and with `LIMIT` when the way's limit is reached.
    """

    def __init__(self, way: Way, loop: asyncio.AbstractEventLoop, bound: int, arrived: Callable[[str], None]) -> None:
        self.way = way
        self.source: asyncio.Transport | None = None
        self.drain: asyncio.Transport | None = None
        self.passed = 0
        """Bytes that were written at the other end."""
        self.full = False
        """Whether the other end takes no more."""
        self._loop = loop
        self._bound = bound
        self._arrived = arrived
        self._queue: deque[tuple[float, bytes | str]] = deque()
        self._size = 0
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._ended = False

    @property
    def waiting(self) -> int:
        """Bytes on their way."""
        return self._size

    def connect(self, drain: asyncio.Transport) -> None:
        """The other end is there: let go on what came meanwhile."""
        self.drain = drain
        drain.set_write_buffer_limits(high=self._bound)
        self.move()

    def take(self, data: bytes) -> None:
        """Bytes came."""
        way = self.way
        moment = self._loop.time()
        for piece in way.pieces(way.changed(data)):
            self._put(piece, way.arrival(moment, len(piece)))
            if way.slicing is not None:
                moment += way.pause
        self.move()

    def end(self, how: str) -> None:
        """The sender's end came; it arrives after all that was sent before."""
        self._ended = True
        self._put(how, self.way.arrival(self._loop.time(), 0))
        self.move()

    def _put(self, item: bytes | str, due: float) -> None:
        self._last = due = max(due, self._last)
        self._queue.append((due, item))
        if isinstance(item, bytes):
            self._size += len(item)

    def move(self, *, at_once: bool = False) -> None:
        """Write what has arrived.

        Args:
            at_once: Write everything, whatever time it has left.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        while self._queue and self.drain is not None and not self.full and not self.way.stopped:
            due, item = self._queue[0]
            if due > now and not at_once:
                self._timer = self._loop.call_at(due, self.move)
                break
            self._queue.popleft()
            self._write(item, self.drain)
        self.regulate()

    def _write(self, item: bytes | str, drain: asyncio.Transport) -> None:
        if not isinstance(item, bytes):
            self._arrived(item)
            return
        self._size -= len(item)
        limit = self.way.limit
        if limit is not None:
            item = item[: max(0, limit - self.passed)]
        self.passed += len(item)
        if item and not drain.is_closing():
            drain.write(item)
        if limit is not None and self.passed >= limit:
            self._arrived(LIMIT)

    def regulate(self) -> None:
        """Read while there is room."""
        source = self.source
        if source is None or self._ended or source.is_closing():
            return
        wanted = self._size >= self._bound or self.full
        if wanted != self._paused:
            self._paused = wanted
            if wanted:
                source.pause_reading()
            else:
                source.resume_reading()

    def drop(self) -> None:
        """Forget what is on its way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._queue.clear()
        self._size = 0
