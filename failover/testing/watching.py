"""Watching a group: every event it is given goes into a history, which checkers judge."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from attrs import evolve

from failover.address import Address
from failover.errors import ConfigError, UsageError
from failover.event import Event
from failover.group import Group
from failover.receipt import Receipt
from failover.sink import Sink, check_seconds
from failover.testing.check_time import deadlines_kept, moved_on_within
from failover.testing.checkers import (
    ALL,
    Checker,
    duplicates_announced,
    nothing_confirmed_unprocessed,
    nothing_processed_unattempted,
    unreachable_never_processed,
)
from failover.testing.describing import describe
from failover.testing.entries import Declared, Entry, FaultSet, Node, Processed
from failover.testing.history import History

__all__ = ["ON_REAL_SOCKETS", "WatchedHistory", "unwatch", "watch"]

_SLACK: Final = 0.25
"""Seconds by which something may be late on a real machine that does other things as well."""
_TIMED: Final = ("moved_on_within", "deadlines_kept")
_OF_TRUTH: Final = (
    nothing_confirmed_unprocessed,
    nothing_processed_unattempted,
    unreachable_never_processed,
    duplicates_announced,
)

ON_REAL_SOCKETS: Final[tuple[Checker, ...]] = (
    *(checker for checker in ALL if not getattr(checker, "__qualname__", "").startswith(_TIMED)),
    moved_on_within(slack=_SLACK),
    deadlines_kept(slack=_SLACK),
)
"""What is promised of every group, with as much patience as the clock of a busy machine needs."""


class WatchedHistory(History):
    """A history that may be told from several threads, and knows who is behind a proxy, and who tells it what.

    Attributes:
        proxies: The place behind each proxy's, both as `host:port`.
        tells: The subscribers that tell what they process.
        ids: Whether every event carries its id, so that subscribers can tell which one they have.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.proxies: dict[str, str] = {}
        self.tells: set[str] = set()
        self.ids = True
        self._lock = threading.Lock()

    def add(self, entry: Entry) -> None:
        """Take an entry; subscribers are known by their place, whatever is before it."""
        if isinstance(entry, Processed):
            entry = evolve(entry, subscriber=_place(entry.subscriber))
            self.tells.add(entry.subscriber)
        elif isinstance(entry, FaultSet):
            entry = evolve(entry, where=_place(entry.where))
            self.tells.add(entry.where)
        with self._lock:
            super().add(entry)

    def declared(self, group: Group | Sink | Address, *, at: float | None = None) -> None:
        """A group is about to be used: its tree says what is owed."""
        root = self._behind(describe(group, behind=self.behind))
        self.add(Declared(asyncio.get_running_loop().time() if at is None else at, root.name, root))

    def carrying(self, event: Event) -> Event:
        """The event with its id among its params.

        Raises:
            ConfigError: its params are values alone, where no id can be told from the others.
        """
        if not self.ids:
            return event
        params = event.params
        if params is None:
            return self.event(event.name, id=event.id)
        pairs = _pairs(params)
        if pairs is None:
            raise ConfigError(
                f"event {event.name!r} has params without names, and a watched event carries its id as one of them: "
                "name the params, or watch the group with ids=False, which leaves out what subscribers could tell"
            )
        known = dict(pairs).get(self.id_param)
        if isinstance(known, str):
            return event if known == event.id else Event(event.name, params, id=known)
        return Event(event.name, [*pairs, (self.id_param, event.id)], id=event.id)

    def judges(self, checkers: Sequence[Checker]) -> list[Checker]:
        """Those checkers that have something to go by: what nobody tells can't be held against anybody."""
        if not self.ids:
            return [checker for checker in checkers if checker not in _OF_TRUTH]
        everyone = {leaf.subscriber for root in self.roots.values() for leaf in cast("Node", root).sockets()}
        if everyone <= self.tells:
            return list(checkers)
        return [checker for checker in checkers if checker is not nothing_confirmed_unprocessed]

    def _behind(self, node: Node) -> Node:
        known = _place(node.subscriber)
        children = tuple(self._behind(child) for child in node.children)
        return evolve(node, subscriber=self.proxies.get(known, known), children=children)


def watch(group: Group, history: WatchedHistory) -> None:
    """Have a group tell a history of every event that it is given, and of all that comes of it.

    Raises:
        UsageError: the group is open already, and its sinks have been told whom to tell.
    """
    try:
        _ = group.sink
    except Exception:  # noqa: BLE001  # it is not open, as it should be
        group.observers = (*group.observers, history)
    else:
        raise UsageError(f"group {group.name!r} is open already: watch it before it is opened")
    began, deliver, deliver_many = group.open, group.deliver, group.deliver_many

    async def opened(*args: Any) -> None:
        history.declared(group)
        await began(*args)

    def raised(events: Iterable[Event], deadline: float | None, within: float | None) -> list[Event]:
        _ = group.sink  # one that isn't open refuses, and nothing was raised
        now = asyncio.get_running_loop().time()
        ends = [] if deadline is None else [deadline]
        if within is not None:
            ends.append(now + check_seconds("within", within))
        if not all(isinstance(event, Event) for event in events):
            return list(events)  # refused as well
        given = [history.carrying(event) for event in events]
        for event in given:
            history.raised(event, now, deadline=min(ends, default=None))
        return given

    async def delivered(event: Event, *, deadline: float | None = None, within: float | None = None) -> Receipt:
        (given,) = raised([event], deadline, within)
        return await deliver(given, deadline=deadline, within=within)

    async def delivered_many(
        events: Sequence[Event], *, deadline: float | None = None, within: float | None = None, until: Any = None
    ) -> list[Receipt]:
        given = raised(events, deadline, within)
        return await deliver_many(given, deadline=deadline, within=within, until=until)

    vars(group).update(open=opened, deliver=delivered, deliver_many=delivered_many)


def unwatch(group: Group, history: WatchedHistory) -> None:
    """Leave a group as it was before it was watched."""
    for name in ("open", "deliver", "deliver_many"):
        vars(group).pop(name, None)
    group.observers = tuple(observer for observer in group.observers if observer is not history)


def _pairs(params: Any) -> list[tuple[str, Any]] | None:
    """Named params as pairs; None if they are values alone."""
    if isinstance(params, Mapping):
        return list(cast("Mapping[str, Any]", params).items())
    if all(type(item) is tuple for item in params):
        return list(params)
    return None


def _place(subscriber: str) -> str:
    """A subscriber's place, `host:port`, without the scheme and the method that its socket's text has."""
    scheme, colon, rest = subscriber.partition(":")
    return rest.partition("/")[0] if colon and scheme in {"jsonrpc", "tcp"} else subscriber
