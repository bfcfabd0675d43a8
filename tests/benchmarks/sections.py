"""All that is measured, in the order of the report: a list to add to."""

from __future__ import annotations

from typing import Protocol

from tests.benchmarks.race import Contender, Race, Result, Settings

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


def _closed(window: int, *more: Contender) -> tuple[Contender, ...]:
    """The two ends of the scale at one window, and what lies between."""
    return (
        Contender("c", (*_C, *_CLOSED), window),
        Contender("naive", (*_NAIVE, *_CLOSED), window),
        *more,
    )


SECTIONS: tuple[Section, ...] = (
    Race("window-64", "Confirmed events per second, 64 in flight", _closed(64)),
    Race("window-256", "Confirmed events per second, 256 in flight", _closed(256)),
    Race("one-in-flight", "Latency with one in flight", _closed(1), compared=("p50_us", "p99_us")),
    Race(
        "open-loop",
        "Latency at 10,000 events per second, on schedule whatever the replies do",
        (Contender("c", (*_C, *_OPEN)), Contender("naive", (*_NAIVE, *_OPEN))),
        compared=("p50_us", "p99_us"),
    ),
)
