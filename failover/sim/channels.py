"""One direction of a connection: segments in order, sent again when lost, and a bound on what is not read yet."""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING, Final

from failover.sim.links import Link
from failover.sim.rules import HOLD, PASS, RESET, Fate, Kind
from failover.sim.timers import Call

if TYPE_CHECKING:
    from failover.sim.loop import SimulatedLoop
    from failover.sim.streams import Endpoint

__all__ = ["READ", "Channel"]

FIRST_RETRY: Final = 0.2
"""Linux's TCP_RTO_MIN, seconds; each further try waits twice as long."""
LONGEST_RETRY: Final = 120.0
"""Linux's TCP_RTO_MAX, seconds."""
GIVE_UP: Final = 924.6
"""Seconds after which Linux gives up a connection that gets no acknowledgement (`tcp_retries2` = 15)."""
READ: Final = 256 * 1024
"""Bytes that asyncio reads at once."""

DATA: Final = Kind.DATA


class Channel:
    """One direction of a connection: in order, without gaps, bounded. An item of the loop: it runs at each arrival."""

    __slots__ = (
        "_armed",
        "_cancelled",
        "_flight",
        "_held",
        "_last",
        "_retry_after",
        "_since",
        "_unheard_since",
        "_unsent",
        "destination",
        "link",
        "loop",
        "outstanding",
        "reverse",
        "source",
        "starved",
    )

    def __init__(self, loop: SimulatedLoop, link: Link, reverse: Link, source: Endpoint, destination: Endpoint) -> None:
        self.loop = loop
        self.link = link
        self.reverse = reverse
        self.source = source
        self.destination = destination
        self.outstanding = 0  # bytes written and not yet read at the other end
        self.starved = False  # the writer waits for room
        self._cancelled = False
        self._armed = False
        self._flight: deque[tuple[float, Kind, bytes]] = deque()
        self._last = 0.0
        self._unsent: deque[tuple[Kind, bytes]] = deque()  # behind a packet that was lost or is held
        self._held = False
        self._retry_after = FIRST_RETRY
        self._since: float | None = None
        self._unheard_since: float | None = None

    def send(self, kind: Kind, data: bytes = b"") -> None:
        """Send a segment after all that were sent before it."""
        link = self.link
        if link.cut and kind is DATA:
            for number, piece in enumerate(link.pieces(data)):
                self._send(kind, piece, link.gap() if number else 0.0)
        else:
            self._send(kind, data, 0.0)

    def _send(self, kind: Kind, data: bytes, gap: float) -> None:
        if self._unsent:
            self._unsent.append((kind, data))
            return
        link = self.link
        when = link.arrival(self.loop.now, len(data))
        if link.rules or link.observers:
            fate, delay = link.judge(kind, self.source.local[1], self.destination.local[1], data)
            if fate is not PASS:
                self._stall(fate, kind, data)
                return
            when += delay
        self._launch(when, kind, data, gap)

    def _launch(self, when: float, kind: Kind, data: bytes, gap: float) -> None:
        self._last = when = max(when, self._last + gap)
        self._flight.append((when, kind, data))
        if not self._armed:
            self._armed = True
            self.loop.defer(when, self)

    def reset(self) -> None:
        """Send a RST: nothing that was lost before it is sent again."""
        if self._held:
            self._unsent.append((Kind.RST, b""))
            return
        self.purge()
        link = self.link
        delay = 0.0
        if link.rules or link.observers:
            fate, delay = link.judge(Kind.RST, self.source.local[1], self.destination.local[1], b"")
            if fate is HOLD:
                self._stall(fate, Kind.RST, b"")
                return
            if fate is not PASS:
                return
        self._launch(link.arrival(self.loop.now, 0) + delay, Kind.RST, b"", 0.0)

    def purge(self) -> None:
        """Forget what waits to be sent again: the sending socket is no more. What is held is on the wire and stays."""
        if not self._held:
            self._unsent.clear()

    def _stall(self, fate: Fate, kind: Kind, data: bytes) -> None:
        loop = self.loop
        if fate is RESET:
            loop.soon(Call(self.source.reset))
            return
        self._unsent.append((kind, data))
        if fate is HOLD:
            self._held = True
            self.link.held.append(self._resume)
            return
        if self._since is None:
            self._since = loop.now
        loop.defer(min(loop.now + self._retry_after, self._since + GIVE_UP), Call(self._resume))
        self._retry_after = min(self._retry_after * 2, LONGEST_RETRY)

    def _resume(self) -> None:
        """Send again what was lost, or go on with what was held."""
        self._held = False
        if self._since is not None and self.loop.now >= self._since + GIVE_UP:
            self._unsent.clear()
            self.source.fail(errno.ETIMEDOUT)
            return
        unsent, self._unsent = self._unsent, deque()
        while unsent:
            kind, data = unsent.popleft()
            self._send(kind, data, 0.0)
            if self._unsent:
                self._unsent.extend(unsent)
                return
            self._since = None
            self._retry_after = FIRST_RETRY

    def lose(self, kind: Kind, data: bytes) -> None:
        """A segment came to a machine without power: send it again, with what was behind it."""
        behind = [(other, rest) for _, other, rest in self._flight]
        self._flight.clear()
        unsent, self._unsent = self._unsent, deque()
        if not unsent:
            self._stall(Fate.DROP, kind, data)
        else:
            self._unsent.append((kind, data))
        self._unsent.extend(behind)
        self._unsent.extend(unsent)

    def _joined(self, data: bytes) -> bytes:
        """Data, and what arrives with it: a real receiver reads all of it at once."""
        flight, now = self._flight, self.loop.now
        parts = [data]
        size = len(data)
        while flight and flight[0][0] <= now and flight[0][1] is DATA and size < READ:
            parts.append(flight.popleft()[2])
            size += len(parts[-1])
        return data if len(parts) == 1 else b"".join(parts)

    def _run(self) -> None:
        flight = self._flight
        if not flight:
            self._armed = False
            return
        _, kind, data = flight.popleft()
        if flight and kind is DATA:
            data = self._joined(data)
        if flight:
            self.loop.defer(flight[0][0], self)
        else:
            self._armed = False
        destination = self.destination
        destination.outgoing.heard()  # what comes acknowledges what went
        if self.reverse.rules and self._unheard_since is None:
            self._unheard_since = self.loop.now
            self._confirm()
        if self.link.observers:
            self.loop.network.tell(kind.value, "arrived", self.source.label, destination.label, data)
        if kind is DATA:
            destination.arrived(data)
        elif kind is Kind.FIN:
            destination.finish()
        elif kind is Kind.RST:
            destination.reset()
        else:
            destination.establish()

    def heard(self) -> None:
        """An acknowledgement has come."""
        self._unheard_since = None

    def _confirm(self) -> None:
        """Acknowledge what came: if none of the acknowledgements gets back, the sender gives up in the end."""
        loop = self.loop
        if self._unheard_since is None:
            return
        fate, _ = self.reverse.judge(Kind.ACK, self.destination.local[1], self.source.local[1], b"")
        if fate is not Fate.DROP:
            self._unheard_since = None
            return
        passed = loop.now - self._unheard_since
        if passed >= GIVE_UP:
            self.source.fail(errno.ETIMEDOUT)
        elif not self.source.gone:
            pause = min(max(passed, FIRST_RETRY), LONGEST_RETRY, GIVE_UP - passed)  # doubles what has passed
            loop.defer(loop.now + max(pause, 1e-6), Call(self._confirm))

    def consumed(self, size: int) -> None:
        """The receiver has read so many bytes; a writer that waits is woken when a third of the buffer is free."""
        self.outstanding -= size
        if self.starved and self.outstanding * 3 <= self.link.buffer * 2:
            self.starved = False
            self._acknowledge()

    def _acknowledge(self) -> None:
        """Tell the writer that there is room, by a packet on the way back that can be lost or held."""
        reverse = self.reverse
        loop = self.loop
        delay = 0.0
        if reverse.rules or reverse.observers:
            fate, delay = reverse.judge(Kind.ACK, self.destination.local[1], self.source.local[1], b"")
            if fate is HOLD:
                reverse.held.append(self._acknowledge)
                return
            if fate is not PASS:
                loop.defer(loop.now + FIRST_RETRY, Call(self._acknowledge))
                return
        loop.defer(reverse.arrival(loop.now, 0) + delay, Call(self.source.writable))
