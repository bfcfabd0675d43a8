"""Budgets: how many attempts beyond the first one a strategy may make, as a share of the traffic and a floor."""

from __future__ import annotations

from typing import Final

from failover.errors import ConfigError

__all__ = ["Budget"]

_RESERVE: Final = 10.0  # seconds of the floor that may be spent at once. Source: Finagle's RetryBudget, its ttl
_EVENTS: Final = 1000  # events whose share may be spent at once


class Budget:
    """Grants extra attempts; spent, it grants none until traffic or time has filled it again.

    In `t` seconds with `n` events never more than `share * n + floor * (t + 10)` are granted.

    Args:
        share: Extra attempts per event, 0 or more: 0.05 allows one for every twenty events.
        floor: Extra attempts per second granted without any traffic, 0 or more; those of ten seconds are
            there at once.

    Raises:
        ConfigError: a negative number, or none at all.

    Source: Finagle, `RetryBudget`.
    """

    def __init__(self, share: float, floor: float) -> None:
        for name, value in (("share", share), ("floor", floor)):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value < float("inf"):
                raise ConfigError(f"the {name} of a budget must be a number, 0 or more, not {value!r}")
        self.share = float(share)
        self.floor = float(floor)
        self._most = max(_EVENTS * self.share, _RESERVE * self.floor, 1.0)
        self._credit = _RESERVE * self.floor
        self._filled: float | None = None

    def deposit(self, count: int = 1) -> None:
        """Count events."""
        self._credit = min(self._most, self._credit + self.share * count)

    def withdraw(self, now: float) -> bool:
        """Ask for one extra attempt.

        Args:
            now: Loop time, seconds.
        """
        if self._filled is not None:
            earned = self._credit + self.floor * (now - self._filled)
            self._credit = max(self._credit, min(max(_RESERVE * self.floor, 1.0), earned))
        self._filled = now
        if self._credit < 1.0 - 1e-9:  # twenty times 0.05 is a whole one
            return False
        self._credit -= 1.0
        return True
