"""Weighted round robin: turns in proportion to weights, spread as evenly as they can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from math import lcm
from typing import Final

from failover.event import Event
from failover.sink import Opening
from failover.strategies.weighted import Weighted
from failover.strategy import Child

__all__ = ["WeightedRoundRobin"]

_LOOKS: Final = 8  # how many children that were out are looked at for one event, at most, while any is in service
_FINE: Final = 32  # bits; rounds the clock's step where some are out, never where all are in service


class WeightedRoundRobin(Weighted):
    """Takes turns in proportion to the weights, smoothly: of 5, 1, 1 the turns are a b a a c a a, not a a a a a b c.

    While all are in service, each child has had at every moment what is due to it by then, to less than one event. An
    event that its child did not settle goes on to the child whose next turn is the nearest. The share of a quarantined
    child goes to the others in proportion to their weights; around its way out and back somebody may be some three
    events ahead.

    Args:
        weights: The children, sinks or addresses, each with its weight, a whole number from 1.
        name: How it is called in receipts; the class's name by default.
        quarantine: Seconds for which a child at fault is skipped, 30 by default; 0 never skips one.
        quarantine_rejected: Whether an error reply quarantines as well.
        last_resort: Whether quarantined children are tried rather than losing the event.
        health: All the rules by which a child is taken out and comes back; by default those of `Health`.

    Raises:
        ConfigError: no mapping, a weight that is none, no children, two of one name, or a negative quarantine.

    Source: Stoica and Abdel-Wahab, Earliest Eligible Virtual Deadline First, 1995: a child's k-th turn may begin when
        k events are due to it and should end when k + 1 are; of those that may begin, the one that should end first
        has it. Bennett and Zhang, Hierarchical Packet Fair Queueing Algorithms, 1996: where none may begin, the clock
        goes on to the next that may.
    """

    rule = "its turn by weight"

    async def open(self, opening: Opening) -> None:
        """Open all children; the turns begin anew."""
        weights = self.weights
        total = self._in_service = sum(weights)
        self._unit = lcm(*weights) * total << _FINE  # so that each time below is a whole number
        self._lasts = [self._unit // weight for weight in weights]
        """How long one turn of each child lasts on the clock."""
        self._step = self._unit // total
        """How far an event moves the clock, which those in service share."""
        self._clock = 0
        self._next = [0] * len(weights)
        """When the next turn of each child may begin, or could have."""
        self._later = [(0, at) for at in range(len(weights))]
        """A heap of those whose turn may not begin yet, by when it may."""
        self._due: list[tuple[int, int]] = []
        """A heap of those whose turn may, by when it should end."""
        self._passed: list[tuple[int, int]] = []
        """A heap of those that were out when their turn came, by when they would have the next one."""
        await super().open(opening)

    def order(self, event: Event) -> Iterable[Child]:
        """All children, beginning at the one whose turn it is, then by how near their next turns are."""
        children = self.children
        if not children:  # not open
            return children
        later, due, passed = self._later, self._due, self._passed
        first = -1
        looks = 0
        nobody = False
        out: list[int] = []
        while first < 0 and (due or later or passed):
            nobody = nobody or not (due or later)  # then all that were passed over are looked at
            if passed and (nobody or (passed[0][0] <= self._clock and looks < _LOOKS)):
                at = heappop(passed)[1]
                looks += 1
                child = children[at]
                if child.steady or child.admits(self._now()):
                    self._weigh(self.weights[at])
                    heappush(later, (self._clock, at))
                else:
                    out.append(at)
                continue
            while later and (later[0][0] <= self._clock or not due):
                begin, at = heappop(later)
                self._clock = max(self._clock, begin)
                heappush(due, (begin + self._lasts[at], at))
            end, at = heappop(due)
            child = children[at]
            if child.steady or child.admits(self._now()):
                first = at
                self._next[at] = end
                heappush(later, (end, at))
                self._clock += self._step
            else:
                self._weigh(-self.weights[at])
                out.append(at)
        for at in out:
            heappush(passed, (self._clock + self._lasts[at], at))
        return children if first < 0 else self._from(first, self._clock)

    def _weigh(self, weight: int) -> None:
        """Have so much more weight share the turns, or less."""
        self._in_service += weight
        self._step = self._unit // max(1, self._in_service)

    def _from(self, first: int, clock: int) -> Iterator[Child]:
        """All children once, beginning at `first`, the rest by whose turn begins next; costs what is read of it."""
        children = self.children
        yield children[first]
        others = [*range(first + 1, len(children)), *range(first)]
        others.sort(key=lambda at: (self._next[at] - clock) % self._lasts[at])
        for at in others:
            yield children[at]
