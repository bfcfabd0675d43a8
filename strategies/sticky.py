"""Sticky: all events of one key go to one child, and stay there when another child leaves."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from heapq import merge
from itertools import accumulate, chain, islice
from struct import Struct
from typing import Final

from failover.event import Event
from failover.health import Health
from failover.sequential import Sequential
from failover.sink import Opening
from failover.strategies.key import EventKey, check_key, key_of
from failover.strategy import Child, Declared

__all__ = ["Circle", "Sticky"]

_POINTS: Final = 384
"""How many points each child has on the circle: they even out its share. Part of the mapping: it never changes."""
_MEMORY: Final = 4096
"""For how many keys, the most recently seen ones, the first child is remembered."""
_LONG: Final = 256
"""The longest key that is remembered as it is, bytes; of a longer one its digest is the key."""
_WORDS: Final = Struct("<8Q")  # a digest of blake2b
_ROUND: Final = 1 << 64


class Sticky(Sequential):
    """Gives all events of one key to one child, the same on every machine and after every restart.

    Each key has an order of all children of its own (rendezvous hashing), which depends on the children's names alone,
    not on where or in which order they are declared. So an event that its child did not settle goes on to the next in
    its key's order, and when a child leaves or is out, only the keys that it had move, to all the others alike.

    Args:
        children: Sinks or addresses; their names are what is hashed.
        key: The name of the param that holds the key, or a function of the event that returns it. An event without it
            (or with None, or of which the function raises) has nothing to stick to and is placed by its id.
        name: How it is called in receipts; the class's name by default.
        quarantine: Seconds for which a child at fault is skipped, 30 by default; 0 never skips one.
        quarantine_rejected: Whether an error reply quarantines as well.
        last_resort: Whether quarantined children are tried rather than losing the event.
        health: All the rules by which a child is taken out and comes back; by default those of `Health`.

    Raises:
        ConfigError: a key that is no name and no function, no children, two of one name, or a negative quarantine.

    Source: D. Thaler and C. Ravishankar, A Name-Based Mapping Scheme for Rendezvous (1996); B. Appleton and
        M. O'Reilly, Multi-Probe Consistent Hashing (2015).
    """

    rule = "by its key"

    def __init__(
        self,
        *children: Declared,
        key: EventKey = "callid",
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
        self.key = check_key(self.name, key)
        if isinstance(key, str):
            self.rule = f"by {key}"

    async def open(self, opening: Opening) -> None:
        """Open all children and place them on the circle."""
        await super().open(opening)
        self._circle = Circle([child.name for child in self.children])
        self._first = lru_cache(_MEMORY)(self._circle.first)

    def order(self, event: Event) -> Iterable[Child]:
        """All children in the order of the event's key."""
        children = self.children
        if not children:  # not open
            return children
        data = key_of(self.key, event)
        if data is None:
            data = event.id.encode("utf-8", "surrogatepass")
        if len(data) > _LONG:
            data = blake2b(data).digest()
        child = children[self._first(data)]
        return self._from(child, data) if child.steady else self._all(data)

    def _from(self, child: Child, data: bytes) -> Iterator[Child]:
        yield child
        yield from islice(self._all(data), 1, None)

    def _all(self, data: bytes) -> Iterator[Child]:
        return map(self.children.__getitem__, self._circle.order(data))


class Circle:
    """An order of names for each key: rendezvous hashing that needn't look at all names.

    A key's score for a name is the distance from any of the key's eight points on a circle to the next of the name's
    points; the smallest comes first. Since a score depends on that name and key alone, leaving one out changes nothing
    in the order of the others. The points are as good as random, so that the first bits of a point tell where the next
    one is: the first name is found as fast among a thousand as among three.

    Args:
        names: Different ones.
    """

    def __init__(self, names: Iterable[str]) -> None:
        points = array("Q", chain.from_iterable(map(_points, names)))
        order = sorted(range(len(points)), key=points.__getitem__)
        self._points = array("Q", map(points.__getitem__, order))
        self._owners = array("I", [at // _POINTS for at in order])
        self._count = len(points) // _POINTS
        bits = len(points).bit_length() - 1  # one or two points begin with the same, and the table is small
        self._shift = 64 - bits
        numbers = [0] * ((1 << bits) + 1)  # how many points begin with these bits
        for point in self._points:
            numbers[(point >> self._shift) + 1] += 1
        self._begin = array("I", accumulate(numbers))  # how many lie before them

    def first(self, key: bytes) -> int:
        """The position of the name that comes first for a key."""
        points, begin, shift = self._points, self._begin, self._shift
        best, owner = _ROUND, 0
        for point in _WORDS.unpack(blake2b(key).digest()):
            bits = point >> shift
            at = bisect_left(points, point, begin[bits], begin[bits + 1])
            if at == len(points):
                at = 0
            distance = (points[at] - point) % _ROUND
            if distance < best:
                best, owner = distance, at
        return self._owners[owner]

    def order(self, key: bytes) -> Iterator[int]:
        """The positions of all names in the order of a key; costs what is read of it."""
        seen: set[int] = set()
        for _, owner in merge(*[self._walk(point) for point in _WORDS.unpack(blake2b(key).digest())]):
            if owner not in seen:
                seen.add(owner)
                yield owner
                if len(seen) == self._count:
                    return

    def _walk(self, begin: int) -> Iterator[tuple[int, int]]:
        """All points once round the circle from one on, each with its distance and its owner."""
        points, owners = self._points, self._owners
        start = bisect_left(points, begin)
        for at in range(start - len(points), start):
            yield (points[at] - begin) % _ROUND, owners[at]


def _points(name: str) -> Iterator[int]:
    """The points of a name on the circle."""
    data = name.encode("utf-8", "surrogatepass")
    for number in range(_POINTS // 8):
        yield from _WORDS.unpack(blake2b(data, salt=number.to_bytes(16, "little")).digest())
