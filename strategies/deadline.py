"""Deadline: an event's own time, after which nobody wants it any more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import inf, isnan
from typing import TypeAlias

from failover.errors import ConfigError
from failover.event import Event
from failover.receipt import Receipt
from failover.sink import deliver_each
from failover.strategies.wrapper import Wrapper
from failover.strategy import Declared, skipped

__all__ = ["At", "Deadline"]

At: TypeAlias = Callable[[Event], float | None]
"""Gives an event's deadline, absolute loop time in seconds; None for one that has none."""

_log = logging.getLogger("failover")


class Deadline(Wrapper):
    """Gives its child a deadline that the event itself says, or the caller's if that is earlier.

    An event whose time is over when it comes is skipped at once, as stale; unsettled, so that a strategy above may put
    it elsewhere. What is under way when the time is over is abandoned, which is no evidence against anybody.

    Args:
        child: A sink or an address.
        at: The deadline of an event, see `At`; asked each time the event comes. If it raises, or returns what is no
            time, that is logged and the event has none.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: `at` is no function, or a child that is none.
    """

    def __init__(self, child: Declared, at: At, *, name: str | None = None) -> None:
        super().__init__(child, name=name)
        if not callable(at):
            raise ConfigError(
                f"at of {self.name} must be a function of the event that returns loop time or None, not {at!r};"
                " for a number of seconds take Timeout"
            )
        self.at = at

    worst_case = Wrapper.worst_case  # an event's own deadline can only make it less

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Deliver until the event's time is over; SKIPPED if it is."""
        end = self._end(event)
        if end is not None:
            now = self._now()
            if end <= now:
                return skipped(event, self.name, now, f"stale: its time was over {now - end:.1f} s ago")
            deadline = end if deadline is None else min(end, deadline)
        return await super().deliver(event, deadline=deadline)

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """Deliver a batch, some events at once, each until its own time."""
        return await deliver_each(self, events, deadline=deadline)

    def _end(self, event: Event) -> float | None:
        try:
            return _time(self.at(event))
        except Exception:  # noqa: BLE001  # a fault in it must not cost the event
            _log.exception("no deadline can be had of %r by %r; it has none", event, self.at)
            return None


def _time(given: object) -> float | None:
    """What was given, if it is a time; None for never.

    Raises:
        TypeError: it is none.
    """
    if given is None or given == inf:
        return None
    if isinstance(given, (int, float)) and not isinstance(given, bool) and not isnan(given):
        return given
    raise TypeError(f"loop time in seconds or None was expected, not {given!r}")
