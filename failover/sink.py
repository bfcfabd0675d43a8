"""The one interface of everything that delivers, and the two functions that use a sink's fast path where it has one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from attrs import Factory, field, frozen
from msgspec.structs import replace

from failover.address import Address
from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.records import LateConfirmation, Observer, Silence

__all__ = [
    "News",
    "Opening",
    "Sink",
    "Status",
    "check_deadline",
    "check_kind",
    "check_name",
    "check_seconds",
    "deliver_each",
    "deliver_many",
    "left_by",
    "left_of",
    "open_sink",
    "partial_receipt",
    "start",
    "untold",
    "watch",
]

_T = TypeVar("_T")
_WINDOW = 64  # deliveries at once of a batch over a sink that can't take batches itself

News: TypeAlias = LateConfirmation | Silence
"""What a sink learns of a peer after the attempt has ended."""


@frozen
class Status:
    """How a sink stands at one moment.

    Args:
        name: The sink's name.
        up: Whether the next event would be tried here; a strategy is up if enough of its children are.
        reason: Why it is not up, or what is odd; empty otherwise.
        in_flight: Events given to it that have no receipt yet.
        outcomes: How many attempts ended how, since it was opened.
        late: Replies that came after their attempt had ended.
        children: A strategy's children, in declared order.
        address: Where a socket's events go, as text; empty for what has none.
    """

    name: str
    up: bool
    reason: str = ""
    in_flight: int = 0
    outcomes: dict[Outcome, int] = Factory(dict[Outcome, int])
    late: int = 0
    children: tuple[Status, ...] = ()
    address: str = ""


@runtime_checkable
class Sink(Protocol):
    """Whatever delivers an event: a socket, a strategy over sinks, a whole group, a test double.

    What more it can do it may have methods for: `open`, `start`, `deliver_many`, `begin_many` (`failover.taking`),
    `worst_case` (`failover.foresight`).
    """

    @property
    def name(self) -> str:
        """How it is called in receipts; unique among its siblings."""
        ...

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Deliver one event; every outcome is data.

        Args:
            event: What to deliver.
            deadline: Absolute loop time, seconds, after which nobody waits any more; None without.
        """
        ...

    def status(self) -> Status:
        """How it stands now."""
        ...

    async def aclose(self) -> None:
        """Release what it holds; what is in flight gets its receipt. Idempotent."""
        ...


@frozen
class Opening:
    """What a sink is given when it opens; it passes it on to its children.

    Args:
        peers: The owner of connections (`failover.net.Peers`), untyped here since words import nothing of net.
        resolve: Makes a sink of an address.
        rng: The only source of randomness.
        observers: Who is told what happens.
        group: In which group, as they are told; the outermost of nested ones.
    """

    peers: Any
    resolve: Callable[[Address], Sink]
    rng: random.Random = field(factory=random.Random)
    observers: tuple[Observer, ...] = ()
    group: str = ""


async def open_sink(sink: Sink, opening: Opening) -> None:
    """Open a sink if it has something to open (an `async open(opening)` method)."""
    opener = getattr(sink, "open", None)
    if opener is not None:
        await opener(opening)


def start(sink: Sink, event: Event, *, deadline: float | None = None) -> asyncio.Future[Receipt]:
    """Begin a delivery and return its future: bare where the sink has a `start` of its own, else a task."""
    fast: Callable[..., asyncio.Future[Receipt]] | None = getattr(sink, "start", None)
    if fast is not None:
        return fast(event, deadline=deadline)
    return asyncio.ensure_future(sink.deliver(event, deadline=deadline))


async def deliver_many(
    sink: Sink,
    events: Sequence[Event],
    *,
    deadline: float | None = None,
    until: Callable[[Receipt], bool] | None = None,
) -> list[Receipt]:
    """Deliver a batch, one receipt per event in the same order; pipelined where the sink has its own `deliver_many`.

    Args:
        sink: Where to.
        events: What to deliver.
        deadline: Absolute loop time for the whole batch, seconds.
        until: Once a receipt meets it, a socket sends no more of the batch: the rest is SKIPPED. So a batch doesn't go
            on against a socket that has failed. Other sinks may ignore it.

    Raises:
        CancelledError: with `receipts`: what there is of each event, in the same order.
    """
    fast: Callable[..., Awaitable[list[Receipt]]] | None = getattr(sink, "deliver_many", None)
    if fast is None:
        return await deliver_each(sink, events, deadline=deadline)
    began = asyncio.get_running_loop().time()
    try:
        return await fast(events, deadline=deadline, until=until)
    except asyncio.CancelledError as cancelled:
        if len(getattr(cancelled, "receipts", ())) != len(events):  # it doesn't tell: all may have been sent
            cancelled.receipts = [untold(event, sink, began) for event in events]  # type: ignore[attr-defined]
        raise


async def deliver_each(sink: Sink, events: Sequence[Event], *, deadline: float | None = None) -> list[Receipt]:
    """Deliver a batch event by event, some of them at once: what a sink without batches of its own does.

    Args:
        sink: Where to.
        events: What to deliver.
        deadline: Absolute loop time for the whole batch, seconds.
    """
    receipts: dict[int, Receipt] = {}
    rest = iter(enumerate(events))

    async def work() -> None:
        for index, event in rest:
            began = loop.time()
            try:
                receipts[index] = await sink.deliver(event, deadline=deadline)
            except asyncio.CancelledError as cancelled:
                receipts[index] = getattr(cancelled, "receipt", None) or untold(event, sink, began)
                raise

    loop = asyncio.get_running_loop()
    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(_WINDOW, len(events))):
                tasks.create_task(work())
    except asyncio.CancelledError as cancelled:
        unbegun = left_of(events, sink.name)
        cancelled.receipts = [receipts.get(index, one) for index, one in enumerate(unbegun)]  # type: ignore[attr-defined]
        raise
    return [receipts[index] for index in range(len(events))]


def left_of(events: Sequence[Event], sink: str, ending: BaseException | None = None) -> Sequence[Receipt]:
    """What a cancelled batch leaves: the receipts that travel with the cancellation; without any it was never begun.

    Args:
        events: The batch.
        sink: Name of the sink that it was for.
        ending: What ended it, None if nothing did.
    """
    receipts: Sequence[Receipt] | None = getattr(ending, "receipts", None)
    if receipts is not None:
        return receipts
    now = asyncio.get_running_loop().time()
    return [Receipt(event, sink, Outcome.SKIPPED, now, now, reason="cancelled before its turn") for event in events]


def left_by(batch: asyncio.Future[list[Receipt]], events: Sequence[Event], sink: str) -> Sequence[Receipt]:
    """The same of a batch that was done in a task of its own; its receipts if it was over.

    Args:
        batch: It has ended, in whatever way.
        events: Its events.
        sink: Name of the sink that it was for.
    """
    try:
        return batch.result()
    except BaseException as ending:  # noqa: BLE001  # each ends in its own way, with or without receipts
        return left_of(events, sink, ending)


def untold(event: Event, sink: Sink, began: float) -> Attempt:
    """What is known of a cancelled attempt if the sink leaves nothing: it may have been processed.

    Args:
        event: The event.
        sink: Where it went.
        began: Loop time, seconds.
    """
    now = asyncio.get_running_loop().time()
    return Attempt(event, sink.name, Outcome.ABANDONED, began, now, reason="cancelled", sent=True)


def partial_receipt(sink: Sink, event: Event, begun: Awaitable[Receipt], ending: BaseException) -> Receipt:
    """What a cancelled child leaves: of a socket the abandoned attempt, else what travels with the cancellation."""
    abandon: Callable[..., Receipt | None] | None = getattr(sink, "abandon", None)
    left = None if abandon is None else abandon(begun, "cancelled")
    if left is None:
        left = getattr(ending, "receipt", None)
    if left is None:
        return untold(event, sink, asyncio.get_running_loop().time())
    return left if left.event is event else replace(left, event=event)  # it may have forgotten whose it was


def watch(sink: Sink, watcher: Callable[[News], None]) -> None:
    """Ask a sink for its late confirmations and silences; one that has none to tell is left alone."""
    watchers: list[Callable[[News], None]] | None = getattr(sink, "watchers", None)
    if watchers is not None:
        watchers.append(watcher)


def check_seconds(name: str, value: float, *, zero: bool = False) -> float:
    """Check a duration as it is declared.

    Raises:
        ConfigError: not a finite number, or negative (or zero, unless `zero`).
    """
    if type(value) is float and 0.0 < value < inf:  # as it usually is: this is asked per event
        return value
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (0 < value < float("inf") or (zero and value == 0)):
        least = "0 or more" if zero else "more than 0"
        raise ConfigError(f"{name} must be a number of seconds, {least}, not {value!r}")
    return float(value)


def check_deadline(value: float | None) -> float | None:
    """Check a deadline as a delivery is given it; an infinite one is never, or over.

    Raises:
        ConfigError: not a number.
    """
    if value is None or (type(value) is float and -inf <= value <= inf):
        return value
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and -inf <= value <= inf):
        raise ConfigError(
            f"deadline must be absolute loop time in seconds, e.g. loop.time() + 0.5, or None, not {value!r};"
            " for seconds from now take within"
        )
    return value


def check_kind(name: str, value: _T | None, kind: type[_T]) -> _T | None:
    """Check that a setting is of its kind, or None, as it is declared.

    Raises:
        ConfigError: it is something else.
    """
    if value is not None and not isinstance(value, kind):
        raise ConfigError(f"{name} must be a {kind.__name__}, e.g. {kind.__name__}(…), or None, not {value!r}")
    return value


def check_name(what: str, name: str) -> str:
    """Check a name as it is declared.

    Raises:
        ConfigError: not a non-empty string.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError(f"the name of a {what} must be a non-empty string, not {name!r}")
    return name
