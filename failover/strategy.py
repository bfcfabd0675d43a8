"""What all strategies share: children that are sinks or addresses, opened and closed together, and their standing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final, NoReturn, TypeAlias

from attrs import evolve

from failover.address import Address
from failover.errors import ClosedError, ConfigError, UsageError
from failover.event import Event
from failover.foresight import Resolve, WorstCase, foresee
from failover.health import Health, Standing
from failover.held import Held
from failover.outcome import Outcome
from failover.probing import Prober
from failover.receipt import Receipt
from failover.records import LateConfirmation, OnTrial, Quarantined, Record, Recovered, Reinstated, Silence, notify
from failover.schemes import parse_address
from failover.sink import News, Opening, Sink, Status, check_name, open_sink, watch

__all__ = ["Child", "Declared", "Strategy", "declared", "places", "skipped"]

_HEALTH: Final = Health()

Declared: TypeAlias = "Sink | Address | str"
"""A child as it is declared: a sink, or the address of one, parsed or as text."""


class Child(Standing):
    """A strategy's view of one of its sinks: quarantine belongs to the pair, not to the sink.

    Args:
        sink: The sink.
        policy: The strategy's rules of health.
    """

    __slots__ = ("name", "sink", "start")

    def __init__(self, sink: Sink, policy: Health) -> None:
        super().__init__(policy)
        self.name = sink.name
        self.use(sink)

    def use(self, sink: Sink) -> None:
        """Deliver to this sink from now on."""
        self.sink = sink
        self.start: Callable[..., Awaitable[Receipt]] = getattr(sink, "start", None) or sink.deliver


class Strategy:
    """A sink made of sinks. Subclasses say how its children are used.

    Args:
        children: Sinks, or addresses of sockets; at least one. An address becomes a sink when the strategy is opened.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: no children, two of one name, or a child that is none.
        AddressError: an address that can't be parsed.
    """

    rule = ""
    """By what it chooses the child that it tries first, as receipts say it; empty where there is no choice."""
    side_by_side = False
    """Whether its children are tried at once; then several confirmations are copies, not duplicates."""

    def __init__(self, *children: Declared, name: str | None = None) -> None:
        kind = type(self).__name__
        self.name = kind if name is None else check_name("strategy", name)
        self.declared = tuple(declared(child, self.name) for child in children)
        if not self.declared:
            raise ConfigError(f"{self.name} has no children: give it at least one sink or address")
        names = [child.name if isinstance(child, Sink) else child.called for child in self.declared]
        for twice in sorted({one for one in names if names.count(one) > 1}):
            raise ConfigError(
                f"{self.name} has two children named {twice!r}; give one of them another, e.g. jsonrpc(…, name='b')"
            )
        self.health = _HEALTH
        """The rules by which it judges its children."""
        self.children: tuple[Child, ...] = ()
        """The children, once opened; empty before."""
        self.watchers: list[Callable[[News], None]] = []
        self.observers: tuple[Callable[..., object], ...] = ()
        self.group = ""
        """The name of the group that it was opened for, as observers are told."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._now: Callable[[], float] = self._not_open
        """Loop time; still known after closing, for deliveries that were under way."""
        self._prober: Prober | None = None

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
        self.group = opening.group
        children: list[Child] = []
        try:
            for declared in self.declared:
                sink = declared if isinstance(declared, Sink) else opening.resolve(declared)
                await open_sink(sink, opening)
                children.append(Child(sink, self.health))
        except BaseException:
            await _close([child.sink for child in children])
            self._loop = None
            raise
        for child in children:
            watch(child.sink, partial(self._hear, child))
        self.children = tuple(children)
        if self.health.probe is not None:
            self._prober = Prober(self.health.probe, self._probed)

    async def aclose(self) -> None:
        """Close all children; what is in flight gets its receipt. Idempotent."""
        if self._loop is None:
            return
        self._loop = None  # children stay: deliveries that are under way still ask them, and are told "closed"
        prober, self._prober = self._prober, None
        try:
            if prober is not None:
                await prober.aclose()
        finally:
            await _close([child.sink for child in self.children])
        self.watchers.clear()

    def forget(self) -> None:
        """Be as declared again without closing anything: after a fork, what was open belongs to the parent."""
        self._loop = None
        self._now = self._not_open
        self._prober = None
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

    def _foresee(self, within: float | None, resolve: Resolve) -> list[WorstCase]:
        """What the children may take at worst, in declared order, whether it is open or not."""
        return [foresee(child, within, resolve).below(self.name) for child in self.declared]

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
        child.take_out(now, seconds, reason)
        if self.observers:  # all that was in flight when a connection broke comes by here
            self._note(Quarantined(self.name, child.name, child.out_until, reason, now, self.group))
        if self._prober is not None:
            self._prober.watch(child)

    def take_back(self, child: Child, reason: str, now: float, *, tried: bool = True) -> None:
        """Count an answer of a child; it may end its quarantine or its slow start.

        Args:
            child: Who answered.
            reason: What it did.
            now: Loop time, seconds.
            tried: Whether it answered an event that was meant to be tried there; a late reply is none.
        """
        change = child.answer(now, tried=tried)
        if change and self.observers:
            record = Reinstated if change == "reinstated" else Recovered
            notify(self.observers, record(self.name, child.name, reason, now, self.group))

    def hold(self, child: Child, reason: str) -> None:
        """Take a child out by hand: it gets no event any more, not even as the last resort, until `release`."""
        if child.by_hand:
            return
        child.use(Held(child.sink, reason))
        child.by_hand = True
        self.take_out(child, 0.0, reason, self._now())

    def release(self, child: Child, reason: str) -> None:
        """Put a child back into service by hand, whatever took it out."""
        if isinstance(child.sink, Held):
            child.use(child.sink.sink)
        if child.steady:
            return
        child.reinstate()
        self._note(Reinstated(self.name, child.name, reason, self._now(), self.group))

    async def probe(self, method: str | None, timeout: float) -> str:
        """Ask whether any child would answer; empty if one does, else why the last one doesn't."""
        reason = "no child can be probed"
        for child in self.children:
            ask: Callable[[str | None, float], Awaitable[str]] | None = getattr(child.sink, "probe", None)
            if ask is not None:
                reason = await ask(method, timeout)
                if not reason:
                    break
        return reason

    def _probed(self, child: Child) -> None:
        """A child that is out has answered a probe."""
        now = self._now()
        if child.policy.failback == "eager":
            self.take_back(child, "a probe was answered", now, tried=False)
        elif child.serve(now):
            self._note(OnTrial(self.name, child.name, "a probe was answered", now, self.group))

    def _note(self, record: Record) -> None:
        if self.observers:
            notify(self.observers, record)

    def _hear(self, child: Child, news: News) -> None:
        """Judge a child by what came after its attempt; tell whoever holds this strategy what concerns it."""
        if isinstance(news, Silence):
            self.silent(child, news)
        else:
            reason = "late confirmation" if news.confirmed else "late reply"
            self.take_back(child, reason, news.at, tried=False)
            self._tell(LateConfirmation(self.name, news.attempt, news.confirmed, news.at))

    def silent(self, child: Child, news: Silence) -> None:
        """A child gave no reply although nobody waited any more. Overridden by what quarantines."""

    def _tell(self, news: News) -> None:
        for watcher in list(self.watchers):
            watcher(news)


def places(sink: Any, name: str) -> Iterator[tuple[Strategy, Child]]:
    """Every place of a tree where a child of that name stands, with the strategy that holds it.

    Args:
        sink: The root: a strategy, an open group, or any other sink, which has no places.
        name: The child's name.
    """
    if isinstance(sink, Held):
        sink = sink.sink
    if isinstance(sink, Strategy):
        for child in sink.children:
            if child.name == name:
                yield sink, child
            yield from places(child.sink, name)
    else:
        inner = getattr(sink, "sink", None)  # a group's tree
        if isinstance(inner, Sink):
            yield from places(inner, name)


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
    several = "; pass several one by one to a strategy, e.g. Failover(a, b)" if isinstance(child, Iterable) else ""
    raise ConfigError(f"a child of {owner} must be a sink or an address, not {child!r}{several}")


def _child_status(child: Child, now: float) -> Status:
    status = child.sink.status()
    if child.steady or child.admits(now):
        return status
    up = status.up and child.in_slow_start and child.admits(now, -child.trial)
    return evolve(status, up=up, reason=child.why_not(now))


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
