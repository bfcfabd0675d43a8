"""Weighted random: each event begins at a child drawn by weight."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from random import Random

from failover.event import Event
from failover.sink import Opening
from failover.strategies.weighted import Weighted
from failover.strategy import Child

__all__ = ["WeightedRandom", "drawn"]


class WeightedRandom(Weighted):
    """Draws the child for each event, and if it doesn't settle the event, the next one from the rest, by weight.

    No event's child depends on another event: programs side by side don't fall into step. The share of a quarantined
    child goes to the others in proportion to their weights.

    Args:
        weights: The children, sinks or addresses, each with its weight, a whole number from 1.
        name: How it is called in receipts; the class's name by default.
        quarantine: Seconds for which a child at fault is skipped, 30 by default; 0 never skips one.
        quarantine_rejected: Whether an error reply quarantines as well.
        last_resort: Whether quarantined children are tried rather than losing the event.
        health: All the rules by which a child is taken out and comes back; by default those of `Health`.

    Raises:
        ConfigError: no mapping, a weight that is none, no children, two of one name, or a negative quarantine.
    """

    rule = "drawn by weight"

    async def open(self, opening: Opening) -> None:
        """Open all children; from now on the opening's `rng` draws."""
        self._rng = opening.rng
        self._sums = tuple(accumulate(self.weights))
        await super().open(opening)

    def order(self, event: Event) -> Iterable[Child]:
        """All children in the order in which they are drawn; one that is out is passed over for the next draw."""
        children = self.children
        return drawn(children, self.weights, self._sums, self._rng) if children else children


def drawn(children: Sequence[Child], weights: Sequence[float], sums: Sequence[float], rng: Random) -> Iterator[Child]:
    """All children once, each drawn by weight from those that are left; draws only as often as is read.

    Args:
        children: At least one.
        weights: Their weights, more than 0.
        sums: The weights' running sums.
        rng: What draws.
    """
    at = bisect(sums, rng.random() * sums[-1], 0, len(sums) - 1)
    yield children[at]
    left = list(range(len(children)))
    while len(left) > 1:
        left.remove(at)
        running = list(accumulate(weights[other] for other in left))
        at = left[bisect(running, rng.random() * running[-1], 0, len(running) - 1)]
        yield children[at]
