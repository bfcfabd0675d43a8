"""Latency-aware: of two children drawn at random, the one that is expected to be through with its events sooner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import exp
from typing import Final

from failover.event import Event
from failover.health import Health
from failover.outcome import Outcome
from failover.receipt import Receipt
from failover.sink import Opening, check_seconds
from failover.strategies.two_choices import TwoChoices
from failover.strategy import Child, Declared

__all__ = ["LatencyAware"]

_UNKNOWN: Final = 1e6
"""What an event weighs at a child of unknown latency, seconds: more than any that is known."""


class LatencyAware(TwoChoices):
    """Begins at that of two children, drawn at random, which has the smaller product of recent latency and events.

    A child's latency is an average in which older attempts weigh less and less, but one that took longer than the
    average counts at once and in full: a child that becomes slow is left at the first sign, and trusted again
    gradually. An attempt that did not settle its event never makes a child look faster. With time alone the average
    fades, so that one that was slow is tried anew.

    Args:
        children: Sinks or addresses.
        decay: Seconds after which an attempt weighs 1/e of what a new one does.
        name: How it is called in receipts; the class's name by default.
        quarantine: Seconds for which a child at fault is skipped, 30 by default; 0 never skips one.
        quarantine_rejected: Whether an error reply quarantines as well.
        last_resort: Whether quarantined children are tried rather than losing the event.
        health: All the rules by which a child is taken out and comes back; by default those of `Health`.

    Raises:
        ConfigError: a decay that is no time, no children, two of one name, or a negative quarantine.

    Source: Twitter's Finagle, the load metric "peak EWMA".
    """

    rule = "faster of two drawn"

    def __init__(
        self,
        *children: Declared,
        decay: float = 10.0,
        name: str | None = None,
        quarantine: float | None = None,
        quarantine_rejected: bool = False,
        last_resort: bool = True,
        health: Health | None = None,
    ) -> None:
        super().__init__(
            *children,
            name=name,
            quarantine=quarantine,
            quarantine_rejected=quarantine_rejected,
            last_resort=last_resort,
            health=health,
        )
        self.decay = check_seconds("decay", decay)

    async def open(self, opening: Opening) -> None:
        """Open all children; nothing is known of their latencies yet."""
        await super().open(opening)
        self._latencies = {child.name: (0.0, 0.0) for child in self.children}  # the average, and when it was that

    def latency(self, child: Child) -> float:
        """The recent latency of a child, seconds; 0 if nothing is known."""
        average, at = self._latencies[child.name]
        return average * exp((at - self._now()) / self.decay) if average else 0.0

    def load(self, child: Child) -> float:
        """How long it would take for what it has and one more; of one that is not known yet one event has to tell."""
        events = self.in_flight[child]
        return self.latency(child) * (events + 1) or events * _UNKNOWN

    worst_case = TwoChoices.worst_case  # to learn takes no time

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Deliver as any sequence does, and learn from how long it took."""
        receipt = await super().deliver(event, deadline=deadline)
        self._learn(receipt.children)
        return receipt

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """Deliver a batch as any sequence does, and learn from how long each of its events took."""
        receipts = await super().deliver_many(events, deadline=deadline, until=until)
        for receipt in receipts:
            self._learn(receipt.children)
        return receipts

    def _learn(self, receipts: Iterable[Receipt]) -> None:
        for receipt in receipts:
            if receipt.outcome is Outcome.SKIPPED:
                continue
            average, at = self._latencies[receipt.sink]
            took, now = receipt.ended - receipt.began, receipt.ended
            if took >= average:
                self._latencies[receipt.sink] = took, max(at, now)
            elif receipt.settled:
                old = exp(min(0.0, at - now) / self.decay)  # what the old average is still worth
                self._latencies[receipt.sink] = average * old + took * (1 - old), max(at, now)
