"""What all connections of one subscriber share: settings, counters, and who is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from failover.errors import ConfigError
from failover.sink import check_name, check_seconds
from failover.subscriber.dispatch import Request

if TYPE_CHECKING:
    from failover.subscriber.connection import Connection
    from failover.subscriber.repeats import Repeats

__all__ = ["Counters", "Service", "Settings", "SubscriberStatus"]


def _at_least_one(_settings: object, field: attrs.Attribute[int], value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{field.name} must be a whole number of 1 or more, not {value!r}")


def _positive(_settings: object, field: attrs.Attribute[float | None], value: float | None) -> None:
    if value is not None:
        check_seconds(field.name, value)


def _seconds(_settings: object, field: attrs.Attribute[float], value: float) -> None:
    check_seconds(field.name, value)


def _name(_settings: object, field: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None:
        check_name(f"parameter ({field.name})", value)


@attrs.frozen(kw_only=True)
class Settings:
    """How connections behave; `Subscriber` says what each means."""

    in_order: bool
    replace_bad_utf8: bool
    timeout: float | None = attrs.field(validator=_positive)
    max_frame: int = attrs.field(validator=_at_least_one)
    max_depth: int = attrs.field(validator=_at_least_one)
    max_connections: int = attrs.field(validator=_at_least_one)
    max_in_flight: int = attrs.field(validator=_at_least_one)
    max_unread: int = attrs.field(validator=_at_least_one)
    id_param: str | None = attrs.field(validator=_name)
    window: float = attrs.field(validator=_seconds)
    max_remembered: int = attrs.field(validator=_at_least_one)


@attrs.define
class Counters:
    """Plain numbers that the connections add to; all count from the subscriber's making."""

    accepted: int = 0
    turned_away: int = 0
    requests: int = 0
    notifications: int = 0
    confirmed: int = 0
    errors: int = 0
    failed: int = 0
    malformed: int = 0
    dropped: int = 0
    repeats: int = 0
    forgotten: int = 0


@attrs.frozen(kw_only=True)
class SubscriberStatus:
    """What a subscriber has done and is doing.

    Args:
        connections: Open now.
        in_flight: Received and not answered yet, notifications included.
        accepted: Connections ever taken.
        turned_away: Connections closed at once because of the bound on connections.
        requests: Requests that were valid, with an id.
        notifications: Valid ones without an id.
        confirmed: Requests whose function returned, also when the peer was gone before it could be told.
        errors: Requests refused with an error, by their function or before it.
        failed: Requests and notifications whose function raised something other than an `RpcError`.
        malformed: Values that are no request, and streams that could not be read any further.
        dropped: Received but never begun, because the peer was gone or the subscriber closed.
        repeats: Requests and notifications whose event had come before, so that no function was called for them; they
            are counted above as well, as what they are and as what they were answered.
        forgotten: Confirmed events that were forgotten within their window, since there were too many to remember.
    """

    connections: int
    in_flight: int
    accepted: int
    turned_away: int
    requests: int
    notifications: int
    confirmed: int
    errors: int
    failed: int
    malformed: int
    dropped: int
    repeats: int
    forgotten: int


class Service:
    """What one start of a subscriber shares among its connections.

    Args:
        settings: How they behave.
        dispatch: Where requests go.
        counters: What they count in.
        repeats: Knows the events that came before, if that is wanted; it then stands before `dispatch`.
    """

    def __init__(
        self,
        settings: Settings,
        dispatch: Callable[[Request], object],
        counters: Counters,
        repeats: Repeats | None = None,
    ) -> None:
        self.settings = settings
        self.dispatch = dispatch if repeats is None else repeats
        self.counters = counters
        self.repeats = repeats
        self.draining = False
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Future[object]] = set()
        self.idle = asyncio.Event()
        """Set once draining has begun and nobody is there any more."""

    def note(self) -> None:
        """See whether the last one has gone."""
        if self.draining and not self.connections and not self.tasks:
            self.idle.set()
