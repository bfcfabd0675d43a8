"""`BlockingGroup`: a group for code that doesn't await, from any thread, and after a fork as well."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, cast

from failover.blocking.calls import Many, One, Submitted, closed
from failover.blocking.handover import HandOver
from failover.blocking.own_loop import OwnLoop
from failover.blocking.process import this_process
from failover.errors import ClosedError, UsageError
from failover.event import Event, check_events
from failover.receipt import Receipt
from failover.sink import Status, check_seconds

if TYPE_CHECKING:
    from failover.group import Group

__all__ = ["BlockingGroup"]


class BlockingGroup:
    """A group that waits in the caller's thread; `Group.blocking` makes one.

    It opens with `with`, with `open`, or when it is first used, and may be used by many threads at once. Inherited over
    a fork it opens anew in the child, on connections of its own, when it is first used there. It installs nothing: no
    signals, no exit functions.

    Args:
        group: The group, which must not be open elsewhere.
        within: Seconds after which no call waits any more, unless it says otherwise itself.
        thread: Whether a thread runs the group's loop, one for all facades of the process; else the caller's own
            thread does, during its calls, and between them nothing happens.

    Raises:
        ConfigError: `within` is no positive number of seconds.
    """

    def __init__(self, group: Group, *, within: float = 0.5, thread: bool = True) -> None:
        self.group = group
        self.within = check_seconds("within", within)
        self.thread = thread
        self._here = _Here()

    def __repr__(self) -> str:
        return f"<BlockingGroup {self.name!r}, {'open' if self.is_open else 'not open'}>"

    @property
    def name(self) -> str:
        """The group's name."""
        return self.group.name

    @property
    def is_open(self) -> bool:
        """Whether it is open in this process."""
        here = self._here
        return here.way is not None and here.pid == os.getpid()

    def open(self) -> None:
        """Open the group, again if it was closed; connects are begun, not waited for. Does nothing if it is open.

        Raises:
            UsageError: the group is open elsewhere, or this thread runs the loop that would be waited for.
            ConfigError: connections are shared with other options.
        """
        self._open(again=True)

    def close(self) -> None:
        """Close the group; calls that wait get their receipts first. Idempotent, from any thread but the loop's.

        Raises:
            UsageError: this thread runs the loop that would be waited for.
        """
        here = self._of_this_process()
        way = here.way
        if way is not None:
            way.refuse_here()
        with here.lock:
            here.closed = True
            way = here.way
            if way is not None:
                try:
                    way.close()
                finally:
                    here.way = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def deliver(self, event: Event, *, within: float | None = None) -> Receipt:
        """Deliver one event and wait for its receipt.

        Args:
            event: What to deliver.
            within: Seconds after which nobody waits any more; the facade's own by default.

        Returns:
            The receipt of the whole tree; every outcome is data.

        Raises:
            ClosedError: it was closed.
            UsageError: called on the loop's own thread, or, with `thread=False`, where a loop runs.
            ConfigError: `within` is no positive number of seconds.
            TypeError: not an `Event`.
        """
        seconds = self.within if within is None else check_seconds("within", within)
        call = One(_checked(event), time.monotonic() + seconds)
        return self._way().wait(call, seconds)

    def deliver_many(self, events: Sequence[Event], *, within: float | None = None) -> list[Receipt]:
        """Deliver a batch, pipelined, and wait for all receipts; one per event, in the same order.

        Args:
            events: What to deliver.
            within: Seconds after which nobody waits any more, for the whole batch; the facade's own by default.

        Raises:
            ClosedError: it was closed.
            UsageError: called on the loop's own thread, or, with `thread=False`, where a loop runs.
            ConfigError: `within` is no positive number of seconds.
            TypeError: one of them is not an `Event`, or this is no batch.
        """
        seconds = self.within if within is None else check_seconds("within", within)
        call = Many(check_events(events), time.monotonic() + seconds)
        return self._way().wait(call, seconds)

    def submit(
        self,
        event: Event,
        on_receipt: Callable[[Receipt], object],
        call_from_thread: Callable[..., object] | None = None,
        *,
        within: float | None = None,
    ) -> None:
        """Deliver one event without waiting; its receipt is passed to a function.

        Args:
            event: What to deliver.
            on_receipt: Called with the receipt, once, on the loop's thread: it should return at once, and can submit
                but not wait. What it raises is logged.
            call_from_thread: Called as `call_from_thread(on_receipt, receipt)` instead, e.g. a reactor's
                `callFromThread` or a loop's `call_soon_threadsafe`: has it called where the caller wants it.
            within: Seconds after which nobody waits any more; the facade's own by default.

        Raises:
            ClosedError: it was closed.
            UsageError: with `thread=False`: nothing runs between the calls, so nothing could call back.
            ConfigError: `within` is no positive number of seconds.
            TypeError: not an `Event`, or a function that can't be called.
        """
        seconds = self.within if within is None else check_seconds("within", within)
        if not callable(on_receipt):
            raise TypeError(f"on_receipt must be a function, not {on_receipt!r}")
        if call_from_thread is not None and not callable(call_from_thread):
            raise TypeError(f"call_from_thread must be a function, not {call_from_thread!r}")
        if not self.thread:
            raise UsageError(
                f"group {self.name!r}: submit() needs a thread that calls back, and this facade has none;"
                " use deliver(), or blocking(thread=True)"
            )
        way = cast("HandOver", self._way())  # what there is with a thread
        way.submit(Submitted(_checked(event), time.monotonic() + seconds, on_receipt, call_from_thread))

    def status(self) -> Status:
        """How the tree stands now; one that isn't open says so.

        Raises:
            UsageError: with `thread=False`, called where a loop runs.
            TimeoutError: the loop was kept busy for as long as a delivery may take.
        """
        here = self._here
        way = here.way
        if way is not None and here.pid == os.getpid():
            with suppress(ClosedError):  # just now, by another thread
                return way.ask(self.group.status, self.within)
        return Status(self.name, up=False, reason="not open")

    def quarantine(self, child: str, reason: str = "maintenance") -> None:
        """Take a child out of service by hand, as `Group.quarantine` does; it counts until `reinstate` or `close`.

        Args:
            child: Its name in receipts, wherever in the tree it stands; if in several places, in all of them.
            reason: Stands in receipts and records.

        Raises:
            ClosedError: it was closed.
            UsageError: no child of that name, or, with `thread=False`, called where a loop runs.
            TimeoutError: the loop was kept busy for as long as a delivery may take.
        """
        self._way().ask(lambda: self.group.quarantine(child, reason), self.within)

    def reinstate(self, child: str, reason: str = "by hand") -> None:
        """Put a child back into service, whatever took it out; the other way round from `quarantine`.

        Args:
            child: Its name in receipts, wherever in the tree it stands.
            reason: Stands in records.

        Raises:
            ClosedError: it was closed.
            UsageError: no child of that name, or, with `thread=False`, called where a loop runs.
            TimeoutError: the loop was kept busy for as long as a delivery may take.
        """
        self._way().ask(lambda: self.group.reinstate(child, reason), self.within)

    def drain(self, child: str, *, within: float, reason: str = "drained") -> bool:
        """Take a child out by hand and wait for what is under way there, e.g. before its host is restarted.

        Args:
            child: Its name in receipts, wherever in the tree it stands.
            within: Seconds to wait at most.
            reason: Stands in receipts and records.

        Returns:
            Whether nothing is under way there any more; it stays out either way, until `reinstate`.

        Raises:
            ClosedError: it was closed.
            UsageError: no child of that name, called on the loop's own thread, or, with `thread=False`, where a loop
                runs.
            ConfigError: `within` is no positive number of seconds.
            TimeoutError: the loop was kept busy.
        """
        seconds = check_seconds("within", within)
        return self._way().run(lambda: self.group.drain(child, within=seconds, reason=reason), seconds)

    def _way(self) -> HandOver | OwnLoop:
        here = self._here
        way = here.way
        if way is not None and here.pid == os.getpid():
            return way
        return self._open(again=False)

    def _open(self, *, again: bool) -> HandOver | OwnLoop:
        here = self._of_this_process()
        if here.way is None:
            _refuse_on_loop(self.name)
        with here.lock:
            if here.closed and not again:
                raise closed(self.name)
            if here.way is None:
                here.way = (HandOver if self.thread else OwnLoop)(self.group)
            here.closed = False
            return here.way

    def _of_this_process(self) -> _Here:
        """This process's state; in a forked child a fresh one, and the group as it was declared."""
        here = self._here
        if here.pid != os.getpid():
            with this_process().lock:
                here = self._here
                if here.pid != os.getpid():
                    _INHERITED.append(here)
                    if here.way is not None or here.lock.locked():  # open, or just being opened, in the parent
                        self.group.forget()
                    fresh = _Here()
                    fresh.closed = here.closed
                    self._here = here = fresh
        return here


class _Here:
    """What a facade has in one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        """Held while the group is opened or closed."""
        self.way: HandOver | OwnLoop | None = None
        self.closed = False


_INHERITED: Final[list[_Here]] = []
# What belongs to the parents of this process. Kept, so that nothing of it is finalized here.


def _checked(event: Event) -> Event:
    if not isinstance(event, Event):
        raise TypeError(f"an Event was expected, not {event!r}")
    return event


def _refuse_on_loop(name: str) -> None:
    if this_process().is_on_loop:
        raise UsageError(
            f"group {name!r}: open and close it on another thread; this one runs the loop that would be waited for"
        )
