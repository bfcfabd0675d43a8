"""Faults over time: a list of what goes wrong when and where, written down or drawn from a seed, and its playing."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any, Final

from attrs import Attribute, field, frozen
from attrs.validators import instance_of

from failover.errors import ConfigError
from failover.testing.faulty import MOMENTARY, Faulty, faulty
from failover.testing.proxy import FaultProxy
from failover.testing.subscriber import ScriptedSubscriber

__all__ = ["FaultEvent", "Places", "check_faults", "play", "random_faults"]

Places = Mapping[str, Faulty | FaultProxy | ScriptedSubscriber]
"""Where faults happen, by name: subscribers, proxies, and `HostFaults` of simulated hosts."""


def _seconds(_: object, attribute: Attribute[Any], value: float | None) -> None:
    if value is not None and (not isinstance(value, int | float) or not 0 <= value < math.inf):
        raise ConfigError(f"{attribute.name}={value!r}: expected seconds >= 0")


@frozen
class FaultEvent:
    """One fault: when, what, where, and how long.

    Args:
        at: Seconds after the timeline's start.
        what: The fault's name, see `failover.testing.faulty`.
        args: Its arguments.
        on: Where: a name of the places; empty for all of them.
        lasts: Seconds until it ends; None for good. Faults that happen once have no end.

    Raises:
        ConfigError: a time below 0.
    """

    at: float = field(validator=_seconds)
    what: str = field(validator=instance_of(str))
    args: Mapping[str, Any] = field(factory=dict[str, Any])
    on: str = ""
    lasts: float | None = field(default=None, validator=_seconds)


def check_faults(events: Iterable[FaultEvent], places: Places) -> None:
    """Refuse what could not be played, before anything is.

    Args:
        events: The faults.
        places: Where they happen.

    Raises:
        ConfigError: a place that there is not, a fault that it doesn't have, or arguments that the fault doesn't have.
    """
    known = {name: faulty(place) for name, place in places.items()}
    for event in events:
        for place in _places(event, known):
            known[place].check(event.what, event.args)


def _places(event: FaultEvent, known: Mapping[str, Faulty]) -> Sequence[str]:
    if event.on and event.on not in known:
        raise ConfigError(
            f"{event.what} at {event.at:g} s: there is no {event.on!r}; expected one of {', '.join(known)}"
        )
    return [event.on] if event.on else list(known)


async def play(events: Iterable[FaultEvent], places: Places, *, start: float | None = None) -> None:
    """Play faults in order of time, and return when the last has begun and those that end have ended.

    Of two that overlap and are the same on the same place, the later one's arguments hold, until both have ended.
    If this is cancelled, all that it has set is ended.

    Args:
        events: The faults, in any order.
        places: Where they happen.
        start: Loop time, in seconds, that `at` counts from; now by default.

    Raises:
        ConfigError: something can't be played; see `check_faults`.
    """
    events = list(events)
    check_faults(events, places)
    known = {name: faulty(place) for name, place in places.items()}
    loop = asyncio.get_running_loop()
    begun = loop.time() if start is None else start
    active: Counter[tuple[str, str]] = Counter()
    due: list[tuple[float, int, FaultEvent, bool]] = []
    for number, event in enumerate(events):
        heapq.heappush(due, (event.at, 2 * number + 1, event, True))
        if event.lasts is not None and event.what not in MOMENTARY:
            heapq.heappush(due, (event.at + event.lasts, 2 * number, event, False))
    try:
        while due:
            at, _, event, begins = heapq.heappop(due)
            await asyncio.sleep(begun + at - loop.time())
            for place in _places(event, known):
                if begins:
                    active[place, event.what] += event.what not in MOMENTARY
                    await known[place].begin(event.what, event.args)
                else:
                    active[place, event.what] -= 1
                    if not active[place, event.what]:
                        await known[place].end(event.what)
    except BaseException:
        for (place, what), count in active.items():
            if count > 0:
                await known[place].end(what)
        raise


_DRAWN: Final[dict[str, Callable[[Random], dict[str, Any]]]] = {
    "latency": lambda rng: {"delay": round(rng.uniform(0.001, 0.5), 6)},
    "jitter": lambda rng: {"most": round(rng.uniform(0.001, 0.2), 6)},
    "bandwidth": lambda rng: {"rate": rng.randint(1_000, 100_000)},
    "corrupt": lambda rng: {"probability": round(rng.uniform(0.0001, 0.05), 6)},
    "limit": lambda rng: {"size": rng.randint(1, 5_000)},
    "loss": lambda rng: {"probability": round(rng.uniform(0.01, 0.5), 6)},
    "late": lambda rng: {"after": round(rng.uniform(0.01, 3.0), 6)},
    "error": lambda rng: {"code": rng.choice([-32000, -32601, -32603, -32700, 1])},
    "tls_failure": lambda rng: {"kind": rng.choice(["no_handshake", "plain_text"])},
}
"""How arguments are drawn for faults that need some, or are more interesting with them."""


def random_faults(
    rng: Random,
    places: Places,
    *,
    duration: float,
    most: int = 6,
    what: Iterable[str] | None = None,
    longest: float | None = None,
) -> list[FaultEvent]:
    """Draw a timeline: some faults, at random times on random places, each of which ends.

    Args:
        rng: Where its randomness comes from; the same state gives the same timeline.
        places: Where they may happen.
        duration: Seconds in which all of them begin.
        most: How many at most; at least one.
        what: Which faults may be drawn; all that a place has by default.
        longest: Seconds that one lasts at most; half of the duration by default.

    Returns:
        The faults in order of time.

    Raises:
        ConfigError: no place has any of the faults.
    """
    wanted = None if what is None else frozenset(what)
    choices = {name: sorted(_wanted(faulty(place).names, wanted)) for name, place in places.items()}
    names = [name for name, found in choices.items() if found]
    if not names:
        raise ConfigError(f"no place of {', '.join(places) or 'none'} has any of the faults {sorted(wanted or ())}")
    events: list[FaultEvent] = []
    for _ in range(rng.randint(1, max(1, most))):
        on = rng.choice(names)
        chosen = rng.choice(choices[on])
        at = round(rng.uniform(0.0, duration), 6)
        lasts = round(rng.uniform(0.0, duration / 2 if longest is None else longest), 6)
        args = _DRAWN[chosen](rng) if chosen in _DRAWN else {}
        events.append(FaultEvent(at, chosen, args, on, None if chosen in MOMENTARY else lasts))
    return sorted(events, key=lambda event: event.at)


def _wanted(names: frozenset[str], wanted: frozenset[str] | None) -> frozenset[str]:
    """Without `restart`, which comes by itself at the end of `crash`, and `accept`, which is none."""
    return names - {"restart", "accept", "confirm"} if wanted is None else names & wanted
