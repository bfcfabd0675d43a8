"""Strategies: sinks made of sinks, each in a file of its own."""

from __future__ import annotations

if __name__ != "failover.strategies":
    msg = "this folder is the package failover.strategies: install failover and import it under that name"
    raise ImportError(msg)

from failover.strategies.coalesce import Coalesce
from failover.strategies.dead_letter import DeadLetter
from failover.strategies.deadline import Deadline
from failover.strategies.dedup import Dedup
from failover.strategies.failover import Failover
from failover.strategies.hedge import Hedge
from failover.strategies.latency_aware import LatencyAware
from failover.strategies.least_in_flight import LeastInFlight
from failover.strategies.limit import Limit
from failover.strategies.mirror import Mirror
from failover.strategies.ordered import Ordered
from failover.strategies.parallel import Parallel
from failover.strategies.quorum import Quorum
from failover.strategies.retry import Retry
from failover.strategies.round_robin import RoundRobin
from failover.strategies.route import Route
from failover.strategies.sticky import Sticky
from failover.strategies.tiers import Tiers
from failover.strategies.timeout import Timeout
from failover.strategies.weighted_random import WeightedRandom
from failover.strategies.weighted_round_robin import WeightedRoundRobin

__all__ = [
    "Coalesce",
    "DeadLetter",
    "Deadline",
    "Dedup",
    "Failover",
    "Hedge",
    "LatencyAware",
    "LeastInFlight",
    "Limit",
    "Mirror",
    "Ordered",
    "Parallel",
    "Quorum",
    "Retry",
    "RoundRobin",
    "Route",
    "Sticky",
    "Tiers",
    "Timeout",
    "WeightedRandom",
    "WeightedRoundRobin",
]
