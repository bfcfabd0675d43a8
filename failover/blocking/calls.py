"""What a thread hands over to the loop: one event or many that it waits for, or one whose receipt calls it back."""

from __future__ import annotations

import logging
import time
from _thread import allocate_lock
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from msgspec import Struct

from failover.errors import ClosedError
from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt

if TYPE_CHECKING:
    from failover.group import Group

__all__ = ["CLOSED", "GRACE", "Call", "Many", "One", "Submitted", "Waited", "answer", "closed"]

GRACE: Final = 0.05
"""Seconds after its deadline at which a caller stops waiting for the receipt itself: something keeps the loop busy."""

CLOSED: Final = "the group was closed"
"""Why a call ended that closing cut off."""

_BUSY: Final = "no receipt by the deadline: something keeps the loop busy"

_log = logging.getLogger("failover")
_T = TypeVar("_T")


async def answer(question: Callable[[], _T]) -> _T:
    """Ask on the loop what is no coroutine."""
    return question()


def closed(name: str) -> ClosedError:
    """What a call raises that comes when the group of that name is closed."""
    return ClosedError(f"group {name!r} was closed; use 'with' or open() to open it again")


class Call(Protocol):
    """What the loop sees of a call."""

    ends: float
    """When nobody waits any more, on the clock of `time.monotonic`."""

    @property
    def event(self) -> Event | None:
        """What it delivers, if that is one event."""
        ...

    def begin(self, group: Group, deadline: float) -> Awaitable[Any]:
        """Deliver it."""
        ...

    def take(self, result: Any, /) -> None:
        """Hand its result to whoever it is for."""

    def fail(self, error: Exception) -> None:
        """Hand over an exception instead."""

    def skip(self, name: str, reason: str) -> None:
        """End it without a try."""

    def abandon(self, name: str, reason: str) -> None:
        """End it, not knowing how far it came."""


class Waited(ABC, Generic[_T]):
    """A call that a thread waits for. One lock each: the cheapest thing that a thread can wait for.

    Args:
        ends: When nobody waits any more, on the clock of `time.monotonic`.
    """

    __slots__ = ("_error", "_lock", "_result", "ends")

    event: Event | None = None

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self._result: _T | None = None
        self._error: Exception | None = None
        self._lock = allocate_lock()
        self._lock.acquire()

    @abstractmethod
    def begin(self, group: Group, deadline: float) -> Awaitable[_T]:
        """Deliver it; the loop's side."""

    @abstractmethod
    def skipped(self, name: str, reason: str) -> _T:
        """What says that it was not tried."""

    @abstractmethod
    def abandoned(self, name: str, reason: str) -> _T:
        """What says that it isn't known how far it came."""

    def take(self, result: _T, /) -> None:
        """Hand the result to the thread that waits; the loop's side."""
        self._result = result
        self._lock.release()

    def fail(self, error: Exception) -> None:
        """Hand it an exception instead."""
        self._error = error
        self._lock.release()

    def skip(self, name: str, reason: str) -> None:
        """End it without a try."""
        self.take(self.skipped(name, reason))

    def abandon(self, name: str, reason: str) -> None:
        """End it, not knowing how far it came."""
        self.take(self.abandoned(name, reason))

    def wait(self, name: str, seconds: float) -> _T:
        """Wait for the result, no longer than the deadline and a grace; the caller's side."""
        if not self._lock.acquire(timeout=min(seconds + GRACE, TIMEOUT_MAX)):
            return self.abandoned(name, _BUSY)
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # given by `take`, which released the lock


class One(Waited[Receipt]):
    """One event.

    Args:
        event: What to deliver.
        ends: When nobody waits any more, on the clock of `time.monotonic`.
    """

    __slots__ = ("event",)

    event: Event

    def __init__(self, event: Event, ends: float) -> None:
        super().__init__(ends)
        self.event = event  # pyright: ignore[reportIncompatibleVariableOverride]  # set only here

    def begin(self, group: Group, deadline: float) -> Awaitable[Receipt]:
        """Deliver it."""
        return group.deliver(self.event, deadline=deadline)

    def skipped(self, name: str, reason: str) -> Receipt:
        """What says that it was not tried."""
        return _skipped(self.event, name, reason)

    def abandoned(self, name: str, reason: str) -> Receipt:
        """What says that it isn't known how far it came."""
        return _abandoned(self.event, name, reason)


class Many(Waited[list[Receipt]]):
    """A batch.

    Args:
        events: What to deliver.
        ends: When nobody waits any more, on the clock of `time.monotonic`.
    """

    __slots__ = ("_events",)

    def __init__(self, events: Sequence[Event], ends: float) -> None:
        super().__init__(ends)
        self._events = events

    def begin(self, group: Group, deadline: float) -> Awaitable[list[Receipt]]:
        """Deliver them."""
        return group.deliver_many(self._events, deadline=deadline)

    def skipped(self, name: str, reason: str) -> list[Receipt]:
        """What says that none was tried."""
        return [_skipped(event, name, reason) for event in self._events]

    def abandoned(self, name: str, reason: str) -> list[Receipt]:
        """What says that it isn't known how far they came."""
        return [_abandoned(event, name, reason) for event in self._events]


class Submitted(Struct, eq=False, gc=False):
    """One event whose receipt is passed to a function. A struct, for one is made per event; it never leads to itself.

    Args:
        event: What to deliver.
        ends: When nobody waits any more, on the clock of `time.monotonic`.
        on_receipt: Called with the receipt, once.
        call_from_thread: Has a function called with its arguments, in a thread of its own choosing; None calls it here.
    """

    event: Event
    ends: float
    on_receipt: Callable[[Receipt], object]
    call_from_thread: Callable[..., object] | None

    def begin(self, group: Group, deadline: float) -> Awaitable[Receipt]:
        """Deliver it."""
        return group.deliver(self.event, deadline=deadline)

    def take(self, receipt: Receipt, /) -> None:
        """Pass the receipt on. What the function raises is logged and harms nobody."""
        try:
            if self.call_from_thread is None:
                self.on_receipt(receipt)
            else:
                self.call_from_thread(self.on_receipt, receipt)
        except BaseException:  # noqa: BLE001  # sys.exit() in a callback must not end the loop that everybody uses
            _log.exception("on_receipt %r failed for event %r", self.on_receipt, self.event.name)

    def fail(self, error: Exception) -> None:
        """Nobody is there to raise it to: log it, and say in the receipt that nothing is known."""
        _log.error("the delivery of event %r failed", self.event.name, exc_info=error)
        self.take(_abandoned(self.event, "", f"the delivery failed: {error!r}"))

    def skip(self, name: str, reason: str) -> None:
        """End it without a try."""
        self.take(_skipped(self.event, name, reason))

    def abandon(self, name: str, reason: str) -> None:
        """End it, not knowing how far it came."""
        self.take(_abandoned(self.event, name, reason))


def _abandoned(event: Event, name: str, reason: str) -> Receipt:
    now = time.monotonic()
    return Attempt(event, name, Outcome.ABANDONED, now, now, reason=reason, sent=True)


def _skipped(event: Event, name: str, reason: str) -> Receipt:
    now = time.monotonic()
    return Receipt(event, name, Outcome.SKIPPED, now, now, reason=reason)
