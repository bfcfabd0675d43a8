"""One timer per loop for all timeouts: armed only while something is pending."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

__all__ = ["LATEST", "PERIOD", "Sweep", "Swept"]

LATEST: Final = 0.01
"""Seconds by which a timeout is late at most, as long as the loop isn't."""

PERIOD: Final = 0.004
"""Seconds between two sweeps at most: with the loop's own rounding, no timeout is later than `LATEST`, none early."""

_LEAST: Final = 0.001  # seconds between two sweeps; what is due together, or nearly so, is expired together


class Swept(Protocol):
    """Something with timeouts, e.g. a connection."""

    def sweep(self, now: float) -> bool:
        """Expire what is due; return whether anything is still pending."""
        ...


class Sweep:
    """Sweeps over whatever has something pending. A timer per event would cost a microsecond each.

    Args:
        loop: The loop whose time counts.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: dict[Swept, None] = {}  # ordered, unlike a set: the same run on every Python
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0  # loop time of the sweep after the one that is running

    def add(self, swept: Swept) -> None:
        """Sweep it until it has nothing pending any more."""
        self._pending[swept] = None
        if self._timer is None:
            self._timer = self._loop.call_later(PERIOD, self._sweep)

    def discard(self, swept: Swept) -> None:
        """Don't sweep it any more."""
        self._pending.pop(swept, None)
        if not self._pending and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def soon(self, at: float) -> None:
        """Told in a sweep: sweep again at this loop time, if that is earlier than a period from now."""
        self._next = min(self._next, at)

    def _sweep(self) -> None:
        self._timer = None
        now = self._loop.time()
        self._next = now + PERIOD
        try:
            for swept in list(self._pending):
                if not swept.sweep(now):
                    self._pending.pop(swept, None)
        finally:  # one that fails must not end all timeouts of the loop
            if self._pending and self._timer is None:
                self._timer = self._loop.call_at(max(self._next, now + _LEAST), self._sweep)
