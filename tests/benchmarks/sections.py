"""All that is measured, in the order of the report: a list to add to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from tests.benchmarks.bystanders import BlackHole, Idle
from tests.benchmarks.cost import COSTS
from tests.benchmarks.memory import Memory
from tests.benchmarks.moving_on import Reset, Silence
from tests.benchmarks.observers import Observers
from tests.benchmarks.race import Contender, Goal, Race, Result, Settings
from tests.benchmarks.simulated import Simulated
from tests.benchmarks.strategies import Strategies

__all__ = ["SECTIONS", "Section"]


class Section(Protocol):
    """One part of the report."""

    @property
    def name(self) -> str:
        """For ``--only`` and the JSON."""
        ...

    @property
    def title(self) -> str:
        """Over its table."""
        ...

    def run(self, settings: Settings) -> Result:
        """Measure; what breaks off is in the result, and never ends the other sections."""
        ...


_TIMES = ("--seconds", "{seconds}")
_CLOSED = ("--window", "{window}", *_TIMES)
_OPEN = ("--rate", "10000", *_TIMES)
_C = ("{client}", "{port}")
_NAIVE = ("{python}", "-m", "tests.benchmarks.naive", "{port}")
_BARE = ("{python}", "-m", "tests.benchmarks.bare", "{port}")
_OURS = ("{python}", "-m", "tests.benchmarks.ours", "--ports", "{ports}")
_BLOCKING = ("{python}", "-m", "tests.benchmarks.ours_blocking", "--ports", "{ports}", *_TIMES)
_LOOPS = ("asyncio", "uvloop")
_PER_THREAD = 64
_ASLEEP = ("--busy-poll", "0")


def _speed(bound: float, aim: float) -> tuple[Goal, ...]:
    return (
        Goal("events_per_second", bound),
        Goal("events_per_second", aim, aim=True),
        Goal("events_per_second", 3.5, against="naive"),
    )


_GOALS: Mapping[tuple[str, str], tuple[Goal, ...]] = {
    ("await", "asyncio"): _speed(0.20, 0.25),
    ("await", "uvloop"): _speed(0.27, 0.32),
    ("many", "asyncio"): _speed(0.40, 0.50),
    ("many", "uvloop"): _speed(0.40, 0.50),
}


def _bare(window: int) -> Iterator[Contender]:
    """What the loops themselves cost whoever awaits each reply."""
    for loop in _LOOPS:
        needs = "uvloop" if loop == "uvloop" else None
        yield Contender(f"bare {loop}", (*_BARE, "--loop", loop, *_CLOSED), window, needs=needs)


def _closed(window: int, goals: Mapping[tuple[str, str], tuple[Goal, ...]]) -> Iterator[Contender]:
    """The two ends of the scale at one window, and ours: an event made per delivery first, then one made once."""
    yield Contender("c", (*_C, *_CLOSED), window)
    yield Contender("naive", (*_NAIVE, *_CLOSED), window)
    yield from _bare(window)
    for made in ("", "premade"):
        for mode in ("await", "many"):
            for loop in _LOOPS:
                yield Contender(
                    " ".join(filter(None, (mode, loop, made))),
                    (*_OURS, "--mode", mode, "--loop", loop, *_CLOSED, *([f"--{made}"] if made else [])),
                    window,
                    needs="uvloop" if loop == "uvloop" else None,
                    goals=() if made else goals.get((mode, loop), ()),
                )


def _latency(how: tuple[str, ...], window: int, *goals: Goal) -> Iterator[Contender]:
    """The same, of which only the latency is asked."""
    yield Contender("c", (*_C, *how), window)
    yield Contender("naive", (*_NAIVE, *how), window)
    for loop in _LOOPS:
        needs = "uvloop" if loop == "uvloop" else None
        ours = (*_OURS, "--loop", loop, *how)
        yield Contender(f"await {loop}", ours, window, needs=needs, goals=goals)
        yield Contender(f"await {loop} asleep", (*ours, *_ASLEEP), window, needs=needs)


def _blocking() -> Iterator[Contender]:
    """Threads with 64 events each; the C client's one thread has as many in flight as all of them, or 64."""
    for window in (64, 256, 1024):
        yield Contender(f"c {window}", (*_C, *_CLOSED), window, against="c 64")
    for mode in ("submit", "many"):
        for threads in (1, 4, 16):
            goal = (Goal("events_per_second", 0.15), Goal("events_per_second", 0.15, against="c 64"))
            yield Contender(
                f"{mode}, {threads} thread{'s' if threads > 1 else ''}",
                (*_BLOCKING, "--mode", mode, "--threads", str(threads), "--window", str(_PER_THREAD)),
                _PER_THREAD * threads,
                against=f"c {_PER_THREAD * threads}",
                goals=goal if threads == 4 else (),  # what the goal is set for
            )


SECTIONS: tuple[Section, ...] = (
    Race("window-64", "Confirmed events per second, 64 in flight", tuple(_closed(64, _GOALS))),
    Race("window-256", "Confirmed events per second, 256 in flight", tuple(_closed(256, {}))),
    Race(
        "one-in-flight",
        "Latency with one in flight",
        (*_latency(_CLOSED, 1, Goal("p50_us", 1.25, at_least=False)), *_bare(1)),
        compared=("p50_us", "p99_us"),
    ),
    Race(
        "open-loop",
        "Latency at 10,000 events per second, on schedule whatever the replies do",
        tuple(_latency(_OPEN, 0, Goal("p50_us", 2.5, at_least=False), Goal("p99_us", 4, at_least=False))),
        compared=("p50_us", "p99_us"),
    ),
    Race(
        "blocking",
        "Confirmed events per second of the blocking face, 64 outstanding per thread (ratio: C at the same window)",
        tuple(_blocking()),
    ),
    Reset(),
    Silence(),
    BlackHole(),
    Idle(),
    Memory(),
    *COSTS,
    Strategies(),
    Observers(),
    Simulated(),
)
