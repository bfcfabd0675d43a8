"""Two random choices: of two children drawn at random, the one with the smaller load."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from random import Random

from failover.event import Event
from failover.sequential import Sequential
from failover.sink import Opening
from failover.strategy import Child

__all__ = ["TwoChoices"]


class TwoChoices(Sequential):
    """The base of sequences that begin at the less loaded of two children drawn at random. Subclasses say what load is.

    Two are enough: always taking the least loaded of all sends every program, and every event that comes before the
    next load is known, to the same child. An event that its child did not settle goes on to the least loaded of the
    others.

    Args:
        children: Sinks or addresses, at least one.
        name: How it is called in receipts; the class's name by default.
        quarantine: Seconds for which a child at fault is skipped, 30 by default; 0 never skips one.
        quarantine_rejected: Whether an error reply quarantines as well.
        last_resort: Whether quarantined children are tried rather than losing the event.
        health: All the rules by which a child is taken out and comes back; by default those of `Health`.

    Raises:
        ConfigError: no children, two of one name, or a negative quarantine.

    Source: M. Mitzenmacher, The Power of Two Choices in Randomized Load Balancing (2001).
    """

    _rng: Random

    async def open(self, opening: Opening) -> None:
        """Open all children; from now on the opening's `rng` draws."""
        self._rng = opening.rng
        await super().open(opening)
        self.in_flight = dict.fromkeys(self.children, 0)

    in_flight: dict[Child, int]
    """How many events of this strategy each child has now."""

    @abstractmethod
    def load(self, child: Child) -> float:
        """How much a child has to do; the smaller it is, the sooner the child is chosen."""

    def order(self, event: Event) -> Iterator[Child]:
        """All children, beginning at the less loaded of two. While it waits at a child, that one has the event."""
        if not self.children:  # not open
            return
        in_flight = self.in_flight
        child: Child | None = self._chosen()
        others: list[Child] | None = None
        while child is not None:
            in_flight[child] += 1
            try:
                yield child
            finally:  # it goes on to the next one, or has ended: then nobody holds it any more
                in_flight[child] -= 1
            if others is None:
                first = child
                others = sorted(
                    (other for other in self.children if other is not first),
                    key=lambda other: (self.load(other), self._rng.random()),
                    reverse=True,
                )
            child = others.pop() if others else None

    def _chosen(self) -> Child:
        """The less loaded of two in service; the first drawn if they are equal."""
        children = self.children
        one, other = _two(children, self._rng)
        if not (one.steady and other.steady):
            now = self._now()
            if not (one.admits(now) and other.admits(now)):
                one, other = _two([child for child in children if child.admits(now)] or children, self._rng)
        return other if self.load(other) < self.load(one) else one


def _two(children: Sequence[Child], rng: Random) -> tuple[Child, Child]:
    """Two of them at random, different ones unless there is but one."""
    count = len(children)
    first = int(rng.random() * count)
    if count == 1:
        return children[0], children[0]
    second = int(rng.random() * (count - 1))
    return children[first], children[second + (second >= first)]
