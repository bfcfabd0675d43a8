"""Least in flight: of two children drawn at random, the one with fewer events under way."""

from __future__ import annotations

from failover.strategies.two_choices import TwoChoices
from failover.strategy import Child

__all__ = ["LeastInFlight"]


class LeastInFlight(TwoChoices):
    """Begins at that of two children, drawn at random, which has fewer events of this strategy in flight.

    A child that is slow keeps its events longer and so gets fewer. An event that its child did not settle goes on to
    the others, those with the fewest in flight first.

    Args:
        children: Sinks or addresses.
        name: How it is called in receipts; the class's name by default.
        quarantine: Seconds for which a child at fault is skipped, 30 by default; 0 never skips one.
        quarantine_rejected: Whether an error reply quarantines as well.
        last_resort: Whether quarantined children are tried rather than losing the event.
        health: All the rules by which a child is taken out and comes back; by default those of `Health`.

    Raises:
        ConfigError: no children, two of one name, or a negative quarantine.
    """

    rule = "less busy of two drawn"

    def load(self, child: Child) -> float:
        """How many events it has."""
        return self.in_flight[child]
