"""A TCP proxy that does harm: before somebody else's subscriber, on real sockets and in a simulation alike."""

from __future__ import annotations

import asyncio
import math
from random import Random
from types import TracebackType
from typing import Final, Literal, Self

from failover.address import SCHEMES, Span, parse_socket
from failover.errors import ConfigError, UsageError
from failover.testing.account import Account, HistoryOfFaults
from failover.testing.delays import Delay, check_delay
from failover.testing.pairs import Pair
from failover.testing.pipes import Way
from failover.testing.ports import Port

__all__ = ["Direction", "FaultProxy"]

Direction = Literal["both", "up", "down"]
"""Which way: `up` to the subscriber, `down` from it."""

_GRACE: Final = 1.0  # seconds in which an orderly end must have happened
_ROOM: Final = 64 * 1024


class FaultProxy(Account):
    """Stands before a subscriber and passes on what comes, with the faults that are set.

    Each verb sets a fault for all connections, present and future, until `repair`; `reset` and `half_open` happen once.

    Args:
        upstream: Whom it stands before: `host:port`, with or without `jsonrpc:` before it.
        host: Where it listens: an address or a name; in a simulation the name of the host that it runs on.
        port: Where it listens; 0 lets the system choose. It keeps the port until it is closed.
        name: What a history calls it; what it stands before by default, whose deliveries it harms.
        rng: Where its randomness comes from; by default the same at every start of the program.
        history: Is told of every fault.
        buffer: Bytes of a connection, each way, that may be on their way until no more are read.
        max_connections: Connections at a time; one more is reset.
        keep: How many entries `acts` holds; the oldest go first.

    Attributes:
        up: What happens to all that goes to the subscriber.
        down: What happens to all that comes from it.

    Raises:
        AddressError: `upstream` can't be parsed.
        ConfigError: a setting out of its range.
    """

    def __init__(
        self,
        upstream: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        name: str | None = None,
        rng: Random | None = None,
        history: HistoryOfFaults | None = None,
        buffer: int = _ROOM,
        max_connections: int = 1024,
        keep: int = 10_000,
    ) -> None:
        super().__init__(history, keep)
        if buffer < 1 or max_connections < 1:
            raise ConfigError(f"buffer={buffer!r}, max_connections={max_connections!r}: expected whole numbers >= 1")
        scheme, _, rest = upstream.partition(":")
        given = scheme in SCHEMES
        address = parse_socket("jsonrpc", Span(upstream, len(upstream) - len(rest)) if given else Span(upstream))
        self.upstream = address.host, address.port
        self.host = host
        self.port = port
        self.buffer = buffer
        self.rng = Random(0) if rng is None else rng
        self.up = Way(self.rng)
        self.down = Way(self.rng)
        self._name = name or _socket(*self.upstream)
        self._max_connections = max_connections
        self._accepted = 0
        self._pairs: dict[Pair, None] = {}
        self._active: dict[str, None] = {}
        self._closes_at_limit = False
        self._port: Port | None = None

    def __repr__(self) -> str:
        return f"<FaultProxy {self.socket} before {self.name}>"

    # Faults that last.

    def latency(self, delay: Delay, way: Direction = "both") -> None:
        """Everything takes so many seconds, or a distribution of them; nothing overtakes anything."""
        check_delay("latency", delay)
        for each in self._set("latency", way, delay):
            each.latency = delay

    def jitter(self, most: float, way: Direction = "both") -> None:
        """Each piece takes up to so many seconds more."""
        _check("jitter", most, "seconds >= 0", holds=0 <= most < math.inf)
        for each in self._set("jitter", way, most):
            each.jitter = most

    def bandwidth(self, rate: float, way: Direction = "both") -> None:
        """All connections share so many bytes per second, each way."""
        _check("bandwidth", rate, "bytes per second > 0", holds=rate > 0)
        for each in self._set("bandwidth", way, rate):
            each.bandwidth = rate

    def slicing(self, most: int = 8, pause: float = 0.0005, way: Direction = "both") -> None:
        """What comes at once arrives in pieces of 1 to `most` bytes, with `pause` seconds between them."""
        _check("slicing", most, "bytes >= 1", holds=most >= 1)
        check_delay("pause", pause)
        for each in self._set("slicing", way, most):
            each.slicing = most
            each.pause = pause

    def corrupt(self, probability: float, way: Direction = "down") -> None:
        """Each byte is replaced by another one with this probability."""
        _check("corrupt", probability, "a probability, 0 to 1", holds=0 <= probability <= 1)
        for each in self._set("corrupt", way, probability):
            each.corrupt = probability

    def limit(self, size: int, way: Direction = "down", how: Literal["reset", "close"] = "reset") -> None:
        """A connection is cut after so many bytes of it, by a RST or by a FIN."""
        _check("limit", size, "bytes >= 0", holds=size >= 0)
        self._closes_at_limit = how == "close"
        for each in self._set("limit", way, size):
            each.limit = size

    def hold(self, way: Direction = "both") -> None:
        """Nothing goes on; what was held does so when it is repaired. Connects are answered."""
        for each in self._set("hold", way):
            each.stopped.add("hold")

    def partition(self, way: Direction = "both") -> None:
        """Nothing goes on, one way or both, and connects get no answer."""
        self._swallow("partition", way)

    def black_hole(self) -> None:
        """Nothing goes on, either way, and connects get no answer."""
        self._swallow("black_hole", "both")

    def refuse(self) -> None:
        """Connects are refused; connections that exist stay."""
        port = self._started()
        self._set("refuse", "both")
        port.refuse()

    def crash(self) -> None:
        """Connections are reset, and connects refused."""
        port = self._started()
        self._set("crash", "both")
        port.refuse()
        for pair in list(self._pairs):
            pair.cut()

    async def repair(self, *names: str) -> None:
        """End these faults, or all; what was held goes on.

        Args:
            names: The verbs by which they were set.

        Raises:
            ConfigError: there is no such verb.
        """
        for name in names or tuple(self._active):
            if name not in _LASTING:
                raise ConfigError(f"repair({name!r}): expected one of {', '.join(_LASTING)}")
            if name in self._active:
                del self._active[name]
                self.fault(name, active=False)
                fresh = Way(self.rng)
                for way in (self.up, self.down):
                    way.stopped.discard(name)
                    if hasattr(fresh, name):
                        setattr(way, name, getattr(fresh, name))
        if self._port is not None and not self._port.listening:
            await self._listen(self._port)
        for pair in list(self._pairs):
            pair.move()

    # Faults that happen at once.

    def reset(self) -> int:
        """Reset both ends of every connection. Returns how many connections that were."""
        pairs = list(self._pairs)
        self.fault("reset")
        for pair in pairs:
            pair.cut()
        return len(pairs)

    def half_open(self) -> int:
        """Reset the subscriber's end of every connection; a client isn't told until it sends. Returns how many."""
        pairs = list(self._pairs)
        self.fault("half_open")
        for pair in pairs:
            pair.forget()
        return len(pairs)

    # Where it listens, how it begins and ends.

    @property
    def socket(self) -> str:
        """Where it listens, as the text of a socket, `jsonrpc:host:port`."""
        return _socket(self.host, self.port)

    @property
    def name(self) -> str:
        """What a history calls it."""
        return self._name

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._pairs)

    @property
    def waiting(self) -> int:
        """Bytes on their way in all connections."""
        return sum(pair.up.waiting + pair.down.waiting for pair in self._pairs)

    async def start(self) -> None:
        """Listen.

        Raises:
            UsageError: it is started already.
            OSError: the address can't be had; the error names it.
        """
        if self._port is not None:
            raise UsageError(f"{self!r} is started already; close it first")
        port = self._port = Port(asyncio.get_running_loop(), self.host, self.port)
        try:
            await port.open()
            self.port = port.number
            await self._listen(port)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Stop listening, let arrive what is on its way, and close all connections. Idempotent."""
        port, self._port = self._port, None
        try:
            if port is not None:
                await port.aclose()
        finally:
            pairs = list(self._pairs)
            for pair in pairs:
                pair.close()
        if pairs:
            _, late = await asyncio.wait([pair.gone for pair in pairs], timeout=_GRACE)
            for pair in pairs:
                if late:
                    pair.abort()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # What its connections tell.

    def connected(self, pair: Pair) -> int:
        """A client was accepted. Returns its number; 0 if it may not be served."""
        if self._port is None or "crash" in self._active or len(self._pairs) >= self._max_connections:
            return 0
        self._accepted += 1
        self._pairs[pair] = None
        self.record("accept", self._accepted)
        return self._accepted

    def lost(self, pair: Pair) -> None:
        """Both ends of a connection are gone."""
        if pair.number:
            self._pairs.pop(pair, None)
            self.record("lost", pair.number)

    def spent(self, pair: Pair) -> None:
        """A connection has reached the limit of its bytes."""
        self.record("limit reached", pair.number)
        if self._closes_at_limit:
            pair.close()
        else:
            pair.cut()

    async def _listen(self, port: Port) -> None:
        """Listen, if no fault says otherwise."""
        loop = asyncio.get_running_loop()
        if self._active.keys() & _REFUSING:
            port.refuse()
        elif self._active.keys() & _SWALLOWING:
            port.swallow()
        else:
            await port.listen(lambda: Pair(self, loop).client)
            self.port = port.number

    def _started(self) -> Port:
        if self._port is None:
            raise UsageError(f"{self!r} isn't started")
        return self._port

    def _set(self, name: str, way: Direction, detail: object = "") -> list[Way]:
        """Note a fault, and say which ways it concerns."""
        ways = {"both": [self.up, self.down], "up": [self.up], "down": [self.down]}.get(way)
        if ways is None:
            raise ConfigError(f"{name}: way={way!r}: expected 'both', 'up' or 'down'")
        self._active[name] = None
        shown = getattr(detail, "__name__", detail) if callable(detail) else detail
        self.fault(name, detail=f"{shown}{'' if way == 'both' else f' {way}'}".strip())
        return ways

    def _swallow(self, name: str, way: Direction) -> None:
        port = self._started()
        for each in self._set(name, way):
            each.stopped.add(name)
        port.swallow()


_LASTING: Final = (
    "latency",
    "jitter",
    "bandwidth",
    "slicing",
    "corrupt",
    "limit",
    "hold",
    "partition",
    "black_hole",
    "refuse",
    "crash",
)
_REFUSING: Final = {"refuse", "crash"}
_SWALLOWING: Final = {"partition", "black_hole"}


def _socket(host: str, port: int) -> str:
    return f"jsonrpc:[{host}]:{port}" if ":" in host else f"jsonrpc:{host}:{port}"


def _check(name: str, value: object, expected: str, *, holds: bool) -> None:
    if not holds:
        raise ConfigError(f"{name}({value!r}): expected {expected}")
