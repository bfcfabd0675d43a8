"""What came of a drill: the verdicts, and the numbers that the terminal, the report and CI show alike."""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

from failover.drill.checks import Verdict
from failover.drill.plan import Drill, Own
from failover.drill.recorder import Latencies, Recorder

__all__ = ["LABELS", "Result"]

LABELS: Final = {
    "raised": "raised",
    "confirmed": "confirmed",
    "not_confirmed": "not confirmed",
    "attempts": "attempts",
    "processed": "processed, by the subscribers",
    "processed_again": "processed once too many",
    "possible_duplicates": "possible duplicates, by the receipts",
    "late": "confirmed late",
    "quarantines": "quarantines begun",
    "p50": "half of them confirmed within",
    "p90": "90 % within",
    "p99": "99 % within",
    "longest": "longest",
}
"""What the numbers are called."""


@frozen
class Result:
    """A run that has ended.

    Args:
        drill: What was done.
        subscribers: All of its subscribers.
        recorder: Its history.
        verdicts: What came of each check.
        seconds: Real time that it took.
    """

    drill: Drill
    subscribers: tuple[Own, ...]
    recorder: Recorder
    verdicts: tuple[Verdict, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(verdict.holds for verdict in self.verdicts)

    @property
    def latencies(self) -> Latencies:
        """How long all confirmed events took."""
        total = Latencies()
        for slot in self.recorder.parts:
            total.merge(slot.latencies)
        return total

    def numbers(self) -> dict[str, float | int | None]:
        """What was counted, by name; times in seconds."""
        totals, latencies = self.recorder.totals, self.latencies
        return {
            "raised": totals.raised,
            "confirmed": totals.confirmed,
            "not_confirmed": totals.ended - totals.confirmed,
            "attempts": totals.attempts,
            "processed": totals.processed,
            "processed_again": totals.processed_again,
            "possible_duplicates": totals.possible_duplicates,
            "late": self.recorder.counts["late"],
            "quarantines": totals.quarantines,
            "p50": latencies.quantile(0.5),
            "p90": latencies.quantile(0.9),
            "p99": latencies.quantile(0.99),
            "longest": latencies.longest if latencies.count else None,
        }

    def per_subscriber(self) -> list[dict[str, Any]]:
        """Attempts by outcome, and events processed, of each subscriber."""
        rows: list[dict[str, Any]] = []
        totals = self.recorder.totals
        for own in self.subscribers:
            sinks = {sink for sink, name in self.recorder.behind.items() if name == own.name}
            tried: dict[str, int] = {}
            for (sink, outcome), number in totals.tried.items():
                if sink in sinks:
                    tried[outcome] = tried.get(outcome, 0) + number
            processed = None if own.own and own.processed is None else totals.done[own.name]
            rows.append({"name": own.name, "attempts": tried, "processed": processed})
        return rows
