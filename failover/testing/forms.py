"""The strategies that random trees are made of, and how each is made from a plan: a new one is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from attrs import frozen
from tenacity.stop import stop_after_attempt
from tenacity.wait import wait_fixed

from failover.event import Event
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
from failover.strategies.dead_letter import as_it_was

if TYPE_CHECKING:
    from failover.testing.plans import Branch

__all__ = ["FORMS", "Form"]

Arguments: TypeAlias = tuple[Sequence[Any], Mapping[str, Any]]
Sinks: TypeAlias = Sequence[Sink]


@frozen
class Form:
    """How a strategy is made from its node of a plan.

    Args:
        kind: Its class.
        arguments: The arguments of its class but the name, given the node and its children.
        least: How few children it takes.
        most: How many.
    """

    kind: Callable[..., Sink]
    arguments: Callable[[Branch, Sinks], Arguments]
    least: int = 1
    most: int = 4


def _order(node: Branch) -> dict[str, Any]:
    """The settings of every sequence that quarantines."""
    return {
        "health": node.health,
        "quarantine_rejected": node.quarantine_rejected,
        "last_resort": node.last_resort,
    }


def _sequence(node: Branch, sinks: Sinks) -> Arguments:
    return sinks, _order(node)


def _round_robin(node: Branch, sinks: Sinks) -> Arguments:
    return sinks, {**_order(node), "move_on": node.move_on}


def _weights(sinks: Sinks) -> dict[Sink, int]:
    return {sink: weight for weight, sink in enumerate(sinks, 1)}


def _weighted(node: Branch, sinks: Sinks) -> Arguments:
    return [_weights(sinks)], _order(node)


def _tiers(node: Branch, sinks: Sinks) -> Arguments:
    first = 1 + int(node.amount * (len(sinks) - 1))
    return [_weights(tier) for tier in (sinks[:first], sinks[first:]) if tier], _order(node)


def _parallel(node: Branch, sinks: Sinks) -> Arguments:
    return sinks, {"require": node.require}


def _quorum(node: Branch, sinks: Sinks) -> Arguments:
    return [1 + int(node.amount * (len(sinks) - 1)), *sinks], {}


def _hedge(node: Branch, sinks: Sinks) -> Arguments:
    loser = "keep" if node.amount < 0.3 else "cancel"  # noqa: PLR2004  # of ten, three
    return sinks, {"delay": 0.004 + 0.04 * node.amount, "share": node.amount, "loser": loser}


def _plain(_node: Branch, sinks: Sinks) -> Arguments:
    return sinks, {}


def _route(_node: Branch, sinks: Sinks) -> Arguments:
    return [(_part(at, len(sinks)), sink) for at, sink in enumerate(sinks)], {}


def _part(at: int, of: int) -> Callable[[Event], bool]:
    return lambda event: sum(event.id.encode()) % of == at


def _retry(node: Branch, sinks: Sinks) -> Arguments:
    stop = stop_after_attempt(2 + int(2 * node.amount))
    return sinks, {"stop": stop, "wait": wait_fixed(0.1 * node.amount), "within": 1.0 if node.move_on else 0.1}


def _timeout(node: Branch, sinks: Sinks) -> Arguments:
    return [*sinks, 0.05 + 0.4 * node.amount], {}


def _dead_letter(node: Branch, sinks: Sinks) -> Arguments:
    return sinks, {"letter": as_it_was, "reserve": 0.1 * node.amount}


def _limit(node: Branch, sinks: Sinks) -> Arguments:
    at_limit = "wait" if node.amount < 0.5 else "next" if node.move_on else "reject"  # noqa: PLR2004  # half of all
    return sinks, {
        "in_flight": 1 + int(8 * node.amount),
        "rate": 20 + 400 * node.amount,
        "burst": 4,
        "at_limit": at_limit,
    }


def _deadline(node: Branch, sinks: Sinks) -> Arguments:
    def at(_event: Event) -> float | None:
        return None if node.amount < 0.5 else 2.0  # noqa: PLR2004  # what comes after that is stale

    return [*sinks, at], {}


def _dedup(node: Branch, sinks: Sinks) -> Arguments:
    return sinks, {"window": 0.1 + node.amount, "key": "id"}


def _keyed(node: Branch, sinks: Sinks) -> Arguments:
    def key(event: Event) -> int:
        return sum(event.id.encode()) % (1 + int(8 * node.amount))

    return sinks, {"key": key}


def _coalesce(node: Branch, sinks: Sinks) -> Arguments:
    given, settings = _keyed(node, sinks)
    every = 0.02 + 0.4 * node.amount if node.amount < 0.5 else None  # noqa: PLR2004  # where keys are few
    return given, {**settings, "every": every}


FORMS: Final[dict[str, Form]] = {
    "Failover": Form(Failover, _sequence),
    "RoundRobin": Form(RoundRobin, _round_robin),
    "Parallel": Form(Parallel, _parallel),
    "WeightedRoundRobin": Form(WeightedRoundRobin, _weighted),
    "WeightedRandom": Form(WeightedRandom, _weighted),
    "LeastInFlight": Form(LeastInFlight, _sequence),
    "LatencyAware": Form(LatencyAware, _sequence),
    "Sticky": Form(Sticky, _sequence),
    "Tiers": Form(Tiers, _tiers),
    "Quorum": Form(Quorum, _quorum),
    "Hedge": Form(Hedge, _hedge, 2, 2),
    "Mirror": Form(Mirror, _plain, 2, 2),
    "Route": Form(Route, _route),
    "Retry": Form(Retry, _retry, 1, 1),
    "Timeout": Form(Timeout, _timeout, 1, 1),
    "DeadLetter": Form(DeadLetter, _dead_letter, 2, 2),
    "Limit": Form(Limit, _limit, 1, 1),
    "Deadline": Form(Deadline, _deadline, 1, 1),
    "Dedup": Form(Dedup, _dedup, 1, 1),
    "Coalesce": Form(Coalesce, _coalesce, 1, 1),
    "Ordered": Form(Ordered, _keyed, 1, 1),
}
"""Every strategy by the name of its class."""
