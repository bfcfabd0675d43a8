"""Counts by label, kept as plain numbers: cheap where events pass, read when somebody asks for them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

__all__ = ["OTHER", "Counts", "Durations", "Histogram", "Labels"]

Labels = tuple[str, ...]

OTHER: Final = "other"
"""Stands in every label once there are as many series as may be."""

T = TypeVar("T")


class _Series(Generic[T]):
    """Values by label; what comes after the last that has room is counted together, as `OTHER`."""

    def __init__(self, labels: Sequence[str], most: int) -> None:
        self.labels = tuple(labels)
        self.values: dict[Labels, T] = {}
        self._most = most

    def _room(self, labels: Labels) -> Labels:
        if labels in self.values or len(self.values) < self._most:
            return labels
        return (OTHER,) * len(self.labels)


class Counts(_Series[int]):
    """Counters.

    Args:
        labels: Their names.
        most: So many series, and one for all others.
    """

    def add(self, *labels: str, number: int = 1) -> None:
        """Count."""
        values = self.values
        if labels in values:
            values[labels] += number
        else:
            labels = self._room(labels)
            values[labels] = values.get(labels, 0) + number


class Histogram:
    """How many durations were in which bucket, and their sum.

    Args:
        buckets: How many there are; one more takes what is longer than all of them.
    """

    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.total = 0.0
        """Seconds."""


class Durations(_Series[Histogram]):
    """Histograms.

    Args:
        labels: Their names.
        bounds: The buckets' upper bounds, seconds, ascending.
        most: So many series, and one for all others.
    """

    def __init__(self, labels: Sequence[str], bounds: Sequence[float], most: int) -> None:
        super().__init__(labels, most)
        self.bounds = tuple(bounds)

    def add(self, *labels: str, seconds: float) -> None:
        """Count a duration."""
        histogram = self.values.get(labels)
        if histogram is None:
            labels = self._room(labels)
            histogram = self.values.setdefault(labels, Histogram(len(self.bounds)))
        histogram.counts[bisect_left(self.bounds, seconds)] += 1
        histogram.total += seconds
