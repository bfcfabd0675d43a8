"""The event interface: sockets subscribe to events by name, and whoever raises one learns what became of it at each."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from functools import partial
from random import Random
from threading import get_ident
from types import TracebackType
from typing import Any, Self, overload

from failover.address import Address
from failover.build import build
from failover.errors import ClosedError, ConfigError, EventError, UsageError, WrongLoopError
from failover.event import Event
from failover.grammar import VirtualAddress
from failover.group import Group
from failover.health import QUARANTINE
from failover.net.peers import Peers
from failover.receipt import Receipt
from failover.records import Observer, check_observers
from failover.schemes import Defaults
from failover.sink import Sink, check_deadline, check_kind, check_name, check_seconds
from failover.strategy import Declared, declared, skipped
from failover.subscription import Key, Place, Subscription, Subscriptions

__all__ = ["EventInterface"]

_log = logging.getLogger("failover")


class EventInterface:
    """Subscribe sockets to events, raise events, and get a receipt from every subscriber: OpenSIPS's event interface.

    Sockets may be subscribed before it is open; while it is open, that is done on its loop and takes effect at once.
    Each address that is subscribed to an event is a group of its own, with its own quarantine and turns (connections
    are shared all the same); a group that is subscribed keeps its own settings. After closing, the interface may be
    opened again: subscriptions stay, and their terms begin anew.

    Args:
        sync_mode: Whether sockets given as text confirm each event by a reply; else they get notifications. (On by
            default; OpenSIPS's default is off.)
        timeout: Seconds for one attempt on a socket given as text.
        event_param: The name under which the event's name leads the params; None leaves it out.
        failover_timeout: Seconds for which FAILOVER and ROUND-ROBIN skip a socket at fault, 0 or more.
        null_id: Whether notifications carry `"id":null` (OpenSIPS up to 3.0) or no id at all (3.1 and newer).
        id_param: The name under which the event's id ends the params; None leaves it out, as OpenSIPS does.
        observers: Called with each record (`failover.records`).
        peers: Who owns the connections; the loop's own peers by default.
        rng: The source of randomness for strategies.
        drain: Seconds for which closing, or the end of a subscription, waits for what is in flight, 0 or more.

    Raises:
        ConfigError: a setting out of its range, or of another kind.

    Source: OpenSIPS event interface; event_jsonrpc, parameters `sync_mode`, `timeout`, `event_param`; event_virtual,
        parameter `failover_timeout`.
    """

    def __init__(
        self,
        *,
        sync_mode: bool = True,
        timeout: float = 1.0,
        event_param: str | None = None,
        failover_timeout: float = QUARANTINE,
        null_id: bool = True,
        id_param: str | None = None,
        observers: Sequence[Observer] = (),
        peers: Peers | None = None,
        rng: Random | None = None,
        drain: float = 1.0,
    ) -> None:
        self.observers = check_observers(observers)
        self.drain = check_seconds("drain", drain, zero=True)
        self._defaults = Defaults(
            timeout=check_seconds("timeout", timeout),
            confirm=sync_mode,
            event_param=None if event_param is None else check_name("parameter (event_param)", event_param),
            id_param=id_param,
            null_id=null_id,
            quarantine=check_seconds("failover_timeout", failover_timeout, zero=True),
        )
        self._peers = check_kind("peers", peers, Peers)
        self._rng = check_kind("rng", rng, Random) or Random()
        self._subscriptions = Subscriptions()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._closing = False
        self._kept: dict[Place, asyncio.Task[None]] = {}  # what is open, opening or closing, and the task that does it

    def __repr__(self) -> str:
        state = "closed" if self._loop is None else "open"
        return f"<EventInterface, {len(self._subscriptions.all())} subscriptions, {state}>"

    async def open(self) -> None:
        """Open all sockets that are subscribed and begin the terms of their subscriptions; waits for no connection.

        Raises:
            UsageError: it is open already.
            ConfigError: connections are shared with other options.
        """
        if self._loop is not None:
            raise UsageError("the event interface is open already; close it first, or share the open one")
        loop = self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        subscriptions = self._subscriptions.all()
        for subscription in subscriptions:
            self._begin(subscription, loop)
        try:
            for subscription in subscriptions:
                await subscription.ready()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Close: raise no more events, wait for what is in flight, give the connections back. Idempotent."""
        if self._loop is None or self._closing:
            return
        self._closing = True
        for subscription in self._subscriptions.all():
            subscription.stop()
            subscription.until = math.inf
            subscription.place.shut()
        for place, task in self._kept.items():
            place.shut()
            if place.opening:
                task.cancel()
        running = list(self._kept.values())
        try:
            if running:
                await asyncio.wait(running)
        except asyncio.CancelledError:
            for task in running:  # whoever cancels wants no more waiting: abandon what is in flight
                task.cancel()
            await asyncio.wait(running)
            raise
        finally:
            self._loop = None
            self._closing = False
        for task in running:
            if not task.cancelled():
                task.result()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def subscribe(self, event: str, socket: Declared, expire: float | None = None) -> Subscription:
        """Subscribe a socket to an event; if it is subscribed already, refresh the expiry.

        The same PARALLEL set in another order is the same socket; FAILOVER and ROUND-ROBIN are in order. A sink or
        group is the same only as itself; it is opened and closed here, except a group that is open already.

        Args:
            event: The event's name.
            socket: Where it goes: an address, parsed or as text, or a sink, or a group.
            expire: Seconds from now (from opening, if that comes later) to its end; None never, 0 unsubscribes.

        Returns:
            The subscription; one that has ended if `expire` is 0.

        Raises:
            AddressError: an address that can't be parsed.
            ConfigError: a negative expiry, an empty name, two equal sockets in one address, something that is no sink.
            WrongLoopError: the interface is open on another loop than the caller's.

        Source: OpenSIPS event interface, `subscribe_event`; MI, `event_subscribe`.
        """
        check_name("subscribed event", event)
        if expire is not None:
            check_seconds("expire", expire, zero=True)
        key, given = _identify(event, socket)
        loop = self._check_loop()
        subscription = self._subscriptions.find(event, key)
        if subscription is None:
            subscription = Subscription(event, key, self._place(given), expire)
            if expire == 0:
                subscription.ended = True
                return subscription
            self._subscriptions.add(subscription)
            subscription.place.users += 1
        elif expire == 0:
            self._end(subscription)
            return subscription
        subscription.expire = expire
        if loop is not None:
            self._begin(subscription, loop)
        return subscription

    def unsubscribe(self, event: str, socket: Declared) -> bool:
        """End a subscription at once; what is in flight gets its receipt.

        Returns:
            Whether there was one.

        Raises:
            AddressError: an address that can't be parsed.
            ConfigError: something that is no sink.
            WrongLoopError: the interface is open on another loop than the caller's.
        """
        key, _ = _identify(event, socket)
        self._check_loop()
        subscription = self._subscriptions.find(event, key)
        if subscription is not None:
            self._end(subscription)
        return subscription is not None

    @overload
    async def raise_event(
        self, event: Event, /, *, deadline: float | None = None, within: float | None = None
    ) -> list[Receipt]: ...

    @overload
    async def raise_event(self, event: str, /, *values: Any, **params: Any) -> list[Receipt]: ...

    async def raise_event(self, event: Event | str, /, *values: Any, **params: Any) -> list[Receipt]:
        """Raise an event: all its subscribers get it, side by side, however long one of them takes.

        With a name, all else is the event's own: values alone, or named params (any names, `within` and `deadline`
        too), or nothing, which is no params at all. For duplicate names, an id or a deadline give an `Event`.

        Args:
            event: The event, or its name.
            values: Params of a named event, values alone.
            params: Params of a named event. With an `Event` these are options: `deadline`, absolute loop time in
                seconds after which nobody waits any more, and `within`, the same from now; the earlier counts.

        Returns:
            One receipt per subscriber, newest subscriber first. A subscriber whose socket can't be opened, or whose
            group was closed by its owner, is skipped with the reason.

        Raises:
            ClosedError: the interface is not open.
            WrongLoopError: it is open on another loop.
            EventError: params that JSON can't carry, or values beside named ones.
            ConfigError: `within` is no positive number of seconds, or `deadline` no number.
            TypeError: beside an `Event`, anything but its options.
        """
        deadline: float | None = None
        within: float | None = None
        if isinstance(event, Event):
            deadline, within = check_deadline(params.pop("deadline", None)), params.pop("within", None)
            if values or params:
                raise TypeError(f"{event!r} has its params; beside it stand deadline= and within= alone")
        elif values and params:
            raise EventError(f"event {event!r}: its params are either values alone or all named, not both")
        else:
            event = Event(event, list(values) if values else params or None)
        loop = self._check_loop()
        if loop is None:
            raise ClosedError("the event interface is not open; use 'async with events:' or await events.open()")
        if within is not None:
            end = loop.time() + check_seconds("within", within)
            deadline = end if deadline is None else min(end, deadline)
        subscriptions = self._subscriptions.alive(event.name, loop.time())
        if len(subscriptions) == 1:
            return [await self._deliver(subscriptions[0], event, deadline, loop)]
        failures: list[Exception] = []

        async def leg(subscription: Subscription, event: Event) -> Receipt | None:
            try:
                return await self._deliver(subscription, event, deadline, loop)
            except Exception as failure:  # noqa: BLE001  # raised below: it must not cut the others short
                failures.append(failure)
                return None

        async with asyncio.TaskGroup() as tasks:
            legs = [tasks.create_task(leg(subscription, event)) for subscription in subscriptions]
        if failures:
            raise failures[0]
        return [receipt for task in legs if (receipt := task.result()) is not None]

    def events_list(self) -> dict[str, Any]:
        """The events that have subscribers, as MI lists them: `{"Events":[{"name":"E_A","id":0}]}`, plain data."""
        entries = self._subscriptions.listed(self._now())
        return {"Events": [{"name": entry["name"], "id": entry["id"]} for entry in entries]}

    def subscribers_list(self, event: str | None = None, socket: Declared | None = None) -> dict[str, Any]:
        """Who has subscribed, as MI lists it: plain data, ready for JSON, newest subscriber first.

        `{"Events":[{"name":"E_A","id":0,"Subscribers":[{"socket":"jsonrpc:…","expire":60,"ttl":59}]}]}`; of one event
        `{"Event":{"name":…,"id":…,"Subscribers":[…]}}`, of one subscriber `{"Event":{…,"Subscriber":{…}}}`, and
        `{"Event":{}}` when there is none. `expire` is seconds as given, or `"never"`; beside it, while the interface is
        open, `ttl` is the seconds that are left of it, rounded up.

        Args:
            event: Only this event.
            socket: Only this subscriber of it.

        Raises:
            AddressError: an address that can't be parsed.
            ConfigError: something that is no sink, or a socket without an event.

        Source: OpenSIPS 4.1, MI `subscribers_list`.
        """
        if event is None and socket is not None:
            raise ConfigError("a subscriber is listed by event and socket; name the event too")
        only = None if event is None or socket is None else _identify(event, socket)[0]
        entries = self._subscriptions.listed(self._now(), event, only)
        if event is None:
            return {"Events": entries}
        entry = entries[0] if entries else {}
        if entry and socket is not None:
            entry["Subscriber"] = entry.pop("Subscribers")[0]
        return {"Event": entry}

    async def _deliver(
        self, subscription: Subscription, event: Event, deadline: float | None, loop: asyncio.AbstractEventLoop
    ) -> Receipt:
        """Give an event to one subscriber as soon as its socket is open."""
        ready = subscription.place.ready
        if ready is not None and not ready.done():
            limit = loop.time() + self._defaults.timeout
            limit = limit if deadline is None else min(limit, deadline)
            await asyncio.wait([ready], timeout=max(0.0, limit - loop.time()))
        if ready is None or not ready.done():
            return skipped(event, subscription.socket, loop.time(), "its socket is not open yet")
        if (problem := ready.result()) is not None:
            return skipped(event, subscription.socket, loop.time(), f"its socket can't be opened: {problem}")
        try:
            return await subscription.place.group.deliver(event, deadline=deadline)
        except UsageError as closed:  # it ended in this turn of the loop, or a group's owner closed it
            return skipped(event, subscription.socket, loop.time(), str(closed))

    def _check_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop it is open on; None while it is closed, or closing."""
        if self._loop is None or self._closing:
            return None
        if self._thread == get_ident() and self._loop.is_running():  # the usual case; the exact check below costs more
            return self._loop
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not self._loop:
            raise WrongLoopError("the event interface is open on another event loop; use it from there")
        return self._loop

    def _now(self) -> float | None:
        return None if self._loop is None else self._loop.time()

    def _place(self, given: Sink | Address) -> Place:
        """Where events go: for an address a new group, for a sink that is subscribed already the one it has."""
        if isinstance(given, Address):
            return Place(self._group(str(given), build(given, self._defaults)), None)
        for place in (*self._kept, *(subscription.place for subscription in self._subscriptions.all())):
            if place.given is given:
                return place
        return Place(given if isinstance(given, Group) else self._group(given.name, given), given)

    def _group(self, name: str, sink: Sink) -> Group:
        return Group(
            name,
            sink,
            observers=self.observers,
            defaults=self._defaults,
            peers=self._peers,
            rng=self._rng,
            drain=self.drain,
        )

    def _begin(self, subscription: Subscription, loop: asyncio.AbstractEventLoop) -> None:
        """Begin the term of a subscription, and see to it that its place is open or about to be."""
        subscription.stop()
        until = subscription.begin(loop)
        if until is not None:
            subscription.timer = loop.call_at(until, self._end, subscription)
        place = subscription.place
        task = self._kept.get(place)
        if task is None or task.done():
            place.expect(loop)
            task = self._kept[place] = loop.create_task(place.keep())
            task.add_done_callback(partial(self._left, place))
        elif place.unused.is_set():
            place.expect(loop)

    def _end(self, subscription: Subscription) -> None:
        """Forget a subscription; its place is closed unless another one uses it."""
        subscription.stop()
        subscription.ended = True
        self._subscriptions.remove(subscription)
        place = subscription.place
        place.users -= 1
        if not place.users:
            place.unused.set()

    def _left(self, place: Place, task: asyncio.Task[None]) -> None:
        """A place is closed, or could not be opened."""
        if self._kept.get(place) is task:
            del self._kept[place]
        if not task.cancelled() and (failure := task.exception()) is not None and not self._closing:
            _log.error("closing %r failed", place.group, exc_info=failure)


def _identify(event: str, socket: Declared) -> tuple[Key, Sink | Address]:
    """What makes a socket the same as another one; text becomes an address."""
    given = declared(socket, f"the event interface, for {event!r},")
    if not isinstance(given, Address):
        return id(given), given
    return str(given.canonical() if isinstance(given, VirtualAddress) else given), given
