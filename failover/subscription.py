"""Who is subscribed to what, and the group behind each: open for as long as some subscription uses it."""

from __future__ import annotations

import asyncio
import math
from itertools import count
from typing import Any, TypeAlias

from failover.errors import ClosedError
from failover.group import Group
from failover.sink import Sink, Status

__all__ = ["Key", "Place", "Subscription", "Subscriptions"]

Key: TypeAlias = "str | int"
"""What makes two subscriptions of an event the same: the text of an address, the identity of a sink."""


class Place:
    """A group that several subscriptions may share: opened for the first of them, closed after the last.

    Args:
        group: The group.
        given: The sink that was subscribed; None for an address, whose group is used by one subscription alone.
    """

    def __init__(self, group: Group, given: Sink | None) -> None:
        self.group = group
        self.given = given
        self.users = 0
        self.ready: asyncio.Future[Exception | None] | None = None
        """Done once it is open (or could not be opened); None while the interface is closed."""
        self.unused = asyncio.Event()
        self.opening = False
        """Whether it is waiting for the group to open."""

    def expect(self, loop: asyncio.AbstractEventLoop) -> None:
        """Whoever comes from now on waits until it is opened (again)."""
        self.ready = loop.create_future()
        self.unused = asyncio.Event()

    def shut(self) -> None:
        """Have it closed, and let nobody wait for it any more."""
        self.unused.set()
        if self.ready is not None and not self.ready.done():
            self.ready.set_result(ClosedError("the event interface was closed"))
        self.ready = None

    async def keep(self) -> None:
        """Open the group, and close it when nobody uses it any more; one that is open already stays its owner's."""
        while self.users and self.ready is not None:  # again if it is subscribed anew while it is being closed
            ready, unused = self.ready, self.unused
            owned = not _is_open(self.group)
            problem: Exception | None = None
            self.opening = True
            try:
                if owned:
                    await self.group.open()
            except Exception as error:  # noqa: BLE001  # for everyone who wants to use it
                problem = error
            finally:
                self.opening = False
            if not ready.done():
                ready.set_result(problem)
            if problem is not None:
                return
            try:
                await unused.wait()
            finally:
                if owned:
                    await self.group.aclose()


class Subscription:
    """One subscriber of one event; `EventInterface.subscribe` makes it.

    Args:
        event: The event's name.
        key: What makes it the same as another one.
        place: Where its events go.
        expire: Seconds from subscribing (or from opening) to its end; None never.
    """

    def __init__(self, event: str, key: Key, place: Place, expire: float | None) -> None:
        self.event = event
        self.expire = expire
        self.key = key
        self.place = place
        self.until = math.inf
        """Loop time of its end, seconds; infinite without one, and while the interface is closed."""
        self.ended = False
        """Whether it has expired or was unsubscribed."""
        self.timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Subscription of {self.socket!r} to {self.event!r}>"

    @property
    def socket(self) -> str:
        """The address it was made with, or the name of the sink."""
        return self.group.name

    @property
    def group(self) -> Group:
        """The group that its events go to: its children can be taken out by hand there (`Group.quarantine`)."""
        return self.place.group

    async def ready(self) -> None:
        """Wait until its socket is open, which is not to say connected.

        Raises:
            ClosedError: it has ended, or the interface is not open.
            Exception: what opening the sink raised, e.g. a `ConfigError`.
        """
        ready = None if self.ended else self.place.ready
        if ready is None:
            raise ClosedError(f"{self!r} can't be used: it has ended, or its event interface is not open")
        problem = await asyncio.shield(ready)
        if problem is not None:
            raise problem

    def status(self) -> Status:
        """How its sockets stand now: which are up, quarantined, busy."""
        return self.group.status()

    def listed(self, now: float | None) -> dict[str, Any]:
        """How MI lists it, given the loop time; None while the interface is closed."""
        if self.expire is None:
            return {"socket": self.socket, "expire": "never"}
        whole = float(self.expire).is_integer()
        entry = {"socket": self.socket, "expire": int(self.expire) if whole else self.expire}
        return entry if now is None else entry | {"ttl": math.ceil(self.until - now)}

    def begin(self, loop: asyncio.AbstractEventLoop) -> float | None:
        """Begin its term (anew); return the loop time of its end."""
        self.until = math.inf if self.expire is None else loop.time() + self.expire
        return None if self.expire is None else self.until

    def stop(self) -> None:
        """Stop its clock."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Subscriptions:
    """All subscriptions by event; an event without any is forgotten."""

    def __init__(self) -> None:
        self._ids = count()
        self._events: dict[str, tuple[int, dict[Key, Subscription]]] = {}  # id, and subscriptions, oldest first

    def all(self) -> list[Subscription]:
        """Every one."""
        return [one for _, subscribers in self._events.values() for one in subscribers.values()]

    def find(self, event: str, key: Key) -> Subscription | None:
        """The one of that key, if there is one."""
        return self._events[event][1].get(key) if event in self._events else None

    def add(self, subscription: Subscription) -> None:
        """Add the newest one."""
        if subscription.event not in self._events:
            self._events[subscription.event] = (next(self._ids), {})
        self._events[subscription.event][1][subscription.key] = subscription

    def remove(self, subscription: Subscription) -> None:
        """Forget one."""
        _, subscribers = self._events[subscription.event]
        del subscribers[subscription.key]
        if not subscribers:
            del self._events[subscription.event]

    def alive(self, event: str, now: float | None) -> list[Subscription]:
        """Those of an event whose end is not reached at a loop time (None: no clock runs), newest first."""
        if event not in self._events:
            return []
        return [one for one in reversed(self._events[event][1].values()) if now is None or one.until > now]

    def listed(self, now: float | None, event: str | None = None, key: Key | None = None) -> list[dict[str, Any]]:
        """How MI lists events with their subscribers: all of them, one event, or one subscriber of it."""
        entries: list[dict[str, Any]] = []
        for name, (number, _) in self._events.items():
            chosen = [one for one in self.alive(name, now) if key is None or one.key == key]
            if chosen and event in {None, name}:
                entries.append({"name": name, "id": number, "Subscribers": [one.listed(now) for one in chosen]})
        return entries


def _is_open(group: Group) -> bool:
    try:
        _ = group.sink
    except ClosedError:
        return False
    return True
