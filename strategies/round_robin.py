"""ROUND-ROBIN: the next child for every event, and the one after it if that fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from failover.event import Event
from failover.health import Health
from failover.sequential import Sequential
from failover.strategy import Child, Declared

__all__ = ["RoundRobin", "rotated"]


class RoundRobin(Sequential):
    """Takes turns: each event begins at the next child in service, and goes on to the one after it until it is settled.

    Args:
        children: Sinks or addresses, in the order of their turns.
        name: How it is called in receipts; the class's name by default.
        quarantine: Seconds for which a child at fault is skipped (OpenSIPS's letter: 0, it never skips one here).
        quarantine_rejected: Whether an error reply quarantines as well.
        last_resort: Whether quarantined children are tried rather than losing the event.
        health: All the rules by which a child is taken out and comes back; by default those of `Health`.
        move_on: Whether an event that its child did not settle goes to the next one (OpenSIPS's letter: False).

    Raises:
        ConfigError: no children, two of one name, or a negative quarantine.

    Source: OpenSIPS event_virtual, ROUND-ROBIN.
    """

    rule = "its turn"

    def __init__(
        self,
        *children: Declared,
        name: str | None = None,
        quarantine: float | None = None,
        quarantine_rejected: bool = False,
        last_resort: bool = True,
        health: Health | None = None,
        move_on: bool = True,
    ) -> None:
        super().__init__(
            *children,
            name=name,
            quarantine=quarantine,
            quarantine_rejected=quarantine_rejected,
            last_resort=last_resort,
            health=health,
        )
        self.move_on = move_on
        self._turn = -1

    @property
    def tries(self) -> int:
        """One, unless it moves on."""
        return len(self.declared) if self.move_on else 1

    def order(self, event: Event) -> Iterable[Child]:
        """All children, beginning at the next in turn; only that one if `move_on` is off."""
        children = self.children
        if not children:  # not open
            return children
        turn = self._turn = (self._turn + 1) % len(children)
        if not self.move_on:
            return children[turn : turn + 1]
        if not children[turn].steady:  # its turn passes, else the one after it would bear the load of both
            turn = self._turn = self._in_service(turn)
        return rotated(children, turn)

    def _in_service(self, first: int) -> int:
        """The first position from `first` on whose child isn't passed over; `first` itself if all are."""
        now = self._now()
        for child in rotated(self.children, first):
            if child.steady or child.admits(now):
                return self.children.index(child)
        return first

    def _share(self, deadline: float, left: int) -> float | None:
        """One that doesn't move on has all the time for the only child it tries."""
        return super()._share(deadline, left if self.move_on else 1)


def rotated(children: tuple[Child, ...], first: int) -> Iterator[Child]:
    """All children once, beginning at `first`; costs only as much as is read of it."""
    count = len(children)
    for position in range(first, first + count):
        yield children[position % count]
