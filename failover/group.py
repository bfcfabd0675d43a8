"""Groups: a named tree of sinks, opened and closed as one; OpenSIPS's virtual subscriber, declared in code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from functools import partial
from random import Random
from threading import get_ident
from types import TracebackType
from typing import Any, Final, Self

from failover.blocking import BlockingGroup
from failover.build import build
from failover.errors import ClosedError, UsageError, WrongLoopError
from failover.event import Event, check_events
from failover.foresight import Resolve, WorstCase, concluded, foresee
from failover.net.peers import Peers
from failover.receipt import Receipt
from failover.records import DeliveryEnded, Observer, check_observers, notify
from failover.schemes import Defaults
from failover.sink import (
    News,
    Opening,
    Sink,
    Status,
    check_deadline,
    check_kind,
    check_name,
    check_seconds,
    deliver_many,
    left_of,
    untold,
)
from failover.strategy import Child, Declared, Strategy, declared, places
from failover.taking import Taker, begin_many

__all__ = ["Group"]

_LOOK: Final = 0.01  # seconds between two looks at what is still under way


class Group:
    """Delivers events to the sockets of one tree. Itself a sink: a group fits wherever a socket fits.

    Bound to one event loop while it is open; the same group may be opened again after it was closed.

    Args:
        name: How it is called in records.
        sink: A strategy, a socket's sink, or an address.
        observers: Called with each record (`failover.records`): attempts, deliveries, changes of standing.
        defaults: For sockets given as text.
        peers: Who owns the connections; the loop's own peers by default.
        rng: The source of randomness for strategies.
        drain: Seconds for which closing waits for what is in flight, 0 or more; what is left then is abandoned.

    Raises:
        ConfigError: an empty name, something that is no sink, a negative drain, or a setting of another kind.
        AddressError: an address that can't be parsed.
    """

    def __init__(
        self,
        name: str,
        sink: Declared,
        *,
        observers: Sequence[Observer] = (),
        defaults: Defaults | None = None,
        peers: Peers | None = None,
        rng: Random | None = None,
        drain: float = 1.0,
    ) -> None:
        self.name = check_name("group", name)
        self.declared = declared(sink, f"group {name!r}")
        self.observers = check_observers(observers)
        self._drain = check_seconds("drain", drain, zero=True)
        self._defaults = check_kind("defaults", defaults, Defaults) or Defaults()
        self._peers = check_kind("peers", peers, Peers)
        self._rng = check_kind("rng", rng, Random) or Random()  # chooses among sockets, no secrets
        self._reset()

    def forget(self) -> None:
        """Be as declared again without closing anything: after a fork, what was open belongs to the parent."""
        self._reset()
        forget = getattr(self.declared, "forget", None)
        if forget is not None:
            forget()

    def _reset(self) -> None:
        self.watchers: list[Callable[[News], None]] = []
        self._told = self.observers
        self._above: tuple[Observer, ...] = ()  # those of the group that this one is nested in
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sink: Sink | None = None
        self._deliver: Any = None
        self._closing = False
        self._nested = False
        # Together these two tell cheaply that we are called on the right loop: asking for the running loop is a system
        # call on Python 3.11. 0 stands for no thread: the exact check then says what is wrong.
        self._thread = 0
        self._is_running: Callable[[], bool] = bool
        self._in_flight = 0
        self._idle: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Group {self.name!r}, {'closed' if self._loop is None else 'open'}>"

    @property
    def sink(self) -> Sink:
        """The root of the tree.

        Raises:
            ClosedError: the group is not open.
        """
        if self._sink is None:
            raise self._closed()
        return self._sink

    async def open(self, opening: Opening | None = None) -> None:
        """Make sinks of all addresses and start connecting, without waiting for it.

        Args:
            opening: Given by the strategy that this group is a child of.

        Raises:
            UsageError: it is open already.
            ConfigError: connections are shared with other options.
        """
        if self._loop is not None:
            raise UsageError(f"group {self.name!r} is open already; close it first, or share the open one")
        self._nested = opening is not None
        self._above = () if opening is None else opening.observers
        if opening is None:
            peers = Peers.current() if self._peers is None else self._peers
            opening = Opening(peers, partial(build, defaults=self._defaults), self._rng, self.observers, self.name)
        else:
            observers = (*opening.observers, *self.observers)
            peers = opening.peers if self._peers is None else self._peers
            opening = Opening(peers, partial(build, defaults=self._defaults), opening.rng, observers, opening.group)
        sink = self.declared if isinstance(self.declared, Sink) else opening.resolve(self.declared)
        opener = getattr(sink, "open", None)
        if opener is not None:
            await opener(opening)
        self._told = opening.observers
        watchers: list[Callable[[News], None]] | None = getattr(sink, "watchers", None)
        if watchers is not None:
            watchers.append(self._hear)
        self._sink = sink
        self._deliver = partial(self._deliver_named, sink) if self._nested else sink.deliver
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._is_running = self._loop.is_running
        self._thread = get_ident()

    async def aclose(self, *, drain: float | None = None) -> None:
        """Close the group: no new events, wait for what is in flight, abandon the rest, give the connections back.

        Idempotent; other groups on the same connections are not affected.

        Args:
            drain: Seconds to wait for what is in flight; the group's own setting by default.
        """
        if self._loop is None or self._sink is None or self._closing:
            return
        own = 0.0 if self._nested else self._drain  # the outermost group has waited for all of them
        wait = own if drain is None else check_seconds("drain", drain, zero=True)
        self._closing = True
        self._thread = 0
        try:
            if self._in_flight and wait:
                self._idle = self._loop.create_future()
                await asyncio.wait([self._idle], timeout=wait)
        finally:
            try:
                await self._sink.aclose()
            finally:  # a sink that fails to close must not leave the group half closed for ever
                self._loop = None
                self._sink = None
                self.watchers.clear()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def deliver(self, event: Event, *, deadline: float | None = None, within: float | None = None) -> Receipt:
        """Deliver one event.

        Args:
            event: What to deliver.
            deadline: Absolute loop time, seconds, after which nobody waits any more.
            within: The same as seconds from now; the earlier of both counts.

        Returns:
            The receipt of the whole tree; every outcome is data.

        Raises:
            ClosedError: the group is not open.
            WrongLoopError: it is open on another loop.
            ConfigError: `within` is no positive number of seconds, or `deadline` no number.
            TypeError: not an `Event`.
        """
        if get_ident() != self._thread or type(event) is not Event or not self._is_running():
            self._check(event)
        if deadline is not None or within is not None:
            deadline = self._ends(deadline, within)
        self._in_flight += 1
        try:
            receipt: Receipt = await self._deliver(event, deadline=deadline)
        except asyncio.CancelledError as cancelled:
            if self._told:
                left: Receipt | None = getattr(cancelled, "receipt", None)
                self._tell(
                    untold(event, self._sink or self, asyncio.get_running_loop().time()) if left is None else left
                )
            raise
        finally:
            self._in_flight -= 1
            if self._idle is not None and not self._in_flight and not self._idle.done():
                self._idle.set_result(None)
        if self._told:
            self._tell(receipt)
        return receipt

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        within: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """Deliver a batch, pipelined; one receipt per event, in the same order.

        Args:
            events: What to deliver.
            deadline: Absolute loop time, seconds, for the whole batch.
            within: The same as seconds from now; the earlier of both counts.
            until: See `failover.deliver_many`.

        Raises:
            ClosedError: the group is not open.
            WrongLoopError: it is open on another loop.
            ConfigError: `within` is no positive number of seconds, or `deadline` no number.
            TypeError: one of them is not an `Event`, or this is no batch.
        """
        events = check_events(events)
        if not events:
            return []
        self._check(events[0])
        deadline = self._ends(deadline, within)
        self._in_flight += len(events)
        try:
            receipts = await deliver_many(self.sink, events, deadline=deadline, until=until)
        except asyncio.CancelledError as cancelled:
            cancelled.receipts = self._batch_ended(left_of(events, self.name, cancelled))  # type: ignore[attr-defined]
            raise
        finally:
            self._done(len(events))
        return self._batch_ended(receipts)

    def begin_many(self, events: Sequence[Event], taker: Taker, *, deadline: float | None = None) -> None:
        """Begin a delivery of each of some events; see `failover.taking`.

        Raises:
            ClosedError: the group is not open.
            WrongLoopError: it is open on another loop.
        """
        if get_ident() != self._thread or not self._is_running():
            self._check(events[0])
        begin_many(self.sink, events, _Begun(self._ended, self._finish, taker), deadline=deadline)
        self._in_flight += len(events)  # none can have ended yet

    def blocking(self, *, within: float = 0.5, thread: bool = True) -> BlockingGroup:
        """The face of this group for code that doesn't await; it opens the group with `with`, or on first use.

        Args:
            within: Seconds after which no call waits any more, unless it says otherwise itself.
            thread: Whether the thread that all facades of a process share runs the loop, else the caller's own thread
                during its calls.

        Raises:
            ConfigError: `within` is no positive number of seconds.
        """
        return BlockingGroup(self, within=within, thread=thread)

    def worst_case(self, within: float | None = None, resolve: Resolve | None = None) -> WorstCase:
        """What one delivery may come to at worst, and what in the tree can't work as it is declared; open or not.

        Args:
            within: Seconds that a delivery has; None without a deadline.
            resolve: Given by the strategy that this group is a child of.

        Raises:
            ConfigError: `within` is no positive number of seconds, or an address that no sink can be made of.
        """
        if within is not None and resolve is None:
            check_seconds("within", within)
        found = foresee(self.declared, within, partial(build, defaults=self._defaults)).below(self.name)
        return concluded(found) if resolve is None else found

    def status(self) -> Status:
        """How the tree stands now."""
        if self._sink is None:
            return Status(self.name, up=False, reason="not open")
        status = self._sink.status()
        return Status(self.name, status.up, status.reason, self._in_flight, status.outcomes, status.late, (status,))

    def quarantine(self, child: str, reason: str = "maintenance") -> None:
        """Take a child out of service by hand: it gets no event any more, not even as the last resort.

        What is under way there goes on. It counts until `reinstate`, or until the group is closed.

        Args:
            child: Its name in receipts, wherever in the tree it stands; if in several places, in all of them.
            reason: Stands in receipts and records.

        Raises:
            ClosedError: the group is not open.
            UsageError: no child of that name.
        """
        for strategy, place in self._places(child):
            strategy.hold(place, reason)

    def reinstate(self, child: str, reason: str = "by hand") -> None:
        """Put a child back into service, whatever took it out; the other way round from `quarantine`.

        Args:
            child: Its name in receipts, wherever in the tree it stands.
            reason: Stands in records.

        Raises:
            ClosedError: the group is not open.
            UsageError: no child of that name.
        """
        for strategy, place in self._places(child):
            strategy.release(place, reason)

    async def drain(self, child: str, *, within: float, reason: str = "drained") -> bool:
        """Take a child out by hand and wait for what is under way there, e.g. before its host is restarted.

        Args:
            child: Its name in receipts, wherever in the tree it stands.
            within: Seconds to wait at most.
            reason: Stands in receipts and records.

        Returns:
            Whether nothing is under way there any more; it stays out either way, until `reinstate`.

        Raises:
            ClosedError: the group is not open.
            UsageError: no child of that name.
            ConfigError: `within` is no positive number of seconds.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + check_seconds("within", within)
        self.quarantine(child, reason)
        places = [place for _, place in self._places(child)]
        while any(place.sink.status().in_flight for place in places):
            if loop.time() >= end:
                return False
            await asyncio.sleep(min(_LOOK, end - loop.time()))
        return True

    async def probe(self, method: str | None, timeout: float) -> str:
        """Ask whether its tree would answer; see `failover.health.Probe`."""
        ask: Callable[[str | None, float], Awaitable[str]] | None = getattr(self.sink, "probe", None)
        return "it can't be probed" if ask is None else await ask(method, timeout)

    def _places(self, child: str) -> list[tuple[Strategy, Child]]:
        found = list(places(self.sink, child))
        if not found:
            names = sorted(name for name in set(_names(self.status())) if any(places(self.sink, name)))
            known = f"it has {', '.join(map(repr, names))}" if names else "only a strategy's children can be named"
            raise UsageError(f"group {self.name!r} has no child {child!r}; {known}")
        return found

    def _check(self, event: Event) -> None:
        """Refuse misuse."""
        loop = self._loop
        if loop is None or self._closing:
            raise self._closed()
        if asyncio.get_running_loop() is not loop:
            raise WrongLoopError(
                f"group {self.name!r} is open on another event loop; deliver there, or use its blocking() facade"
            )
        if not isinstance(event, Event):
            raise TypeError(f"an Event was expected, not {event!r}")

    def _ends(self, deadline: float | None, within: float | None) -> float | None:
        """The absolute deadline: the earlier of both."""
        check_deadline(deadline)
        if within is None or self._loop is None:
            return deadline
        end = self._loop.time() + check_seconds("within", within)
        return end if deadline is None or end < deadline else deadline

    async def _deliver_named(self, sink: Sink, event: Event, *, deadline: float | None) -> Receipt:
        """Deliver as part of a larger tree: there the receipt has to carry this group's name."""
        try:
            return self._named(await sink.deliver(event, deadline=deadline))
        except asyncio.CancelledError as cancelled:
            left: Receipt | None = getattr(cancelled, "receipt", None)
            if left is None:
                left = untold(event, sink, asyncio.get_running_loop().time())
            cancelled.receipt = self._named(left)  # type: ignore[attr-defined]
            raise

    def _ended(self, receipts: list[Receipt]) -> list[Receipt]:
        """Take what ended of events that were begun together."""
        self._done(len(receipts))
        return self._batch_ended(receipts)

    async def _finish(self, event: Event, rest: Awaitable[Receipt]) -> Receipt:
        """Wait for one of them by itself."""
        try:
            receipt = await rest
        except asyncio.CancelledError as cancelled:
            sink, now = self._sink or self, asyncio.get_running_loop().time()
            left: Receipt = getattr(cancelled, "receipt", None) or untold(event, sink, now)
            (cancelled.receipt,) = self._batch_ended([left])  # type: ignore[attr-defined]
            raise
        finally:
            self._done(1)
        return self._batch_ended([receipt])[0]

    def _done(self, count: int) -> None:
        self._in_flight -= count
        if self._idle is not None and not self._in_flight and not self._idle.done():
            self._idle.set_result(None)

    def _batch_ended(self, receipts: Sequence[Receipt]) -> list[Receipt]:
        """Tell observers of each event's end."""
        named = [self._named(receipt) for receipt in receipts] if self._nested else list(receipts)
        if self._told:
            for receipt in named:
                self._tell(receipt)
        return named

    def _tell(self, receipt: Receipt) -> None:
        """Tell observers of a delivery; to those of an outer group it is a part of theirs."""
        if self._above:
            notify(self._above, DeliveryEnded(self.name, receipt, part=True))
        if self.observers:
            notify(self.observers, DeliveryEnded(self.name, receipt))

    def _named(self, receipt: Receipt) -> Receipt:
        return Receipt(
            receipt.event, self.name, receipt.outcome, receipt.began, receipt.ended, (receipt,), receipt.verdict
        )

    def _closed(self) -> ClosedError:
        return ClosedError(f"group {self.name!r} is not open; use 'async with group:' or await group.open()")

    def _hear(self, news: News) -> None:
        for watcher in list(self.watchers):
            watcher(news)


class _Begun:
    """Takes the receipts of events that were begun together, for a group, and passes them on."""

    __slots__ = ("_ended", "_finish", "_taker")

    def __init__(
        self,
        ended: Callable[[list[Receipt]], list[Receipt]],
        finish: Callable[[Event, Awaitable[Receipt]], Coroutine[Any, Any, Receipt]],
        taker: Taker,
    ) -> None:
        self._ended = ended
        self._finish = finish
        self._taker = taker

    def take(self, receipts: list[Receipt], /) -> None:
        """Pass on what has ended."""
        self._taker.take(self._ended(receipts))

    def go_on(self, event: Event, rest: Coroutine[Any, Any, Receipt], /) -> None:
        """Pass on what is left to do."""
        self._taker.go_on(event, self._finish(event, rest))


def _names(status: Status) -> Iterator[str]:
    """Every child's name below a status."""
    for child in status.children:
        yield child.name
        yield from _names(child)
