"""What became of a demo's events, counted from receipts and checked against what the subscribers say themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from statistics import median
from typing import Any

from attrs import Factory, define

from failover.receipt import Receipt

__all__ = ["Tally"]


@define
class Tally:
    """Counts, all of them over one run."""

    raised: int = 0
    confirmed: int = 0
    lost: int = 0
    """Ended without being confirmed."""
    possible_duplicates: int = 0
    """How often an event may have been processed once too many, by the receipts."""
    confirmed_by: Counter[str] = Factory(Counter[str])
    """How many events each subscriber confirmed."""
    moved_on: list[float] = Factory(list[float])
    """Seconds from a subscriber's failure to the confirmation by another, for each event that had to move on."""
    example: Receipt | None = None
    """Of one such event; of one that may have been processed twice, if there was one."""
    not_processed: int = 0
    """Confirmed, but the subscriber that confirmed doesn't know of it."""
    processed_twice: int = 0
    """How often an event was processed once too many, by the subscribers' own account."""
    _confirmations: list[tuple[int, str]] = Factory(list[tuple[int, str]])

    @property
    def in_flight(self) -> int:
        """Raised and not ended yet."""
        return self.raised - self.confirmed - self.lost

    @property
    def good(self) -> bool:
        """Whether every event was confirmed and really processed."""
        return self.confirmed == self.raised and not self.not_processed

    @property
    def move_on_ms(self) -> tuple[float, float] | None:
        """Median and longest time to move on, milliseconds; None if no event had to."""
        return (median(self.moved_on) * 1e3, max(self.moved_on) * 1e3) if self.moved_on else None

    def count(self, number: int, receipt: Receipt) -> None:
        """Count an event's receipt."""
        self.possible_duplicates += receipt.possible_duplicates
        if not receipt.confirmed:
            self.lost += 1
            return
        attempts = receipt.attempts
        by = next(attempt for attempt in attempts if attempt.confirmed)
        self.confirmed += 1
        self.confirmed_by[by.sink] += 1
        self._confirmations.append((number, by.sink))
        if by is not attempts[0]:
            self.moved_on.append(by.ended - attempts[0].ended)
            if self.example is None or (receipt.possible_duplicates and not self.example.possible_duplicates):
                self.example = receipt

    def check(self, processed: Mapping[str, Counter[int]]) -> None:
        """Compare with how often each subscriber processed each event, once all have ended."""
        self.not_processed = sum(number not in processed[by] for number, by in self._confirmations)
        total = sum(processed.values(), Counter[int]())
        self.processed_twice = sum(times - 1 for times in total.values())

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain data for JSON."""
        move_on = self.move_on_ms
        return {
            "raised": self.raised,
            "confirmed": self.confirmed,
            "lost": self.lost,
            "possible_duplicates": self.possible_duplicates,
            "processed_twice": self.processed_twice,
            "confirmed_but_not_processed": self.not_processed,
            "moved_on": len(self.moved_on),
            "time_to_move_on_ms": None if move_on is None else {"median": move_on[0], "longest": move_on[1]},
            "confirmed_by": dict(self.confirmed_by),
            "example": None if self.example is None else self.example.to_dict(),
        }
