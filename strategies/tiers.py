"""Tiers: all of one tier before any of the next; within a tier, by weight."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from failover.errors import ConfigError
from failover.event import Event
from failover.health import Health
from failover.sequential import Sequential
from failover.sink import Opening
from failover.strategies.weighted import Weights, check_weights
from failover.strategies.weighted_random import drawn
from failover.strategy import Child

__all__ = ["Tiers"]


class Tiers(Sequential):
    """Shares the events by weight among the children of the first tier; the next tier gets what that doesn't settle.

    Each tier is what DNS calls the SRV records of one priority: its children are drawn by weight until all of them had
    their chance, and only then the next tier is asked. Those of weight 0 are hardly ever drawn first: all of a tier
    together once in 1 + the sum of its weights.

    Args:
        tiers: One mapping for each tier, the preferred one first: its children, sinks or addresses, each with its
            weight, a whole number from 0.
        name: How it is called in receipts; the class's name by default.
        quarantine: Seconds for which a child at fault is skipped, 30 by default; 0 never skips one.
        quarantine_rejected: Whether an error reply quarantines as well.
        last_resort: Whether quarantined children are tried rather than losing the event.
        health: All the rules by which a child is taken out and comes back; by default those of `Health`.

    Raises:
        ConfigError: a tier that is no mapping or empty, a weight that is none, no children, two of one name, or a
            negative quarantine.

    Source: RFC 2782.
    """

    rule = "drawn by weight in its tier"

    def __init__(
        self,
        *tiers: Weights,
        name: str | None = None,
        quarantine: float | None = None,
        quarantine_rejected: bool = False,
        last_resort: bool = True,
        health: Health | None = None,
    ) -> None:
        called = name or type(self).__name__
        checked = tuple(check_weights(f"tier {at} of {called}", tier, 0) for at, tier in enumerate(tiers, 1))
        if () in checked:
            raise ConfigError(f"tier {checked.index(()) + 1} of {called} has no children: leave it out")
        super().__init__(
            *[child for tier in tiers for child in tier],
            name=name,
            quarantine=quarantine,
            quarantine_rejected=quarantine_rejected,
            last_resort=last_resort,
            health=health,
        )
        self.weights = checked
        """The weights of each tier, in declared order."""

    async def open(self, opening: Opening) -> None:
        """Open all children; from now on the opening's `rng` draws."""
        self._rng = opening.rng
        await super().open(opening)
        begin = 0
        self._tiers: list[tuple[tuple[Child, ...], list[float], list[float]]] = []
        for weights in self.weights:
            tier = self.children[begin : begin + len(weights)]
            begin += len(weights)
            chances = [weight or 1 / weights.count(0) for weight in weights]  # those of 0 have 1 together
            self._tiers.append((tier, chances, list(accumulate(chances))))

    def order(self, event: Event) -> Iterator[Child]:
        """All children, tier by tier, those of a tier in the order in which they are drawn."""
        if self.children:  # else it is not open
            for tier, chances, sums in self._tiers:
                yield from drawn(tier, chances, sums, self._rng)
