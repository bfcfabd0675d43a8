"""Coalesce: of the events of one key that wait, the newest goes; the older ones are superseded."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from math import inf
from typing import Final, TypeAlias

from msgspec.structs import replace

from failover.errors import ConfigError
from failover.event import Event
from failover.foresight import Resolve, WorstCase, shown
from failover.outcome import Verdict
from failover.receipt import Receipt
from failover.sink import Opening, check_seconds
from failover.strategies.key import EventKey
from failover.strategies.ordered import Ordered, Run
from failover.strategies.queueing import WAITING, Batch, Turn
from failover.strategy import Declared

__all__ = ["KEEP", "Coalesce", "Keep"]

Keep: TypeAlias = str | Sequence[str] | Callable[[Event], object]
"""Which events are never superseded: a pattern of their names as shells have them, several, or a predicate."""

KEEP: Final = ("*_INSERT", "*_DELETE")
"""What begins or ends something. Source: OpenSIPS usrloc, its events."""

_MOST: Final = 10_000
_SUPERSEDED: Final = "superseded by a newer event"

_log = logging.getLogger("failover")


class Coalesce(Ordered):
    """Gives its child the events of one key one after the other, and of those that wait meanwhile only the newest.

    An event that a newer one supersedes is settled at once, as skipped with the verdict `stop`: nobody above tries it
    elsewhere, where it would overtake. Those to keep are never superseded, nor is anything across them: all that is
    delivered of a key is delivered in order, as with `Ordered`.

    With `every`, an event that may still be superseded also waits until so many seconds have passed since the one
    before it began. One that can't be any more, as it is to be kept or something to be kept came after it, doesn't.

    Args:
        child: A sink or an address, most often the whole tree.
        key: The name of the param that holds the key, or a function of the event that returns it. An event without it
            (or with None, or of which the function raises) supersedes nothing and is not superseded.
        keep: Which events are never superseded, see `Keep`; none with `()`. A predicate that raises is logged, and
            its event kept.
        every: Seconds from the beginning of one delivery of a key to the next, at least; None holds nothing back.
        waiting: How many events may wait for their turn at once, over all keys; what comes beyond is skipped.
        most: How many keys are remembered for `every`; of more, the one whose last delivery is the oldest is
            forgotten, and its next event may go.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: a key or what to keep is of another kind, a bound that is no number, `every` is no positive number
            of seconds, or a child that is none.
    """

    def __init__(
        self,
        child: Declared,
        *,
        key: EventKey,
        keep: Keep = KEEP,
        every: float | None = None,
        waiting: int = WAITING,
        most: int = _MOST,
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
        if type(most) is not int or most < 1:
            raise ConfigError(f"most must be how many keys are remembered, 1 or more, not {most!r}")
        self.keep = patterns
        self.every = None if every is None else check_seconds("every", every)
        self.most = most
        self.superseded = 0
        """How many events were superseded."""

    def _begin(self) -> None:
        super()._begin()
        self._begun: OrderedDict[bytes, float] = OrderedDict()  # loop time of each key's last delivery, oldest first
        self._paused: set[bytes] = set()  # keys of which nothing is under way, and one waits for time to pass

    async def open(self, opening: Opening) -> None:
        """Open the child; no key has had anything yet, as another loop may have another clock."""
        await super().open(opening)
        self._begun.clear()

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """The child's, once it is its turn; see `failover.foresight`."""
        found = super().worst_case(within, resolve)
        if self.every is None or within is None or self.every < within:
            return found
        return found.but(
            self.name,
            f"what comes sooner than {shown(self.every)} after another event of its key waits in vain: its deadline"
            " comes first; give it more time",
        )

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
                if late or self._keeps(events[0]) or not self._may_be_superseded(line[last]):
                    break
                self._settle(last, _SUPERSEDED)
            del line[last]
        if key in self._begun and key not in self._lines and self._early(key) and self._may_be_superseded(events):
            self._lines[key] = OrderedDict()
            self._paused.add(key)
        turn = super()._enter(key, events, deadline)
        if key in self._paused:
            self._go_on(key)
        return turn

    def _leave(self, key: bytes, turn: Turn | None) -> None:
        super()._leave(key, turn)
        if key in self._paused:  # perhaps it was this one that waited
            self._go_on(key)
            self._arm()

    def _go_on(self, key: bytes) -> None:
        """Have the turn of the next one of a key come, unless it has to wait for time to pass."""
        if key in self._begun and self._early(key) and self._is_pausing(self._lines[key]):
            self._paused.add(key)
            self._arm()
            return
        self._paused.discard(key)
        super()._go_on(key)

    def _is_pausing(self, line: OrderedDict[Turn, Sequence[Event]] | None) -> bool:
        """Whether all that waits of a key is one event that may still be superseded."""
        waiting = [events for turn, events in line.items() if not turn.done()] if line else []
        return len(waiting) == 1 and self._may_be_superseded(waiting[0])

    def _begins(self, key: bytes | None) -> None:
        if self.every is not None and key is not None:
            self._begun.pop(key, None)
            self._begun[key] = self._now()
            self._serve()

    def _early(self, key: bytes) -> bool:
        """Whether it is too early for another delivery of a key that is remembered."""
        return self.every is not None and self._begun[key] + self.every > self._now()

    def _next(self) -> float:
        """When there is a deadline, or time enough has passed since the oldest of the last deliveries."""
        when = super()._next()
        if self._paused and self.every is not None:
            return min(when, next(iter(self._begun.values()), inf) + self.every)
        return when

    def _serve(self) -> None:
        """Forget the keys for which time enough has passed, and let go what waited for that."""
        while self._begun:
            key = next(iter(self._begun))
            if self._early(key) and len(self._begun) <= self.most:
                return
            del self._begun[key]
            if key in self._paused:
                self._go_on(key)

    def _may_be_superseded(self, events: Sequence[Event]) -> bool:
        return len(events) == 1 and not self._keeps(events[0])

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
