"""What observers are told: one frozen record per attempt, delivery, change of a child's standing, and odd reply."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeAlias

from attrs import frozen

from failover.errors import ConfigError
from failover.receipt import Attempt, Receipt

__all__ = [
    "AttemptEnded",
    "BadReply",
    "ConnectionChanged",
    "DeliveryEnded",
    "LateConfirmation",
    "Observer",
    "OnTrial",
    "PushedBack",
    "Quarantined",
    "Record",
    "Recovered",
    "Reinstated",
    "Silence",
    "check_observers",
    "notify",
]


@frozen
class AttemptEnded:
    """An attempt on a socket ended, or was skipped at the socket itself.

    Args:
        attempt: The attempt, complete.
    """

    attempt: Attempt


@frozen
class DeliveryEnded:
    """A group's delivery ended.

    Args:
        group: The group's name.
        receipt: Its receipt; on cancellation, what there is of it.
        part: Whether it is a part of a delivery of which the same observer is told as well: the group is nested there.
    """

    group: str
    receipt: Receipt
    part: bool = False


@frozen
class LateConfirmation:
    """A reply came after its attempt had ended.

    Args:
        sink: Name of the sink.
        attempt: The attempt as it ended, unchanged.
        confirmed: Whether the reply confirms; a late refusal shows only that the peer is alive.
        at: Loop time of the reply, seconds.
        group: Name of the group, the outermost of nested ones.
    """

    sink: str
    attempt: Attempt
    confirmed: bool
    at: float
    group: str = ""


@frozen
class Silence:
    """An attempt that was abandoned got no reply within the sink's own timeout either: the peer is silent.

    Args:
        sink: Name of the sink.
        attempt: The attempt as it ended, unchanged; None for a strategy whose children are all out.
        at: Loop time, seconds.
        group: Name of the group, the outermost of nested ones.
    """

    sink: str
    attempt: Attempt | None
    at: float
    group: str = ""


@frozen
class Quarantined:
    """A strategy takes a child out of service.

    Args:
        strategy: Name of the strategy.
        child: Name of the child.
        until: Loop time until which it is skipped, seconds; infinite if no time brings it back.
        reason: What it did, or why somebody took it out.
        at: Loop time, seconds.
        group: Name of the group, the outermost of nested ones.
    """

    strategy: str
    child: str
    until: float
    reason: str
    at: float
    group: str = ""


@frozen
class PushedBack:
    """A strategy passes a child over for a while because it is busy and asked for it; nobody judges it broken.

    Args:
        strategy: Name of the strategy.
        child: Name of the child.
        until: Loop time until which it is passed over, seconds.
        reason: What it answered.
        at: Loop time, seconds.
        group: Name of the group, the outermost of nested ones.
    """

    strategy: str
    child: str
    until: float
    reason: str
    at: float
    group: str = ""


@frozen
class OnTrial:
    """A child that is out of service gets an event to show whether it is well again, or may get the next one.

    Args:
        strategy: Name of the strategy.
        child: Name of the child.
        reason: Why it gets one.
        at: Loop time, seconds.
        group: Name of the group, the outermost of nested ones.
    """

    strategy: str
    child: str
    reason: str
    at: float
    group: str = ""


@frozen
class Reinstated:
    """A strategy takes a child back into service because it answered, or somebody said so; at first slowly.

    Args:
        strategy: Name of the strategy.
        child: Name of the child.
        reason: What it did.
        at: Loop time, seconds.
        group: Name of the group, the outermost of nested ones.
    """

    strategy: str
    child: str
    reason: str
    at: float
    group: str = ""


@frozen
class Recovered:
    """A child's slow start is over: it may have any number of events at once, and nothing is held against it.

    Args:
        strategy: Name of the strategy.
        child: Name of the child.
        reason: What it did.
        at: Loop time, seconds.
        group: Name of the group, the outermost of nested ones.
    """

    strategy: str
    child: str
    reason: str
    at: float
    group: str = ""


@frozen
class BadReply:
    """A peer sent something that answers nothing.

    Args:
        peer: The peer's address.
        problem: What is wrong with it.
        excerpt: The first bytes of it.
        at: Loop time, seconds.
    """

    peer: str
    problem: str
    excerpt: bytes
    at: float


@frozen
class ConnectionChanged:
    """A connection to a peer was made, failed or broke.

    Args:
        peer: The peer's address.
        connected: Whether there is one now.
        reason: Why not; empty when connected.
        at: Loop time, seconds.
    """

    peer: str
    connected: bool
    reason: str
    at: float


Record: TypeAlias = (
    AttemptEnded
    | BadReply
    | ConnectionChanged
    | DeliveryEnded
    | LateConfirmation
    | OnTrial
    | PushedBack
    | Quarantined
    | Recovered
    | Reinstated
    | Silence
)
Observer: TypeAlias = Callable[[Record], object]

_log = logging.getLogger("failover")


def check_observers(observers: Iterable[Observer]) -> tuple[Observer, ...]:
    """Check observers as they are declared.

    Raises:
        ConfigError: one that can't be called, or a function where a list of them is expected.
    """
    if not isinstance(observers, Iterable):
        raise ConfigError(f"observers must be a list of functions, not {observers!r}; write observers=[…]")
    given = tuple(observers)
    for observer in given:
        if not callable(observer):
            raise ConfigError(f"an observer is a function that is called with each record, not {observer!r}")
    return given


def notify(observers: tuple[Observer, ...], record: Record) -> None:
    """Tell each observer; one that raises is logged and harms neither the delivery nor the other observers."""
    for observer in observers:
        try:
            observer(record)
        except Exception:  # noqa: BLE001  # an observer's fault must not become an event's
            _log.exception("observer %r failed on %s", observer, type(record).__name__)
