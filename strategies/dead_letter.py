"""DeadLetter: whatever fails goes to another sink, with its receipt."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# (the params of an event can be anything that JSON carries)

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import evolve
from msgspec.structs import replace

from failover.errors import ConfigError
from failover.event import Event
from failover.foresight import Resolve, WorstCase, foresee, in_turn, shown
from failover.outcome import Outcome, dead_letter_outcome
from failover.receipt import Receipt
from failover.sink import check_seconds, deliver_many, left_of
from failover.strategies.wrapper import Wrapper
from failover.strategy import Child, Declared

__all__ = ["DeadLetter", "Letter", "as_it_was", "enclosed"]

Letter: TypeAlias = Callable[[Event, Receipt], Event]
"""Makes what goes to the other sink of an event and the receipt that says what became of it."""

_log = logging.getLogger("failover")


def enclosed(event: Event, receipt: Receipt) -> Event:
    """An event `E_DEAD_LETTER` of the same id, with the params `event`, `id`, `params` and `receipt`.

    Args:
        event: The event that was not delivered. Params that are pairs or values become an array.
        receipt: Its receipt, as `Receipt.to_dict` gives it.
    """
    given: Any = event.params
    if isinstance(given, (list, tuple)):
        given = [list(one) if isinstance(one, tuple) else one for one in given]
    elif given is not None:
        given = dict(given)
    letter = {"event": event.name, "id": event.id, "params": given, "receipt": receipt.to_dict()}
    return Event("E_DEAD_LETTER", letter, id=event.id)


def as_it_was(event: Event, _receipt: Receipt) -> Event:
    """The event itself, unchanged; only the receipt's tree tells why it came."""
    return event


class DeadLetter(Wrapper):
    """Delivers to `child`; an event that it doesn't take, for whatever reason, goes to `to`.

    Taken means confirmed or sent: what was refused with the verdict `stop` is a dead letter too. If `to` takes it, the
    event is in safe hands, and `to`'s outcome is the outcome; else it is the child's, or UNCONFIRMED if `to` may have
    it and the child did not settle it. A delivery that its caller cancels makes no dead letter: the caller knows.

    Args:
        child: A sink or an address.
        to: A sink or an address, for what fails.
        letter: What `to` is given: `enclosed`, `as_it_was`, or a function of yours of event and receipt.
        reserve: Seconds of a deadline that are kept for `to`, though never more than half of what is left.
        name: How it is called in receipts; the class's name by default.

    Raises:
        ConfigError: two of one name, a `letter` that is no function, or a reserve that is no number of seconds.
    """

    def __init__(
        self,
        child: Declared,
        to: Declared,
        *,
        letter: Letter = enclosed,
        reserve: float = 0.1,
        name: str | None = None,
    ) -> None:
        super().__init__(child, to, name=name)
        if not callable(letter):
            raise ConfigError(f"letter must be a function of an event and its receipt, not {letter!r}")
        self.letter = letter
        self.reserve = check_seconds("reserve", reserve, zero=True)

    def worst_case(self, within: float | None, resolve: Resolve) -> WorstCase:
        """The child's and then the other one's; see `failover.foresight`."""
        kept = 0.0 if within is None else min(self.reserve, within / 2)
        child, to = self.declared
        before = None if within is None else within - kept
        cases = [foresee(child, before, resolve).below(self.name), foresee(to, within, resolve).below(self.name)]
        found = evolve(in_turn(cases), divided=())  # whoever lacks the event: it is kept
        if within is not None and kept < cases[1].alone:
            text = f"a letter is sure of {shown(kept)} only, and may take {shown(cases[1].alone)}; give it more reserve"
            found = found.but(self.name, text)
        return found.capped(within)

    async def deliver(self, event: Event, *, deadline: float | None = None) -> Receipt:
        """Deliver to the child, and what fails to the other one."""
        child, to = self.children
        tried: list[Receipt] = []
        begun = child.start(event, deadline=self._before(deadline))
        try:
            tried.append(await begun)
            if _taken(tried[0]):
                return self._receipt(event, tried)
            child = to
            begun = to.start(self._write(event, tried[0]), deadline=deadline)
            return self._receipt(event, [tried[0], await begun])
        except asyncio.CancelledError as cancelled:
            self._cancelled(event, tried, child, begun, cancelled)
            raise

    async def deliver_many(
        self,
        events: Sequence[Event],
        *,
        deadline: float | None = None,
        until: Callable[[Receipt], bool] | None = None,
    ) -> list[Receipt]:
        """Deliver a batch to the child, and those that failed to the other one."""
        child, to = self.children
        receipts: Sequence[Receipt] = ()
        buried: Mapping[int, Receipt] = {}
        letters: dict[int, Event] = {}
        try:
            receipts = await deliver_many(child.sink, events, deadline=self._before(deadline))
            lost = {place: receipt for place, receipt in enumerate(receipts) if not _taken(receipt)}
            letters = {place: self._write(events[place], receipt) for place, receipt in lost.items()}
            if letters:
                answers = await deliver_many(to.sink, list(letters.values()), deadline=deadline)
                buried = dict(zip(letters, answers, strict=True))
        except asyncio.CancelledError as cancelled:
            if receipts:
                buried = dict(zip(letters, left_of(list(letters.values()), to.name, cancelled), strict=True))
            else:
                receipts = left_of(events, child.name, cancelled)
            left = self._all(events, receipts, buried)
            cancelled.receipts = [  # type: ignore[attr-defined]
                one if place in buried or _taken(one) else replace(one, reason="cancelled")
                for place, one in enumerate(left)
            ]
            raise
        return self._all(events, receipts, buried)

    def _before(self, deadline: float | None) -> float | None:
        """The child's deadline."""
        if deadline is None:
            return None
        return deadline - max(0.0, min(self.reserve, (deadline - self._now()) / 2))

    def _write(self, event: Event, receipt: Receipt) -> Event:
        """The letter; the event itself if that can't be made: better without its receipt than lost."""
        try:
            return self.letter(event, receipt)
        except Exception:  # noqa: BLE001  # a fault in it must not cost the event
            _log.exception("no dead letter can be made of %r by %r; it goes as it was", event, self.letter)
            return event

    def _all(
        self, events: Sequence[Event], receipts: Sequence[Receipt], buried: Mapping[int, Receipt]
    ) -> list[Receipt]:
        return [
            self._receipt(event, [receipt, buried[place]] if place in buried else [receipt])
            for place, (event, receipt) in enumerate(zip(events, receipts, strict=True))
        ]

    def _receipt(self, event: Event, tried: list[Receipt], held: Iterable[Child] = ()) -> Receipt:
        if len(tried) == 1:
            return super()._receipt(event, tried, held)
        receipt, buried = tried
        outcome, verdict = dead_letter_outcome(receipt, buried)
        both = receipt, replace(buried, why="dead letter")
        return Receipt(event, self.name, outcome, receipt.began, self._now(), both, verdict)


def _taken(receipt: Receipt) -> bool:
    return receipt.confirmed or receipt.outcome is Outcome.SENT
