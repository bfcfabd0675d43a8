"""Every strategy under its name, with how many children it takes: a new one is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import frozen
from tenacity.stop import stop_after_attempt
from tenacity.wait import wait_fixed

from failover.event import Event
from failover.group import Group
from failover.sink import Sink
from failover.strategies import (
    Coalesce,
    DeadLetter,
    Deadline,
    Dedup,
    Failover,
    Hedge,
    LatencyAware,
    LeastInFlight,
    Limit,
    Mirror,
    Ordered,
    Parallel,
    Quorum,
    Retry,
    RoundRobin,
    Route,
    Sticky,
    Tiers,
    Timeout,
    WeightedRandom,
    WeightedRoundRobin,
)
from failover.strategy import Strategy

__all__ = ["KINDS", "Kind"]


@frozen
class Kind:
    """How a strategy is made over some children.

    Args:
        make: Makes it, given its children and its name.
        least: How few children it takes.
        most: How many.
        again: How many attempts a child may get for one event, at most.
        key: If its children get the events of one key in the order in which they came: the key of an event.
    """

    make: Callable[[Sequence[Sink], str], Sink]
    least: int = 1
    most: int = 4
    again: int = 1
    key: Callable[[Event], object] | None = None


def _weights(sinks: Sequence[Sink]) -> dict[Sink, int]:
    return {sink: weight for weight, sink in enumerate(sinks, 1)}


def _part(at: int, of: int) -> Callable[[Event], bool]:
    return lambda event: sum(event.name.encode()) % of == at


def _two(strategy: Callable[..., Strategy], **settings: object) -> Kind:
    return Kind(lambda sinks, name: strategy(*sinks, name=name, **settings), 2, 2)


def _one(
    strategy: Callable[..., Strategy],
    *given: object,
    again: int = 1,
    ordered: Callable[[Event], object] | None = None,
    **settings: object,
) -> Kind:
    return Kind(lambda sinks, name: strategy(*sinks, *given, name=name, **settings), 1, 1, again, ordered)


def _end(event: Event) -> float:
    return 0.3 * (sum(event.name.encode()) % 7)


def _call(event: Event) -> object:
    return event.params["callid"] if isinstance(event.params, Mapping) and "callid" in event.params else None


def _some(strategy: Callable[..., Strategy], **settings: object) -> Kind:
    return Kind(lambda sinks, name: strategy(*sinks, name=name, **settings))


KINDS: Final[dict[str, Kind]] = {
    "failover": _some(Failover, quarantine=1.0),
    "failover, no quarantine": _some(Failover, quarantine=0),
    "failover, the letter": _some(Failover, quarantine=1.0, quarantine_rejected=True, last_resort=False),
    "round robin": _some(RoundRobin, quarantine=1.0),
    "round robin, the letter": _some(RoundRobin, quarantine=0, move_on=False),
    "weighted round robin": Kind(lambda sinks, name: WeightedRoundRobin(_weights(sinks), name=name, quarantine=1.0)),
    "weighted random": Kind(lambda sinks, name: WeightedRandom(_weights(sinks), name=name, quarantine=1.0)),
    "least in flight": _some(LeastInFlight, quarantine=1.0),
    "latency-aware": _some(LatencyAware, quarantine=1.0),
    "sticky": _some(Sticky, quarantine=1.0),
    "tiers": Kind(
        lambda sinks, name: Tiers(*[_weights(tier) for tier in (sinks[:1], sinks[1:]) if tier], name=name, quarantine=1)
    ),
    "all": _some(Parallel),
    "any": _some(Parallel, require="any"),
    "quorum": Kind(lambda sinks, name: Quorum(len(sinks) // 2 + 1, *sinks, name=name)),
    "hedge": _two(Hedge, delay=0.05, share=1.0),
    "hedge, keeping": _two(Hedge, delay=0.05, share=0.2, floor=0.2, loser="keep"),
    "mirror": _two(Mirror),
    "route": Kind(
        lambda sinks, name: Route(*[(_part(at, len(sinks)), sink) for at, sink in enumerate(sinks)], name=name)
    ),
    "retry": _one(Retry, stop=stop_after_attempt(3), wait=wait_fixed(0.02), share=0.5, floor=1.0, again=3),
    "timeout": _one(Timeout, 0.15),
    "dead letter": _two(DeadLetter),
    "limit": _one(Limit, in_flight=2, rate=50.0, burst=3),
    "limit, to the next": _one(Limit, in_flight=1, at_limit="next"),
    "limit, rejecting": _one(Limit, rate=20.0, at_limit="reject"),
    "deadline": _one(Deadline, _end),
    "dedup": _one(Dedup, window=1.0, key=_call),
    "coalesce": _one(Coalesce, key=_call),
    "coalesce, every so often": _one(Coalesce, key=_call, every=0.2),
    "ordered": _one(Ordered, key=_call, ordered=_call),
    "group": Kind(lambda sinks, name: Group(name, sinks[0], drain=0), 1, 1),
}
"""Every strategy, in its usual forms."""
