"""Timeout: a deadline of its own for one child, however many attempts that makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from failover.event import Event
from failover.foresight import Resolve, WorstCase, shown
from failover.receipt import Receipt
from failover.sink import check_seconds, deliver_each
from failover.strategies.wrapper import Wrapper
from failover.strategy import Declared

__all__ = ["Timeout"]


class Timeout(Wrapper):
    """Gives its child a deadline: so many seconds from when it gets the event, or the caller's if that is earlier.

    What is under way then is abandoned, which is no evidence against anybody; a socket's own `timeout` is.

    Args:
        child: A sink or an address.
        seconds: For one event at the child, all of its attempts and waits together.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: no positive number of seconds, or a child that is none.
    """

    def __init__(self, child: Declared, seconds: float, *, name: str | None = None) -> None:
        super().__init__(child, name=name)
        self.timeout = check_seconds("a Timeout's seconds", seconds)

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """No more than its own time; see `failover.foresight`."""
        (child,) = self._foresee(self.timeout if within is None else min(within, self.timeout), resolve)
        found = child.bounded(self.timeout)
        if self.timeout >= child.alone:
            return found.but(self.name, f"it never cuts anything short: its child takes {shown(child.alone)} at most")
        if child.attempts == 1:
            text = f"it cuts the only attempt short, which by itself may take {shown(child.alone)}: until then silence"
            return found.but(self.name, f"{text} is no evidence; give the socket a shorter timeout instead")
        return found

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Deliver within the time."""
        end = self._now() + self.timeout
        return await super().deliver(event, deadline=end if deadline is None else min(end, deadline))

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """Deliver a batch, some events at once; the time of each runs from when the child gets it."""
        return await deliver_each(self, events, deadline=deadline)
