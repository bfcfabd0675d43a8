"""What each strategy costs per event, over sinks that confirm at once, and whether it costs more with more children."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import Final

from attrs import frozen
from tenacity import stop_after_attempt, wait_none

from failover import Attempt, Event, Group, Outcome, Receipt, Sink, Status
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
from tests.benchmarks.race import Result, Settings
from tests.benchmarks.sheet import Bound, Sheet, work

__all__ = ["AWAITED", "BARE", "FEW", "MAKERS", "MANY", "SPREAD", "Instant", "Later", "Strategies", "main"]

Maker = Callable[[Sequence["Instant"]], Sink]

FEW: Final = 3
MANY: Final = 1000
BARE: Final = "a bare sink"
_TURN: Final = 64  # events until the loop has its turn, for what a strategy leaves to it; and those awaited at once
_KEYS: Final = 1024  # Call-IDs that take turns
_NEW: Final = itertools.count()  # keys that no event had before


class Instant:
    """A sink that confirms each event at once, with an attempt of its own: what is left is the strategy's."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def open(self, _: object) -> None:
        """Know the loop."""
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time

    def start(self, event: Event, *, deadline: float | None = None) -> asyncio.Future[Receipt]:
        """A future that is done."""
        now = self._now()
        begun: asyncio.Future[Receipt] = asyncio.Future(loop=self._loop)
        begun.set_result(Attempt(event, self.name, Outcome.CONFIRMED, now, now, sent=True))
        return begun

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """The same, awaited."""
        return await self.start(event, deadline=deadline)

    def status(self) -> Status:
        """Up."""
        return Status(self.name, up=True)

    async def aclose(self) -> None:
        """Nothing is held."""


class Later(Instant):
    """One that confirms in the loop's next turn, so that each event is awaited, as it is on a network."""

    def start(self, event: Event, *, deadline: float | None = None) -> asyncio.Future[Receipt]:
        """A future that is done in the next turn."""
        begun: asyncio.Future[Receipt] = asyncio.Future(loop=self._loop)
        self._loop.call_soon(self._confirm, begun, event, self._now())
        return begun

    def _confirm(self, begun: asyncio.Future[Receipt], event: Event, began: float) -> None:
        if not begun.done():
            begun.set_result(Attempt(event, self.name, Outcome.CONFIRMED, began, self._now(), sent=True))


# A new strategy is a row here. `ONE` have one child (or two), `SPREAD` choose one of any number, `ALL` ask all.
ONE: Final[Mapping[str, Maker]] = {
    "Coalesce": lambda sinks: Coalesce(sinks[0], key=lambda _: next(_NEW)),
    "Deadline": lambda sinks: Deadline(sinks[0], lambda _: None),
    "Dedup": lambda sinks: Dedup(sinks[0], window=60.0, key=lambda _: next(_NEW)),
    "DeadLetter": lambda sinks: DeadLetter(sinks[0], sinks[1]),
    "Hedge": lambda sinks: Hedge(sinks[0], sinks[1], delay=1.0),
    "Limit": lambda sinks: Limit(sinks[0], in_flight=64),
    "Mirror": lambda sinks: Mirror(sinks[0], sinks[1]),
    "Ordered": lambda sinks: Ordered(sinks[0], key=lambda _: next(_NEW)),
    "Retry": lambda sinks: Retry(sinks[0], stop=stop_after_attempt(3), wait=wait_none()),
    "Route": lambda sinks: Route(("E_BENCH", sinks[0]), default=sinks[1]),
    "Timeout": lambda sinks: Timeout(sinks[0], 1.0),
}
SPREAD: Final[Mapping[str, Maker]] = {
    "Failover": lambda sinks: Failover(*sinks),
    "LatencyAware": lambda sinks: LatencyAware(*sinks),
    "LeastInFlight": lambda sinks: LeastInFlight(*sinks),
    "RoundRobin": lambda sinks: RoundRobin(*sinks),
    "Sticky": lambda sinks: Sticky(*sinks),
    "Sticky, new keys": lambda sinks: Sticky(*sinks, key=lambda _: next(_NEW)),
    "Tiers": lambda sinks: Tiers(dict.fromkeys(sinks, 1)),
    "WeightedRandom": lambda sinks: WeightedRandom(dict.fromkeys(sinks, 1)),
    "WeightedRoundRobin": lambda sinks: WeightedRoundRobin(dict.fromkeys(sinks, 1)),
}
ALL: Final[Mapping[str, Maker]] = {
    "Parallel": lambda sinks: Parallel(*sinks, require="all"),
    "Quorum": lambda sinks: Quorum(2, *sinks),
}
_BARE_AWAITED: Final = f"{BARE}, awaited"
AWAITED: Final[Mapping[str, Maker]] = {
    _BARE_AWAITED: lambda sinks: sinks[0],
    **{f"{name}, awaited": {**ONE, **ALL}[name] for name in ("Hedge", "Mirror", "Parallel", "Quorum")},
}
MAKERS: Final[Mapping[str, Maker]] = {BARE: lambda sinks: sinks[0], **ONE, **SPREAD, **ALL, **AWAITED}

_US: Final = "us"
_OF_BARE: Final = "x bare"
_MORE: Final = f"us, {MANY:,}"
_OF_FEW: Final = f"x {FEW}"
_AS_MANY: Final = ("Failover", "RoundRobin", "Sticky", "Sticky, new keys", "WeightedRoundRobin")
_BOUNDS: Final = {name: (Bound(_OF_FEW, 1.5),) for name in _AS_MANY}


@frozen
class Strategies:
    """The section; ratios are taken within a round, and their median is shown."""

    name: str = "strategies"
    title: str = f"Microseconds per event over {FEW} sinks that confirm at once, and over {MANY:,}"

    def run(self, settings: Settings) -> Result:
        """Measure all of them in one process."""
        full = settings.seconds >= 1
        settings.say(f"{self.name}: {len(MAKERS)} of them")
        found: dict[str, list[float]] = work("strategies", [0.05 if full else 0.005, 9 if full else 3], timeout=120)
        sheet = Sheet(self.name, (_US, _OF_BARE, _MORE, _OF_FEW))
        for name in MAKERS:
            few = found[f"{name} {FEW}"]
            bare = _BARE_AWAITED if name in AWAITED else BARE
            figures = {_US: statistics.median(few), _OF_BARE: _ratio(few, found[f"{bare} {FEW}"])}
            if name in SPREAD:
                many = found[f"{name} {MANY}"]
                figures |= {_MORE: statistics.median(many), _OF_FEW: _ratio(many, few)}
            sheet.add(name, figures, *_BOUNDS.get(name, ()), raw=found)
        return sheet.result


def _ratio(figures: Sequence[float], to: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(figures, to, strict=True))


async def _slice(group: Group, events: Sequence[Event], seconds: float, *, at_once: bool) -> float:
    """Microseconds of this process's time per event, one after the other or so many of them at once."""
    count = 0
    began = time.process_time()
    while (used := time.process_time() - began) < seconds or not count:
        some = events[count % _KEYS : count % _KEYS + _TURN]
        if at_once:
            await asyncio.gather(*[group.deliver(event) for event in some])
        else:
            for event in some:
                await group.deliver(event)
            await asyncio.sleep(0)
        count += _TURN
    return used / count * 1e6


async def _run(seconds: float, rounds: int) -> dict[str, list[float]]:
    events = [Event("E_BENCH", {"callid": f"a84b4c76e66710-{number}", "duration": 35}) for number in range(_KEYS)]
    found: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        groups: dict[str, Group] = {}
        for name, maker in MAKERS.items():
            for count in (FEW, MANY) if name in SPREAD else (FEW,):
                kind = Later if name in AWAITED else Instant
                group = Group(f"{name} {count}", maker([kind(f"{at}") for at in range(count)]), rng=Random(0))
                groups[group.name] = await stack.enter_async_context(group)
                for event in events:  # each child, and each key, has been asked before it is measured
                    assert (await group.deliver(event)).confirmed
        gc.collect()
        gc.freeze()  # the children of all groups are not what a collection should cost one of them
        names = list(groups)
        for turn in range(rounds):
            for name in names if turn % 2 else reversed(names):
                at_once = name.removesuffix(f" {FEW}") in AWAITED
                found.setdefault(name, []).append(await _slice(groups[name], events, seconds, at_once=at_once))
    return found


def main() -> None:
    """Measure all rows and print the figures."""
    seconds, rounds = json.loads(sys.argv[1])
    print(json.dumps(asyncio.run(_run(seconds, rounds))))


if __name__ == "__main__":
    main()
