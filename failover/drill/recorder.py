"""A drill's history, and what is counted beside it: a history forgets in a long run, the curves must not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from attrs import Factory, define

from failover.drill.copies import Copies
from failover.outcome import Outcome
from failover.testing.entries import Attempted, Declared, Ended, Entry, HealthChange, Processed, Raised
from failover.testing.history import History

__all__ = ["SLOTS", "Latencies", "Recorder", "Slot", "Totals"]

SLOTS: Final = 240
_STEP: Final = 1.02  # latencies are kept to 2 %
_LEAST: Final = 1e-6  # seconds
_LOG_STEP: Final = math.log(_STEP)


@define
class Latencies:
    """How long confirmed events took, kept to 2 % of each time in bounded memory."""

    count: int = 0
    longest: float = 0.0
    _bins: Counter[int] = Factory(Counter[int])

    def add(self, seconds: float) -> None:
        """Count one."""
        self.count += 1
        self.longest = max(self.longest, seconds)
        self._bins[max(0, math.ceil(math.log(max(seconds, _LEAST) / _LEAST) / _LOG_STEP - 1e-9))] += 1

    def merge(self, other: Latencies) -> None:
        """Count all of another's."""
        self.count += other.count
        self.longest = max(self.longest, other.longest)
        self._bins.update(other._bins)

    def quantile(self, share: float) -> float | None:
        """Seconds within which such a share of them lies; None without any."""
        due = math.ceil(share * self.count - 1e-9)
        passed = 0
        for step in sorted(self._bins):
            passed += self._bins[step]
            if passed >= due:
                return min(self.longest, _LEAST * _STEP**step)
        return None


@define
class Slot:
    """What was raised in one stretch of the load, and what became of it."""

    raised: int = 0
    confirmed: int = 0
    lost: int = 0
    """Ended without being confirmed."""
    latencies: Latencies = Factory(Latencies)


@define
class Totals:
    """What is counted over the whole run."""

    raised: int = 0
    ended: int = 0
    confirmed: int = 0
    attempts: int = 0
    processed: int = 0
    processed_again: int = 0
    """How often an event was processed that had been already, copies that are meant left out."""
    possible_duplicates: int = 0
    quarantines: int = 0
    outcomes: Counter[str] = Factory(Counter[str])
    """How events ended."""
    tried: Counter[tuple[str, str]] = Factory(Counter[tuple[str, str]])
    """Attempts by sink and outcome."""
    done: Counter[str] = Factory(Counter[str])
    """Events processed by each subscriber."""


class Recorder(History):
    """A history that counts by the time at which events are raised, and passes every entry on.

    Args:
        seconds: How long the load lasts.
        parts: Bounds between stretches to be judged separately, seconds after the beginning.
        passed_on: Is given every entry as it comes, to be written down.
        settings: As of `History`.
    """

    def __init__(
        self,
        seconds: float,
        *,
        parts: tuple[float, ...] = (),
        passed_on: Callable[[Entry], object] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.began = 0.0
        self.totals = Totals()
        self.slots = [Slot() for _ in range(SLOTS)]
        self.parts = [Slot() for _ in range(len(parts) + 1)]
        self.bounds = parts
        self.bands: list[tuple[float, str, str, bool]] = []
        """When which fault began or ended on whom, seconds after the beginning."""
        self._width = seconds / SLOTS
        self._under_way: dict[str, Raised] = {}
        self._copies = Copies(None, self.limit)
        self._passed_on = passed_on

    def begin(self, at: float) -> None:
        """The load begins now: what is raised counts from here."""
        self.began = at

    @property
    def width(self) -> float:
        """Seconds of one slot."""
        return self._width

    def add(self, entry: Entry) -> None:
        """Take an entry, count it, pass it on."""
        super().add(entry)
        if isinstance(entry, Declared):
            self._copies = Copies(entry.root, self.limit)
        elif isinstance(entry, Attempted):
            self.totals.attempts += 1
            self.totals.tried[entry.sink, entry.outcome.value] += 1
        elif isinstance(entry, Raised):
            self.totals.raised += 1
            self._under_way[entry.event] = entry
            for slot in self._places(entry.at):
                slot.raised += 1
        elif isinstance(entry, Ended):
            self._ended(entry)
        elif isinstance(entry, Processed):
            self._processed(entry)
        elif isinstance(entry, HealthChange):
            self.totals.quarantines += not entry.up
        if self._passed_on is not None:
            self._passed_on(entry)

    def _places(self, at: float) -> tuple[Slot, Slot]:
        """The slot and the part of a time."""
        number = min(SLOTS - 1, max(0, int((at - self.began) / self._width)))
        return self.slots[number], self.parts[self.part(at)]

    def part(self, at: float) -> int:
        """The number of the part that a loop time lies in, 0 first."""
        return sum(at - self.began >= bound for bound in self.bounds)

    def _ended(self, entry: Ended) -> None:
        totals, receipt = self.totals, entry.receipt
        totals.ended += 1
        totals.outcomes[receipt.outcome.value] += 1
        totals.possible_duplicates += receipt.possible_duplicates
        raised = self._under_way.pop(entry.event, None)
        good = receipt.confirmed or receipt.outcome is Outcome.SENT
        totals.confirmed += good
        if raised is None:
            return
        for slot in self._places(raised.at):
            if good:
                slot.confirmed += 1
                slot.latencies.add(entry.at - raised.at)
            else:
                slot.lost += 1

    def _processed(self, entry: Processed) -> None:
        totals = self.totals
        totals.processed += 1
        totals.done[entry.subscriber] += 1
        totals.processed_again += self._copies.again(entry.event, entry.subscriber)
