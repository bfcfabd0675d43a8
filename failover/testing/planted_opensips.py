"""Models of what was measured in real OpenSIPS, as sinks and strategies that fit into our trees.

They behave as OpenSIPS 2.4, 3.0 and 4.1-dev did on loopback, and say of themselves what those would.
"""

# ruff: noqa: D102  what the methods of sinks promise is said there; here they break it
from __future__ import annotations

import asyncio
import math
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

from attrs import evolve
from msgspec.structs import replace

from failover.event import Event
from failover.group import Group
from failover.net.connection import Connection
from failover.outcome import Outcome
from failover.protocol.framing import Malformed
from failover.receipt import Attempt, Receipt
from failover.records import AttemptEnded, Record, notify
from failover.sink import Opening, Sink, Status
from failover.sinks.jsonrpc import JsonRpcSink, jsonrpc
from failover.strategies import Failover, Parallel, RoundRobin
from failover.strategy import Child

__all__ = ["MEASURED", "Model"]

_STALL: Final = 135.0  # seconds that a connect to a black hole took, on Linux
_PIPE: Final = 4  # events that a model of the pipe between processes holds
_TICK: Final = 1.0  # seconds between two looks at timeouts


class Model:
    """A socket that does its work as it should and says something else of it.

    Args:
        inner: The real one.
        timeout: What it was told.
    """

    def __init__(self, inner: JsonRpcSink, timeout: float) -> None:
        self.inner = inner
        self.name = inner.name
        self.timeout = timeout
        self.watchers = inner.watchers
        self._observers: tuple[Any, ...] = ()

    async def open(self, opening: Opening) -> None:
        self._observers = opening.observers
        await self.inner.open(evolve(opening, observers=(self._pass_on,)))

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        try:
            receipt = self.said(await self.inner.deliver(event, deadline=deadline))
        except asyncio.CancelledError as cancelled:
            receipt = getattr(cancelled, "receipt", None)  # type: ignore[assignment]
            if isinstance(receipt, Attempt):
                notify(self._observers, AttemptEnded(receipt))
            raise
        notify(self._observers, AttemptEnded(receipt))
        return receipt

    def said(self, attempt: Receipt) -> Attempt:
        """What it makes of an attempt."""
        assert isinstance(attempt, Attempt)  # noqa: S101  # narrows the type; a socket leaves nothing else
        return attempt

    def status(self) -> Status:
        return self.inner.status()

    async def aclose(self) -> None:
        await self.inner.aclose()

    def _pass_on(self, record: Record) -> None:
        if not isinstance(record, AttemptEnded):
            notify(self._observers, record)


class OffByOne(Model):
    """Says of each event what became of the one before; the first has failed."""

    _before = Outcome.UNCONFIRMED

    def said(self, attempt: Receipt) -> Attempt:
        outcome, self._before = self._before, attempt.outcome
        return replace(super().said(attempt), outcome=outcome, verdict=None)


class LateTimeout(Model):
    """Looks at its timeouts once per turn of a reactor: 200 ms take a second."""

    def __init__(self, inner: JsonRpcSink, timeout: float) -> None:
        super().__init__(inner, timeout)
        inner.timeout = math.ceil(timeout / _TICK) * _TICK


class Stalls(Model):
    """Connects with a call that blocks: while one of them hangs, nothing else happens."""

    _blocked: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, float]] = WeakKeyDictionary()

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (until := self._blocked.get(loop, 0.0)) > loop.time():  # noqa: ASYNC110  # a model of blocking
            await asyncio.sleep(until - loop.time())
        receipt = await super().deliver(event, deadline=deadline)
        if receipt.outcome is Outcome.UNREACHABLE and receipt.took >= self.timeout:
            self._blocked[loop] = max(self._blocked.get(loop, 0.0), began + _STALL)
        return receipt


def _socket(model: type[Model]) -> Any:
    def make(socket: str, **settings: Any) -> Sink:
        return model(jsonrpc(socket, **settings), settings["timeout"])

    return make


class StopsAtFailure(Parallel):
    """Stops at the first child that fails."""

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        began = asyncio.get_running_loop().time()
        receipts: list[Receipt] = []
        for child in self.children:
            receipts.append(await child.sink.deliver(event, deadline=deadline))
            if not receipts[-1].settled:
                break
        return self._receipt(event, began, tuple(receipts))

    async def deliver_many(self, events: Any, **settings: Any) -> list[Receipt]:
        return [await self.deliver(event, deadline=settings.get("deadline")) for event in events]


class Wedges(RoundRobin):
    """Deadlocks for ever at the first failure."""

    _wedged = False

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        if self._wedged:
            await asyncio.get_running_loop().create_future()
        receipt = await super().deliver(event, deadline=deadline)
        self._wedged = any(child.at_fault for child in receipt.children)
        return receipt

    async def deliver_many(self, events: Any, **settings: Any) -> list[Receipt]:
        return [await self.deliver(event, deadline=settings.get("deadline")) for event in events]


class LosesItsEvent(RoundRobin):
    """Rotates past a child that has failed, and loses the event that it had."""

    def order(self, event: Event) -> Any:
        return list(super().order(event))[:1]


class GivesUp(Failover):
    """Loses an event without an attempt while all children are in their window."""

    async def _last_resort(self, event: Event, held: list[Child], tried: list[Receipt], deadline: float | None) -> None:
        tried.extend(self._passed_over(event, held))


class WholeSeconds(Failover):
    """Compares whole seconds by `<=`: a window of 2 s lasts up to 3."""

    def take_out(self, child: Child, seconds: float, reason: str, now: float) -> None:
        super().take_out(child, math.floor(now + seconds) + 1 - now, reason, now)


def _fail_all(connection: Connection, fault: Any) -> None:
    """Close the connection at a reply that is no answer, and fail all that is pending on it."""
    if isinstance(fault, Malformed):
        connection.break_off(f"bad reply: {fault.problem}")


_deliver = Group.deliver


async def _overflow(group: Group, event: Event, **settings: Any) -> Any:
    """Hand events to another process through a pipe that may overflow."""
    if group.status().in_flight >= _PIPE:
        return None
    return await _deliver(group, event, **settings)


MEASURED: Final[tuple[tuple[str, str, dict[str, Any] | tuple[Any, str, Any]], ...]] = (
    ("status off by one", "each event has the status of the one before", {"Socket": _socket(OffByOne)}),
    ("PARALLEL stops", "children after the first that fails get nothing", {"Parallel": StopsAtFailure}),
    ("ROUND-ROBIN wedges", "nothing more is delivered after the first failure", {"RoundRobin": Wedges}),
    ("ROUND-ROBIN loses", "the event of a child that fails goes nowhere else", {"RoundRobin": LosesItsEvent}),
    ("FAILOVER gives up", "with all children in their window, an event is lost untried", {"Failover": GivesUp}),
    ("whole seconds", "a window lasts up to a second longer than it should", {"Failover": WholeSeconds}),
    ("late timeouts", "200 ms take a second", {"Socket": _socket(LateTimeout)}),
    ("one bad reply", "it fails all that is pending on its connection", (Connection, "_report", _fail_all)),
    ("135 s stall", "a connect to a black hole stops everything", {"Socket": _socket(Stalls)}),
    ("dropped burst", "a pipe overflows, and events are gone without a word", (Group, "deliver", _overflow)),
)
"""Name, what it does wrong, and what to plant: other kinds in a tree, or one function in place of another."""
