"""The policies of addresses: what each is called, what can be said of it and of its children, and how it is made.

A policy is added here and nowhere else: the parser, `failover check` and the documentation's table read this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, get_args

from tenacity.stop import stop_after_attempt
from tenacity.wait import wait_exponential

from failover.health import Failback, Health, Probe
from failover.options import (
    GROWTH,
    PACE,
    PART,
    PERCENT,
    PORTION,
    RATE,
    SHARE,
    TEXT,
    TIME,
    TIME_OR_ZERO,
    WHOLE,
    YES_NO,
    Given,
    Options,
    choice,
    whole,
)
from failover.policy import Parts, Policy
from failover.sink import Sink
from failover.strategies.coalesce import Coalesce
from failover.strategies.dead_letter import DeadLetter, as_it_was, enclosed
from failover.strategies.dedup import Dedup
from failover.strategies.failover import Failover
from failover.strategies.hedge import Hedge
from failover.strategies.latency_aware import LatencyAware
from failover.strategies.least_in_flight import LeastInFlight
from failover.strategies.limit import AtLimit, Limit
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

__all__ = ["JUDGING", "TABLE"]

_HEALTH: Final[Options] = {
    "quarantine": TIME_OR_ZERO,
    "failures": WHOLE,
    "ratio": PORTION,
    "window": TIME,
    "growth": GROWTH,
    "longest": TIME,
    "jitter": PART,
    "failback": choice(*get_args(Failback)),
    "slow_start": WHOLE,
}
_PROBE: Final[Options] = {"probe": TEXT, "probe_interval": TIME, "probe_timeout": TIME}

JUDGING: Final[Options] = {**_HEALTH, **_PROBE, "quarantine_rejected": YES_NO, "last_resort": YES_NO}
"""What can be said of every strategy that tries its children one after the other: how it judges them."""

_WEIGHT: Final[Options] = {"weight": WHOLE}
_BUDGET: Final[Options] = {"share": SHARE, "floor": RATE}
_PROBE_ARGUMENTS: Final = {"probe": "method", "probe_interval": "every", "probe_timeout": "timeout"}
_LETTERS: Final = {"enclosed": enclosed, "as-it-was": as_it_was}
_FIRST_WAIT: Final = 0.05  # seconds; with the next two, what Retry waits by itself
_LONGEST_WAIT: Final = 1.0  # seconds
_GROWTH: Final = 2.0


def _judged(parts: Parts, **letter: Any) -> dict[str, Any]:
    """The arguments of a strategy that judges its children.

    Args:
        parts: What it is made of.
        letter: Rules that the text needn't say, since its policy is OpenSIPS's.
    """
    options = _plain(parts)
    rules: dict[str, Any] = {"quarantine": parts.defaults.quarantine, **letter}
    rules |= {name: options.pop(name) for name in _HEALTH if name in options}
    probe = {argument: options.pop(name) for name, argument in _PROBE_ARGUMENTS.items() if name in options}
    if probe:
        probe["method"] = None if probe["method"] == "tcp" else probe["method"]
        rules["probe"] = Probe(**probe)
    return {**options, "health": Health(**rules)}


def _check_judging(options: Mapping[str, Given], _: Sequence[Given]) -> None:
    for name in ("probe_interval", "probe_timeout"):
        if name in options and "probe" not in options:
            raise options[name].place.error(0, f"{name}= without a probe", "probe=tcp, or probe= and a method, as well")


def _plain(parts: Parts) -> dict[str, Any]:
    """The arguments of a strategy whose options are called as its arguments."""
    return {"name": parts.name, **parts.options}


def _sequence(kind: Callable[..., Sink], **letter: Any) -> Callable[[Parts], Sink]:
    return lambda parts: kind(*parts.children, **_judged(parts, **letter))


def _weighted(kind: Callable[..., Sink]) -> Callable[[Parts], Sink]:
    return lambda parts: kind(_weights(parts), **_judged(parts))


def _around(kind: Callable[..., Sink]) -> Callable[[Parts], Sink]:
    return lambda parts: kind(*parts.children, **_plain(parts))


def _weights(parts: Parts) -> dict[Sink, int]:
    return {child: said.get("weight", 1) for child, said in zip(parts.children, parts.said, strict=True)}


def _tiers(parts: Parts) -> Sink:
    weights = _weights(parts)
    tiers: dict[int, dict[Sink, int]] = {}
    for child, said in zip(parts.children, parts.said, strict=True):
        tiers.setdefault(said["tier"], {})[child] = weights[child]
    return Tiers(*[tiers[tier] for tier in sorted(tiers)], **_judged(parts))


def _route(parts: Parts) -> Sink:
    placed = list(zip(parts.children, parts.said, strict=True))
    routes = [(said["when"], child) for child, said in placed if said]
    return Route(*routes, default=next((child for child, said in placed if not said), None), **_plain(parts))


def _check_route(_: Mapping[str, Given], said: Sequence[Given]) -> None:
    others = [child.place for child in said if not child.value]
    if len(others) > 1:
        raise others[1].error(0, "a second child without when=", "one at most: it gets what no pattern fits")
    if len(said) == len(others):
        raise others[0].error(0, "no child has a when=", "when= after a child, e.g. when=E_ACC_*")


def _check_limit(options: Mapping[str, Given], said: Sequence[Given]) -> None:
    if not options.keys() & {"in_flight", "rate"}:
        raise said[0].place.error(0, "no in_flight= and no rate=", "one of them, or both, after LIMIT")
    if "burst" in options and "rate" not in options:
        raise options["burst"].place.error(0, "burst= without a rate", "rate= as well")


def _quorum(parts: Parts) -> Sink:
    options = _plain(parts)
    return Quorum(options.pop("k"), *parts.children, **options)


def _at_most(name: str) -> Callable[[Mapping[str, Given], Sequence[Given]], None]:
    def check(options: Mapping[str, Given], said: Sequence[Given]) -> None:
        given = options.get(name)
        if given is not None and isinstance(given.value, int) and given.value > len(said):
            raise given.place.error(0, f"{name}={given.value} of {len(said)}", f"at most {len(said)}, the children")

    return check


def _retry(parts: Parts) -> Sink:
    options = _plain(parts)
    wait = options.pop("wait", _FIRST_WAIT)
    longest = options.pop("longest", max(wait, _LONGEST_WAIT))
    options["wait"] = wait_exponential(wait, max=longest, exp_base=options.pop("growth", _GROWTH))
    if "attempts" in options:
        options["stop"] = stop_after_attempt(options.pop("attempts"))
    return Retry(*parts.children, **options)


def _timeout(parts: Parts) -> Sink:
    options = _plain(parts)
    return Timeout(parts.children[0], options.pop("within"), **options)


def _dead_letter(parts: Parts) -> Sink:
    options = _plain(parts)
    letter = _LETTERS[options.pop("letter", "enclosed")]
    return DeadLetter(*parts.children, letter=letter, **options)


TABLE: Final = (
    Policy(
        "FAILOVER",
        "the first that is in service gets the event; if it doesn't confirm, the next one does",
        _sequence(Failover, failback="eager"),
        options=JUDGING,
        check=_check_judging,
    ),
    Policy(
        "PARALLEL",
        "all get the event at once, and all must confirm it, or as many as require= says",
        _around(Parallel),
        options={"require": choice("all", "any", other=WHOLE)},
        in_order=False,
        check=_at_most("require"),
    ),
    Policy(
        "ROUND-ROBIN",
        "they take turns; if one doesn't confirm, the one after it gets the event",
        _sequence(RoundRobin, failback="eager"),
        options={**JUDGING, "move_on": YES_NO},
        check=_check_judging,
    ),
    Policy(
        "WEIGHTED-ROUND-ROBIN",
        "they take turns in proportion to their weights",
        _weighted(WeightedRoundRobin),
        options=JUDGING,
        check=_check_judging,
        said=_WEIGHT,
    ),
    Policy(
        "WEIGHTED-RANDOM",
        "each event begins at one drawn by weight",
        _weighted(WeightedRandom),
        options=JUDGING,
        check=_check_judging,
        said=_WEIGHT,
    ),
    Policy(
        "LEAST-IN-FLIGHT",
        "each event begins at the less busy of two drawn at random",
        _sequence(LeastInFlight),
        options=JUDGING,
        check=_check_judging,
    ),
    Policy(
        "LATENCY-AWARE",
        "each event begins at the faster of two drawn at random",
        _sequence(LatencyAware),
        options={**JUDGING, "decay": TIME},
        check=_check_judging,
    ),
    Policy(
        "STICKY",
        "all events of one key begin at the same one",
        _sequence(Sticky),
        options={**JUDGING, "key": TEXT},
        check=_check_judging,
    ),
    Policy(
        "TIERS",
        "all of one tier before any of the next; within a tier, by weight",
        _tiers,
        options=JUDGING,
        check=_check_judging,
        said={"tier": whole(0), "weight": whole(0)},
        said_required=["tier"],
    ),
    Policy(
        "QUORUM",
        "all get the event at once, and k of them must confirm it",
        _quorum,
        options={"k": WHOLE},
        required=["k"],
        in_order=False,
        check=_at_most("k"),
    ),
    Policy(
        "HEDGE",
        "the first gets the event; if it hasn't answered after a while, the second does as well",
        _around(Hedge),
        options={"delay": TIME_OR_ZERO, "percentile": PERCENT, "loser": choice("cancel", "keep"), **_BUDGET},
        required=["delay"],
        least=2,
        most=2,
    ),
    Policy(
        "MIRROR",
        "the first is the delivery; the second gets a copy whose outcome never counts",
        _around(Mirror),
        least=2,
        most=2,
    ),
    Policy(
        "ROUTE",
        "the event goes to the first whose pattern fits its name, else to the one without a pattern",
        _route,
        said={"when": TEXT},
        check=_check_route,
    ),
    Policy(
        "RETRY",
        "an event that isn't settled is tried again after a while",
        _retry,
        options={
            "attempts": WHOLE,
            "wait": TIME_OR_ZERO,
            "growth": GROWTH,
            "longest": TIME,
            "within": TIME,
            **_BUDGET,
        },
        most=1,
    ),
    Policy(
        "LIMIT",
        "no more than so many events at once, no more than so many a second",
        _around(Limit),
        options={
            "in_flight": WHOLE,
            "rate": PACE,
            "burst": WHOLE,
            "at_limit": choice(*get_args(AtLimit)),
            "waiting": whole(0),
        },
        most=1,
        check=_check_limit,
    ),
    Policy(
        "DEDUP",
        "an event that comes again within a while gets the outcome of the first one, and no attempt",
        _around(Dedup),
        options={"window": TIME, "key": choice("params", "id"), "most": WHOLE},
        required=["window"],
        most=1,
    ),
    Policy(
        "ORDERED",
        "events of one key go one after the other, those of different keys side by side",
        _around(Ordered),
        options={"key": TEXT, "waiting": whole(0)},
        most=1,
    ),
    Policy(
        "COALESCE",
        "of the events of one key that wait, the newest goes; what inserts or deletes is kept, and in order",
        _around(Coalesce),
        options={"key": TEXT, "keep": TEXT, "every": TIME, "waiting": whole(0), "most": WHOLE},
        required=["key"],
        most=1,
    ),
    Policy("TIMEOUT", "has this long, all attempts together", _timeout, {"within": TIME}, required=["within"], most=1),
    Policy(
        "DEAD-LETTER",
        "the first is the delivery; what it doesn't take goes to the second, with its receipt",
        _dead_letter,
        options={"reserve": TIME_OR_ZERO, "letter": choice(*_LETTERS)},
        least=2,
        most=2,
    ),
)
"""All policies."""
