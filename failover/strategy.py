"""What all strategies share: children that are sinks or addresses, opened and closed together, and their standing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NoReturn, TypeAlias

from attrs import evolve

from failover.address import Address
from failover.errors import ClosedError, ConfigError, UsageError
from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.records import LateConfirmation, Quarantined, Reinstated, Silence, notify
from failover.schemes import parse_address
from failover.sink import News, Opening, Sink, Status, check_name, open_sink, watch

__all__ = ["Child", "Declared", "Strategy", "declared", "skipped"]

Declared: TypeAlias = "Sink | Address | str"
"""A child as it is declared: a sink, or the address of one, parsed or as text."""


class Child:
    """A strategy's view of one of its sinks: quarantine belongs to the pair, not to the sink."""

    __slots__ = ("name", "out_since", "out_until", "reason", "sink", "start", "trial")

    def __init__(self, sink: Sink) -> None:
        self.name = sink.name
        self.sink = sink
        self.start: Callable[..., Awaitable[Receipt]] = getattr(sink, "start", None) or sink.deliver
        self.out_until = 0.0
        """Loop time until which it is skipped, seconds; 0 in service."""
        self.out_since = 0.0
        """Loop time since which it is out, seconds."""
        self.reason = ""
        """What took it out."""
        self.trial = False
        """Whether an attempt is in flight although it is out."""


class Strategy:
    """A sink made of sinks. Subclasses say how its children are used.

    Args:
        children: Sinks, or addresses of sockets; at least one. An address becomes a sink when the strategy is opened.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: no children, two of one name, or a child that is none.
        AddressError: an address that can't be parsed.
    """

    side_by_side = False
    """Whether its children are tried at once; then several confirmations are copies, not duplicates."""

    def __init__(self, *children: Declared, name: str | None = None) -> None:
        kind = type(self).__name__
        self.name = kind if name is None else check_name("strategy", name)
        self.declared = tuple(declared(child, self.name) for child in children)
        if not self.declared:
            raise ConfigError(f"{self.name} has no children: give it at least one sink or address")
        names = [child.name if isinstance(child, Sink) else str(child) for child in self.declared]
        for twice in sorted({one for one in names if names.count(one) > 1}):
            raise ConfigError(
                f"{self.name} has two children named {twice!r}; give one of them another, e.g. jsonrpc(…, name='b')"
            )
        self.children: tuple[Child, ...] = ()
        """The children, once opened; empty before."""
        self.watchers: list[Callable[[News], None]] = []
        self.observers: tuple[Callable[..., object], ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._now: Callable[[], float] = self._not_open
        """Loop time; still known after closing, for deliveries that were under way."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {len(self.declared)}>"

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Deliver one event; what happened with each child stands in the receipt. SKIPPED after closing.

        Raises:
            ClosedError: it was never opened.
        """
        raise NotImplementedError

    async def open(self, opening: Opening) -> None:
        """Make sinks of the addresses and open all children.

        Raises:
            UsageError: it is open already: one strategy serves one group.
        """
        if self._loop is not None:
            raise UsageError(f"{self.name} is open already; declare a strategy of its own for each place in a tree")
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self.observers = opening.observers
        children: list[Child] = []
        try:
            for declared in self.declared:
                sink = declared if isinstance(declared, Sink) else opening.resolve(declared)
                await open_sink(sink, opening)
                children.append(Child(sink))
        except BaseException:
            await _close([child.sink for child in children])
            self._loop = None
            raise
        for child in children:
            watch(child.sink, partial(self._hear, child))
        self.children = tuple(children)

    async def aclose(self) -> None:
        """Close all children; what is in flight gets its receipt. Idempotent."""
        if self._loop is None:
            return
        self._loop = None  # children stay: deliveries that are under way still ask them, and are told "closed"
        await _close([child.sink for child in self.children])
        self.watchers.clear()

    def forget(self) -> None:
        """Be as declared again without closing anything: after a fork, what was open belongs to the parent."""
        self._loop = None
        self._now = self._not_open
        self.children = ()
        self.watchers = []
        for declared in self.declared:
            forget = getattr(declared, "forget", None)
            if forget is not None:
                forget()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop it was opened on.

        Raises:
            ClosedError: it is not open.
        """
        if self._loop is None:
            self._not_open()
        return self._loop

    def _not_open(self) -> NoReturn:
        raise ClosedError(f"{self.name} is not open; open its group with 'async with'")

    def status(self) -> Status:
        """How it stands; it is up if any child is."""
        return self._status(need=1)

    def _status(self, need: int) -> Status:
        now = 0.0 if self._loop is None else self._loop.time()
        children = tuple(_child_status(child, now) for child in self.children)
        up = sum(child.up for child in children) >= need
        return Status(
            name=self.name,
            up=up and self._loop is not None,
            reason="" if up else ("not open" if self._loop is None else "too few children are up"),
            in_flight=sum(child.in_flight for child in children),
            late=sum(child.late for child in children),
            outcomes={
                outcome: sum(child.outcomes.get(outcome, 0) for child in children)
                for outcome in Outcome
                if any(outcome in child.outcomes for child in children)
            },
            children=children,
        )

    def take_out(self, child: Child, seconds: float, reason: str, now: float) -> None:
        """Quarantine a child from now on; one that is out already stays out for longer."""
        if not child.out_until:
            child.out_since = now
        child.out_until = now + seconds
        child.reason = reason
        if self.observers:
            notify(self.observers, Quarantined(self.name, child.name, child.out_until, reason, now))

    def take_back(self, child: Child, reason: str, now: float) -> None:
        """End a child's quarantine, if it is in one."""
        if child.out_until:
            child.out_until = 0.0
            if self.observers:
                notify(self.observers, Reinstated(self.name, child.name, reason, now))

    def _hear(self, child: Child, news: News) -> None:
        """Judge a child by what came after its attempt; tell whoever holds this strategy what concerns it."""
        if isinstance(news, Silence):
            self.silent(child, news)
        else:
            self.take_back(child, "late confirmation" if news.confirmed else "late reply", news.at)
            self._tell(LateConfirmation(self.name, news.attempt, news.confirmed, news.at))

    def silent(self, child: Child, news: Silence) -> None:
        """A child gave no reply although nobody waited any more. Overridden by what quarantines."""

    def _tell(self, news: News) -> None:
        for watcher in list(self.watchers):
            watcher(news)


def skipped(event: Event, name: str, now: float, reason: str) -> Receipt:
    """The receipt of a child that was not tried."""
    return Receipt(event, name, Outcome.SKIPPED, now, now, reason=reason)


def declared(child: Declared, owner: str) -> Sink | Address:
    """Check a child as it is declared; text becomes an address.

    Raises:
        ConfigError: neither a sink nor an address.
        AddressError: an address that can't be parsed.
    """
    if isinstance(child, str):
        return parse_address(child)
    if isinstance(child, (Sink, Address)):
        return child
    raise ConfigError(f"a child of {owner} must be a sink or an address, not {child!r}")


def _child_status(child: Child, now: float) -> Status:
    status = child.sink.status()
    if child.out_until <= now:
        return status
    reason = f"quarantined for {child.out_until - now:.1f} s more: {child.reason}"
    return evolve(status, up=False, reason=reason)


async def _close(sinks: list[Sink]) -> None:
    """Close all, whatever one of them does; the first failure is raised after the last is closed."""
    failures: list[BaseException] = []
    for sink in sinks:
        try:
            await sink.aclose()
        except BaseException as failure:  # noqa: BLE001  # raised below
            failures.append(failure)
    if failures:
        raise failures[0]
