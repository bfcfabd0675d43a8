"""A sink that somebody has taken out of service: every event is skipped, what is under way goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from attrs import evolve

from failover.event import Event
from failover.outcome import Outcome
from failover.receipt import Attempt, Receipt
from failover.sink import Sink, Status

__all__ = ["Held"]


class Held:
    """Stands in for a sink while it is out by hand, wherever that is in a tree.

    Args:
        sink: The sink; it stays open, and what it had begun goes on.
        reason: Why.
    """

    def __init__(self, sink: Sink, reason: str) -> None:
        self.name = sink.name
        self.sink = sink
        self.reason = f"taken out by hand ({reason})"

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Skip the event, whatever the deadline."""
        return self._skip(event)

    def start(self, event: Event, *, deadline: float | None = None) -> asyncio.Future[Receipt]:
        """Skip the event, whatever the deadline; see `failover.sink.start`."""
        begun: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        begun.set_result(self._skip(event))
        return begun

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """Skip them all; see `failover.sink.deliver_many`."""
        return [self._skip(event) for event in events]

    def abandon(self, begun: Awaitable[Receipt], reason: str) -> Receipt | None:
        """Stop waiting for a delivery that the sink itself had begun; see `partial_receipt`."""
        abandon: Callable[..., Receipt] | None = getattr(self.sink, "abandon", None)
        return None if abandon is None else abandon(begun, reason)

    def status(self) -> Status:
        """How the sink stands: not up."""
        return evolve(self.sink.status(), up=False, reason=self.reason)

    async def aclose(self) -> None:
        """Close the sink. Idempotent."""
        await self.sink.aclose()

    def _skip(self, event: Event) -> Receipt:
        now = asyncio.get_running_loop().time()
        return Attempt(event, self.name, Outcome.SKIPPED, now, now, reason=self.reason)
