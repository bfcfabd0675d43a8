"""Coalesce: of the events of one key that wait, the newest goes; the older ones are superseded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Final, TypeAlias

from msgspec.structs import replace

from failover.errors import ConfigError
from failover.event import Event
from failover.outcome import Verdict
from failover.receipt import Receipt
from failover.strategies.key import EventKey
from failover.strategies.ordered import Ordered, Run
from failover.strategies.queueing import WAITING, Batch, Turn
from failover.strategy import Declared

__all__ = ["KEEP", "Coalesce", "Keep"]

Keep: TypeAlias = str | Sequence[str] | Callable[[Event], object]
"""Which events are never superseded: a pattern of their names as shells have them, several, or a predicate."""

KEEP: Final = ("*_INSERT", "*_DELETE")
"""What begins or ends something. Source: OpenSIPS usrloc, its events."""

_SUPERSEDED: Final = "superseded by a newer event"

_log = logging.getLogger("failover")


class Coalesce(Ordered):
    """Gives its child the events of one key one after the other, and of those that wait meanwhile only the newest.

    An event that a newer one supersedes is settled at once, as skipped with the verdict `stop`: nobody above tries it
    elsewhere, where it would overtake. Those to keep are never superseded, nor is anything across them: all that is
    delivered of a key is delivered in order, as with `Ordered`.

    Args:
        child: A sink or an address, most often the whole tree.
        key: The name of the param that holds the key, or a function of the event that returns it. An event without it
            (or with None, or of which the function raises) supersedes nothing and is not superseded.
        keep: Which events are never superseded, see `Keep`; none with `()`. A predicate that raises is logged, and
            its event kept.
        waiting: How many events may wait for their turn at once, over all keys; what comes beyond is skipped.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: a key or what to keep is of another kind, a bound that is no number, or a child that is none.
    """

    def __init__(
        self,
        child: Declared,
        *,
        key: EventKey,
        keep: Keep = KEEP,
        waiting: int = WAITING,
        name: str | None = None,
    ) -> None:
        super().__init__(child, key=key, waiting=waiting, name=name)
        patterns = keep if callable(keep) else [keep] if isinstance(keep, str) else keep
        if not callable(patterns) and not (
            isinstance(patterns, Sequence) and all(isinstance(pattern, str) and pattern for pattern in patterns)
        ):
            raise ConfigError(
                f"what {self.name} is to keep must be a pattern of event names, several, or a predicate, not {keep!r}"
            )
        self.keep = patterns
        self.superseded = 0
        """How many events were superseded."""

    def _runs(self, batch: Batch) -> list[Run]:
        """All of a batch wait, so that only the newest of each key go, and those to keep."""
        return [(key, places if key is None else self._newest(batch, places)) for key, places in super()._runs(batch)]

    def _newest(self, batch: Batch, places: list[int]) -> list[int]:
        left: list[int] = []
        for place in places:
            if left and not self._keeps(batch.events[place]) and not self._keeps(batch.events[left[-1]]):
                older = left.pop()
                batch.receipts[older] = self._refused(batch.events[older], batch.began, _SUPERSEDED)
            left.append(place)
        return left

    def _enter(self, key: bytes, events: Sequence[Event], deadline: float | None) -> Turn | None:
        """Take the place behind all others of a key, or that of the last one if it is superseded."""
        line = self._lines.get(key)
        while line:
            last = next(reversed(line))
            if not last.done():
                late = deadline is not None and deadline <= self._now()
                if late or self._keeps(events[0]) or len(line[last]) > 1 or self._keeps(line[last][0]):
                    break
                self._settle(last, _SUPERSEDED)
            del line[last]
        return super()._enter(key, events, deadline)

    def _keeps(self, event: Event) -> bool:
        """Whether an event is never superseded."""
        if not callable(self.keep):
            return any(fnmatchcase(event.name, pattern) for pattern in self.keep)
        try:
            return bool(self.keep(event))
        except Exception:  # noqa: BLE001  # a fault in it must not cost the event
            _log.exception("whether to keep %r can't be told by %r; it is kept", event, self.keep)
            return True

    def _refused(self, event: Event, began: float, reason: str) -> Receipt:
        """The receipt of an event that the child never gets."""
        receipt = super()._refused(event, began, reason)
        if reason is not _SUPERSEDED:
            return receipt
        self.superseded += 1
        return replace(receipt, verdict=Verdict.STOP)
