"""Calls whose events were begun together, each of which ends by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from failover.blocking.calls import Call
from failover.event import Event
from failover.receipt import Receipt

__all__ = ["Together"]


class Together:
    """Hands each call its receipt when there is one; see `failover.taking.Taker`.

    Args:
        calls: By their events.
        give: Has a task wait for what is left to do for a call.
        ended: Called with itself and how many of its calls have just ended, or been given to tasks.
    """

    __slots__ = ("_ended", "_give", "calls")

    def __init__(
        self,
        calls: dict[Event, Call],
        give: Callable[[Call, Awaitable[Receipt]], object],
        ended: Callable[[Together, int], object],
    ) -> None:
        self.calls = calls
        """Those that have neither ended nor been given to a task."""
        self._give = give
        self._ended = ended

    def take(self, receipts: list[Receipt], /) -> None:
        """Hand over receipts."""
        calls = self.calls
        for receipt in receipts:
            calls.pop(receipt.event).take(receipt)
        self._ended(self, len(receipts))

    def go_on(self, event: Event, rest: Coroutine[Any, Any, Receipt], /) -> None:
        """Have a task wait for the rest."""
        self._give(self.calls.pop(event), rest)
        self._ended(self, 1)
