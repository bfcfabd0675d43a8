"""A table of what is no race: a row per case, its figures, and whether a bound was kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from tests.benchmarks.processes import measure
from tests.benchmarks.race import Result
from tests.benchmarks.tables import aligned

__all__ = ["Bound", "Sheet", "work"]


@frozen
class Bound:
    """What one figure of a row has to keep to.

    Args:
        column: Which figure.
        limit: Its largest good value.
        least: Its smallest.
    """

    column: str
    limit: float
    least: float = float("-inf")

    def met(self, value: float) -> bool:
        """Whether a value keeps to it."""
        return self.least <= value <= self.limit

    def __str__(self) -> str:
        lowest = "" if self.least == float("-inf") else f"{self.least:g} <= "
        highest = "" if self.limit == float("inf") else f" <= {self.limit:g}"
        return f"{lowest}{self.column}{highest}"


class Sheet:
    """Collects the rows of a section.

    Args:
        section: Its name.
        columns: The titles of the figures, each with its unit.
        digits: Digits behind the point.
    """

    def __init__(self, section: str, columns: Sequence[str], *, digits: int = 2) -> None:
        self.result = Result()
        self._section = section
        self._columns = columns
        self._digits = digits
        self._rows: list[list[str]] = []

    def add(self, name: str, figures: Mapping[str, float], *bounds: Bound, raw: object = None) -> None:
        """Add a row.

        Args:
            name: Of the case.
            figures: By column; a column without one stays empty.
            bounds: What the figures have to keep to.
            raw: All that was measured, for the JSON.
        """
        verdicts: list[str] = []
        for bound in bounds:
            value = figures[bound.column]
            met = bound.met(value)
            verdicts.append(f"{bound} {'met' if met else 'MISSED'}")
            if not met:
                self.result.missed.append(
                    f"{self._section}: {name}: {bound.column} is {value:.3g}, the goal is {bound}"
                )
        shown = [f"{figures[column]:,.{self._digits}f}" if column in figures else "" for column in self._columns]
        self._rows.append([name, *shown, ", ".join(verdicts)])
        self.result.figures[name] = dict(figures) if raw is None else {**figures, "raw": raw}
        self.result.table = aligned(["", *self._columns, "goal"], self._rows)


def work(module: str, *arguments: object, timeout: float = 60.0) -> dict[str, Any]:
    """Run the `main` of a benchmark's module in a process of its own, on the client's core; return what it prints.

    Args:
        module: Its name in `tests.benchmarks`.
        arguments: For its command line; a dict or list goes as JSON.
        timeout: Seconds until it is killed.

    Raises:
        BenchmarkError: it failed, took too long or printed no JSON.
    """
    texts = [one if isinstance(one, str) else json.dumps(one) for one in arguments]
    return measure([sys.executable, "-m", f"tests.benchmarks.{module}", *texts], timeout=timeout)
