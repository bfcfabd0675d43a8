"""Weighted round robin: turns in proportion to weights, spread as evenly as they can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from failover.event import Event
from failover.sink import Opening
from failover.strategies.weighted import Weighted
from failover.strategy import Child

__all__ = ["WeightedRoundRobin"]


class WeightedRoundRobin(Weighted):
    """Takes turns in proportion to the weights, smoothly: of 5, 1, 1 the turns are a a b a c a a, not a a a a a b c.

    An event that its child did not settle goes on to the child whose turn is the nearest. The share of a quarantined
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

    Source: nginx, smooth weighted round robin: each turn adds its weight to every child's current one, the largest
        has the turn and gives up the sum of all.
    """

    rule = "its turn by weight"

    async def open(self, opening: Opening) -> None:
        """Open all children; the turns begin anew."""
        self._current = [0] * len(self.weights)
        await super().open(opening)

    def order(self, event: Event) -> Iterable[Child]:
        """All children, beginning at the one whose turn it is, then by how near their turns are."""
        current, children = self._current, self.children
        first, most, total = -1, 0, 0
        now = 0.0
        for at, child in enumerate(children):
            if not child.steady:
                now = now or self._now()
                if not child.admits(now):  # its turn passes, and its share goes to the others
                    continue
            weight = self.weights[at]
            total += weight
            due = current[at] = current[at] + weight
            if first < 0 or due > most:
                first, most = at, due
        if first < 0:  # all are out, or it isn't open
            return children
        current[first] -= total
        return _from(children, first, current.copy())


def _from(children: tuple[Child, ...], first: int, due: list[int]) -> Iterator[Child]:
    """All children once, beginning at `first`, the rest by how much is due to them; costs what is read of it."""
    yield children[first]
    for at in sorted(range(len(children)), key=due.__getitem__, reverse=True):
        if at != first:
            yield children[at]
